"""Populations: as many TCP sockets as asked for, held by twenty processes; for use inside namespaces."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from benchmarks.timing import BenchmarkError

_HOLDER: Final = str(Path(__file__).with_name("holder.py"))
_HOLDERS: Final = 20
_LISTENERS: Final = 6  # of each holder; even, as connected sockets come in pairs
_SECONDS: Final = 90
_MOST_SENT: Final = 1000
# Acknowledgements may be 40 ms late (tcp(7), TCP_QUICKACK).
_SETTLE_SECONDS: Final = 0.06


class Population:
    """`sockets` TCP sockets: listeners, and pairs of connected ones in one namespace.

    Each of 20 processes listens on an address of its own (so ports never run out) and is connected to
    the next one. Enter it to have them. Every wait is bounded: `BenchmarkError` if a process dies or is
    not done in time.
    """

    def __init__(self, sockets: int) -> None:
        self._each = (sockets // _HOLDERS - _LISTENERS) // 2
        self._holders: list[subprocess.Popen[bytes]] = []
        self._owed: dict[str, float] = {}

    @property
    def sockets(self) -> int:
        """How many there are."""
        return _HOLDERS * (2 * self._each + _LISTENERS)

    @property
    def connections(self) -> int:
        """How many pairs of them."""
        return _HOLDERS * self._each

    def replace(self, share: float) -> int:
        """Close a share of the connections and make as many new ones; return how many."""
        counts = self._portions("replace", share)
        # Who connects to a holder is the one before it.
        self._tell(
            [f"replace {make} {take}" for make, take in zip(counts, counts[-1:] + counts, strict=False)]
        )
        return sum(counts)

    def send(self, share: float) -> int:
        """Send over a share of the connections, and wait until all is acknowledged.

        Both ends move by it. Returns how many connections it were.
        """
        counts = self._portions("send", share)
        self._tell([f"send {count} {_MOST_SENT}" for count in counts])
        time.sleep(_SETTLE_SECONDS)
        return sum(counts)

    def read(self) -> None:
        """Read empty what was sent: the receiving ends' queues move back to 0."""
        self._tell(["read"] * _HOLDERS)

    def __enter__(self) -> Population:
        addresses = [f"127.0.{number + 1}.1" for number in range(_HOLDERS)]
        for address in addresses:
            self._holders.append(
                subprocess.Popen(
                    [sys.executable, "-I", "-S", _HOLDER, address, str(_LISTENERS)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            )
        try:
            ports = self._replies()
            peers = list(zip(addresses, ports, strict=True))
            self._tell([f"peer {address} {port}" for address, port in peers[1:] + peers[:1]])
            self._tell([f"connect {self._each} {self._each}"] * _HOLDERS)
        except BaseException:
            self._end()
            raise
        time.sleep(_SETTLE_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _portions(self, word: str, share: float) -> list[int]:
        """Divide a share among the holders; what is less than a connection is owed to the next time."""
        owed = self._owed.get(word, 0.0) + share * self.connections
        whole = int(owed + 1e-9)
        self._owed[word] = owed - whole
        return [whole // _HOLDERS + (number < whole % _HOLDERS) for number in range(_HOLDERS)]

    def _tell(self, lines: Sequence[str]) -> None:
        for holder, line in zip(self._holders, lines, strict=True):
            assert holder.stdin is not None
            try:
                holder.stdin.write(line.encode() + b"\n")
                holder.stdin.flush()
            except BrokenPipeError:
                raise BenchmarkError("a process of the population died; its last words stand above") from None
        self._replies()

    def _replies(self) -> list[str]:
        """Return one line from each holder."""
        waiting = {}
        for place, holder in enumerate(self._holders):
            assert holder.stdout is not None
            waiting[holder.stdout.fileno()] = place
        lines = [""] * len(self._holders)
        until = time.monotonic() + _SECONDS
        while waiting:
            ready, _, _ = select.select(list(waiting), [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise BenchmarkError(
                    f"{len(waiting)} processes of the population are not ready in {_SECONDS} s"
                )
            for fd in ready:
                line = os.read(fd, 4096)
                if not line:
                    raise BenchmarkError("a process of the population died; its last words stand above")
                lines[waiting.pop(fd)] = line.decode().strip()
        return lines

    def _end(self) -> None:
        for holder in self._holders:
            holder.kill()
        for holder in self._holders:
            holder.communicate()
