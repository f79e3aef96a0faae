"""The bounded look that each update takes at what it believes already, a piece at a time.

Nothing betrays a holder that closed its copy of a socket while others keep theirs, or one that was
passed a copy. The patrol goes round all processes and comes back to each after at most
sum(descriptors + 8 for each process) / PATROL + 1 updates; in every one on a small host. Thrifty
updates leave it out and don't count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from sockrec.kernel.descriptors import OpenFiles, Table, Work
from sockrec.kernel.holdings import Holdings

PATROL: Final = 256
"""Descriptors that each update may read again without any reason."""

# What opening one more table costs, in descriptors read.
_TABLE_COST: Final = 8

# Tables with more open than this are not listed but counted through: a listing can't be cut in pieces.
_LISTABLE: Final = 4096


@dataclass(slots=True)
class _Beat:
    """The table that the patrol is in: what it held when the patrol came, what is left to read."""

    table: Table
    held: dict[int, int]
    rest: Iterator[int] | None = None
    seen: set[int] = field(default_factory=set)


class Patrol:
    """Goes round all tables, `PATROL` descriptors at each call."""

    def __init__(self, holdings: Holdings, work: Work) -> None:
        self._holdings = holdings
        self._work = work
        self._round: list[int] = []
        self._beat: _Beat | None = None

    def go(self, pids: set[int], walked: set[int]) -> list[int]:
        """Read on where the last call stopped; return the pids whose tables must be walked whole.

        `pids`: all processes; `walked`: those read already in this update. Holders that are new are
        entered at once. One that seems to have lost a socket is returned: its table was read in
        pieces, between which descriptors may have moved.
        """
        suspects: list[int] = []
        visited = set(walked)
        begun = False
        credit = PATROL
        while credit > 0:
            if self._beat is None:
                if not self._round:
                    if begun:
                        break
                    begun = True
                    self._round = sorted(pids - visited, reverse=True)
                    continue
                credit -= self._enter(self._round.pop(), pids, visited, suspects)
            else:
                credit -= self._step(self._beat, credit, suspects)
        return suspects

    def _enter(self, pid: int, pids: set[int], visited: set[int], suspects: list[int]) -> int:
        """Begin with a process; return what that cost."""
        table = self._holdings.tables.get(pid)
        if pid not in pids or pid in visited or (table is not None and table.kernel_thread):
            return 0
        visited.add(pid)
        if table is None:
            suspects.append(pid)
            return _TABLE_COST
        self._beat = _Beat(table, dict(table.sockets))
        return _TABLE_COST

    def _step(self, beat: _Beat, credit: int, suspects: list[int]) -> int:
        """Read up to `credit` descriptors of a table; return how many it was."""
        table = beat.table
        self._beat = None
        if self._holdings.tables.get(table.pid) is not table:
            return 0
        read = 0
        try:
            with OpenFiles(table.pid) as files:
                if files.process()[0] != table.started:
                    suspects.append(table.pid)
                    return 0
                if beat.rest is None:
                    beat.rest = iter(files.numbers() if table.count <= _LISTABLE else range(table.top + 1))
                piece = list(islice(beat.rest, credit))
                read = len(piece)
                for number, inode in files.inodes(piece).items():
                    beat.seen.add(inode)
                    if inode in self._holdings.living and inode not in table.sockets:
                        self._holdings.hold(table, inode, number)
        except PermissionError:
            suspects.append(table.pid)
            return read
        except (FileNotFoundError, ProcessLookupError):
            return read  # the next listing will lack it
        finally:
            self._work.patrolled += read
        if read == credit:
            self._beat = beat
        elif any(i not in beat.seen and table.sockets.get(i) == number for i, number in beat.held.items()):
            suspects.append(table.pid)
        return read
