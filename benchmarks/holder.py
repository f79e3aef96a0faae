"""One process of a population: holds listeners, and both kinds of ends of many connections.

Run by `benchmarks.populations` with an address and a number of listeners; does what it is told on
stdin, a line each, and answers each with a line: the port at first, then `ok`. Standard library only:
there are many of these.

    peer ADDRESS PORT   whom to connect to
    connect N M         connect N times, and accept M connections
    replace N M         close the N and M oldest of them, without TIME_WAIT, and connect and accept as many
    send N BYTES        send up to so many bytes over the N connections whose turn it is
    read                read empty whatever there is to read
"""

from __future__ import annotations

import contextlib
import random
import resource
import select
import socket
import struct
import sys
import time
from collections import deque

# The peer connects at its own pace, but not for ever.
_SECONDS = 60
_BACKLOG = 4096
_BATCH = 64
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: close(2) resets, and leaves no TIME_WAIT


class Holder:
    """The sockets of this process, each kind oldest first."""

    def __init__(self, address: str, listeners: int) -> None:
        self.listeners = [self._listen(address) for _ in range(listeners)]
        self.port = self.listeners[0].getsockname()[1]
        self.listeners[0].setblocking(False)
        self.made: deque[socket.socket] = deque()
        self.taken: deque[socket.socket] = deque()
        self.peer = ("", 0)
        self._turn = 0
        self._random = random.Random(address)  # noqa: S311 - sizes of made-up messages

    def connect(self, make: int, take: int) -> None:
        """Connect and accept so many times, in turns, so that no backlog overflows."""
        until = time.monotonic() + _SECONDS
        taken = len(self.taken) + take
        while make or len(self.taken) < taken:
            if time.monotonic() > until:
                raise TimeoutError(f"{taken - len(self.taken)} of {take} connections never came")
            batch = min(_BATCH, make)
            for _ in range(batch):
                self.made.append(self._connect())
            make -= batch
            before = len(self.taken)
            with contextlib.suppress(BlockingIOError):
                while len(self.taken) < taken:
                    self.taken.append(self.listeners[0].accept()[0])
            if not batch and len(self.taken) == before:
                time.sleep(0.001)

    def replace(self, make: int, take: int) -> None:
        """Close the oldest, connect anew."""
        for _ in range(make):
            self.made.popleft().close()
        for _ in range(take):
            self.taken.popleft().close()
        self.connect(make, take)

    def send(self, count: int, most: int) -> None:
        """Leave bytes unread at the peer."""
        for _ in range(count):
            self._turn = (self._turn + 1) % len(self.made)
            self.made[self._turn].send(b"x" * self._random.randint(1, most))

    def read(self) -> None:
        """Empty the receive queues of the accepted connections."""
        waiting = select.poll()
        taken = {one.fileno(): one for one in self.taken}
        for fd in taken:
            waiting.register(fd, select.POLLIN)
        for fd, _ in waiting.poll(0):
            taken[fd].recv(1 << 20)

    def _listen(self, address: str) -> socket.socket:
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        made.bind((address, 0))
        made.listen(_BACKLOG)
        return made

    def _connect(self) -> socket.socket:
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        made.connect(self.peer)
        return made


def main() -> None:
    """Serve until stdin ends."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    holder = Holder(sys.argv[1], int(sys.argv[2]))
    print(holder.port, flush=True)
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "peer":
            holder.peer = (rest[0], int(rest[1]))
        elif word == "connect":
            holder.connect(int(rest[0]), int(rest[1]))
        elif word == "replace":
            holder.replace(int(rest[0]), int(rest[1]))
        elif word == "send":
            holder.send(int(rest[0]), int(rest[1]))
        elif word == "read":
            holder.read()
        else:
            raise ValueError(f"there is no command {word}")
        print("ok", flush=True)


if __name__ == "__main__":
    main()
