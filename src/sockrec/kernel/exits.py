"""Ends of processes that are no children of ours, by pidfds (pidfd_open(2), linux/pidfd.h).

A pidfd polls readable when the last thread has exited. The exit status comes with PIDFD_GET_INFO once
the parent has reaped the process (Linux 6.15), until then from /proc/PID/stat, which keeps it from
other users. This needs no privileges and works in any namespace.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import select
import signal
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from sockrec.errors import KernelError
from sockrec.kernel.host import boot_us, capabilities

LIMIT: Final = 1024
"""Processes watched at once, by default: each takes a descriptor."""

# struct pidfd_info as of Linux 6.13: mask, cgroupid, eleven ids, exit_code.
_INFO: Final = struct.Struct("=QQ11Ii")
_INFO_EXIT: Final = 1 << 3
_GET_INFO: Final = 3 << 30 | _INFO.size << 16 | 0xFF << 8 | 11  # _IOWR(PIDFS_IOCTL_MAGIC, 11, ...)
_EXIT_SINCE: Final = (6, 15)


@dataclass(frozen=True, slots=True)
class Exit:
    """A process ended between `not_before` and `not_after`, CLOCK_BOOTTIME microseconds.

    `status` is as wait(2) has it, None if it is not known (yet: see `ExitWatch.read`).
    """

    pid: int
    not_before: int
    not_after: int
    status: int | None

    @property
    def code(self) -> int | None:
        """What it exited with; None if a signal ended it or nothing is known."""
        return None if self.status is None or self.status & 0x7F else self.status >> 8 & 0xFF

    @property
    def signal(self) -> int | None:
        """The signal that ended it, None if none did or nothing is known."""
        return self.status & 0x7F or None if self.status is not None else None

    @property
    def dumped_core(self) -> bool:
        """Whether the kernel wrote a core dump."""
        return self.status is not None and bool(self.status & 0x80)


@dataclass(slots=True)
class _Watched:
    """A process with its pidfd; `ended` is what was told of its end so far."""

    pid: int
    fd: int
    since: int
    unwanted: bool = False
    ended: Exit | None = None


class ExitWatch:
    """Watches up to `limit` processes. `unavailable` says in a line what this kernel does not tell.

    Raises `KernelError` where there are no pidfds: before Linux 5.3, or forbidden by a sandbox.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._by_fd: dict[int, _Watched] = {}
        self._by_pid: dict[int, _Watched] = {}
        self._read_at = boot_us()
        self._trusted = "cap_sys_ptrace" in capabilities()
        try:
            own = os.pidfd_open(os.getpid())
        except OSError as error:
            raise KernelError(f"ends of processes can't be watched: {error.strerror}") from error
        self.unavailable = _missing(own)
        os.close(own)
        self._poll = select.epoll()

    def fileno(self) -> int:
        """Return the descriptor that polls readable once a watched process has ended."""
        return self._poll.fileno()

    def keep(self, pids: Iterable[int]) -> set[int]:
        """Watch these processes and no others; return those that can't be: gone, or over the limit.

        The one that has a number now is watched, until it ends. One that is no longer wanted goes at the
        second call that does not want it: a process that is killed loses its sockets before it has
        ended, and its end must not be missed for that. Raises `KernelError` if there are no descriptors left.
        """
        wanted = set(pids)
        over = {fd for fd, _ in self._poll.poll(0, max(len(self._by_fd), 1))}
        for pid, watched in list(self._by_pid.items()):
            if pid in wanted:
                watched.unwanted = False
            elif watched.unwanted and watched.fd not in over:
                self._drop(watched)
            else:
                watched.unwanted = True
        return {pid for pid in sorted(wanted - self._by_pid.keys()) if not self._watch(pid)}

    def read(self) -> list[Exit]:
        """Return the ends since the last reading, without waiting.

        One whose status is not known yet, as its parent has not asked for it, comes with `status`
        None, and once more with the status when that can be had.
        """
        before, began = self._read_at, boot_us()
        found = []
        for fd, events in self._poll.poll(0, max(len(self._by_fd), 1)):
            watched = self._by_fd[fd]
            told = watched.ended
            if told is None:
                told = Exit(watched.pid, max(before, watched.since), boot_us(), None)
            ended = Exit(told.pid, told.not_before, told.not_after, self._status(watched))
            if ended.status is not None or watched.ended is None:
                found.append(ended)
            if ended.status is not None or events & select.EPOLLHUP:
                self._drop(watched)
            else:
                watched.ended = ended
                self._by_pid.pop(watched.pid, None)
                self._poll.modify(fd, 0)  # EPOLLHUP comes all the same: it has been reaped
        self._read_at = began
        return found

    def close(self) -> None:
        """Watch nothing any more."""
        for watched in list(self._by_fd.values()):
            self._drop(watched)
        self._poll.close()

    def __enter__(self) -> ExitWatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _watch(self, pid: int) -> bool:
        if len(self._by_fd) >= self._limit:
            return False
        since = boot_us()
        try:
            fd = os.pidfd_open(pid)
        except OSError as error:
            if isinstance(error, ProcessLookupError) or error.errno == errno.EINVAL:
                return False
            raise KernelError(f"process {pid} can't be watched: {error.strerror}") from error
        watched = _Watched(pid, fd, since)
        self._by_fd[fd] = self._by_pid[pid] = watched
        self._poll.register(fd, select.EPOLLIN)
        return True

    def _drop(self, watched: _Watched) -> None:
        self._poll.unregister(watched.fd)
        os.close(watched.fd)
        del self._by_fd[watched.fd]
        if self._by_pid.get(watched.pid) is watched:
            del self._by_pid[watched.pid]

    def _status(self, watched: _Watched) -> int | None:
        status = _info_status(watched.fd)
        if status is not None:
            return status
        status = _zombie_status(watched.pid, self._trusted)
        try:
            signal.pidfd_send_signal(watched.fd, 0)
        except ProcessLookupError:
            # Reaped meanwhile: what /proc said may be of another process.
            return _info_status(watched.fd)
        except PermissionError:
            pass  # another user's: still there
        return status


def _missing(own: int) -> str:
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    try:
        fcntl.ioctl(own, _GET_INFO, _INFO.pack(_INFO_EXIT, *[0] * 13))
    except OSError as error:
        reason = error.strerror or "refused"
    else:
        if release is None or (int(release[1]), int(release[2])) >= _EXIT_SINCE:
            return ""
        reason = "Linux 6.15 has it"
    return f"exit codes and signals of other users' processes are not known (no PIDFD_INFO_EXIT: {reason})"


def _info_status(fd: int) -> int | None:
    """Return the wait status of a reaped process, None if it is not reaped or the kernel does not say."""
    try:
        answer = fcntl.ioctl(fd, _GET_INFO, _INFO.pack(_INFO_EXIT, *[0] * 13))
    except OSError:
        return None  # no such ioctl (ENOTTY, EINVAL), or gone without a trace (ESRCH): nothing is known
    fields = _INFO.unpack(answer)
    return fields[-1] if fields[0] & _INFO_EXIT else None


def _zombie_status(pid: int, trusted: bool) -> int | None:
    """Return the wait status of a process that its parent has not reaped, if we may know it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None  # gone, or hidden: the caller asks again when it is reaped
    status = int(fields[49]) if fields[0] in (b"Z", b"X") else 0
    # To those who may not trace the process (ptrace(2)) every status is 0.
    return status if status or (trusted and fields[0] in (b"Z", b"X")) else None
