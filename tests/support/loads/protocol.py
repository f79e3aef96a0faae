"""What client and server of a load say to each other, and how much: different for each connection."""

from __future__ import annotations

import struct
from typing import Final

HEADER: Final = struct.Struct("=IIIHB")
"""Index; bytes up, this header included; bytes down; index of the server's address; who closes first."""

CLIENT: Final = 0
SERVER: Final = 1
CLOSERS: Final = ("client", "server", "alternate")
# Both ways it fits into a socket's first buffers, so that neither side ever waits for the other to read.
_LARGE: Final = 12_000


def bytes_up(index: int) -> int:
    """Return how many bytes the client of a connection sends."""
    return _LARGE if index % 251 == 7 else HEADER.size + index * 7919 % 997


def bytes_down(index: int) -> int:
    """Return how many bytes the server of a connection sends."""
    return _LARGE if index % 241 == 11 else 1 + index * 104_729 % 1499


def closes_first(closer: str, index: int) -> int:
    """Return `CLIENT` or `SERVER`."""
    return index & 1 if closer == "alternate" else CLOSERS.index(closer)


def addresses(network: str, count: int) -> list[str]:
    """Return so many addresses of a /16, given by its first two numbers: `127.0` has 127.0.1.1 and on."""
    return [f"{network}.{1 + each // 250}.{1 + each % 250}" for each in range(count)]
