"""sock_diag answers: framed, then decoded as TCP, UDP or SCTP.

Input: a byte that says which, 4 bytes of sequence number, and the datagram.
"""

from __future__ import annotations

import socket

import numpy as np

from sockrec.kernel import inet_diag
from sockrec.kernel.arrays import InetSockets
from sockrec.kernel.netlink import NetlinkError, frame
from tests.fuzz import kernel_seeds

_KINDS = ((18, socket.IPPROTO_TCP), (20, socket.IPPROTO_UDP), (20, inet_diag.IPPROTO_SCTP))


def seeds() -> list[bytes]:
    """Return real answers, and one that is refused."""
    found = kernel_seeds.netlink()
    refusal = bytes(4) + np.array([36, 2, 0, 0, (1 << 32) - 1, 20, 0, 0, 0], np.uint32).tobytes()
    return [b"\0" + found["tcp"], b"\1" + found["udp"], b"\2" + found["udp"], b"\1" + refusal]


def check(data: bytes) -> None:
    """Decode it; only `NetlinkError` may be raised."""
    if len(data) < 5:
        return
    kind, protocol = _KINDS[data[0] % len(_KINDS)]
    body = data[5 : 5 + (len(data) - 5) // 4 * 4]
    words = np.frombuffer(body, np.uint32)
    if not len(words):
        return
    try:
        messages = frame(words, kind, int.from_bytes(data[1:5], "little"), [0], [1_000_000])
        out = InetSockets.allocate(len(messages))
        inet_diag.decode(messages, protocol, out)
    except NetlinkError:
        return
    assert len(messages) <= len(words) // 4
    assert (messages.starts * 4 + messages.lengths <= len(body) + 3).all()
    assert out.activity.shape[1] == len(messages)
