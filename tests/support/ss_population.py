"""Sockets by chance in one namespace, with the options, states and contents that ss tells apart.

Each has one descriptor: a second one of the same process is known when its table has been walked since.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress

from tests.support.netns import Namespace
from tests.support.short_lived import until

_SO_MARK, _SO_MAX_PACING_RATE, _TCP_FASTOPEN = 36, 47, 23
_ALGORITHMS = (b"reno", b"cubic", b"bbr")
_SERVICES = (22, 25, 53, 80, 123, 443, 5432, 7071)
_IPV4, _IPV6 = ("10.0.0.5", "127.0.0.1", "127.7.0.1"), ("fd00::5", "::1")
_ANY = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}
_MOST = 40_000  # bytes that a socket of the usual size holds unread


def _is_there(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as made, suppress(OSError):
        made.bind((address, 0))
        return True
    return False


class SsPopulation:
    """Sockets of TCP, UDP and ICMP in a namespace, whose loopback is raised if need be."""

    def __init__(self, namespace: Namespace, seed: int) -> None:
        self._chance = random.Random(seed)
        self._stack = ExitStack()
        self._namespace = namespace

    def __enter__(self) -> SsPopulation:
        endings = (
            self._talk, self._unread, self._half_closed, self._waits_for_the_other, self._time_wait,
            self._outlives_its_listener, self._not_accepted, self._overfull, self._quiet,
        )  # fmt: skip
        self._namespace.run("ip", "link", "set", "lo", "up", "mtu", "65536", check=True)
        for address in (_IPV4[0], *_IPV6):
            self._namespace.run("ip", "address", "replace", address, "dev", "lo", "nodad", check=True)
        with self._namespace.entered():
            # The kernel makes IPv6 addresses usable in its own time.
            until(lambda: all(map(_is_there, (*_IPV4, *_IPV6))))
            for ending in self._chance.choices(endings, k=self._chance.randint(4, 14)):
                ending(*self._pair())
            for _ in range(self._chance.randint(1, 6)):
                self._datagrams()
            for _ in range(self._chance.randint(0, 3)):
                self._raw()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _keep(self, made: socket.socket) -> socket.socket:
        made.settimeout(5)
        return self._stack.enter_context(made)

    def _family(self) -> tuple[socket.AddressFamily, str]:
        """Return a family with one of its addresses here, or all of them."""
        family = self._chance.choice((socket.AF_INET, socket.AF_INET6))
        address = self._chance.choice((*(_IPV4 if family == socket.AF_INET else _IPV6), _ANY[family]))
        return family, address

    def _pair(self) -> tuple[socket.socket, Callable[[], socket.socket]]:
        """Return a listener, and what makes a client that is connected to it."""
        family, address = self._family()
        listener = self._keep(socket.socket(family, socket.SOCK_STREAM))
        self._options(listener)
        if family == socket.AF_INET6 and self._chance.random() < 0.3:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        only6 = family == socket.AF_INET6 and listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        self._bind(listener, address)
        listener.listen(self._chance.choice((0, 1, 5, 128, 4096)))
        port = listener.getsockname()[1]
        to = address
        if address in _ANY.values():
            to = self._chance.choice(_IPV4 if family == socket.AF_INET else _IPV6)
            if family == socket.AF_INET6 and not only6 and self._chance.random() < 0.5:
                family, to = socket.AF_INET, _IPV4[0]  # the server's end is ::ffff:10.0.0.5

        def client() -> socket.socket:
            made = self._keep(socket.socket(family, socket.SOCK_STREAM))
            self._options(made)
            made.connect((to, port))
            return made

        return listener, client

    def _bind(self, made: socket.socket, address: str) -> None:
        port = self._chance.choice((*_SERVICES, 0, 0, 0))
        try:
            made.bind((address, port))
        except OSError:  # somebody has it
            made.bind((address, 0))

    def _options(self, made: socket.socket) -> None:
        def at_times(level: int, option: int, value: int | bytes, share: float = 0.2) -> None:
            if self._chance.random() < share:
                made.setsockopt(level, option, value)

        base, tcp = socket.SOL_SOCKET, socket.IPPROTO_TCP
        at_times(base, _SO_MARK, self._chance.randrange(1, 1 << 31))
        at_times(base, socket.SO_BINDTODEVICE, b"lo", 0.15)
        at_times(base, socket.SO_RCVBUF, self._chance.choice((100_000, 200_000)))
        at_times(base, socket.SO_SNDBUF, self._chance.choice((100_000, 200_000)))
        if made.type != socket.SOCK_STREAM:
            return
        at_times(base, _SO_MAX_PACING_RATE, self._chance.choice((12_500_000, 1_250_000_000)))
        at_times(base, socket.SO_KEEPALIVE, 1, 0.4)
        at_times(tcp, socket.TCP_KEEPIDLE, self._chance.choice((75, 700, 9000)), 0.4)
        at_times(tcp, socket.TCP_CONGESTION, self._chance.choice(_ALGORITHMS), 0.4)
        at_times(tcp, socket.TCP_MAXSEG, self._chance.choice((536, 1200)))
        at_times(tcp, socket.TCP_NODELAY, 1)
        at_times(tcp, socket.TCP_WINDOW_CLAMP, 30_000, 0.1)
        at_times(tcp, _TCP_FASTOPEN, 5, 0.1)

    def _talk(self, listener: socket.socket, connect: Callable[[], socket.socket]) -> None:
        for _ in range(self._chance.randint(1, 3)):
            client = connect()
            server = self._keep(listener.accept()[0])
            for _ in range(self._chance.randint(1, 20)):
                for one, other in ((client, server), (server, client)):
                    sent = self._chance.randint(1, 5000)
                    one.sendall(bytes(sent))
                    other.recv(sent, socket.MSG_WAITALL)

    def _unread(self, listener: socket.socket, connect: Callable[[], socket.socket]) -> None:
        client = connect()
        server = self._keep(listener.accept()[0])
        client.send(bytes(self._chance.randint(1, _MOST)))
        if self._chance.random() < 0.5:
            server.send(b"x", socket.MSG_OOB)

    def _half_closed(self, listener: socket.socket, connect: Callable[[], socket.socket]) -> None:
        client = connect()
        server = self._keep(listener.accept()[0])
        one = self._chance.choice((client, server))
        one.shutdown(self._chance.choice((socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR)))

    def _waits_for_the_other(self, listener: socket.socket, connect: Callable[[], socket.socket]) -> None:
        """FIN_WAIT2 without an owner, and CLOSE_WAIT."""
        client = connect()
        server = self._keep(listener.accept()[0])
        self._chance.choice((client, server)).close()

    def _time_wait(self, listener: socket.socket, connect: Callable[[], socket.socket]) -> None:
        client = connect()
        server = self._keep(listener.accept()[0])
        first, last = self._chance.sample((client, server), 2)
        first.close()
        last.close()

    def _outlives_its_listener(self, listener: socket.socket, connect: Callable[[], socket.socket]) -> None:
        """A connection whose listener is gone."""
        connect()
        self._keep(listener.accept()[0])
        listener.close()

    def _not_accepted(self, listener: socket.socket, connect: Callable[[], socket.socket]) -> None:
        listener.listen(5)
        for _ in range(self._chance.randint(1, 4)):
            connect().send(bytes(self._chance.randint(1, 100)))

    def _overfull(self, listener: socket.socket, connect: Callable[[], socket.socket]) -> None:
        """One waits to be accepted, where one may; those after it ask again and again (SYN_SENT)."""
        listener.listen(0)
        connect()
        for _ in range(2):
            client = socket.socket(listener.family, socket.SOCK_STREAM)
            self._stack.enter_context(client)
            client.setblocking(False)
            to = listener.getsockname()[0]
            to = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(to, to)
            with suppress(BlockingIOError):
                client.connect((to, listener.getsockname()[1]))

    def _quiet(self, listener: socket.socket, connect: Callable[[], socket.socket]) -> None:
        """Nobody connects."""

    def _datagrams(self) -> None:
        family, address = self._family()
        made = self._keep(socket.socket(family, socket.SOCK_DGRAM))
        self._options(made)
        if family == socket.AF_INET6 and self._chance.random() < 0.5:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self._bind(made, address)
        if address in _ANY.values():
            return
        other = self._keep(socket.socket(family, socket.SOCK_DGRAM))
        other.connect(made.getsockname()[:2])
        for _ in range(self._chance.randrange(5)):
            other.send(bytes(self._chance.randint(0, 1400)))

    def _raw(self) -> None:
        family, address = self._family()
        protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
        made = self._keep(socket.socket(family, socket.SOCK_RAW, self._chance.choice((protocol, 253))))
        self._options(made)
        if self._chance.random() < 0.5:
            made.bind((address, 0))
