"""Connections that end in every way there is: in a pair of namespaces, both ends in this process."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support.loads.veth import joined
from tests.support.netns import Namespace

# Of the near side's addresses: packets arrive; may be made to arrive no more; never arrive; are refused by
# the router.
OPEN, CUT, LOST, BARRED = "10.77.1.1", "10.77.2.1", "10.77.3.1", "10.79.0.1"
_NOWHERE = "10.78.0.200"
# Milliseconds that data may stay unacknowledged: what makes a connection time out while a test waits.
_PATIENCE_MS = 400


@dataclass(frozen=True, slots=True)
class Wires:
    """The client's namespace and the server's, and how to cut what is between them."""

    client: Namespace
    server: Namespace

    def cut(self) -> None:
        """Let nothing arrive at `CUT` any more; nobody is told."""
        _ip("-n", self.client.name, "route", "replace", f"{CUT}/32", "via", _NOWHERE)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def wires() -> Iterator[Wires]:
    """Give two namespaces, and addresses of the first that behave as their names say."""
    with joined() as (near, far):
        # A neighbour with an address that no card has: packets are sent, and nobody takes them.
        card = ("lladdr", "02:00:00:00:00:99", "nud", "permanent", "dev", "eth0")
        _ip("-n", far.name, "neighbour", "add", _NOWHERE, *card)
        _ip("-n", far.name, "route", "add", f"{LOST}/32", "via", _NOWHERE)
        _ip("-n", far.name, "route", "add", "10.79.0.0/16", "via", "10.78.0.1")
        _ip("-n", near.name, "route", "add", "unreachable", "10.79.0.0/16")
        near.run("sysctl", "-qw", "net.ipv4.ip_forward=1", check=True)
        yield Wires(far, near)


class Pair:
    """A connection with both of its ends, and the listener it came in on."""

    def __init__(self, between: Wires, address: str, port: int) -> None:
        with between.server.entered():
            self.listener = socket.create_server((address, port))
        with between.client.entered():
            self.client = socket.create_connection((address, port), timeout=10)
        self.server, _ = self.listener.accept()
        self.server.settimeout(10)

    def let_go(self, *, client: bool, server: bool) -> None:
        """Close the ends that are over."""
        for end, over in ((self.client, client), (self.server, server)):
            if over:
                end.close()

    def close(self) -> None:
        """Close what is still open."""
        for end in (self.client, self.server, self.listener):
            end.close()


def _client_closes(pair: Pair) -> None:
    pair.client.close()
    assert pair.server.recv(1) == b""
    pair.server.close()


def _server_closes(pair: Pair) -> None:
    pair.server.close()
    assert pair.client.recv(1) == b""
    pair.client.close()


def _client_says_it_is_done(pair: Pair) -> None:
    pair.client.shutdown(socket.SHUT_WR)
    assert pair.server.recv(1) == b""
    pair.server.sendall(b"the rest")
    pair.server.close()
    assert pair.client.recv(100, socket.MSG_WAITALL) == b"the rest"
    pair.client.close()


def _reset(end: socket.socket, other: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
    end.close()
    _expect_reset(other)


def _expect_reset(end: socket.socket) -> None:
    with contextlib.suppress(ConnectionResetError):
        raise AssertionError(f"no reset, but {end.recv(1)!r}")


def _closed_unread(pair: Pair) -> None:
    pair.client.sendall(b"never read")
    assert select.select([pair.server], [], [], 10)[0]
    pair.server.close()
    _expect_reset(pair.client)


def _data_is_not_answered(between: Wires, pair: Pair) -> None:
    pair.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _PATIENCE_MS)
    between.cut()
    pair.client.sendall(b"into the void")
    with contextlib.suppress(TimeoutError):
        pair.client.settimeout(None)  # else Python's own time runs out
        raise AssertionError(f"no timeout, but {pair.client.recv(1)!r}")


@dataclass(frozen=True, slots=True)
class Ending:
    """A way for an established connection to end, and what each end is to be told to have done."""

    end: Callable[[Wires, Pair], None]
    client: str
    server: str
    address: str = OPEN


ENDINGS = {
    "the client closes": Ending(lambda _, p: _client_closes(p), "closed by us", "closed by the peer"),
    "the server closes": Ending(lambda _, p: _server_closes(p), "closed by the peer", "closed by us"),
    "the client is done first": Ending(
        lambda _, p: _client_says_it_is_done(p), "closed by us", "closed by the peer"
    ),
    "the client resets": Ending(lambda _, p: _reset(p.client, p.server), "reset by us", "reset by the peer"),
    "the server resets": Ending(lambda _, p: _reset(p.server, p.client), "reset by the peer", "reset by us"),
    "closed with data unread": Ending(lambda _, p: _closed_unread(p), "reset by the peer", "reset by us"),
    "no answer": Ending(_data_is_not_answered, "timed out", "still open", CUT),
    "nothing": Ending(lambda _, __: None, "still open", "still open"),
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """A connection that does not come about: where to, what connect(2) says of it, and how it ended."""

    address: str
    error: int
    how: str


ATTEMPTS = {
    "nobody listens": Attempt(OPEN, errno.ECONNREFUSED, "refused"),
    "no answer": Attempt(LOST, errno.ETIMEDOUT, "timed out"),
    "no route there": Attempt(BARRED, errno.EHOSTUNREACH, "unreachable"),
}


def attempt(between: Wires, what: Attempt, port: int) -> int:
    """Try to connect in vain; return the port it was tried from."""
    with between.client.entered(), socket.socket() as end:
        end.bind(("10.78.0.2", 0))
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _PATIENCE_MS)
        assert end.connect_ex((what.address, port)) == what.error
        return int(end.getsockname()[1])
