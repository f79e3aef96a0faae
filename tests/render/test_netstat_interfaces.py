"""The text of `netstat -i` against the installed netstat: real interfaces of every kind, and made-up ones."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockrec.kernel.links import LinkReader
from sockrec.model.network import Address, Interface, LinkCounters
from sockrec.render.names import encode, printable
from sockrec.render.netstat_interfaces import interface_lines, interface_text
from tests.faults.scale import cases
from tests.render.interface_judge import FLAG_SETS, Facts, harmless, judge, ours, same, without_slip
from tests.render.made_up_interfaces import build, seen_by_netstat
from tests.support.interfaces import HARDWARE_TYPES, NAMES, Interfaces, add_flags, tun
from tests.support.netns import Namespace

U64 = (1 << 64) - 1


def read(reader: LinkReader) -> Facts:
    links, addresses = reader.read_links(), reader.read_addresses()
    assert not links.incomplete
    assert not addresses.incomplete
    return Facts(links.interfaces, links.counters, addresses.addresses)


@pytest.mark.parametrize("seed", range(cases(8, 40)))
def test_text_is_netstats_to_the_byte(seed: int) -> None:
    with Interfaces(seed) as made:
        with made.namespace.entered():
            reader = LinkReader()
        with reader:
            judge(made.namespace, lambda: read(reader))


def test_every_type_of_hardware_is_named_as_netstat_names_it(netns: Namespace) -> None:
    with ExitStack() as open_tuns:
        with netns.entered():
            reader = open_tuns.enter_context(LinkReader())
            for number in HARDWARE_TYPES:
                open_tuns.callback(os.close, tun(f"t{number}", number, tap=True))
                open_tuns.callback(os.close, tun(f"u{number}", number))
        netns.run("ip", "address", "add", "10.7.0.1/24", "dev", "t781", "label", "t781:1", check=True)
        assert len(read(reader).interfaces) == 1 + 2 * len(HARDWARE_TYPES)
        judge(netns, lambda: read(reader))


def test_addresses_are_found_as_the_ioctls_find_them(netns: Namespace) -> None:
    """The netmask that netstat shows is another address's where the first one's broadcast is an address."""
    for command in (
        "link add one type bridge", "address add 10.1.0.1/20 broadcast 10.1.0.2 dev one",
        "address add 10.1.0.2/24 dev one", "address add 10.1.7.7/28 broadcast 10.1.7.9 label one:1 dev one",
        "address add 10.1.7.9/30 dev one", "link add two type bridge",
        "address add 10.2.0.1 peer 10.2.0.2/30 broadcast 10.2.0.9 dev two",
        "address add 10.2.0.2/25 broadcast 10.2.0.3 dev two", "address add 10.2.0.3/26 dev two",
        "link add only type bridge", "address add 10.3.0.1/24 dev only label only:9",
    ):  # fmt: skip
        netns.run("ip", *command.split(), check=True)
    with netns.entered():
        reader = LinkReader()
    with reader:
        judge(netns, lambda: read(reader))
        text = ours(read(reader), "-aie")
    assert b"inet 10.1.0.1  netmask 255.255.255.0  broadcast 10.1.0.2\n" in text
    assert b"inet 10.2.0.1  netmask 255.255.255.192  broadcast 10.2.0.3\n" in text


def test_ports_and_dialup_interfaces_have_their_words(netns: Namespace) -> None:
    flags = (0x2000, 0x6000, 0x4000, 0x8000, 0x20, 0x4)
    for number in range(len(flags)):
        netns.run("ip", "link", "add", f"f{number}", "type", "bridge", check=True)
    with netns.entered():
        for number, more in enumerate(flags):
            add_flags(f"f{number}", more)
        reader = LinkReader()
    with reader:
        judge(netns, lambda: read(reader))


def test_continuous_tables_have_the_title_once(netns: Namespace) -> None:
    with netns.entered(), LinkReader() as reader:
        facts = read(reader)
    for words in ("-ic", "-iec"):
        extended = "e" in words
        first = interface_text(*facts, all=False, extended=extended)
        again = interface_text(*facts, all=False, extended=extended, titled=False)
        running = subprocess.Popen(
            netns.command("netstat", words), stdout=subprocess.PIPE, env={**os.environ, "LC_ALL": "C"}
        )
        assert running.stdout is not None
        try:
            same(running.stdout.read(len(first + again)), first + again, f"netstat {words}")
        finally:
            running.kill()
            running.wait()
            running.stdout.close()


def test_netstat_stops_at_a_label_of_no_interface_and_so_do_we(netns: Namespace) -> None:
    netns.run("ip", "link", "add", "zz", "type", "veth", check=True)
    with netns.entered(), LinkReader() as reader:
        facts = read(reader)
    # `ip` makes no such label, the kernel takes it from others.
    stray = facts.addresses[0]._replace(label="mm")
    stopped = Facts(facts.interfaces, facts.counters, [*facts.addresses, stray])
    assert b"\nlo " in ours(stopped, "-ai")
    assert b"\nveth" not in ours(stopped, "-ai")
    assert b"\nveth" in ours(facts, "-ai")
    _label_address_as(netns, "mm")
    done = subprocess.run(
        netns.command("netstat", "-ai"), capture_output=True, env={**os.environ, "LC_ALL": "C"}, check=False
    )
    assert b"mm: error fetching interface information: Device not found\n" in done.stderr
    with netns.entered(), LinkReader() as reader:
        same(done.stdout, ours(read(reader), "-ai"), "netstat -ai")


def _label_address_as(namespace: Namespace, label: str) -> None:
    """Add 10.0.0.9/24 to lo under any label: RTM_NEWADDR with IFA_LOCAL and IFA_LABEL."""

    def attribute(kind: int, value: bytes) -> bytes:
        return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)

    body = struct.pack("=BBBBI", socket.AF_INET, 24, 0, 0, 1)
    body += attribute(2, bytes((10, 0, 0, 9))) + attribute(3, label.encode() + b"\0")
    with namespace.entered(), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
        route.send(struct.pack("=IHHII", 16 + len(body), 20, 0x405, 1, 0) + body)
        (error,) = struct.unpack_from("=16xi", route.recv(4096))
    assert error == 0


COUNTS = st.one_of(
    st.integers(0, 2000),
    st.sampled_from([edge + step for edge in (1 << n for n in range(10, 64, 10)) for step in (-1, 0, 1)]),
    st.integers(0, U64),
    st.just(U64),
)
IPV4 = st.integers(1, (1 << 32) - 1).map(lambda number: str(ipaddress.IPv4Address(number)))
# Names that a sort can get wrong, beside those of real interfaces.
DEVICES = st.one_of(
    st.sampled_from(NAMES),
    st.from_regex(r"[a-b0]{1,3}[0-9]{0,12}", fullmatch=True).filter(lambda name: len(name) < 16),
)


@st.composite
def made_up(draw: st.DrawFn) -> Facts:
    interfaces: list[Interface] = []
    counters: list[LinkCounters] = []
    addresses: list[Address] = []
    for index, name in enumerate(draw(st.lists(DEVICES, min_size=1, max_size=5, unique=True)), 1):
        number = draw(st.sampled_from([*HARDWARE_TYPES, 0]))
        size = draw(st.sampled_from([0, 8, 14]))
        # NET/ROM and AX.25 addresses are text: letters, shifted.
        raw = bytes(draw(st.sampled_from(b"\x82\x9c\x40\x62\xa4")) for _ in range(size))
        if number not in (0, 3):
            raw = draw(st.binary(min_size=size, max_size=size))
        if number == 271:
            raw = raw.translate(bytes(48 + byte % 10 for byte in range(256)))
        interfaces.append(
            Interface(
                ifindex=index, name=name, kind=None, hardware_type=number,
                hardware_address=raw.hex(":") or None, hardware_broadcast=None,
                mtu=draw(st.integers(0, (1 << 31) - 1)), flags=draw(st.integers(0, (1 << 20) - 1)),
                operstate="up", queue_length=draw(st.sampled_from([0, 500, 1 << 31, (1 << 32) - 1])),
                speed=None, master=None, link=None,
                mem_start=draw(st.sampled_from([0, 0xFEBC0000, U64])), mem_end=draw(COUNTS),
                base_address=draw(st.sampled_from([0, 0xFF, 0x100, 0x10000, 0xD00D])),
                irq=draw(st.sampled_from([0, 9, 255, 256, 300])), dma=draw(st.sampled_from([0, 3, 255])),
            )
        )  # fmt: skip
        if draw(st.booleans()) or not counters:
            counters.append(LinkCounters(index, name, *(draw(COUNTS) for _ in LinkCounters._fields[2:])))
        for label in draw(st.lists(st.sampled_from(["", ":1", ":10", ":02", ":x"]), max_size=3, unique=True)):
            if len(name.encode("utf-8", "surrogateescape")) + len(label) < 16:
                peer, broadcast = draw(st.one_of(st.none(), IPV4)), draw(st.one_of(st.none(), IPV4))
                length = draw(st.integers(0, 32))
                addresses.append(
                    Address(index, "inet", draw(IPV4), length, name + label, peer, broadcast, 0, 0)
                )
        for number in draw(st.lists(st.integers(1, 1 << 40), max_size=2, unique=True)):
            text = draw(st.sampled_from([f"2001:db8::{number % 65536:x}", f"fe80::{number % 65536:x}"]))
            scope = draw(st.sampled_from([0, 200, 253, 254]))
            length = draw(st.integers(0, 128))
            addresses.append(
                Address(index, "inet6", str(ipaddress.IPv6Address(text)), length, "", None, None, scope, 128)
            )
    # netstat sees what stands in /proc/net/dev, and labels.
    named = {each.name for each in counters} | {each.label for each in addresses}
    seen = [each for each in interfaces if each.name in named]
    indices = {each.ifindex for each in seen}
    return Facts(seen, counters, [each for each in addresses if each.ifindex in indices])


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("made-up"))


@settings(max_examples=150, deadline=None)
@given(facts=made_up(), words=st.sampled_from(FLAG_SETS))
def test_made_up_interfaces_are_printed_as_netstat_prints_them(
    library: Path, facts: Facts, words: str
) -> None:
    theirs = seen_by_netstat(library, facts, words)
    same(harmless(theirs), without_slip(ours(facts, words)), f"netstat {words}")


def test_sizes_turn_where_netstats_do(library: Path) -> None:
    edges = [(1 << n) + step for n in range(10, 64) for step in (-1, 0, 1)]
    edges += [n * (1 << 60) + step for n in range(1, 16) for step in (-1, 0, 1)]
    edges += [n * 115292150460684697 + step for n in range(9, 160, 7) for step in (-1, 0, 1)]
    counters = [
        LinkCounters(n, f"s{n}", 0, 0, count, edges[-n], *[0] * 20) for n, count in enumerate(edges, 1)
    ]
    plain = Interface(0, "", None, 1, None, None, 0, 1, "up", 0, None, None, None, 0, 0, 0, 0, 0)
    interfaces = [plain._replace(ifindex=row.ifindex, name=row.name) for row in counters]
    facts = Facts(interfaces, counters, [])
    for words in ("-i", "-ie"):
        same(seen_by_netstat(library, facts, words), ours(facts, words), words)


NUMBERS = st.integers(-(1 << 63), (1 << 63) - 1)
TEXTS = st.one_of(st.text(max_size=20), st.sampled_from(["::", "::1.2.3.4", "ff:fe", "1" * 5000, "a:1"]))


@st.composite
def hostile(draw: st.DrawFn) -> Facts:
    """Rows as a capture that somebody made may hold them."""

    def row(kind: Any) -> Any:
        texts = {"name", "kind", "operstate", "address", "label"}
        maybe = {"hardware_address", "hardware_broadcast", "peer", "broadcast"}
        values = {
            field: draw(
                TEXTS if field in texts
                else st.one_of(st.none(), TEXTS) if field in maybe
                else st.integers(0, 2) if field == "ifindex"
                else st.sampled_from(["inet", "inet6"]) if field == "family"
                else NUMBERS
            )
            for field in kind._fields
        }  # fmt: skip
        return kind(**values)

    return Facts(
        *([row(kind) for _ in range(draw(st.integers(0, 3)))] for kind in (Interface, LinkCounters, Address))
    )


@given(facts=hostile(), every=st.booleans(), extended=st.booleans())
def test_any_rows_are_printed_without_harm(facts: Facts, every: bool, extended: bool) -> None:
    for line in interface_lines(*facts, all=every, extended=extended):
        assert line.endswith("\n")
        assert printable(line[:-1]) == line[:-1]
        encode(line)
