"""All kinds of sockets in all states that can be made, in two namespaces on one cable."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from tests.support.netns import Namespace

TCP_DEFER_ACCEPT = 9
UDPLITE = 136
UNANSWERED = "10.1.0.77"
NOWHERE = "02:00:00:00:00:99"
HERE, THERE = "10.1.0.1", "10.1.0.2"
HERE6 = "fd00:1234:5678:9abc:def0:1234:5678:9abc"


def ip(*args: str) -> None:
    subprocess.run(["ip", *args], check=True)


@contextmanager
def _as_user(uid: int) -> Iterator[None]:
    """Let sockets made inside belong to another user."""
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


class Population:
    """Sockets in `here`, some with peers `there` behind a cable that loses what is sent to it."""

    def __init__(self, stack: ExitStack) -> None:
        self.here = stack.enter_context(Namespace([f"{HERE6}/64"]))
        self.there = stack.enter_context(Namespace())
        ip(
            "link",
            "add",
            "cable0",
            "netns",
            self.here.name,
            "type",
            "veth",
            "peer",
            "name",
            "cable1",
            "netns",
            self.there.name,
        )
        for namespace, device, address in ((self.here, "cable0", HERE), (self.there, "cable1", THERE)):
            ip("-n", namespace.name, "address", "add", f"{address}/24", "dev", device)
            ip("-n", namespace.name, "link", "set", device, "up")
        self.lose_what_is_sent_to(UNANSWERED)
        self._stack = stack

    def lose_what_is_sent_to(self, address: str) -> None:
        ip(
            "-n",
            self.here.name,
            "neigh",
            "replace",
            address,
            "lladdr",
            NOWHERE,
            "dev",
            "cable0",
            "nud",
            "permanent",
        )

    def make(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        made = self._stack.enter_context(socket.socket(family, kind, protocol))
        if kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            made.settimeout(5)
        return made

    def listener(self, family: int, address: str, port: int = 0) -> socket.socket:
        made = self.make(family, socket.SOCK_STREAM)
        made.bind((address, port))
        made.listen(7)
        return made

    def connected(
        self, listener: socket.socket, source: str = "", to: str = ""
    ) -> tuple[socket.socket, socket.socket]:
        client = self.make(
            socket.AF_INET6 if ":" in (to or listener.getsockname()[0]) else socket.AF_INET,
            socket.SOCK_STREAM,
        )
        if source:
            client.bind((source, 0))
        address, port, *_ = listener.getsockname()
        client.connect((to or address, port))
        return client, self._stack.enter_context(listener.accept()[0])


def tcp_population(p: Population) -> None:
    """Put TCP into every state it has, with each of its timers."""
    with p.there.entered():
        far = p.listener(socket.AF_INET, THERE, 5000)
    with p.here.entered():
        for family, address in (
            (socket.AF_INET, "127.0.0.1"),
            (socket.AF_INET6, "::1"),
            (socket.AF_INET6, HERE6),
        ):
            near = p.listener(family, address)
            idle, _ = p.connected(near)
            idle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            unread, _ = p.connected(near)
            unread.send(b"x" * 1234)
            half, _ = p.connected(near)
            half.shutdown(socket.SHUT_WR)  # FIN_WAIT2 here, CLOSE_WAIT there
            orphan, _ = p.connected(near)
            orphan.close()  # FIN_WAIT2 without a process
            first, second = p.connected(near)
            first.close()
            second.close()  # TIME_WAIT
            full, _ = p.connected(near)
            full.setblocking(False)
            with suppress(BlockingIOError):
                for _ in range(1000):
                    full.send(bytes(1 << 16))  # until the window is shut: a probe timer
            p.make(family, socket.SOCK_STREAM).bind((address, 0))  # bound and idle
            not_accepted = p.make(family, socket.SOCK_STREAM)
            not_accepted.connect(near.getsockname()[:2])
        both = p.listener(socket.AF_INET6, "::")
        p.connected(both, to="127.0.0.1")  # IPv4 in IPv6 on one side
        for uid, family, address, to in (
            (1234, socket.AF_INET, "127.0.0.1", "127.0.0.1"),
            (1235, socket.AF_INET, "0.0.0.0", "127.0.0.1"),
            (1236, socket.AF_INET6, "::", "127.0.0.1"),
            (1237, socket.AF_INET6, "::", "::1"),
            (1238, socket.AF_INET6, HERE6, HERE6),
        ):
            with _as_user(uid):
                deferred = p.listener(family, address)
            deferred.setsockopt(socket.IPPROTO_TCP, TCP_DEFER_ACCEPT, 60)
            client = p.make(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_STREAM)
            client.connect((to, deferred.getsockname()[1]))  # SYN_RECV at the listener: it awaits data
        silent = p.make(socket.AF_INET, socket.SOCK_STREAM)
        silent.setblocking(False)
        silent.connect_ex((UNANSWERED, 81))  # SYN_SENT
    pairs = []
    for _ in range(4):
        with p.here.entered():
            client = p.make(socket.AF_INET, socket.SOCK_STREAM)
            client.connect((THERE, 5000))
        pairs.append((client, p._stack.enter_context(far.accept()[0])))
    pairs[1][1].shutdown(socket.SHUT_WR)
    until(lambda: pairs[1][0].recv(1) == b"")
    p.lose_what_is_sent_to(THERE)
    pairs[0][0].shutdown(socket.SHUT_WR)  # FIN_WAIT1: the FIN is lost
    pairs[1][0].shutdown(socket.SHUT_WR)  # LAST_ACK: it had the peer's already
    pairs[2][0].shutdown(socket.SHUT_WR)
    pairs[2][1].shutdown(socket.SHUT_WR)  # CLOSING: only the peer's arrives
    pairs[3][0].send(b"lost")  # ESTABLISHED, retransmitting


def other_population(p: Population) -> None:
    """Make UDP, UDP-Lite and raw sockets, connected and not, with unread and dropped datagrams."""
    with p.here.entered():
        for family, address in (
            (socket.AF_INET, "127.0.0.1"),
            (socket.AF_INET6, "::1"),
            (socket.AF_INET6, HERE6),
        ):
            for protocol in (socket.IPPROTO_UDP, UDPLITE):
                bound = p.make(family, socket.SOCK_DGRAM, protocol)
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                bound.bind((address, 0))
                p.make(family, socket.SOCK_DGRAM, protocol).bind(("", 0))
                with _as_user(4321):
                    connected = p.make(family, socket.SOCK_DGRAM, protocol)
                connected.connect(bound.getsockname()[:2])
                for _ in range(20):
                    connected.send(bytes(700))
        for family, protocol in (
            (socket.AF_INET, 1),
            (socket.AF_INET, 255),
            (socket.AF_INET6, 58),
            (socket.AF_INET6, 89),
        ):
            p.make(family, socket.SOCK_RAW, protocol)
        p.make(socket.AF_INET, socket.SOCK_RAW, 1).connect(("127.0.0.1", 0))
        p.make(socket.AF_INET6, socket.SOCK_DGRAM).connect(("::ffff:127.0.0.1", 9))


def until(done: Callable[[], bool], seconds: float = 5) -> None:
    """Wait for something that the kernel does by itself; fails if it does not."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "the kernel did not get there"
        time.sleep(0.01)
