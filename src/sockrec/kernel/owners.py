"""Which processes hold which sockets, kept up to date with as little reading of /proc as can be.

The kernel tells it one way only: /proc/PID/fd/N of the holder links to `socket:[INODE]`. Reading
one such link takes 3 us, so a host's 100,000 descriptors take 0.4 s: too much for each sample.
Each update therefore lists /proc once and reads further only for a reason:

- a process is new: its whole table is read, and again one update later, when what it inherited
  and closed at exec is gone;
- an inode has no known holder: first the numbers are probed where the kernel will have put a new
  descriptor, then tables are walked, the most likely first, until the inode is found;
- and a bounded patrol goes round all tables (see `patrol`), for what nothing betrays.

A thrifty update leaves out the patrol and the walks that have no particular reason: what it does not
find is left to the next one that is not.

Threads share the descriptors of their process, and /proc/PID/fd shows those; a thread with a table
of its own (clone(2) without CLONE_FILES, unshare(2) with it) is not looked into. Nor are sockets
held by the kernel alone, in flight in an SCM_RIGHTS message, or registered with an io_uring.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from sockrec.errors import KernelError
from sockrec.kernel import host
from sockrec.kernel.descriptors import OpenFiles, Table, Work, open_count
from sockrec.kernel.holdings import Holdings
from sockrec.kernel.patrol import Patrol

# Free numbers tried in a row before the higher ones are taken to be free as well.
_PATIENCE: Final = 64

# After walking every table in vain, unlikely ones rest this many times as long as that took.
_REST: Final = 20

# An inode that no table had is sought again after 1, 4, 16 s, then every 60 s.
_LONGEST_WAIT_US: Final = 60_000_000

# Why it is unknown who holds a socket, by how often every process was searched for it.
_BY_SEARCHES: Final = ("not looked for yet", "exited", "kernel")

_NEVER: Final = int(np.iinfo(np.int64).max)


@dataclass(slots=True)
class _Unexplained:
    """An inode alive without a holder: why, how often all tables were walked for it, when to look again.

    `thrifty` says that it was only looked for where it was likely, to save time.
    """

    reason: str
    searches: int
    again_us: int
    thrifty: bool


class Owners:
    """The holders of every socket inode asked about.

    `work` counts what that has cost. Memory is bounded by the sockets alive and the processes there are.
    """

    def __init__(self) -> None:
        self.work = Work()
        self._holdings = Holdings()
        self._tables = self._holdings.tables
        self._missing = self._holdings.missing
        self._patrol = Patrol(self._holdings, self.work)
        self._unexplained: dict[int, _Unexplained] = {}
        self._retry_us = _NEVER
        self._rest_until_us = 0
        self._listing: list[str] = []
        self._pids: set[int] = set()
        self._refused: set[int] = set()
        self._new: set[int] = set()
        self._young: set[int] = set()
        self._kernel_counts = open_count(os.getpid()) > 0
        self._initial_pid_namespace = _namespace_of_proc() == host.INITIAL_PID_NAMESPACE
        self._walked: set[int] = set()

    @property
    def refused(self) -> int:
        """How many processes there are now whose descriptors may not be read."""
        return len(self._refused)

    @property
    def processes(self) -> Set[int]:
        """The processes that /proc listed in the last update."""
        return self._pids

    def update(self, inodes: npt.NDArray[np.int64], now_us: int, thrifty: bool = False) -> set[int]:
        """Find the holders of the socket inodes alive now.

        `inodes`: unique, not 0; everything left out is forgotten, so after an incomplete reading
        the sockets that are believed to live on belong in it too. `now_us`: CLOCK_BOOTTIME. Returns
        the inodes, among those given, whose holders or reason changed, the new ones included. A
        socket whose last holder vanished keeps it for one more update: normally it is gone then.
        `thrifty`: look only where the holders of unknown inodes are likely to be. Raises `KernelError`
        if /proc can't be read; the next update takes it up where it stopped.
        """
        self.work.updates += 1
        self._walked = set()
        fresh, dead = self._holdings.begin(inodes)
        for inode in dead:
            self._unexplained.pop(inode, None)
        if now_us >= self._retry_us and not thrifty:
            waits = {inode: why.again_us for inode, why in self._unexplained.items()}
            self._missing.update(inode for inode, again_us in waits.items() if now_us >= again_us)
            self._retry_us = min((us for us in waits.values() if us > now_us), default=_NEVER)
        self._list_processes()
        for pid in sorted(self._new | self._young):
            self._walk(pid)
        changed = self._search(now_us, thrifty) if self._missing else set()
        for pid in [] if thrifty else self._patrol.go(self._pids, self._walked):
            self._walk(pid)
        changed |= self._holdings.end()
        for inode in [i for i in changed if self._holdings.holders(i)]:
            self._unexplained.pop(inode, None)
        return changed.union(fresh)

    def holders(self, inode: int) -> tuple[int, ...]:
        """Return the pids that hold a socket, ascending; none if they are unknown."""
        return self._holdings.holders(inode)

    def holders_of_each(self, inodes: Iterable[int]) -> list[tuple[int, ...]]:
        """Return the same for each of many sockets."""
        return self._holdings.holders_of_each(inodes)

    def descriptors(
        self, pids: Iterable[int], inodes: Sequence[int]
    ) -> list[tuple[int, list[int], list[int]]]:
        """Return through which descriptors some processes have some sockets open, as far as known.

        Of each process: its pid, and for each descriptor the place in `inodes` of its socket and its number.
        One that it made of another it had (dup(2)) is known when its table has been walked since.
        """
        tables = [table for pid in pids if (table := self._tables.get(pid)) is not None]
        return [(table.pid, *table.numbers_of(inodes)) for table in tables]

    def reason(self, inode: int) -> str:
        """Return why a socket has no known holder; '' if it has one.

        - `no permission`: some process's descriptors may not be read, or /proc hides processes;
        - `other namespace`: processes outside of this PID namespace can't be seen;
        - `not looked for yet`: not everywhere, to save time: a later update will;
        - `exited`: not found, though every process could be read: closed since, most likely;
        - `kernel`: not found in a later search of every process either, and still alive.
        """
        why = self._unexplained.get(inode)
        if why:
            return why.reason
        return "" if self._holdings.holders(inode) else "exited"

    def _list_processes(self) -> None:
        try:
            listing = os.listdir("/proc")  # noqa: PTH208 - in every update; names are all it takes
        except OSError as error:
            raise KernelError(f"can't list /proc: {error.strerror}") from error
        if listing == self._listing:
            return
        self._listing = listing
        pids = {int(name) for name in listing if name.isdecimal()}
        self._new |= pids - self._pids
        for pid in self._pids - pids:
            self._leave(pid)
        self._pids = pids

    def _leave(self, pid: int) -> None:
        """Forget a process that is gone."""
        for pids in (self._new, self._young, self._refused):
            pids.discard(pid)
        self._holdings.leave(pid)

    def _walk(self, pid: int, whole: bool = True) -> None:
        """Read a process's table; unless `whole`, only what is not explained by sockets still alive."""
        self._walked.add(pid)
        try:
            with OpenFiles(pid) as files:
                table = self._identify(pid, files)
                count = files.count()
                kept = {} if whole else self._holdings.sole(table)
                if kept:
                    numbers = files.numbers()
                    inodes = files.inodes(set(numbers).difference(kept.values()))
                else:
                    inodes = files.contents()
                    numbers = list(inodes)
        except PermissionError:
            self._refuse(pid)
            return
        except (FileNotFoundError, ProcessLookupError):
            return  # the next listing will lack it
        self.work.walks += 1
        self.work.descriptors += files.reads
        self._refused.discard(pid)
        seen = {inode: number for number, inode in inodes.items() if inode}
        still_open = set(numbers) if kept else ()
        lost = [i for i in table.sockets if i not in seen and kept.get(i) not in still_open]
        self._holdings.release(table, lost)
        table.several = _several(inodes, seen, {i: n for i, n in kept.items() if n in still_open})
        self._holdings.hold_all(table, seen)
        table.remember(numbers, count)
        born = pid in self._new and self.work.updates > 1
        self._new.discard(pid)
        self._young.discard(pid)
        if born and seen:
            self._young.add(pid)

    def _identify(self, pid: int, files: OpenFiles) -> Table:
        """Return the process's table, a new one if the pid is another process's now."""
        started, parent, kernel_thread = files.process()
        table = self._tables.get(pid)
        if table is not None and table.started != started:
            self._leave(pid)
            table = None
        if table is None:
            table = self._tables[pid] = Table(pid, started, parent, kernel_thread)
            self._new.add(pid)
        table.parent = parent
        return table

    def _refuse(self, pid: int) -> None:
        self.work.refusals += 1
        self._refused.add(pid)
        self._new.discard(pid)
        self._young.discard(pid)
        if table := self._tables.get(pid):
            self._holdings.release(table, list(table.sockets))

    def _search(self, now_us: int, thrifty: bool) -> set[int]:
        """Look for the missing inodes until all are found or every table was read, or every likely one.

        Returns those not found whose reason changed.
        """
        began = time.thread_time_ns()
        known = [table for table in self._tables.values() if table.sockets or table.held]
        for table in sorted(known, key=lambda table: -len(table.vacated)):
            if not self._missing:
                return set()
            if table.pid not in self._walked:
                self._probe(table)
        thorough = not thrifty and any(self._looked_for(inode) for inode in self._missing)
        complete = not thrifty
        for likely, pid in self._candidates(thorough, thrifty) if self._missing else []:
            if not self._missing:
                break
            if not likely and now_us < self._rest_until_us:
                complete = False
                break
            self._walk(pid, whole=thorough)
        if complete and self._missing:
            self._rest_until_us = now_us + _REST * (time.thread_time_ns() - began) // 1000
        changed = {inode for inode in self._missing if self._give_up(inode, now_us, complete, thrifty)}
        self._missing.clear()
        return changed

    def _probe(self, table: Table) -> None:
        """Look where the process's new descriptors will be: the lowest free numbers, and past the highest."""
        self.work.probes += 1
        try:
            with OpenFiles(table.pid) as files:
                free = sorted(number for number, inode in table.vacated.items() if not inode)
                occupied = sorted(table.vacated.keys() - free)
                while self._missing and occupied:
                    # To find so many takes as many reads: none is wasted.
                    several = len(self._missing)
                    self._look(table, occupied[:several], files)
                    del occupied[:several]
                missed = 0
                for number in free:
                    if not self._missing or missed == _PATIENCE:
                        break
                    missed = 0 if self._look(table, [number], files) else missed + 1
                while self._missing and self._look(table, [table.top + 1], files):
                    pass
                self.work.descriptors += files.reads
        except PermissionError:
            self._refuse(table.pid)
        except (FileNotFoundError, ProcessLookupError):
            pass  # the next listing will lack it

    def _look(self, table: Table, numbers: list[int], files: OpenFiles) -> bool:
        """Look at descriptors that may be new sockets'; return whether any is open."""
        inodes = files.inodes(numbers)
        sockets = {}
        for number in numbers:
            was = table.vacated.get(number, 0)
            inode = inodes.get(number)
            if inode is None:
                if was:
                    table.count -= 1
                    table.vacated[number] = 0
                continue
            table.vacated.pop(number, None)
            table.count += not was
            # If it is what it was, it is a socket that is not asked about: nothing to come back for.
            if inode not in (0, was):
                sockets[inode] = number
        if inodes:
            table.top = max(table.top, *inodes)
            self._holdings.hold_all(table, sockets)
        return bool(inodes)

    def _looked_for(self, inode: int) -> bool:
        """Return whether an inode was not found before, by more than a thrifty look."""
        why = self._unexplained.get(inode)
        return why is not None and not why.thrifty

    def _candidates(self, thorough: bool, thrifty: bool) -> list[tuple[bool, int]]:
        """Return (likely, pid) of the processes to walk, the most likely first.

        Likely is a process whose number of descriptors moved without explanation. Before the others
        of its kind comes who holds sockets, or is a parent or child of one that does. To be `thrifty`
        is to walk none but the likely, and nobody where the kernel does not tell that number.
        """
        if thrifty and not self._kernel_counts:
            return []
        holding = [table for table in self._tables.values() if table.sockets]
        family = {table.pid for table in holding} | {table.parent for table in holding}
        ranked = []
        for pid in self._pids - self._walked:
            table = self._tables.get(pid)
            if table is None:
                ranked.append((False, False, pid))
            elif thorough or not table.kernel_thread:
                near = pid in family or table.parent in family
                moved = open_count(pid) != table.count if self._kernel_counts else near
                ranked.append((moved, near, pid))
        ranked.sort(key=lambda rank: (not rank[0], not rank[1], rank[2]))
        return [(moved, pid) for moved, _, pid in ranked if moved or not thrifty]

    def _give_up(self, inode: int, now_us: int, complete: bool, thrifty: bool) -> bool:
        """Write down that an inode was not found; return whether that, or the reason, is new."""
        before = self._unexplained.get(inode)
        searches = (before.searches if before else 0) + complete
        if complete:
            again_us = now_us + min(4 ** min(searches - 1, 9) * 1_000_000, _LONGEST_WAIT_US)
        else:
            again_us = now_us if thrifty else self._rest_until_us
        self._retry_us = min(self._retry_us, again_us)
        self._unexplained[inode] = _Unexplained(
            self._why(searches), searches, again_us, thrifty and not searches
        )
        return before is None or before.reason != self._unexplained[inode].reason

    def _why(self, searches: int) -> str:
        # Where pid 1 is not listed, /proc is mounted with hidepid and hides others' processes.
        if self._refused or 1 not in self._pids:
            return "no permission"
        if not self._initial_pid_namespace:
            return "other namespace"
        return _BY_SEARCHES[min(searches, 2)]


def _several(
    inodes: dict[int, int], seen: dict[int, int], kept: dict[int, int]
) -> dict[int, tuple[int, ...]]:
    """Return the descriptors of each socket that has more than one.

    `inodes` are those read ({descriptor: inode}), `seen` one of each socket's among them, `kept` one of each
    ({inode: descriptor}) that was not read again.
    """
    sockets = sum(map(bool, inodes.values()))
    if sockets == len(seen) and kept.keys().isdisjoint(seen):
        return {}
    numbers: dict[int, list[int]] = {inode: [number] for inode, number in kept.items() if inode in seen}
    for number, inode in inodes.items():
        if inode:
            numbers.setdefault(inode, []).append(number)
    return {inode: tuple(sorted(several)) for inode, several in numbers.items() if len(several) > 1}


def _namespace_of_proc() -> int:
    """Return the PID namespace whose processes /proc shows: that of its pid 1, which may not be ours."""
    try:
        return Path("/proc/1/ns/pid").stat().st_ino
    except (PermissionError, FileNotFoundError):
        return host.pid_namespace()
