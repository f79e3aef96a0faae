"""Messages of a netlink socket that tells of events (netlink(7)): fetched many at a time, losses counted.

Nothing here runs Python code per message.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import Final

import numpy as np

from sockrec.errors import KernelError
from sockrec.kernel.host import boot_us
from sockrec.kernel.netlink import Words

_SO_RCVBUFFORCE: Final = 33
_SO_MEMINFO: Final = 55
_MEMINFO_RCVBUF: Final = 1
_MEMINFO_DROPS: Final = 8

# recvmmsg(2) takes up to UIO_MAXIOV messages.
_SLOTS: Final = 1024
_LARGEST_SLOT: Final = 1 << 15
# Bounds what one reading can return, whatever goes on meanwhile.
_MOST: Final = 1 << 17

_libc: Final = ctypes.CDLL(None, use_errno=True)


class _Vector(ctypes.Structure):  # struct iovec
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):  # struct msghdr
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Header(ctypes.Structure):  # struct mmsghdr
    _fields_ = (("message", _Message), ("received", ctypes.c_uint))


class Batches:
    """Fetches what waits at a socket, by recvmmsg(2) into slots that each batch uses again.

    `slot_bytes`, a multiple of 4, is the room for one message. `what` names the messages in an error.
    The socket stays its owner's to close.
    """

    def __init__(self, source: socket.socket, slot_bytes: int, what: str) -> None:
        self._socket = source
        self._what = what
        memory = self._memory()
        self.receive_buffer = memory[_MEMINFO_RCVBUF]
        """Bytes that may wait, as the kernel counts them (SO_MEMINFO)."""
        self._drops = memory[_MEMINFO_DROPS]
        self.empty_at = boot_us()
        """All that was queued before this moment (CLOCK_BOOTTIME microseconds) was fetched or dropped."""
        self._set_slots(slot_bytes)

    def fetch(self) -> Iterator[tuple[Words, Words]]:
        """Yield batches until nothing waits: a row of words for each message, and their lengths in bytes.

        A length is the message's own, also where it did not fit into its row. At 131,072 messages it
        stops, and `empty_at` stays as it was. Raises `KernelError` if the socket can't be read any more.
        """
        total = 0
        while total < _MOST:
            began = boot_us()
            count = self._receive()
            if count < 0:
                self.empty_at = began
                return
            if count:
                total += count
                yield self._slots[:count], self._received[:count]

    def dropped(self) -> int:
        """Return how many messages the kernel dropped for want of room since this was last asked."""
        before, self._drops = self._drops, self._memory()[_MEMINFO_DROPS]
        return (self._drops - before) & 0xFFFFFFFF

    def widen(self) -> None:
        """Make the slots twice as large, up to 32 KiB; the rows of the batch before stay good."""
        size = self._slots.shape[1] * 4
        if size < _LARGEST_SLOT:
            self._set_slots(2 * size)

    def _set_slots(self, size: int) -> None:
        self._slots = np.zeros((_SLOTS, size // 4), np.uint32)
        self._vectors = (_Vector * _SLOTS)()
        self._headers = (_Header * _SLOTS)()
        base = self._slots.ctypes.data
        for index, (vector, header) in enumerate(zip(self._vectors, self._headers, strict=True)):
            vector.base, vector.length = base + index * size, size
            header.message.vectors, header.message.vector_count = ctypes.addressof(vector), 1
        headers = np.frombuffer(memoryview(self._headers).cast("B"), np.uint32).reshape(_SLOTS, -1)
        self._received = headers[:, _Header.received.offset // 4]

    def _receive(self) -> int:
        """Fetch a batch; return how many messages it has, -1 if none waited."""
        flags = socket.MSG_DONTWAIT | socket.MSG_TRUNC
        count: int = _libc.recvmmsg(self._socket.fileno(), self._headers, _SLOTS, flags, None)
        if count >= 0:
            return count
        code = ctypes.get_errno()
        if code == errno.EAGAIN:
            return -1
        if code in (errno.ENOBUFS, errno.EINTR):
            return 0  # ENOBUFS says once that messages were dropped; SK_MEMINFO_DROPS says how many
        raise KernelError(f"{self._what} can't be read any more: {os.strerror(code)}")

    def _memory(self) -> tuple[int, ...]:
        raw = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 64)
        return struct.unpack(f"={len(raw) // 4}I", raw)


def set_receive_buffer(source: socket.socket, size: int) -> None:
    """Let so many bytes wait, as the kernel counts them; without CAP_NET_ADMIN net.core.rmem_max at most."""
    half = size // 2  # the kernel doubles it: socket(7)
    try:
        source.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, half)
    except PermissionError:
        source.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, half)
