"""The sockets in one process's descriptor table, read from /proc/PID/fd (proc_pid_fd(5)).

Links are read, not followed: stat(2) of a descriptor asks the file system behind it, which never
answers where a network file system has died.

A link costs about 2.5 us to read, most of it in the kernel, and 0.7 us to list: of a table without gaps
nothing but the end is listed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count, repeat
from types import TracebackType
from typing import Final

from sockrec.errors import KernelError

# PF_KTHREAD, include/linux/sched.h.
_KERNEL_THREAD: Final = 0x00200000

# Free numbers remembered of one table: the kernel hands out the lowest, so the lowest are enough.
_GAPS: Final = 1024

# Tables with fewer open than this are listed whole.
_FEW: Final = 64

# After so many closed numbers in a row the rest is listed.
_PATIENCE: Final = 8

_PREFIX: Final = "socket:["


@dataclass(slots=True)
class Work:
    """What finding owners has cost so far, in things done."""

    updates: int = 0
    walks: int = 0
    """Descriptor tables listed and read."""
    probes: int = 0
    """Descriptor tables of which only the likely numbers were looked at."""
    descriptors: int = 0
    """Descriptors read in walks and probes."""
    patrolled: int = 0
    """Descriptors read in the bounded look that each update takes at what it knows already."""
    refusals: int = 0
    """Times that a process's descriptors might not be read."""


@dataclass(slots=True)
class Table:
    """What is known of one process's descriptors.

    `started` is in clock ticks since boot: with the pid it tells one process from the next.
    `sockets` maps inode to a descriptor that refers to it. `vacated` maps descriptors where a new
    socket may have come since to the inode that was there, 0 where it was free when last looked at.
    `count` is how many were open by then, as the kernel counts them. `held` says that it was ever a holder.
    `several` maps the inodes that the last walk found more than one descriptor of to all of those.
    """

    pid: int
    started: int
    parent: int
    kernel_thread: bool = False
    count: int = 0
    top: int = -1
    sockets: dict[int, int] = field(default_factory=dict)
    vacated: dict[int, int] = field(default_factory=dict)
    held: bool = False
    several: dict[int, tuple[int, ...]] = field(default_factory=dict)
    alone: tuple[int, ...] = field(init=False)
    """The holders of a socket that only this process has: one object, however many such sockets."""

    def __post_init__(self) -> None:
        self.alone = (self.pid,)

    def numbers_of(self, inodes: Sequence[int]) -> tuple[list[int], list[int]]:
        """Return the descriptors known to refer to sockets: the place in `inodes` of each, and its number."""
        one_each = list(map(self.sockets.get, inodes, repeat(-1)))
        if not self.several and -1 not in one_each:
            return list(range(len(inodes))), one_each
        found = [
            (place, number)
            for place, (inode, one) in enumerate(zip(inodes, one_each, strict=True))
            if one >= 0
            for number in self.several.get(inode, (one,))
        ]
        return [place for place, _ in found], [number for _, number in found]

    def remember(self, numbers: list[int], count: int) -> None:
        """Take over what a walk has found open: descriptor numbers, and how many there were."""
        self.count = count or len(numbers)
        self.top = max(numbers, default=-1)
        span = min(self.top, len(numbers) + _GAPS)
        self.vacated = dict.fromkeys(sorted(set(range(span)).difference(numbers))[:_GAPS], 0)


class OpenFiles:
    """One process's /proc/PID/fd, held open: every answer is about that process, or an error.

    Raises, here and in each method, `PermissionError` where it may not be read, `FileNotFoundError`
    or `ProcessLookupError` once the process is gone, and `KernelError` for all else. `reads` counts links.
    """

    def __init__(self, pid: int) -> None:
        try:
            self._folder = os.open(f"/proc/{pid}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (PermissionError, FileNotFoundError, ProcessLookupError):
            raise
        except OSError as error:
            raise KernelError(f"can't open /proc/{pid}/fd: {error.strerror}") from error
        self.reads = 0
        # Among our own descriptors is the folder itself, which is about to go: it does not count.
        self._own = self._folder if pid == os.getpid() else -1

    def __enter__(self) -> OpenFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._folder)

    def process(self) -> tuple[int, int, bool]:
        """Return start time in clock ticks since boot, parent pid, and whether it is a kernel thread."""
        fd = os.open("../stat", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder)
        try:
            # comm may hold anything but is at most 64 bytes; what follows are numbers.
            fields = os.read(fd, 4096).rpartition(b")")[2].split()
        finally:
            os.close(fd)
        return int(fields[19]), int(fields[1]), bool(int(fields[6]) & _KERNEL_THREAD)

    def count(self) -> int:
        """Return how many descriptors are open; 0 before Linux 6.2, which does not tell."""
        return os.fstat(self._folder).st_size - (self._own >= 0)

    def numbers(self) -> list[int]:
        """Return the numbers of the open descriptors."""
        names = os.listdir(self._folder)  # noqa: PTH208 - pathlib can't list an open folder
        numbers = list(map(int, names))
        if self._own >= 0:  # and the copy of it that listdir made
            numbers = list(self.inodes(numbers))
        return numbers

    def contents(self) -> dict[int, int]:
        """Return {descriptor: inode of its socket, 0 if it is none} of all that are open."""
        low = self.inodes(count(), _PATIENCE) if self.count() > _FEW else {}
        rest = self._numbers_above(max(low)) if low else self.numbers()
        return low | self.inodes(rest)

    def inodes(self, numbers: Iterable[int], patience: int | None = None) -> dict[int, int]:
        """Return the same of these numbers; stop once more than `patience` in a row are not open."""
        readlink, folder = os.readlink, self._folder
        targets: dict[int, str] = {}
        missed = missed_in_a_row = 0
        # Little is done between one link and the next: straight from the kernel all Python is slow.
        for number in numbers:
            try:
                targets[number] = readlink(str(number), dir_fd=folder)
                missed_in_a_row = 0
            except FileNotFoundError:
                missed += 1
                missed_in_a_row += 1
                if patience is not None and missed_in_a_row > patience:
                    break
            except PermissionError:
                # Said of what is gone, too: proc_fd_access_allowed(), fs/proc/base.c. Then this raises.
                self.process()
                raise
        self.reads += len(targets) + missed
        targets.pop(self._own, None)
        begin = len(_PREFIX)
        return {
            number: int(target[begin:-1]) if target.startswith(_PREFIX) else 0
            for number, target in targets.items()
        }

    def _numbers_above(self, number: int) -> list[int]:
        """Return the numbers of the open descriptors above one that was open just now."""
        # The position in the listing is the descriptor's number, after `.` and `..`: proc_readfd_common(),
        # fs/proc/fd.c. Where what comes first is not the one expected, all are listed.
        os.lseek(self._folder, number + 2, os.SEEK_SET)
        listed = list(map(int, os.listdir(self._folder)))  # noqa: PTH208 - as in `numbers`
        if listed[:1] != [number]:
            os.lseek(self._folder, 0, os.SEEK_SET)
            listed = self.numbers()
        return [other for other in listed if other > number]


def open_count(pid: int) -> int:
    """Return how many descriptors a process has open; 0 if it is gone, or before Linux 6.2."""
    try:
        return os.stat(f"/proc/{pid}/fd").st_size  # noqa: PTH116 - asked of every process, and Path doubles it
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
