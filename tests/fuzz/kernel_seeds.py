"""Real messages of this kernel, from sockets made in a namespace of their own: what fuzzing begins with."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache

from sockrec.kernel import inet_diag, process_events, transitions, unix_diag
from sockrec.kernel.netlink import DiagSocket, Dump
from sockrec.kernel.tracing import Tracer
from tests.support.netns import Namespace


@contextlib.contextmanager
def sockets() -> Iterator[None]:
    """Move into a namespace with a few sockets of each kind, while the block lasts."""
    with ExitStack() as stack:
        stack.enter_context(stack.enter_context(Namespace(("10.0.0.5/24", "fd00::5/64"))).entered())
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            listener = stack.enter_context(socket.create_server((address, 0), family=family, backlog=3))
            client = stack.enter_context(socket.socket(family))
            client.connect(listener.getsockname()[:2])
            client.send(b"x" * 100)
            stack.enter_context(listener.accept()[0])
            waiting = stack.enter_context(socket.socket(family))
            waiting.connect(listener.getsockname()[:2])
            datagram = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            datagram.bind((address, 5353))
        for name in (b"\0abstract\x1b[31m\0\xff", b"\0", b"\0" + b"x" * 107):
            made = stack.enter_context(socket.socket(socket.AF_UNIX))
            made.bind(name)
            made.listen(5)
        for one in socket.socketpair():
            stack.enter_context(one)
        yield


@cache
def netlink() -> dict[str, bytes]:
    """Return what sock_diag answers, datagrams behind each other, by what was asked for."""
    with sockets(), DiagSocket() as diag:
        dumps = {
            "tcp": inet_diag.dump_tcp(diag),
            "udp": inet_diag.dump(diag, socket.IPPROTO_UDP, socket.AF_INET6),
            "unix": unix_diag.dump(diag),
        }
        return {name: _bytes(diag, dump) for name, dump in dumps.items()}


def _bytes(diag: DiagSocket, dump: Dump) -> bytes:
    messages = diag.messages(dump)
    return dump.sequence.to_bytes(4, "little") + messages.words.tobytes()


@cache
def proc_net() -> dict[str, bytes]:
    """Return the texts of /proc/net, by file."""
    found = {}
    with sockets():
        for name in ("tcp", "tcp6", "udp", "udp6", "raw", "unix"):
            with open(f"/proc/thread-self/net/{name}", "rb") as file:  # noqa: PTH123 - bytes of a thread
                found[name] = file.read()
    return found


@cache
def trace() -> tuple[bytes, dict[int, str], dict[str, str]]:
    """Return trace pages behind each other, each event's name by its number, and its format by its name."""
    names = (
        transitions.STATE_CHANGE,
        transitions.DESTROY,
        process_events.EXIT,
        process_events.EXEC,
        process_events.RENAME,
        process_events.SIGNAL,
    )
    with Tracer(64) as tracer:
        for name in names:
            tracer.enable(name)
        formats = {name: tracer._tracefs.read(f"events/{name}/format") for name in names}
        with sockets():
            if not (child := os.fork()):
                os.execv("/bin/true", ["true"])  # noqa: S606
            os.waitpid(child, 0)
        numbers = {number: name for number, (name, _) in tracer._events.items()}
        pages = b""
        for pipe in tracer._pipes:
            with contextlib.suppress(BlockingIOError):
                while page := os.read(pipe, 4096):
                    pages += page
        return pages, numbers, formats
