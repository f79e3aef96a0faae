"""Dumps over NETLINK_SOCK_DIAG (sock_diag(7), netlink(7)): received whole, framed as arrays.

All dumps of one reading land behind each other in one buffer that is used again for the next
reading. Nothing here runs Python code per message.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

import numpy as np
import numpy.typing as npt

from sockrec.kernel.host import boot_us

NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLM_F_REQUEST: Final = 1
NLM_F_DUMP: Final = 0x300
NLM_F_DUMP_INTR: Final = 0x10
HEADER_BYTES: Final = 16
HEADER_WORDS: Final = HEADER_BYTES // 4

_NETLINK_SOCK_DIAG: Final = 4
_SO_RCVBUFFORCE: Final = 33
_RECEIVE_BUFFER: Final = 1 << 20
# The kernel fills at most 32 KiB per receive today; room for more costs nothing.
_WINDOW: Final = 256 << 10
TIMEOUT_SECONDS: Final = 2
_HEADER: Final = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_DONE_BYTES: Final = HEADER_BYTES + 4
_MAX_ERRNO: Final = 4095  # MAX_ERRNO, include/linux/err.h

Words = npt.NDArray[np.uint32]


class NetlinkError(OSError):
    """The kernel refused a dump, or answered with what is no netlink; `errno` says which."""


@dataclass(slots=True)
class Messages:
    """The messages of one dump, in the kernel's order.

    `words` is what was received as host-order 32-bit words; message i's header begins at word
    `starts[i]` and the message is `lengths[i]` bytes long, header included. `datagrams` are the word
    positions at which received datagrams begin, `times` the CLOCK_BOOTTIME microseconds at which each was
    made. `incomplete` says why sockets may be missing; it is empty for a whole dump.
    """

    words: Words
    starts: npt.NDArray[np.intp]
    lengths: Words
    datagrams: npt.NDArray[np.intp]
    times: npt.NDArray[np.int64]
    incomplete: str = ""

    def __len__(self) -> int:
        return len(self.starts)

    def times_of(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.int64]:
        """Return when the given messages were made, CLOCK_BOOTTIME microseconds."""
        return self.times[np.searchsorted(self.datagrams, self.starts[rows], side="right") - 1]


@dataclass(slots=True)
class Dump:
    """Where in the buffer one dump lies; `DiagSocket.messages` frames it."""

    kind: int
    sequence: int
    start: int
    end: int
    datagrams: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    incomplete: str = ""


# Room for 100,000 sockets, so that a first sample need not copy what it has. What is not written to
# takes no memory.
_BUFFER: Final = 64 << 20


class DiagSocket:
    """One NETLINK_SOCK_DIAG socket, of the network namespace that the thread is in when it is made.

    Raises OSError where the kernel or a sandbox refuses such sockets.
    """

    def __init__(self) -> None:
        self._buffer = np.empty(_BUFFER, np.uint8)
        self._view = self._buffer.data
        self._end = 0
        self._socket = open_netlink(_NETLINK_SOCK_DIAG)

    @property
    def position(self) -> int:
        """Where in the buffer the next dump will begin."""
        return self._end

    def rewind(self, position: int = 0) -> None:
        """Use the buffer again from a dump's start, or from 0; what lay behind that is gone."""
        self._end = position

    def dump(self, kind: int, request: bytes) -> Dump:
        """Ask for a dump with a message of type `kind`, and receive all of it.

        Raises `NetlinkError` if the kernel refuses it. A dump that the kernel could not finish, or
        whose answer stops coming, is returned with what came of it and `incomplete` set.
        """
        dump = Dump(kind, random.getrandbits(32), self._end, self._end)
        head = _HEADER.pack(HEADER_BYTES + len(request), kind, NLM_F_REQUEST | NLM_F_DUMP, dump.sequence, 0)
        whole = False
        try:
            self._socket.send(head + request)
            self._receive(dump)
            whole = True
        except NetlinkError:
            raise
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                dump.incomplete = "the kernel ran out of buffers"
            elif error.errno == errno.EAGAIN:
                dump.incomplete = f"the kernel did not go on within {TIMEOUT_SECONDS} s"
            else:
                raise NetlinkError(error.errno, error.strerror) from error
        finally:
            if not whole:
                # What the kernel still holds of this dump must not meet the next one.
                self._reopen()
        self._end = dump.end
        return dump

    def messages(self, dump: Dump) -> Messages:
        """Return the framing of a dump received since `rewind`; valid until the next one.

        Raises `NetlinkError` for an error the kernel sent at the end of it, and for garbled framing.
        """
        return frame(
            self._buffer[dump.start : dump.end].view(np.uint32),
            dump.kind,
            dump.sequence,
            [(position - dump.start) // 4 for position in dump.datagrams],
            dump.times,
            dump.incomplete,
        )

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> DiagSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _receive(self, dump: Dump) -> None:
        receive = self._socket.recv_into
        while True:
            if dump.end + _WINDOW > len(self._buffer):
                self._grow(dump.end)
            # The kernel made this datagram when the one before was fetched: now, not after the call.
            made = boot_us()
            # With MSG_TRUNC the true length comes back, even of a datagram that does not fit.
            size = receive(self._view[dump.end :], _WINDOW, socket.MSG_TRUNC)
            if size > _WINDOW or size < HEADER_BYTES or size % 4:
                raise NetlinkError(errno.EMSGSIZE, f"a netlink datagram of {size} bytes")
            _, kind, _, sequence, _ = _HEADER.unpack_from(self._view, dump.end)
            if sequence != dump.sequence:
                continue  # an answer to an earlier request that was given up
            dump.datagrams.append(dump.end)
            dump.times.append(made)
            dump.end += size
            if kind in (NLMSG_ERROR, NLMSG_DONE):
                return
            if size >= _DONE_BYTES:
                # From Linux 6.9 on the end may ride on the last data.
                length, kind, _, sequence, _ = _HEADER.unpack_from(self._view, dump.end - _DONE_BYTES)
                if (length, kind, sequence) == (_DONE_BYTES, NLMSG_DONE, dump.sequence):
                    return

    def _grow(self, used: int) -> None:
        larger = np.empty(2 * len(self._buffer), np.uint8)
        larger[:used] = self._buffer[:used]
        self._buffer = larger
        self._view = larger.data

    def _reopen(self) -> None:
        self._socket.close()
        try:
            self._socket = open_netlink(_NETLINK_SOCK_DIAG)
        except OSError as error:
            raise NetlinkError(error.errno, error.strerror) from error


def open_netlink(protocol: int) -> socket.socket:
    """Open a netlink socket of the calling thread's namespace that speaks with the kernel alone (netlink(7)).

    Raises OSError where it is refused.
    """
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        try:
            opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        except PermissionError:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        # A timeout in the kernel: Python's own would add a poll(2) to each receive.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", TIMEOUT_SECONDS, 0))
        opened.bind((0, 0))
        # Connected to the kernel, so that no other process can send to it.
        opened.connect((0, 0))
    except BaseException:
        opened.close()
        raise
    return opened


def frame(
    words: Words,
    kind: int,
    sequence: int,
    datagrams: Sequence[int],
    times: Sequence[int],
    incomplete: str = "",
) -> Messages:
    """Find the messages of type `kind` in the datagrams of one dump.

    `words` holds the datagrams behind each other, `datagrams` the word positions where they begin.
    Raises `NetlinkError` with the kernel's errno for NLMSG_ERROR and for an error in NLMSG_DONE, and
    with EBADMSG if the lengths do not chain.
    """
    begins = np.asarray(datagrams, np.intp)
    starts = _find(words, sequence, begins)
    if starts is None:
        starts = _walk(words, sequence, begins)
    kinds, flags = words[starts + 1].view(np.uint16).reshape(-1, 2).T
    data = kinds == kind
    for control in np.flatnonzero(~data):
        _raise_refused(words, int(starts[control]), int(kinds[control]))
    if not incomplete and (flags & NLM_F_DUMP_INTR).any():
        incomplete = "sockets changed while the kernel listed them"
    if not data.all():
        starts = starts[data]
    return Messages(words, starts, words[starts], begins, np.asarray(times, np.int64), incomplete)


def _find(words: Words, sequence: int, datagrams: npt.NDArray[np.intp]) -> npt.NDArray[np.intp] | None:
    """Return where headers begin, by their sequence number; None unless the lengths bear it out."""
    starts = np.flatnonzero(words[2:] == sequence)
    if not len(starts):
        return None
    lengths = words[starts]
    if lengths.min() < HEADER_BYTES:
        return None
    ends = starts + ((lengths.astype(np.intp) + 3) >> 2)
    chained = starts[0] == 0 and ends[-1] == len(words) and np.array_equal(ends[:-1], starts[1:])
    if not chained or not np.array_equal(starts[np.searchsorted(starts, datagrams)], datagrams):
        return None
    return starts


def _walk(words: Words, sequence: int, datagrams: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return where headers begin, from length to length, leaving out those of other dumps."""
    starts = []
    bounds = [*datagrams.tolist(), len(words)]
    for begin, end in itertools.pairwise(bounds):
        position = begin
        while position < end:
            length = int(words[position]) if position + HEADER_WORDS <= end else 0
            following = position + ((length + 3) >> 2)
            if length < HEADER_BYTES or following > end:
                raise NetlinkError(errno.EBADMSG, "a netlink message is cut off or has no sensible length")
            if words[position + 2] == sequence:
                starts.append(position)
            position = following
    return np.asarray(starts, np.intp)


def _raise_refused(words: Words, start: int, kind: int) -> None:
    if kind not in (NLMSG_ERROR, NLMSG_DONE) or int(words[start]) < _DONE_BYTES:
        return
    code = -int(words[start + HEADER_WORDS].view(np.int32))
    if code > _MAX_ERRNO:
        raise NetlinkError(errno.EBADMSG, f"a netlink message names the error {code}, which none is")
    if code > 0:
        raise NetlinkError(code, os.strerror(code))
