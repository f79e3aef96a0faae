"""Owners as the ledger numbers them, and the processes among them as rows that begin and end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sockrec.errors import KernelError
from sockrec.kernel import host, processes
from sockrec.kernel.owners import Owners
from sockrec.kernel.processes import Process
from sockrec.recorder.seen import Ints, Mask, Times

# A title that a server writes over its argv is found within this many processes' worth of samples.
REREAD_A_SAMPLE = 64

_PEOPLED = frozenset({1, 2, 3, 7, 8, 10, 12})  # TCP states in which no process has let go yet


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a socket: the columns pid, program, holders and owner of the sockets table."""

    pid: int | None
    program: str | None
    holders: tuple[int, ...]
    known: str


@dataclass(slots=True)
class _Tracked:
    process: Process
    row: int
    first_seen: int
    last_seen: int


@dataclass(frozen=True, slots=True)
class BegunProcess:
    """A process row that begins."""

    process: Process
    begun_as: str
    begun_after: int | None
    first_seen: int


@dataclass(frozen=True, slots=True)
class EndedProcess:
    """A process row that ends: its journal row number, its last evidence, the first against it, and how."""

    row: int
    last_seen: int
    ended_by: int
    ended_as: str


class Ownership:
    """Every owner in use, by number, and every process that is or was one and still lives."""

    def __init__(self, anchor_us: int) -> None:
        self.owners: list[Owner] = []
        self.begun: list[BegunProcess] = []
        self.ended: list[EndedProcess] = []
        self._anchor_us = anchor_us
        self._walker = Owners()
        self._numbers: dict[Owner, int] = {}
        self._tracked: dict[int, _Tracked] = {}
        self._rows = 0
        self._reread_from = 0
        self._times = Times(0, 0)
        self._first = True

    def update(self, inodes: Ints, times: Times, boot_us: int, thrifty: bool = False) -> Ints:
        """Look for the holders of all sockets alive now; return the inodes whose holders changed."""
        self.begun, self.ended = [], []
        self._first = not self._times.ended
        self._times = times
        changed = self._walker.update(inodes, boot_us, thrifty)
        self._check_processes()
        return np.fromiter(changed, np.int64, len(changed))

    def number(self, inode: Ints, state: Ints, before: Ints, same: Mask, changed: Ints) -> Ints:
        """Return each socket's owner as an index of `owners`.

        `before` holds the numbers of the last sample (-1: a new socket), `same` marks the sockets
        with the inode they had; only the others, and those in `changed`, are looked at one by one.
        """
        number = before.copy()
        look = ~same | (before < 0)
        if len(changed) and not look.all():
            look |= np.isin(inode, changed)
        places = np.flatnonzero(look)
        holders = self._walker.holders_of_each(inode[places].tolist())
        # Most sockets of a process have the same holders: one owner is made of them.
        held = {several: self._intern(self._held(several)) for several in dict.fromkeys(holders) if several}
        number[places] = [held.get(several, -1) for several in holders]
        places = places[number[places] < 0]
        unheld: dict[tuple[int, str], int] = {}
        columns = (inode[places].tolist(), state[places].tolist(), before[places].tolist())
        for place, one_inode, one_state, last in zip(places.tolist(), *columns, strict=True):
            known = last, self._why(one_inode, one_state)
            if known not in unheld:
                unheld[known] = self._intern(self._unheld(*known))
            number[place] = unheld[known]
        return number

    @property
    def pids(self) -> list[int]:
        """The processes that hold sockets, as last looked."""
        return list(self._tracked)

    def program_of(self, pid: int) -> str | None:
        """Return the program of a process that holds sockets, None of any other."""
        tracked = self._tracked.get(pid)
        return None if tracked is None else processes.program(tracked.process)

    def carry(self, used: Ints, began: int, begun_as: str = "carried") -> tuple[list[BegunProcess], Ints]:
        """Begin a new journal part: all live processes again, and what each owner's number becomes."""
        kept = np.unique(used)
        renumber = np.zeros(len(self.owners), np.int64)
        renumber[kept] = np.arange(len(kept))
        self.owners = [self.owners[old] for old in kept.tolist()]
        self._numbers = {owner: number for number, owner in enumerate(self.owners)}
        begun = []
        for row, tracked in enumerate(self._tracked.values()):
            tracked.row = row
            tracked.first_seen = max(tracked.first_seen, began)
            after = tracked.first_seen if begun_as == "carried" else None
            begun.append(BegunProcess(tracked.process, begun_as, after, tracked.first_seen))
        self._rows = len(begun)
        return begun, renumber

    def _intern(self, owner: Owner) -> int:
        number = self._numbers.setdefault(owner, len(self.owners))
        if number == len(self.owners):
            self.owners.append(owner)
        return number

    def descriptors(self, owner: Ints, inode: Ints) -> tuple[Ints, Ints, Ints]:
        """Return the descriptors known of sockets, given by owner's number and inode.

        Of each descriptor: the place of its socket among those given, which ascends, its process, its number.
        """
        order = np.argsort(owner, kind="stable")
        numbers, begins = np.unique(owner[order], return_index=True)
        places, pids, fds = [], [], []
        ends = np.append(begins, len(order))[1:]
        for number, begin, end in zip(numbers.tolist(), begins.tolist(), ends.tolist(), strict=True):
            known, of_one = self.owners[number], order[begin:end]
            if known.known != "held":
                continue
            for pid, which, several in self._walker.descriptors(known.holders, inode[of_one].tolist()):
                places.append(of_one[which])
                pids.append(np.full(len(several), pid))
                fds.append(np.array(several, np.int64))
        if not places:
            nothing = np.empty(0, np.int64)
            return nothing, nothing, nothing
        place = np.concatenate(places)
        sort = np.argsort(place, kind="stable")
        return place[sort], np.concatenate(pids)[sort], np.concatenate(fds)[sort]

    def _held(self, holders: tuple[int, ...]) -> Owner:
        for other in holders[1:]:
            self._program(other)  # each holder has its row in `processes`
        return Owner(holders[0], self._program(holders[0]), holders, "held")

    def _unheld(self, last: int, why: str) -> Owner:
        """Return the owner of a socket that nobody holds now, by its last owner's number (-1: none)."""
        before = self.owners[last] if last >= 0 else None
        if before is not None and before.pid is not None:
            return Owner(before.pid, before.program, before.holders, "last")
        return Owner(None, None, (), why)

    def _why(self, inode: int, state: int) -> str:
        if inode:
            return self._walker.reason(inode)
        return "kernel" if state in _PEOPLED else "exited"

    def _program(self, pid: int) -> str | None:
        if pid not in self._tracked:
            process = self._read(pid)
            if process is None:
                return None
            self._begin(process, "found" if self._first else "opened")
        return processes.program(self._tracked[pid].process)

    def _read(self, pid: int) -> Process | None:
        try:
            return processes.read(pid, self._anchor_us)
        except KernelError:  # hidden by hidepid or a security module: known by its number alone
            return None

    def _begin(self, process: Process, begun_as: str) -> None:
        after = None if begun_as == "found" else process.start_us
        if begun_as == "changed":
            after = self._tracked[process.pid].last_seen
        ended = self._times.ended
        self._tracked[process.pid] = _Tracked(process, self._rows, ended, ended)
        self._rows += 1
        self.begun.append(BegunProcess(process, begun_as, after, ended))

    def _end(self, tracked: _Tracked, ended_as: str) -> None:
        # The evidence came after the sockets were read: the process may have ended meanwhile.
        by = self._times.ended if ended_as == "changed" else host.boot_us() + self._anchor_us
        self.ended.append(EndedProcess(tracked.row, tracked.last_seen, by, ended_as))

    def _check_processes(self) -> None:
        """End the rows of processes that are gone, and read a few of the others again."""
        for pid, tracked in list(self._tracked.items()):
            if pid in self._walker.processes:
                tracked.last_seen = max(tracked.first_seen, self._times.began)
            else:
                self._end(tracked, "closed")
                del self._tracked[pid]
        pids = list(self._tracked)
        turn = pids[self._reread_from : self._reread_from + REREAD_A_SAMPLE]
        self._reread_from = self._reread_from + len(turn) if len(turn) == REREAD_A_SAMPLE else 0
        for pid in turn:
            self._reread(self._tracked[pid])

    def _reread(self, tracked: _Tracked) -> None:
        before = tracked.process
        if processes.read_argv(before.pid) in {before.argv, None}:
            return
        now = self._read(before.pid)
        if now is None:
            return
        if not now.argv and now.exe is None and before.exe is not None:
            self._end(tracked, "closed")  # a zombie: it exited, its parent has not looked yet
            del self._tracked[before.pid]
        elif now.start_us != before.start_us:
            self._end(tracked, "closed")
            self._begin(now, "opened")
        else:
            self._end(tracked, "changed")
            self._begin(now, "changed")
