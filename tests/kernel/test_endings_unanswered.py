"""How connections end over a cable that loses what is sent: by real timers, and by a router's answer."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.kernel.endings_lab import Lab, lab, say
from tests.support.netns import Namespace
from tests.support.short_lived import cookie_of, until

__all__ = ["lab"]


class Cable:
    """A cable to another namespace: a router that answers for some nets and swallows others."""

    def __init__(self, here: Namespace, far: Namespace) -> None:
        self.sides = ((here, "v0", "10.7.0.1", "10.7.0.2"), (far, "v1", "10.7.0.2", "10.7.0.1"))
        self.far = far
        run(here, f"ip link add v0 type veth peer name v1 netns {far.name}")
        for side, device, address, _ in self.sides:
            run(side, f"ip address add {address}/24 dev {device}")
            run(side, f"ip link set {device} up")
        run(here, "ip route add 10.66.0.0/16 via 10.7.0.2")
        run(here, "sysctl -w net.ipv4.tcp_orphan_retries=1")
        run(far, "sysctl -w net.ipv4.ip_forward=1")
        run(far, "ip route add unreachable 10.66.1.0/24")
        run(far, "ip route add blackhole 10.66.2.0/24")

    def pair(self) -> tuple[socket.socket, socket.socket]:
        with self.far.entered():
            listener = socket.create_server(("10.7.0.2", 0))
        with listener:
            client = socket.create_connection(listener.getsockname(), timeout=10)
            return client, listener.accept()[0]

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """Let both sides send to nobody."""
        for side, device, _, peer in self.sides:
            run(side, f"ip neigh replace {peer} lladdr 02:00:00:00:00:99 nud permanent dev {device}")
        try:
            yield
        finally:
            for side, device, _, peer in self.sides:
                run(side, f"ip neigh del {peer} dev {device}")


def run(side: Namespace, command: str) -> str:
    return side.run(*command.split(), check=True).stdout


@pytest.fixture
def cable(netns: Namespace) -> Iterator[Cable]:
    with Namespace(()) as far:
        yield Cable(netns, far)


def connecting(address: str) -> socket.socket:
    client = socket.socket()
    client.setblocking(False)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 300)
    assert client.connect_ex((address, 9)) == errno.EINPROGRESS
    return client


def error_of(end: socket.socket) -> int:
    return end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def nothing_waits(cable: Cable) -> bool:
    """Say whether no socket of the near side waits for anything any more."""
    return not run(cable.sides[0][0], "ss -Htan state connected exclude time-wait").strip()


def test_nobody_answers(lab: Lab, cable: Cable) -> None:
    """All wait for their timers at the same time: about two seconds."""
    silent, unreachable, aborted = (connecting(f"10.66.{net}.1") for net in (2, 1, 2))
    given_up, _given_up = cable.pair()
    given_up.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 300)
    probed, _probed = cable.pair()
    for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT):
        probed.setsockopt(socket.IPPROTO_TCP, option, 1)
    probed.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    closed, _closed = cable.pair()
    last, first = cable.pair()
    first.close()
    assert last.recv(1) == b""
    ends = [silent, unreachable, aborted, given_up, probed, closed, last]
    cookies = [cookie_of(end) for end in ends]
    with cable.deaf():
        given_up.sendall(b"x" * 100)
        closed.sendall(b"x" * 100)
        for end in (aborted, closed, last):
            end.close()
        until(lambda: nothing_waits(cable))
        failed = [error_of(end) for end in (silent, unreachable, given_up, probed)]
    for end in ends:
        end.close()
    assert failed == [errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ETIMEDOUT, errno.ETIMEDOUT]
    assert lab.ends(*cookies) == [
        "SYN_SENT: timed out, 0 0",
        "SYN_SENT: unreachable, 0 0",
        "SYN_SENT: closed by us, 0 0",
        "ESTABLISHED: timed out, 100 0",
        "ESTABLISHED: timed out, 0 0",
        "FIN_WAIT1: timed out, 100 0",
        "LAST_ACK: timed out, 0 0",
    ]
    for end in (_given_up, _probed, _closed):
        end.close()


def test_both_close_at_once(lab: Lab, cable: Cable) -> None:
    client, server = cable.pair()
    lab.hear(cable.far)
    say(client, server, 10)
    cookies = cookie_of(client), cookie_of(server)
    with cable.deaf():
        client.close()
        server.close()
    ends = lab.ends(*cookies)
    states, told = zip(*(end.split(": ") for end in ends), strict=True)
    assert "CLOSING" in states
    assert told == ("closed by us, 10 0", "closed by us, 0 10")
