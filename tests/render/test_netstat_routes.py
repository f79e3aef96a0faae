"""Routing tables as text: what the installed netstat prints of the same routes, to the byte."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sockrec.errors import CaptureError
from sockrec.kernel import names as name_files
from sockrec.kernel import routes
from sockrec.model.network import Route
from sockrec.render.names import Names, encode
from sockrec.render.netstat_flags import parse_flags
from sockrec.render.netstat_routes import netstat_routes
from tests.faults.scale import cases
from tests.support.netns import Namespace
from tests.support.own_etc import OwnEtc, difference

FLAG_SETS = (
    "-r", "-rn", "-re", "-rne", "-ree", "-rnee", "-reee", "-rneee", "-reeee", "-rneeee", "-reeeeee",
    "-r4", "-rn4", "-r6", "-rn6", "-r6e", "-r6een", "-r46", "-r64n", "-r44", "-rn664",
    "--route", "--route --numeric", "--rout --symb --ext", "-r --inet", "-r --inet6", "-r -A inet6,inet -n",
    "-rA ip6", "-rA tcpip -e", "-r --numeric-hosts", "-r --numeric-ports",
    "-r --numeric-users -6",
    "-rN", "-rN6", "-rNe", "-rF", "-rFn", "-rC", "-rCn", "-rCe", "-rCee", "-rCeee", "-rCF", "-rCFn6", "-r6C",
    "-r46CFnee", "--route --cache", "--route --fib --cache -6", "-rW", "-rWn6", "-ra", "-rl", "-rp", "-ro",
    "-rv", "-rtun", "-rg", "-rgn", "-rtuw",
)  # fmt: skip

HOSTS = (
    b"""127.0.0.1 localhost
::1 localhost6 alias
0.0.0.0 never-shown
:: never-shown-six
192.168.7.1 gw
192.168.7.9 a-gateway-with-a-very-long-name.example.org
192.168.7.33 gr\xc3\xb6\xc3\x9fe-und-l\xc3\xa4nge
10.20.30.40 a-host
10.20.30.41 another-host-too-long
10.1.0.0 not-this-host
255.255.255.255 everyone
fd00:7::1 six-gw
fd00:7::9 another-gateway-with-a-very-long-name.example.org
2001:db8:5:: six-net
2001:db8:6:: a-network-of-version-six-with-a-long-name
1.2.3.0 mapped-net
2001:db8:128::1 one-host
"""
    + b"2001:db8:7:: "
    + b"n" * 130
    + b"\n2001:db8:8:: "
    + b"m" * 126
    + b"\n"
)
NETWORKS = b"""default 0.0.0.0
loopback 127.0.0.0
link-local 169.254.0.0
lab 10.1.0.0
second 10.1.0.0
short 10.7
class-a 11
odd 10.1.16.0
quite-a-long-network-name 10.2.0.0
host-not-network 10.20.30.40
"""
NETWORK_NAMES = {
    "127.0.0.0": "loopback", "169.254.0.0": "link-local", "10.1.0.0": "lab", "10.7.0.0": "short",
    "11.0.0.0": "class-a", "10.1.16.0": "odd", "10.2.0.0": "quite-a-long-network-name",
    "10.20.30.40": "host-not-network", "0.0.0.0": "default",
}  # fmt: skip
LINKS = ("d0", "a-fifteen-bytes", "seven77", "v\u00e4th1", "e\udcff2")

IPV4 = (
    "default via 192.168.7.1",
    "default via 192.168.7.9 metric 4294967295",
    "default dev d0 scope link metric 2147483648",
    "0.0.0.0/1 via 192.168.7.1",
    "128.0.0.0/1 via 192.168.7.33 metric 77",
    "10.1.0.0/16 via 192.168.7.1",
    "10.1.16.0/20 via 192.168.7.33 metric 5 advmss 1360 window 30000 rtt 120ms",
    "10.2.0.0/16 dev d0 advmss 536",
    "10.7.0.0/16 dev d0 rtt 9s window 4294967295",
    "11.0.0.0/8 via 192.168.7.9",
    "10.20.30.40 via 192.168.7.1",
    "10.20.30.41 dev d0",
    "10.20.30.42/32 via 192.168.7.1 advmss 65535 window 1 rtt 1ms mtu 900 metric 1",
    "unreachable 10.66.0.0/16",
    "unreachable 10.66.1.1 metric 9",
    "prohibit 10.67.0.0/16 metric 3000000",
    "blackhole 10.68.0.0/16",
    "throw 10.69.0.0/16",
    "unreachable default metric 999",
    "10.70.0.0/16 via 172.31.99.1 dev d0 onlink",
    "10.71.0.0/16 nexthop via 192.168.7.1 weight 2 nexthop via 192.168.7.9",
    "10.72.0.0/16 via inet6 fe80::7 dev d0",
    "10.73.0.0/24 via 192.168.7.1 src 192.168.7.2 table main proto static",
    "169.254.0.0/16 dev a-fifteen-bytes scope link",
    "10.80.0.0/30 dev a-fifteen-bytes",
    "10.81.0.0/30 dev seven77 advmss 1400",
    "10.82.0.0/30 dev v\u00e4th1",
    "10.83.0.0/30 dev e\udcff2",
    "255.255.255.255 dev d0",
)
IPV6 = (
    "default via fd00:7::1 dev d0",
    "default via fd00:7::9 dev d0 metric 4294967295",
    "default dev seven77 metric 2147483648",
    "2001:db8:5::/48 via fd00:7::1",
    "2001:db8:6::/48 via fe80::1 dev d0 metric 12345",
    "2001:db8:7::/48 dev d0",
    "2001:db8:8::/48 dev d0",
    "2001:db8:9::/64 via fd00:7::9 expires 6000",
    "2001:db8:128::1 via fd00:7::1",
    "2001:db8:128::2/128 dev v\u00e4th1 proto ra expires 300",
    "2001:db8:1:2:3:4:5:6/128 via fd00:7::9 metric 1",
    "unreachable 2001:db8:66::/48",
    "prohibit 2001:db8:67::/48 metric 5",
    "blackhole 2001:db8:68::/48",
    "throw 2001:db8:69::/48",
    "2001:db8:70::/48 via 2001:db8:ffff::1 dev d0 onlink",
    "2001:db8:71::/48 nexthop via fd00:7::1 dev d0 nexthop via fd00:7::9 dev d0",
    "2001:db8:72::/48 from 2001:db8:1::/64 via fd00:7::1 dev d0",
    "::ffff:1.2.3.0/120 dev d0",
    "2001:db8:73::/48 dev a-fifteen-bytes mtu 1400",
    "2001:db8:74::/48 dev e\udcff2 table 77",
)


def ip(namespace: Namespace, *words: str, may_fail: bool = False) -> None:
    subprocess.run(
        ["ip", "-n", namespace.name, *words],
        check=not may_fail, capture_output=may_fail, errors="surrogateescape",
    )  # fmt: skip


@pytest.fixture
def links(netns: Namespace) -> Namespace:
    """Give a namespace with several interfaces, 192.168.7.2 and fd00:7::2 on the first."""
    for number, name in enumerate(LINKS):
        ip(netns, "link", "add", name, "type", "veth", "peer", "name", f"far{number}")
        ip(netns, "link", "set", name, "up")
        ip(netns, "link", "set", f"far{number}", "up")
    ip(netns, "address", "add", "192.168.7.2/24", "dev", "d0")
    ip(netns, "address", "add", "fd00:7::2/64", "dev", "d0", "nodad")
    return netns


@pytest.fixture
def etc(tmp_path: Path) -> OwnEtc:
    """Give databases that name some of the hosts and networks."""
    return OwnEtc(tmp_path / "etc", HOSTS, NETWORKS)


def names_of(etc: OwnEtc) -> Names:
    return Names(hosts=name_files.hosts(etc.folder / "hosts"), networks=NETWORK_NAMES)


def rows_in(namespace: Namespace) -> list[Route]:
    with namespace.entered():
        reading = routes.table().read()
    assert reading.incomplete == ()
    # A name that is no UTF-8 comes from a capture escaped; here netstat's bytes are wanted.
    return [row._replace(interface=row.interface.replace("\\xff", "\udcff")) for row in reading.rows]


def text(rows: list[Route], words: str, names: Names) -> bytes:
    return encode("".join(netstat_routes(rows, parse_flags(words.split()), names)))


def judge(namespace: Namespace, etc: OwnEtc, flag_sets: tuple[str, ...] = FLAG_SETS) -> list[Route]:
    """Assert that the text of the routes is netstat's; gives the rows."""
    names = names_of(etc)
    for words in flag_sets:
        for _ in range(20):
            before = rows_in(namespace)
            done = etc.netstat(namespace, words.split())
            after = rows_in(namespace)
            if before == after:  # the kernel counts references to IPv6 routes while they are used
                break
        else:
            raise AssertionError("the routes never hold still")
        ours = text(after, words, names)
        assert done.stdout == ours, f"netstat {words}{difference(done.stdout, ours)}"
        assert (done.stderr, done.returncode) == (b"", 0), words
    return after


def test_routes_of_every_kind_are_netstats_to_the_byte(links: Namespace, etc: OwnEtc) -> None:
    for route in IPV4:
        ip(links, "route", "append", *route.split())
    for route in IPV6:
        # Routes by source need CONFIG_IPV6_SUBTREES.
        ip(links, "-6", "route", "append", *route.split(), may_fail=" from " in route)
    rows = judge(links, etc)
    flags = {(row.family, row.flags) for row in rows}
    assert {flag for family, flag in flags if family == "inet"} == {1, 3, 5, 7, 0x201, 0x205}
    # up, gateway, reject, non-next-hop, expires, local
    for flag in (1, 2, 0x200, 0x200000, 0x400000, 0x80000000):
        assert any(family == "inet6" and found & flag for family, found in flags), hex(flag)
    assert {b"lab", b"odd", b"short", b"class-a"} <= set(text(rows, "-r", names_of(etc)).split())


@pytest.mark.parametrize("seed", range(cases(6, 12)))
def test_generated_tables_are_netstats_to_the_byte(links: Namespace, etc: OwnEtc, seed: int) -> None:
    draw = random.Random(seed)
    chosen = draw.sample(IPV4, draw.randrange(len(IPV4)))
    for route in chosen:
        ip(links, "route", draw.choice(("append", "prepend")), *route.split())
    for route in draw.sample(IPV6, draw.randrange(len(IPV6))):
        ip(links, "-6", "route", "append", *route.split(), may_fail=" from " in route)
    for _ in range(draw.randrange(40)):
        length = draw.randrange(1, 33)
        network = draw.getrandbits(length) << (32 - length)
        address = f"{socket.inet_ntoa(network.to_bytes(4, 'big'))}/{length}"
        to = draw.choice(("via 192.168.7.1", "via 192.168.7.33", f"dev {draw.choice(LINKS)}"))
        ip(links, "route", "append", address, *to.split(), "metric", str(draw.getrandbits(32)))
    for name in draw.sample(LINKS[1:], 2):
        ip(links, "link", "set", name, draw.choice(("down", "up")))
    judge(links, etc, tuple(draw.sample(FLAG_SETS, 14)))


def _advertise(far: Namespace) -> None:
    """Send a router advertisement (RFC 4861, 4.2) with a prefix from the far end of a link."""
    prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 5000, 4000, 0) + socket.inet_pton(
        socket.AF_INET6, "2001:db8:aaaa::"
    )
    header = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    with far.entered(), socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
        index = socket.if_nametoindex("ra1")
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        raw.sendto(header + prefix, ("ff02::1", 0, 0, index))


def test_routes_that_a_router_announced(netns: Namespace, etc: OwnEtc) -> None:
    with Namespace() as far:
        ip(netns, "link", "add", "ra0", "type", "veth", "peer", "ra1", "netns", far.name)
        for namespace, name in ((netns, "ra0"), (far, "ra1")):
            namespace.run("sysctl", "-qw", f"net.ipv6.conf.{name}.accept_dad=0", check=True)
            ip(namespace, "link", "set", name, "up")
        until = time.monotonic() + 20
        while not any(row.flags & 0x00010000 for row in rows_in(netns)):
            assert time.monotonic() < until, "no route came of the advertisement"
            with contextlib.suppress(OSError):  # its link-local address may not be there yet
                _advertise(far)
            time.sleep(0.2)
        judge(netns, etc, ("-r6", "-r6n", "-r46nee"))
        default = next(row for row in rows_in(netns) if row.flags & 0x00010000)
        line = next(
            line for line in text([default], "-r6n", Names()).splitlines() if line.startswith(b"::/0 ")
        )
        assert line.split()[2] == b"UGDAe"


def test_no_route_at_all(etc: OwnEtc) -> None:
    with Namespace(addresses=()) as namespace:
        judge(namespace, etc, ("-r", "-ree", "-rn46"))


@pytest.mark.parametrize("words", ["-r6n", "-r46n", "-r64n", "-r6C"])
def test_a_host_without_ipv6_says_so_and_prints_no_more(links: Namespace, tmp_path: Path, words: str) -> None:
    ipv4 = [row for row in rows_in(links) if row.family == "inet"]
    assert ipv4
    (tmp_path / "route").write_text(links.run("cat", "/proc/net/route", check=True).stdout)
    hide = f"mount --bind {tmp_path} /proc/$$/net && exec netstat {words}"
    done = subprocess.run(
        links.command("unshare", "--mount", "sh", "-c", hide), capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, b"/proc/net/ipv6_route: No such file or directory\n")
    assert done.stdout == text(ipv4, words, Names())
    assert done.stdout.endswith(b"INET6 (IPv6) not configured in this system.\n")


def _hostile() -> Iterator[tuple[str, str]]:
    yield "e\x1b[2J\x07", "e?[2J?"
    yield "n\x9bx\u202e", "n??x???"
    yield "l\udc9bx", "l?x"


@pytest.mark.parametrize(("name", "shown"), list(_hostile()))
def test_names_that_steer_a_terminal_are_shown_as_question_marks(
    links: Namespace, etc: OwnEtc, name: str, shown: str
) -> None:
    row = Route("inet", "10.0.0.0", 8, None, 0, "10.0.0.1", name, 3, 0, 0, 0, 0, 0, 0)
    names = Names(hosts={"10.0.0.1": name}, networks={"10.0.0.0": name})
    assert text([row], "-r", names).split(b"\n")[2].split() == [
        encode(shown), encode(shown), b"255.0.0.0", b"UG", b"0", b"0", b"0", encode(shown),
    ]  # fmt: skip
    # Of a real interface of this name, netstat's text differs in nothing else.
    ip(links, "link", "set", "seven77", "down")
    ip(links, "link", "set", "seven77", "name", name)
    ip(links, "link", "set", name, "up")
    ip(links, "route", "add", "10.9.0.0/16", "dev", name)
    done = etc.netstat(links, ["-rnee"])
    with links.entered():
        rows = routes.table().read().rows
    rows = [one._replace(interface=name) if one.destination == "10.9.0.0" else one for one in rows]
    for byte in (*range(0x0A), *range(0x0B, 0x20)):
        assert bytes([byte]) not in text(rows, "-rnee", names)
    theirs = done.stdout.replace(encode(name)[:6], encode(shown)[:6])
    assert theirs == text(rows, "-rnee", names), difference(theirs, text(rows, "-rnee", names))


def test_numbers_beyond_any_kernels_are_printed_and_break_nothing() -> None:
    row = Route("inet", "x", 99, None, 0, "y", "z", 0xFFFFFFFF, 1 << 70, -(1 << 70), 5, 1 << 31, 0, 0)
    for extend in range(5):
        assert text([row, row._replace(prefix_length=-5)], f"-r{'e' * extend}", Names())
    assert b"-2147483648" in text([row._replace(flags=1)], "-r", Names())


def test_names_of_networks_are_read_from_a_recordings_json() -> None:
    names = Names.from_json({"networks": {"10.0.0.0": "lab", "10.1.0.0": ""}})
    assert (names.network("10.0.0.0"), names.network("10.1.0.0"), names.network("10.2.0.0")) == (
        "lab",
        None,
        None,
    )
    assert Names.from_json({}).networks == {}


@pytest.mark.parametrize("networks", [5, [1], "x"])
def test_malformed_names_of_networks_are_a_capture_error(networks: object) -> None:
    with pytest.raises(CaptureError, match=r"malformed.*use -n"):
        Names.from_json({"networks": networks})
