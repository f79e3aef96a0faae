"""Connections that open, say something and close again at once, with what the sockets know of themselves."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_SO_COOKIE = 57


def cookie_of(end: socket.socket) -> int:
    """Return the kernel's cookie of a socket."""
    return int(struct.unpack("=q", end.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8))[0])


def boot_ns() -> int:
    """Return CLOCK_BOOTTIME in nanoseconds."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Connection:
    """What both ends of a connection were, and when it lived (CLOCK_BOOTTIME nanoseconds)."""

    client: int
    server: int
    client_port: int
    began: int
    ended: int


def connect(listener: socket.socket, to: str, count: int, payload: bytes = b"0123456789") -> list[Connection]:
    """Open and close connections one after the other; the client speaks and closes first."""
    port = listener.getsockname()[1]
    found = []
    for _ in range(count):
        began = boot_ns()
        client = socket.create_connection((to, port), timeout=10)
        server, (_, client_port, *_) = listener.accept()
        client.sendall(payload)
        if server.recv(len(payload), socket.MSG_WAITALL) != payload:
            raise AssertionError("a payload got lost on loopback")
        cookies = cookie_of(client), cookie_of(server)
        client.close()
        server.close()
        found.append(Connection(*cookies, client_port, began, boot_ns()))
    return found


@contextmanager
def listening(address: str = "127.0.0.1", port: int = 0) -> Iterator[socket.socket]:
    """Listen on an address of the thread's network namespace."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, port), family=family, backlog=100) as listener:
        yield listener


def until(reached: Callable[[], bool], seconds: float = 10) -> None:
    """Call a function every few milliseconds until it returns True."""
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            raise TimeoutError(f"not reached within {seconds} s")
        time.sleep(0.005)
