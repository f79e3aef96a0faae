"""Exits of all threads of the host, as the process connector tells them (linux/cn_proc.h).

It tells what no pidfd does of a process that nobody watched: its exit status, and of a thread that is
gone, its process. It answers only sockets of the initial network namespace, and processes of the initial
user and PID namespaces. A socket stays in the namespace that it was made in: from another one, a thread
goes over to make it (setns(2), CAP_SYS_ADMIN) and ends there.

A message is made in the exiting thread after it closed its files and told its parent: later than
sched_process_exit, and than the parent's wait(2) even. Its time is CLOCK_MONOTONIC.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Final

import numpy as np

from sockrec.errors import KernelError
from sockrec.kernel.arrays import I64
from sockrec.kernel.batches import Batches, set_receive_buffer
from sockrec.kernel.host import boot_us
from sockrec.kernel.netlink import Words

_NETLINK_CONNECTOR: Final = 11
_CN_IDX_PROC: Final = 1
_LISTEN: Final = 1
_IGNORE: Final = 2
_EVENT_NONE: Final = 0
_EVENT_EXIT: Final = 0x80000000
_CLONE_NEWNET: Final = 0x40000000
# kthreadd, process 2 of the initial PID namespace: kernel threads never leave the initial network
# namespace. Process 1 may be in another one, or be closed to us.
_INITIAL_NAMESPACE: Final = "/proc/2/ns/net"
_ANSWERS_WITHIN: Final = 0.5

# The kernel charges about 800 bytes for a message: room for 20,000, taken only while they wait.
RECEIVE_BUFFER: Final = 16 << 20
# struct nlmsghdr, struct cn_msg and struct proc_event have 76 bytes, in words:
_SLOT_WORDS: Final = 20
_ID, _ACK, _WHAT, _TIME, _THREAD, _PID, _STATUS, _WORDS = 4, 7, 9, 11, 13, 14, 15, 17

_libc: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(slots=True)
class ProcessExits:
    """Exits of threads, each array of length n; those of one CPU in the order of their times.

    `times` are CLOCK_BOOTTIME nanoseconds: the thread had closed its files by then. They are exact but for
    the distance between two clocks, measured to a microsecond or better, and may be late by up to `late_by`
    nanoseconds: not 0 only if the host was suspended since the last reading.

    `pid` is the process of `thread`; `status` is the thread's, as wait(2) has it. It is the process's too if
    all its threads end at once (exit_group(2), a signal). A row with `thread` equal to `pid` is not
    the process's end where other threads go on, or where one of them called exec and took its number.

    All that was queued before `until` (CLOCK_BOOTTIME microseconds) is in here or in earlier readings, but
    for `lost` exits, dropped between `since` and `ended_at` for want of room; where the kernel can't
    filter (before Linux 6.6), `lost` counts forks, execs and other events too.
    """

    times: I64
    thread: I64
    pid: I64
    status: I64
    lost: int
    since: int
    until: int
    ended_at: int
    late_by: int

    def __len__(self) -> int:
        return len(self.times)


class ProcessConnector:
    """Hears of every exit on the host from when this is made.

    Raises `KernelError` where the kernel has no connector, does not answer us, or we may not go to
    the initial network namespace. The calling thread stays in its own.
    """

    def __init__(self, receive_buffer: int = RECEIVE_BUFFER) -> None:
        try:
            self._socket = _subscribe(receive_buffer)
        except OSError as error:
            raise KernelError(
                f"exits of processes are not announced ({error.strerror or error}): how a process ended "
                "that was not watched before is not known"
            ) from error
        self._batches = Batches(self._socket, _SLOT_WORDS * 4, "exits of processes")
        self.receive_buffer = self._batches.receive_buffer
        """Bytes that may wait, as the kernel counts them: about 800 an exit."""
        self._offset, self._offset_error = _suspended()

    def fileno(self) -> int:
        """Return the descriptor that polls readable while exits wait."""
        return self._socket.fileno()

    def read(self) -> ProcessExits:
        """Return the exits since the last reading, without waiting.

        At 131,072 messages it stops, `until` stays as it was, and the next reading goes on.
        Raises `KernelError` for messages that can't be taken apart.
        """
        since = self._batches.empty_at
        parts = [_decode(*batch) for batch in self._batches.fetch()]
        lost = self._batches.dropped()
        # The offset after the messages: one of after a suspend would be put before it otherwise.
        late_by = self._measure_offset()
        rows = np.concatenate([np.empty((4, 0), np.int64), *parts], axis=1)
        times, until = rows[0] + self._offset, self._batches.empty_at
        return ProcessExits(times, rows[1], rows[2], rows[3], lost, since, until, boot_us(), late_by)

    def close(self) -> None:
        """Say that nobody listens here any more."""
        # Where that can't be said, a kernel without listeners finds out at the next event.
        with contextlib.suppress(OSError):
            _say(self._socket, _IGNORE)
        self._socket.close()

    def __enter__(self) -> ProcessConnector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _measure_offset(self) -> int:
        """Take up the distance of the clocks if it has changed, and return by how much it grew."""
        offset, error = _suspended()
        grown = offset - self._offset
        if abs(grown) <= error + self._offset_error:
            return 0
        self._offset, self._offset_error = offset, error
        return max(grown, 0)


def _decode(slots: Words, received: Words) -> I64:
    """Return the exits of a batch: a row each of times, threads, pids, statuses."""
    if (received < _WORDS * 4).any() or (slots[:, _ID : _ID + 2] != 1).any():
        raise KernelError("the kernel's messages of exits can't be taken apart")
    exits = slots[slots[:, _WHAT] == _EVENT_EXIT]
    times = np.ascontiguousarray(exits[:, _TIME : _TIME + 2]).view(np.int64)[:, 0]
    numbers: Words = exits[:, [_THREAD, _PID, _STATUS]].T
    return np.vstack((times, numbers.astype(np.int64)))


def _suspended() -> tuple[int, int]:
    """Return how far CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC, and how far off that may be, nanoseconds."""
    tries = []
    for _ in range(5):
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        boot = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        tries.append((after - before, boot - (before + after) // 2))
    width, offset = min(tries)
    # A host that was never suspended has no distance at all.
    return (0 if abs(offset) <= width else offset), width


def _subscribe(receive_buffer: int) -> socket.socket:
    try:
        return _listening(receive_buffer)
    except ConnectionRefusedError:
        pass  # the kernel's end is in the initial network namespace, and we are not
    made: list[socket.socket] = []
    failed: list[OSError] = []

    def go_over() -> None:
        try:
            made.append(_listening_there(receive_buffer))
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=go_over, name="connector")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]


def _listening_there(receive_buffer: int) -> socket.socket:
    """Return a socket of the initial network namespace, where the calling thread stays."""
    try:
        there = os.open(_INITIAL_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _libc.setns(there, _CLONE_NEWNET):
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code))
        finally:
            os.close(there)
    except OSError as error:
        raise OSError(error.errno, f"can't go to the initial network namespace: {error.strerror}") from error
    return _listening(receive_buffer)


def _listening(receive_buffer: int) -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_CONNECTOR)
    try:
        # Before the group: nothing that another process sends is let in.
        made.connect((0, 0))
        made.bind((made.getsockname()[0], _CN_IDX_PROC))
        _say(made, _LISTEN)
        _await_answer(made)
        # Linux 6.6 and later: exits only. Earlier kernels pass over a message of this length, and no
        # answer comes from either: the filter keeps it back.
        _say(made, _LISTEN, _EVENT_EXIT)
        # Only now, as a full buffer would have no room for the answer.
        set_receive_buffer(made, receive_buffer)
    except BaseException:
        made.close()
        raise
    return made


def _say(connector: socket.socket, *words: int) -> None:
    """Send an enum proc_cn_mcast_op, or a struct proc_input."""
    data = struct.pack(f"={len(words)}I", *words)
    port = connector.getsockname()[0] & 0xFFFFFFFF
    message = struct.pack("=4I2H", _CN_IDX_PROC, 1, 0, port, len(data), 0) + data
    connector.send(struct.pack("=IHHII", 16 + len(message), 3, 0, 0, port) + message)


def _await_answer(connector: socket.socket) -> None:
    """Wait until the kernel says that it took us in, or raise what it says."""
    expected = (connector.getsockname()[0] + 1) & 0xFFFFFFFF
    end = time.monotonic() + _ANSWERS_WITHIN
    while (left := end - time.monotonic()) > 0:
        if not select.select([connector], [], [], left)[0]:
            break
        try:
            answer = connector.recv(_SLOT_WORDS * 4, socket.MSG_DONTWAIT)
        except OSError as error:
            if error.errno in (errno.ENOBUFS, errno.EAGAIN):
                continue
            raise
        words = struct.unpack_from(f"={len(answer) // 4}I", answer)
        if len(words) >= _WORDS and words[_WHAT] == _EVENT_NONE and words[_ACK] == expected:
            if words[_THREAD]:
                raise OSError(words[_THREAD], os.strerror(words[_THREAD]))
            return
    raise OSError(
        errno.EPERM, "no answer: it takes the initial user and PID namespaces, and CONFIG_PROC_EVENTS"
    )
