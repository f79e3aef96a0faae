"""Interfaces, counters and addresses: against `ip` on real ones, and what is made of refusals and rubbish."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from sockrec.kernel import link_messages, link_speed
from sockrec.kernel.links import LinkReader
from sockrec.kernel.rtnetlink import RouteSocket
from sockrec.model.network import Address
from tests.support.interfaces import Interfaces, tun
from tests.support.netns import Namespace

_SCOPES = {"global": 0, "site": 200, "link": 253, "host": 254}
_STATS = {  # `ip -s -s -j` has names of its own for struct rtnl_link_stats64
    "rx": {
        "bytes": "rx_bytes", "packets": "rx_packets", "errors": "rx_errors", "dropped": "rx_dropped",
        "over_errors": "rx_over_errors", "multicast": "multicast", "length_errors": "rx_length_errors",
        "crc_errors": "rx_crc_errors", "frame_errors": "rx_frame_errors", "fifo_errors": "rx_fifo_errors",
        "missed_errors": "rx_missed_errors", "nohandler": "rx_nohandler",
    },
    "tx": {
        "bytes": "tx_bytes", "packets": "tx_packets", "errors": "tx_errors", "dropped": "tx_dropped",
        "carrier_errors": "tx_carrier_errors", "collisions": "collisions",
        "aborted_errors": "tx_aborted_errors", "fifo_errors": "tx_fifo_errors",
        "window_errors": "tx_window_errors", "heartbeat_errors": "tx_heartbeat_errors",
    },
}  # fmt: skip


def ip(namespace: Namespace, *words: str) -> None:
    done = namespace.run("ip", *words)
    assert done.returncode == 0, done.stderr


def ip_json(namespace: Namespace, *words: str) -> list[dict[str, Any]]:
    done = subprocess.run(namespace.command("ip", "-j", *words), capture_output=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout.decode("utf-8", "surrogateescape"), strict=False)
    return [each for each in found if each]


@contextmanager
def reader_in(namespace: Namespace) -> Iterator[LinkReader]:
    with namespace.entered():
        reader = LinkReader()
    with reader:
        yield reader


def test_interfaces_are_those_of_ip_in_its_order() -> None:
    for seed in range(10):
        with Interfaces(seed) as made, reader_in(made.namespace) as reader:
            found, told = reader.read_links(), ip_json(made.namespace, "-d", "link")
            assert found.incomplete == ()
            by_name = {each.name: each.ifindex for each in found.interfaces}
            assert [each.ifindex for each in found.interfaces] == [one["ifindex"] for one in told]
            for each, one in zip(found.interfaces, told, strict=True):
                assert each.name == one["ifname"]
                assert each.kind == one.get("linkinfo", {}).get("info_kind")
                assert each.mtu == one["mtu"]
                assert each.queue_length == one.get("txqlen", 0)
                assert each.operstate == one["operstate"].lower()
                assert each.master == by_name.get(one.get("master", ""))
                assert each.link == (one.get("link_index") or by_name.get(one.get("link", "")))
                assert bool(each.flags & 1) == ("UP" in one["flags"])
                assert bool(each.flags & 0x10000) == ("LOWER_UP" in one["flags"])
                assert bool(each.flags & 0x100) == ("PROMISC" in one["flags"])
                if each.hardware_type in (1, 772):
                    assert each.hardware_address == one["address"]
                    assert each.hardware_broadcast == one["broadcast"]


def test_counters_are_those_of_ip() -> None:
    moved: set[str] = set()
    for seed in range(10):
        with Interfaces(seed) as made, reader_in(made.namespace) as reader:
            for _ in range(20):
                before = reader.read_links().counters
                told = ip_json(made.namespace, "-s", "-s", "link")
                if reader.read_links().counters == before:
                    break
            else:
                raise AssertionError("the counters never stood still")
            assert [each.name for each in before] == [one["ifname"] for one in told]
            for row, one in zip(before, told, strict=True):
                values = row._asdict()
                for way, names in _STATS.items():
                    for theirs, ours in names.items():
                        if theirs in one["stats64"][way]:
                            assert values[ours] == one["stats64"][way][theirs], (row.name, ours)
                            moved |= {ours} if values[ours] else set()
    # A reading of zeros would prove nothing.
    assert moved >= {"rx_packets", "rx_bytes", "tx_packets", "tx_bytes", "tx_dropped"}


def test_addresses_are_those_of_ip() -> None:
    kinds: set[str] = set()
    for seed in range(10):
        with Interfaces(seed) as made, reader_in(made.namespace) as reader:
            found, told = reader.read_addresses(), ip_json(made.namespace, "address")
            assert found.incomplete == ()
            theirs = [
                (
                    one["ifindex"], each["family"], each["local"], each["prefixlen"], each.get("label", ""),
                    each.get("address"), each.get("broadcast"), _SCOPES[each["scope"]],
                )
                for one in told
                for each in one["addr_info"]
            ]  # fmt: skip
            ours = [tuple(each)[:-1] for each in found.addresses]
            assert sorted(ours, key=repr) == sorted(theirs, key=repr)
            # In one interface IPv4 addresses keep the kernel's order.
            ipv4 = [each for each in ours if each[1] == "inet"]
            assert ipv4 == [each for each in theirs if each[1] == "inet"]
            kinds |= {name for each in found.addresses for name, value in each._asdict().items() if value}
    assert kinds == set(Address._fields)


def test_ipv6_addresses_are_in_the_order_of_proc(netns: Namespace) -> None:
    commands = [f"address add 2001:db8::{number:x}/64 dev lo nodad" for number in range(1, 101)]
    subprocess.run(netns.command("ip", "-batch", "-"), input="\n".join(commands), text=True, check=True)
    shown = netns.run("cat", "/proc/net/if_inet6", check=True).stdout.splitlines()
    expected = [socket.inet_ntop(socket.AF_INET6, bytes.fromhex(line.split()[0])) for line in shown]
    with reader_in(netns) as reader:
        found = [each.address for each in reader.read_addresses().addresses if each.family == "inet6"]
        assert found == expected
        dumped = [link_messages.decode_address(each) for each in _dump_addresses(netns)]
        assert [each.address for each in dumped if each and each.family == "inet6"] != expected
        # The file is read anew each time.
        ip(netns, "address", "del", f"{expected[50]}/{128 if expected[50] == '::1' else 64}", "dev", "lo")
        left = [each.address for each in reader.read_addresses().addresses if each.family == "inet6"]
        assert left == expected[:50] + expected[51:]


def _dump_addresses(namespace: Namespace) -> list[bytes]:
    with namespace.entered():
        route = RouteSocket()
    try:
        return route.dump(22, 20, link_messages.ADDRESSES).messages
    finally:
        route.close()


def test_what_stays_is_the_same_object_and_what_changes_is_seen(netns: Namespace) -> None:
    ip(netns, "link", "add", "one", "type", "veth", "peer", "name", "two")
    with reader_in(netns) as reader:
        first = reader.read_links().interfaces
        ip(netns, "link", "set", "two", "mtu", "1300")
        ip(netns, "link", "set", "one", "name", "uno")
        second = reader.read_links().interfaces
        assert [each.name for each in first] == ["lo", "two", "one"]
        assert [(each.name, each.mtu) for each in second] == [("lo", 65536), ("two", 1300), ("uno", 1500)]
        assert second[0] is first[0]
        ip(netns, "link", "del", "two")
        links = reader.read_links()
        assert [each.name for each in links.interfaces] == [each.name for each in links.counters] == ["lo"]


def test_names_of_any_bytes_are_kept(netns: Namespace) -> None:
    names = ["a\x1b[2J", "é", "\udcff", "a-b.c", "abcdefghijklmno"]
    for name in names:
        raw = netns.command("ip", "link", "add", name, "type", "bridge")
        subprocess.run([word.encode("utf-8", "surrogateescape") for word in raw], check=True)
    with reader_in(netns) as reader:
        links = reader.read_links()
    assert [each.name for each in links.interfaces[1:]] == names
    assert [each.name for each in links.counters[1:]] == names


def test_a_peer_in_another_namespace_is_no_link(netns: Namespace) -> None:
    with Namespace() as other:
        ip(netns, "link", "add", "here", "type", "veth", "peer", "name", "there", "netns", other.name)
        with reader_in(netns) as reader:
            assert reader.read_links().interfaces[-1].link is None
    ip(netns, "link", "add", "x", "type", "veth", "peer", "name", "y")
    with reader_in(netns) as reader:
        by_name = {each.name: each for each in reader.read_links().interfaces}
    x, y = by_name["x"], by_name["y"]
    assert (x.link, y.link) == (y.ifindex, x.ifindex)


def test_a_reader_keeps_to_the_namespace_it_was_made_in(netns: Namespace) -> None:
    ip(netns, "address", "add", "2001:db8::77/128", "dev", "lo", "nodad")
    with reader_in(netns) as reader:
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.extend([reader.read_links(), reader.read_addresses()]))
        thread.start()
        thread.join()
    assert [each.name for each in found[0].interfaces] == ["lo"]
    assert "2001:db8::77" in [each.address for each in found[1].addresses]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names whose speed was asked of the kernel, in order; the question goes on to it."""
    names: list[str] = []

    def counting(descriptor: int, request: int, argument: bytes) -> bytes:
        names.append(argument[:16].partition(b"\0")[0].decode())
        return fcntl.ioctl(descriptor, request, argument)

    class Counting:
        ioctl = staticmethod(counting)

    monkeypatch.setattr(link_speed, "fcntl", Counting)
    return names


def _set_speed(namespace: Namespace, name: str, speed: int) -> None:
    """ETHTOOL_SSET, which tun takes any speed from."""
    room = bytearray(struct.pack("=IIIH", 2, 0, 0, speed & 0xFFFF).ljust(44, b"\0"))
    struct.pack_into("=H", room, 28, speed >> 16)
    address = ctypes.addressof(ctypes.c_char.from_buffer(room))
    with namespace.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8946, struct.pack("16sP16x", name.encode(), address))


def test_speeds_are_asked_once_and_when_the_link_has_changed(netns: Namespace, asked: list[str]) -> None:
    ip(netns, "link", "add", "fast", "type", "veth", "peer", "name", "idle")
    with netns.entered():
        descriptor = tun("slow", tap=True)
    try:

        def flap() -> None:
            ip(netns, "link", "set", "slow", "down")
            for carrier in (0, 1):
                fcntl.ioctl(descriptor, 0x400454E2, struct.pack("=i", carrier))  # TUNSETCARRIER
            ip(netns, "link", "set", "slow", "up")

        flap()
        _set_speed(netns, "slow", 10)

        def speeds() -> dict[str, int | None]:
            return {each.name: each.speed for each in reader.read_links().interfaces}

        with reader_in(netns) as reader:
            # Without a carrier nothing is asked: it might wake a NIC that sleeps.
            assert speeds() == {"lo": None, "idle": None, "fast": None, "slow": 10}
            assert set(asked) == {"lo", "slow"}
            asked.clear()
            _set_speed(netns, "slow", 100_000)
            assert speeds()["slow"] == 10
            assert asked == []
            # Down and up again between two readings: flags and state are as they were.
            before = reader.read_links().interfaces[-1]
            flap()
            after = reader.read_links().interfaces[-1]
            assert after == before._replace(speed=100_000)
            assert speeds()["slow"] == 100_000
            assert asked == ["slow"]
            ip(netns, "link", "set", "fast", "up")
            ip(netns, "link", "set", "idle", "up")
            assert speeds() == {"lo": None, "idle": 10_000, "fast": 10_000, "slow": 100_000}
    finally:
        os.close(descriptor)


def test_hundreds_of_interfaces_come_whole(netns: Namespace) -> None:
    commands = [f"link add v{number} type veth peer name w{number}\n" for number in range(300)]
    commands += [f"address add 10.9.{n >> 8}.{n & 255}/32 dev v{n}\n" for n in range(300)]
    subprocess.run(netns.command("ip", "-batch", "-"), input="".join(commands), text=True, check=True)
    with reader_in(netns) as reader:
        found, addresses = reader.read_links(), reader.read_addresses()
    assert found.incomplete == addresses.incomplete == ()
    assert len(found.interfaces) == len(found.counters) == 601
    assert [each.ifindex for each in found.counters] == [each.ifindex for each in found.interfaces]
    assert sum(each.address.startswith("10.9.") for each in addresses.addresses) == 300


def test_while_interfaces_come_and_go_a_whole_reading_is_whole(netns: Namespace) -> None:
    commands = [f"link add v{number} type veth peer name w{number}\n" for number in range(60)]
    subprocess.run(netns.command("ip", "-batch", "-"), input="".join(commands), text=True, check=True)
    done = threading.Event()

    def churn() -> None:
        for _ in range(2000):
            if done.is_set():
                return
            ip(netns, "link", "add", "c0", "type", "veth", "peer", "name", "d0")
            ip(netns, "link", "del", "c0")

    with reader_in(netns) as reader, ThreadPoolExecutor(1) as pool:
        running = pool.submit(churn)
        whole = seen = 0
        while not running.done() and not (whole >= 20 and seen >= 5):
            links = reader.read_links()
            names = [each.name for each in links.interfaces]
            seen += bool(links.incomplete) or "c0" in names
            if not links.incomplete:
                whole += 1
                assert [each.name for each in links.counters] == names
                assert len(set(names)) == len(names) >= 121
        done.set()
        running.result()
    assert seen >= 5  # else nothing came and went while it was read
