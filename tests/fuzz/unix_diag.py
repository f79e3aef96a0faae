"""UNIX sockets from sock_diag. Input: 4 bytes of sequence number, and the datagram."""

from __future__ import annotations

import numpy as np

from sockrec.kernel import unix_diag
from sockrec.kernel.netlink import NetlinkError, frame
from tests.fuzz import kernel_seeds


def seeds() -> list[bytes]:
    """Return a real answer."""
    return [kernel_seeds.netlink()["unix"]]


def check(data: bytes) -> None:
    """Decode it; only `NetlinkError` may be raised, and every name lies inside what was received."""
    words = np.frombuffer(data[4 : 4 + (len(data) - 4) // 4 * 4], np.uint32) if len(data) >= 8 else None
    if words is None:
        return
    try:
        messages = frame(words, 20, int.from_bytes(data[:4], "little"), [0], [1_000_000])
        found = unix_diag.decode(messages)
    except NetlinkError:
        return
    assert len(found.inode) == len(messages)
    named = found.name_length >= 0
    assert (found.name_start[named] + found.name_length[named] <= len(found.name_bytes)).all()
