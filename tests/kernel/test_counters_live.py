"""Reading the kernel's protocol statistics in namespaces: the same numbers as nstat of iproute2 reads."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sockrec.kernel.counters import CONNTRACK, CounterReader, Reading
from tests.support.netns import Namespace
from tests.support.short_lived import until

# nstat leaves out what is no counter.
GAUGES = {
    ("snmp", section, name)
    for section, name in (
        ("Ip", "Forwarding"), ("Ip", "DefaultTTL"), ("Tcp", "RtoAlgorithm"), ("Tcp", "RtoMin"),
        ("Tcp", "RtoMax"), ("Tcp", "MaxConn"), ("Tcp", "CurrEstab"),
    )
}  # fmt: skip


def values(reading: Reading, source: str) -> dict[str, int]:
    return {one.section + one.name: one.value for one in reading.counters() if one.source == source}


def nstat(namespace: Namespace) -> dict[str, int]:
    done = namespace.run("nstat", "-asz", "--json", check=True)
    return {name: int(value) for name, value in json.loads(done.stdout)["kernel"].items()}


def in_namespace(namespace: Namespace, reader: CounterReader) -> Reading:
    with namespace.entered():
        return reader.read()


def refuse(address: tuple[str, int], kind: int) -> None:
    """Send to a port where nobody listens."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, kind) as one:
        one.settimeout(5)
        # A stream is refused as it connects, a datagram as it is answered.
        if kind == socket.SOCK_DGRAM:
            one.connect(address)
            one.send(b"x")
        with pytest.raises(ConnectionRefusedError):
            one.recv(1) if kind == socket.SOCK_DGRAM else one.connect(address)


@pytest.fixture
def busy() -> Iterator[Namespace]:
    """Give a namespace whose IPv4 and IPv6 counters have moved."""
    with Namespace(("10.0.0.5/24", "fd00::5/64")) as namespace:
        with namespace.entered():
            for host in ("10.0.0.5", "fd00::5"):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    refuse((host, 9), kind)
        yield namespace


def test_live_counters_are_nstats(busy: Namespace) -> None:
    reader = CounterReader()
    for _ in range(50):
        before = in_namespace(busy, reader)
        theirs = nstat(busy)
        after = in_namespace(busy, reader)
        if after.counters() == before.counters():
            break
    else:
        raise AssertionError("the counters never held still")
    ours = {
        one.section + one.name: one.value
        for one in after.counters()
        if one.source in ("snmp", "netstat", "snmp6") and (one.source, one.section, one.name) not in GAUGES
    }
    assert ours == theirs, {
        name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)
    }
    assert ours["TcpOutRsts"] == 2
    assert ours["UdpNoPorts"] == ours["Udp6NoPorts"] == 1
    assert ours["IcmpMsgOutType3"] == ours["Icmp6OutType1"] == 1
    gauges = {(one.source, one.section, one.name): one.value for one in after.counters()}
    assert gauges.keys() >= GAUGES
    assert gauges["snmp", "Tcp", "MaxConn"] == -1
    assert after.incomplete == ()


def test_sockstat_counts_the_sockets_of_the_threads_namespace(netns: Namespace) -> None:
    reader = CounterReader()
    with ExitStack() as stack:
        with netns.entered():
            before = reader.read()
            for kind, count in ((socket.SOCK_STREAM, 3), (socket.SOCK_DGRAM, 2)):
                for _ in range(count):
                    one = stack.enter_context(socket.socket(socket.AF_INET, kind))
                    one.bind(("10.0.0.5", 0))
                    if kind == socket.SOCK_STREAM:
                        one.listen()
            six = stack.enter_context(socket.socket(socket.AF_INET6))
            six.bind(("::", 0))
            six.listen()
            now = reader.read()
        moved = {(one.source, one.section, one.name): one.value for one in now.changed_since(before)}
        assert moved["sockstat", "TCP", "inuse"] == 3
        assert moved["sockstat", "UDP", "inuse"] == 2
        assert moved["sockstat6", "TCP6", "inuse"] == 1
        # The same reader, back home: home's numbers.
        until(lambda: used_at_home() == values(reader.read(), "sockstat")["socketsused"] == used_at_home())


def used_at_home() -> int:
    return int(Path("/proc/thread-self/net/sockstat").read_text().split()[2])


def test_a_thread_reads_its_own_namespace(netns: Namespace) -> None:
    """That is not the process's: /proc/self/net would be."""
    found: list[Reading] = []

    def read_there() -> None:
        with netns.entered(), socket.socket(type=socket.SOCK_DGRAM) as one:
            one.bind(("10.0.0.5", 0))
            found.append(CounterReader().read())

    thread = threading.Thread(target=read_there)
    thread.start()
    thread.join()
    assert values(found[0], "snmp")["TcpActiveOpens"] == 0
    assert values(found[0], "sockstat")["UDPinuse"] == 1


def test_conntrack_is_the_kernels_own_number(netns: Namespace) -> None:
    reading = in_namespace(netns, CounterReader())
    with netns.entered():
        told = int(CONNTRACK.read_text()) if CONNTRACK.exists() else None
    assert values(reading, "conntrack") == ({} if told is None else {"count": told})
