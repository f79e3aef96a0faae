"""Destroyed sockets, as NETLINK_SOCK_DIAG announces them to its multicast groups (linux/sock_diag.h).

The kernel sends a message for each TCP and UDP socket of one network namespace when the last use of it
is gone, with its cookie and last tcp_info. Requests (SYN_RECV) and TIME_WAIT remnants are none of these:
a socket that goes to TIME_WAIT is announced as it does. A message is made by a kernel worker, some time
after the event, and carries no time: SO_TIMESTAMPNS has no effect on netlink.
"""

from __future__ import annotations

import dataclasses
import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sockrec.errors import KernelError
from sockrec.kernel import inet_diag
from sockrec.kernel.arrays import I64, NULL, InetSockets
from sockrec.kernel.batches import Batches, set_receive_buffer
from sockrec.kernel.host import boot_us
from sockrec.kernel.netlink import HEADER_BYTES, Messages, NetlinkError, Words

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
# SKNLGRP_INET_TCP_DESTROY, _INET_UDP_, _INET6_TCP_, _INET6_UDP_: groups 1 to 4, as a mask.
_GROUPS: Final = 0b1111

# The kernel charges about 1.3 KB for a message: room for 50,000, taken only while they wait.
RECEIVE_BUFFER: Final = 64 << 20
# Today messages have 380 bytes.
_SLOT_BYTES: Final = 512

# struct inet_diag_msg is followed by INET_DIAG_PROTOCOL, always the first attribute.
_PROTOCOL_WORD: Final = (HEADER_BYTES + 72) // 4
_PROTOCOL_ATTRIBUTE: Final = struct.unpack("=I", struct.pack("=HH", 5, 10))[0]


@dataclass(slots=True)
class Destroyed:
    """Sockets whose destruction was announced, in the order of the announcements.

    `sockets` has what inet_diag says of a socket at its very end: state CLOSE, `uid` and `inode` `NULL`.
    One that was disconnected (a close with SO_LINGER 0) has lost its addresses and counters by then.

    Times are CLOCK_BOOTTIME microseconds. An announcement was fetched by its `read_by` and queued after
    `queued_after`, when the queue was last seen empty; the end it tells of may be earlier than both.
    All that was queued before `until` is in here or in earlier readings, but for `lost` announcements,
    which the kernel dropped between `queued_after` and `ended_at` for want of room.
    """

    sockets: InetSockets
    read_by: I64
    queued_after: int
    until: int
    ended_at: int
    lost: int

    def __len__(self) -> int:
        return len(self.sockets)


class DestroyedSource:
    """Announcements of the network namespace that the calling thread is in when this is made.

    Needs no privileges, but for a receive buffer above net.core.rmem_max: CAP_NET_ADMIN. Raises
    `KernelError` where the kernel or a sandbox refuses.
    """

    def __init__(self, receive_buffer: int = RECEIVE_BUFFER) -> None:
        try:
            self._socket = _subscribe(receive_buffer)
        except OSError as error:
            raise KernelError(
                f"destroyed sockets are not announced ({error.strerror}): "
                "connections shorter than the interval are missed"
            ) from error
        self._batches = Batches(self._socket, _SLOT_BYTES, "destroyed sockets")
        self.receive_buffer = self._batches.receive_buffer
        """Bytes that may wait, as the kernel counts them: about 1,300 a socket."""

    def fileno(self) -> int:
        """Return the descriptor that polls readable while announcements wait."""
        return self._socket.fileno()

    def read(self) -> Destroyed:
        """Return what was announced since the last reading, without waiting.

        At 131,072 sockets it stops, `until` stays as it was, and the next reading goes on.
        Raises `KernelError` for messages that can't be taken apart.
        """
        after = self._batches.empty_at
        parts: list[InetSockets] = []
        times: list[npt.NDArray[np.int64]] = []
        lost = 0
        for slots, received in self._batches.fetch():
            sockets, oversized = _decode(slots, received)
            if oversized:
                lost += oversized
                self._batches.widen()
            parts.append(sockets)
            times.append(np.full(len(sockets), boot_us(), np.int64))
        lost += self._batches.dropped()
        return Destroyed(
            parts[0] if len(parts) == 1 else InetSockets.concat(parts),
            np.concatenate([np.empty(0, np.int64), *times]),
            after,
            self._batches.empty_at,
            boot_us(),
            lost,
        )

    def close(self) -> None:
        """Leave the groups."""
        self._socket.close()

    def __enter__(self) -> DestroyedSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _decode(slots: Words, received: Words) -> tuple[InetSockets, int]:
    """Return the sockets of a batch, and how many messages did not fit into their slots."""
    fits = received <= slots.shape[1] * 4
    kinds = slots[:, 1] & 0xFFFF
    if (slots[fits, 0] != received[fits]).any() or (kinds[fits] != _SOCK_DIAG_BY_FAMILY).any():
        raise KernelError("the kernel's messages of destroyed sockets can't be taken apart")
    protocols = slots[:, _PROTOCOL_WORD + 1] & 0xFF
    known = fits & (slots[:, _PROTOCOL_WORD] == _PROTOCOL_ATTRIBUTE)
    if not known[fits].all():
        raise KernelError("the kernel's messages of destroyed sockets name no protocol")
    rows = np.flatnonzero(fits)
    found = np.flatnonzero(np.bincount(protocols[rows])).tolist()
    if len(found) == 1:
        sockets = _decode_protocol(slots, rows, found[0])
    else:
        sockets = InetSockets.allocate(len(rows))
        for protocol in found:
            alike = np.flatnonzero(protocols[rows] == protocol)
            part = _decode_protocol(slots, rows[alike], protocol)
            for field in dataclasses.fields(InetSockets):
                where: Any = (..., alike) if field.name == "activity" else alike
                getattr(sockets, field.name)[where] = getattr(part, field.name)
    return sockets, len(slots) - len(rows)


def _decode_protocol(slots: Words, rows: npt.NDArray[np.intp], protocol: int) -> InetSockets:
    none = np.zeros(1, np.int64)
    messages = Messages(slots.reshape(-1), rows * slots.shape[1], slots[rows, 0], none.astype(np.intp), none)
    sockets = InetSockets.allocate(len(rows))
    try:
        inet_diag.decode(messages, protocol, sockets)
    except NetlinkError as error:
        raise KernelError(f"a message of a destroyed socket can't be read: {error.strerror}") from error
    sockets.uid[:] = sockets.inode[:] = NULL
    return sockets


def _subscribe(receive_buffer: int) -> socket.socket:
    diag = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)
    try:
        set_receive_buffer(diag, receive_buffer)
        # Before the groups: nothing that another process sends is let in.
        diag.connect((0, 0))
        diag.bind((diag.getsockname()[0], _GROUPS))
    except BaseException:
        diag.close()
        raise
    return diag
