"""Announcements of changes, on real changes in a namespace of its own."""

from __future__ import annotations

import errno
import os
import select
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from sockrec.errors import KernelError
from sockrec.kernel import network_changes
from sockrec.kernel.network_changes import NetworkChanges, NetworkChangesSource
from tests.support.netns import Namespace

NOTHING = NetworkChanges()


@pytest.fixture
def source(netns: Namespace) -> Iterator[NetworkChangesSource]:
    with netns.entered():
        found = NetworkChangesSource()
    with found:
        settle(found)
        yield found


def settle(source: NetworkChangesSource) -> NetworkChanges:
    """Return what changed until nothing more was announced for a while."""
    changed = [False] * len(NOTHING)
    until = time.monotonic() + 20
    while select.select([source], [], [], 0.3)[0]:
        changed = [old or new for old, new in zip(changed, source.drain(), strict=True)]
        assert time.monotonic() < until
    return NetworkChanges(*changed)


def ip(namespace: Namespace, *words: str) -> None:
    done = namespace.run("ip", *words)
    assert done.returncode == 0, done.stderr


def test_without_a_change_nothing_is_told(netns: Namespace, source: NetworkChangesSource) -> None:
    assert source.drain() == NOTHING
    # Traffic is none, however much it counts.
    ping = "import socket; s = socket.socket(type=2); [s.sendto(b'x', ('10.0.0.5', 9)) for _ in range(100)]"
    netns.run("python3", "-c", ping, check=True)
    with Namespace() as other:
        ip(other, "link", "add", "elsewhere", "type", "bridge")
    assert settle(source) == NOTHING


def test_each_kind_of_change_is_told(netns: Namespace, source: NetworkChangesSource) -> None:
    ip(netns, "link", "add", "bridge0", "type", "bridge")
    assert settle(source).links
    assert source.drain() == NOTHING
    ip(netns, "link", "set", "bridge0", "mtu", "1400")
    assert settle(source).links

    ip(netns, "address", "add", "10.3.0.1/24", "dev", "lo")
    changed = settle(source)
    assert (changed.links, changed.addresses, changed.routes) == (False, True, True)
    ip(netns, "address", "add", "2001:db8::9/64", "dev", "lo", "nodad")
    changed = settle(source)
    assert (changed.links, changed.addresses) == (False, True)
    ip(netns, "address", "del", "10.3.0.1/24", "dev", "lo")
    assert settle(source).addresses

    for words in ("route add blackhole 10.4.0.0/16", "-6 route add unreachable 2001:db8:5::/48"):
        ip(netns, *words.split())
        assert settle(source) == NetworkChanges(routes=True)
        ip(netns, *words.replace("add", "del").split())
        assert settle(source) == NetworkChanges(routes=True)

    # What goes with an interface is announced in part only: all of it is to be looked at.
    ip(netns, "link", "del", "bridge0")
    changed = settle(source)
    assert changed == NetworkChanges(links=True, addresses=True, routes=True, groups=True)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_groups_that_are_joined_are_told_where_the_kernel_tells_it(
    netns: Namespace, source: NetworkChangesSource, family: socket.AddressFamily
) -> None:
    if not source.announces_groups:
        assert len(source.unavailable) == 1
        return
    assert source.unavailable == ()
    with netns.entered(), socket.socket(family, socket.SOCK_DGRAM) as member:
        if family == socket.AF_INET:
            joined = socket.inet_aton("239.1.2.3") + socket.inet_aton("127.0.0.1")
            member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)
        else:
            joined = socket.inet_pton(family, "ff05::77") + (1).to_bytes(4, "little")
            member.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, joined)
        assert settle(source) == NetworkChanges(groups=True)
    assert settle(source) == NetworkChanges(groups=True)


def test_a_kernel_without_groups_is_told_of(netns: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_changes, "_MULTICAST", (60000,))
    with netns.entered(), NetworkChangesSource() as source:
        assert not source.announces_groups
        assert "multicast groups are not announced" in source.unavailable[0]
        ip(netns, "link", "set", "lo", "mtu", "1400")
        assert settle(source).groups


def test_what_found_no_room_is_told_as_everything_lost(netns: Namespace) -> None:
    with netns.entered(), NetworkChangesSource(receive_buffer=4096) as source:
        settle(source)
        commands = [f"route add blackhole 10.5.{number}.0/24\n" for number in range(200)]
        subprocess.run(netns.command("ip", "-batch", "-"), input="".join(commands), text=True, check=True)
        assert source.drain() == NetworkChanges(True, True, True, True, lost=True)
        assert source.drain() == NOTHING
        ip(netns, "route", "add", "blackhole", "10.6.0.0/16")
        assert source.drain() == NetworkChanges(routes=True)


def test_a_storm_costs_no_more_than_its_buffer(netns: Namespace, source: NetworkChangesSource) -> None:
    """Most of 100,000 messages are lost, which is told, and draining them is a matter of milliseconds."""
    routes = [f"10.{n >> 8 & 255}.{n & 255}.0/24" for n in range(50_000)]
    for verb in ("add", "del"):
        text = "".join(f"route {verb} blackhole {route}\n" for route in routes)
        subprocess.run(netns.command("ip", "-batch", "-"), input=text, text=True, check=True)
    began = time.process_time()
    assert source.drain() == NetworkChanges(True, True, True, True, lost=True)
    assert time.process_time() - began < 0.1
    assert source.drain() == NOTHING


def test_one_drain_ends_while_messages_go_on_coming(
    netns: Namespace, source: NetworkChangesSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_changes, "_MOST", 3)
    for number in range(10):
        ip(netns, "route", "add", "blackhole", f"10.7.{number}.0/24")
    told = 0
    while source.drain().routes:
        told += 1
    assert told == 4
    assert not select.select([source], [], [], 0)[0]


def test_messages_of_an_unknown_kind_are_taken_for_anything(
    netns: Namespace, source: NetworkChangesSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_changes, "_BY_TYPE", {})
    ip(netns, "route", "add", "blackhole", "10.8.0.0/16")
    assert source.drain() == NetworkChanges(True, True, True, True)


def test_a_refusal_is_told_with_what_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> socket.socket:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(KernelError, match="at their interval only"):
        NetworkChangesSource()
