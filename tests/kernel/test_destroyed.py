"""Announcements of destroyed sockets, on real sockets of a namespace of their own."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest

from sockrec.errors import KernelError
from sockrec.kernel import destroyed, inet_diag
from sockrec.kernel.arrays import FIELD, NULL, InetSockets
from sockrec.kernel.destroyed import Destroyed, DestroyedSource
from sockrec.kernel.host import boot_us
from sockrec.kernel.netlink import DiagSocket
from sockrec.model import states
from tests.support.netns import Namespace
from tests.support.short_lived import Connection, connect, cookie_of, listening, until


class Collector:
    """Reads until everything expected was announced or counted as lost."""

    def __init__(self, source: DestroyedSource) -> None:
        self.source = source
        self.readings: list[Destroyed] = []

    def read(self) -> int:
        self.readings.append(self.source.read())
        return self.seen + self.lost

    def wait_for(self, count: int) -> None:
        until(lambda: self.read() >= count)

    @property
    def seen(self) -> int:
        return sum(map(len, self.readings))

    @property
    def lost(self) -> int:
        return sum(reading.lost for reading in self.readings)

    @property
    def sockets(self) -> InetSockets:
        return InetSockets.concat(reading.sockets for reading in self.readings)

    @property
    def cookies(self) -> list[int]:
        return [int(cookie) for cookie in self.sockets.cookie]


def cookies_of(connections: list[Connection]) -> list[int]:
    return [cookie for each in connections for cookie in (each.client, each.server)]


def test_every_end_of_20000_connections_is_announced_once(netns: Namespace) -> None:
    with netns.entered(), DestroyedSource() as source:
        collector = Collector(source)
        made: list[Connection] = []
        with listening("0.0.0.0") as listener:
            for host in range(1, 21):
                made += connect(listener, f"127.0.0.{host}", 1000)
                collector.read()
            last = cookie_of(listener)
        collector.wait_for(2 * len(made) + 1)
    assert collector.lost == 0
    assert Counter(collector.cookies) == Counter([*cookies_of(made), last])


def test_an_announcement_says_what_the_socket_was(netns: Namespace) -> None:
    with netns.entered(), DestroyedSource() as source:
        collector = Collector(source)
        with listening("10.0.0.5") as listener:
            port = listener.getsockname()[1]
            (made,) = connect(listener, "10.0.0.5", 1, b"x" * 5000)
            collector.wait_for(2)
    sockets = collector.sockets
    rows = {int(cookie): row for row, cookie in enumerate(sockets.cookie)}
    client, server = rows[made.client], rows[made.server]
    assert sockets.local_port[[client, server]].tolist() == [made.client_port, port]
    assert sockets.remote_port[[client, server]].tolist() == [port, made.client_port]
    for ends in (sockets.local, sockets.remote):
        assert ends[client, :4].tobytes() == ends[server, :4].tobytes() == socket.inet_aton("10.0.0.5")
        assert not ends[:, 4:].any()
    assert (sockets.protocol == socket.IPPROTO_TCP).all()
    assert (sockets.state == states.CLOSE).all()
    assert (sockets.uid == NULL).all()
    assert (sockets.inode == NULL).all()
    # 5000 bytes and, where the end was acknowledged, its FIN.
    assert sockets.activity[FIELD["bytes_acked"], client] in (5000, 5001, 5002)
    assert sockets.activity[FIELD["bytes_received"], server] in (5000, 5001)
    assert sockets.activity[FIELD["rtt_us"], client] > 0


def test_all_four_groups_are_heard(netns: Namespace) -> None:
    expected = {}
    with netns.entered(), DestroyedSource() as source:
        collector = Collector(source)
        netns.run("ip", "address", "add", "fd00::1/128", "dev", "lo", "nodad", check=True)
        for family, address in ((socket.AF_INET, "10.0.0.5"), (socket.AF_INET6, "fd00::1")):
            for kind, protocol in ((socket.SOCK_STREAM, 6), (socket.SOCK_DGRAM, 17)):
                with socket.socket(family, kind) as made:
                    until(lambda made=made, address=address: _binds(made, address))  # type: ignore[misc]
                    raw = socket.inet_pton(family, address).ljust(16, b"\0")
                    expected[cookie_of(made)] = (family, protocol, made.getsockname()[1], raw)
        collector.wait_for(4)
    found = collector.sockets
    assert {
        int(found.cookie[row]): (
            found.family[row],
            found.protocol[row],
            found.local_port[row],
            found.local[row].tobytes(),
        )
        for row in range(len(found))
    } == expected
    udp = found.protocol == socket.IPPROTO_UDP
    assert (found.activity[FIELD["rtt_us"], udp] == NULL).all()


def _binds(made: socket.socket, address: str) -> bool:
    """Bind as soon as the kernel has made a new IPv6 address usable."""
    try:
        made.bind((address, 0))
    except OSError:
        return False
    return True


def test_a_close_that_resets_has_lost_its_addresses_and_counters(netns: Namespace) -> None:
    """What the kernel does (tcp_disconnect): the ledger must not take these zeros for facts."""
    with netns.entered(), listening() as listener, DestroyedSource() as source:
        collector = Collector(source)
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        client.sendall(b"0123456789")
        server.recv(10)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
        cookie = cookie_of(client)
        client.close()
        collector.wait_for(1)
        server.close()
    row = collector.cookies.index(cookie)
    assert collector.sockets.remote_port[row] == 0
    assert collector.sockets.activity[FIELD["bytes_acked"], row] == 0


def test_a_socket_in_time_wait_was_announced_already(netns: Namespace) -> None:
    with netns.entered(), listening() as listener, DestroyedSource() as source:
        collector = Collector(source)
        (made,) = connect(listener, "127.0.0.1", 1)
        collector.wait_for(2)
        assert made.client in collector.cookies
        with DiagSocket() as diag:
            messages = diag.messages(inet_diag.dump_tcp(diag))
            living = InetSockets.allocate(len(messages))
            inet_diag.decode(messages, socket.IPPROTO_TCP, living)
    assert living.state[living.cookie == made.client].tolist() == [states.TIME_WAIT]


def test_times_enclose_the_announcement(netns: Namespace) -> None:
    with netns.entered(), listening() as listener, DestroyedSource() as source:
        first = source.read()
        before = boot_us()
        made = connect(listener, "127.0.0.1", 300)
        time.sleep(0.05)
        second = source.read()
        after = boot_us()
    assert len(first) == 0
    assert set(cookies_of(made)) == set(second.sockets.cookie.tolist())
    assert second.queued_after == first.until <= before
    assert (made[-1].ended // 1000 <= second.read_by).all()
    assert (np.diff(second.read_by) >= 0).all()
    assert second.read_by[-1] <= second.ended_at <= after
    assert before < second.until <= after


def test_nothing_lost_is_silent(netns: Namespace) -> None:
    """A small buffer and a burst: what was dropped is counted to the socket, and what came is whole."""
    with netns.entered(), DestroyedSource(receive_buffer=64 << 10) as source:
        collector = Collector(source)
        assert source.receive_buffer == 64 << 10
        with listening() as listener:
            made = connect(listener, "127.0.0.1", 2000)
            collector.wait_for(4000)
            assert 0 < collector.seen < 4000
            assert collector.lost == 4000 - collector.seen
            lossy = next(reading for reading in collector.readings if reading.lost)
            assert lossy.queued_after <= made[-1].ended // 1000 <= lossy.ended_at
            # After that it goes on without a loss.
            known = len(collector.readings)
            more = connect(listener, "127.0.0.1", 20)
            collector.wait_for(4040)
    later = collector.readings[known:]
    assert sum(reading.lost for reading in later) == 0
    assert {int(c) for reading in later for c in reading.sockets.cookie} == set(cookies_of(more))
    assert set(collector.cookies) <= set(cookies_of(made + more))


def test_messages_larger_than_expected_are_counted_and_then_read(
    netns: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tcp_info that grew: the first are lost, which is said, and the slots grow."""
    monkeypatch.setattr(destroyed, "_SLOT_BYTES", 128)
    with netns.entered(), listening() as listener, DestroyedSource() as source:
        collector = Collector(source)
        for round_ in range(1, 4):
            connect(listener, "127.0.0.1", 5)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
                small = cookie_of(plain)
            collector.wait_for(11 * round_)
            assert small in collector.cookies  # 96 bytes
            assert collector.seen + collector.lost == 11 * round_
        last = connect(listener, "127.0.0.1", 5)
        collector.wait_for(43)
    assert 2 <= collector.lost <= 20
    assert set(cookies_of(last)) < set(collector.cookies)


def test_other_namespaces_are_not_heard(netns: Namespace) -> None:
    with Namespace() as other, netns.entered(), DestroyedSource() as source:
        with other.entered(), listening("10.0.0.5", 7071) as listener:
            connect(listener, "10.0.0.5", 50)
        with listening("10.0.0.5", 7071) as listener:
            ours = connect(listener, "10.0.0.5", 50)
            collector = Collector(source)
            collector.wait_for(100)
            time.sleep(0.05)
            collector.read()
    # The listener of this namespace ends last.
    assert set(collector.cookies) == set(cookies_of(ours))


UNPRIVILEGED = """
import os, socket
from sockrec.kernel.destroyed import DestroyedSource
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
source = DestroyedSource()
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
while not len(found := source.read()): pass
print(len(found), source.receive_buffer <= 2 * int(open("/proc/sys/net/core/rmem_max").read()))
"""


def test_it_needs_no_privileges_but_for_a_large_buffer(netns: Namespace) -> None:
    done = netns.run(sys.executable, "-c", UNPRIVILEGED, timeout=60)
    assert done.stdout == "1 True\n", done.stderr


REFUSED = """
import resource
from sockrec.errors import KernelError
from sockrec.kernel.destroyed import DestroyedSource
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
try:
    DestroyedSource()
except KernelError as error:
    print(error)
"""


def test_a_refusal_says_in_one_line_what_is_lost() -> None:
    done = subprocess.run([sys.executable, "-c", REFUSED], capture_output=True, text=True, timeout=60)
    assert done.stdout == (
        "destroyed sockets are not announced (Too many open files): "
        "connections shorter than the interval are missed\n"
    ), done.stderr


def test_messages_of_another_make_are_an_error(netns: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(destroyed, "_PROTOCOL_ATTRIBUTE", 0)
    with netns.entered(), DestroyedSource() as source:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
        with pytest.raises(KernelError, match="name no protocol"):
            until(lambda: bool(len(source.read())))
