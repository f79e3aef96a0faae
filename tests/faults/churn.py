"""Sockets that come and go all the time in a namespace, and some that stay: with the truth about each."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final

from tests.support.netns import Namespace
from tests.support.short_lived import cookie_of

PORT: Final = 7001
_ADDRESS: Final = "10.0.0.5"
_STAY: Final = 4
_ALIVE: Final = 12
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER of no time: close(2) resets, and leaves no TIME_WAIT


@dataclass(slots=True)
class Life:
    """What is true of one socket; times are CLOCK_REALTIME in microseconds, just before and just after.

    `closed` is None while it is open.
    """

    kind: str
    opened: tuple[int, int]
    ends: tuple[socket.socket, ...]
    closed: tuple[int, int] | None = None
    cookies: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.cookies = tuple(map(cookie_of, self.ends))


def now_us() -> int:
    """Return CLOCK_REALTIME in microseconds."""
    return time.time_ns() // 1000


class Churn:
    """A listener, four connections, a UDP and a UNIX socket that stay; listeners and connections that do not.

    Use it as a context. `lives` has every socket that there was, `stays` those that are open from the
    beginning to the end.
    """

    def __init__(self, namespace: Namespace, seed: int, folder: Path, pause_s: float = 0.004) -> None:
        self.lives: list[Life] = []
        self.stays: list[Life] = []
        self._namespace = namespace
        self._random = random.Random(seed)
        self._folder = folder
        self._pause_s = pause_s
        self._over = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Churn:
        self._thread.start()
        if not self._ready.wait(20):
            raise AssertionError("no sockets could be made")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(20)
        for life in [*self.stays, *self.lives]:
            for end in life.ends:
                end.close()

    def of(self, cookie: int) -> Life | None:
        """Return the life that a socket's cookie is of."""
        return next((life for life in [*self.stays, *self.lives] if cookie in life.cookies), None)

    def _run(self) -> None:
        with self._namespace.entered():
            self._listener = socket.create_server((_ADDRESS, PORT), backlog=64)
            began = now_us()
            datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            datagrams.bind((_ADDRESS, PORT))
            local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            local.bind(str(self._folder / "stays"))
            local.listen()
            for kind, made in (("listener", self._listener), ("udp", datagrams), ("unix", local)):
                self.stays.append(Life(kind, (began, now_us()), (made,)))
            self.stays += [self._connection() for _ in range(_STAY)]
            self._ready.set()
            alive: list[Life] = []
            while not self._over.wait(self._random.expovariate(1 / self._pause_s)):
                if len(alive) < _ALIVE and self._random.random() < 0.6:
                    made_now = self._connection() if self._random.random() < 0.7 else self._listening()
                    self.lives.append(made_now)
                    alive.append(made_now)
                elif alive:
                    self._close(alive.pop(self._random.randrange(len(alive))))

    def _connection(self) -> Life:
        began = now_us()
        client = socket.create_connection((_ADDRESS, PORT), timeout=10)
        server, _ = self._listener.accept()
        if self._random.random() < 0.5:
            client.sendall(b"x" * self._random.randint(1, 3000))
        return Life("connection", (began, now_us()), (client, server))

    def _listening(self) -> Life:
        began = now_us()
        made = socket.create_server((_ADDRESS, 0), backlog=self._random.randint(1, 64))
        return Life("listener", (began, now_us()), (made,))

    def _close(self, life: Life) -> None:
        if life.kind == "connection" and self._random.random() < 0.5:
            for end in life.ends:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        began = now_us()
        for end in life.ends:
            end.close()
        life.closed = began, now_us()
