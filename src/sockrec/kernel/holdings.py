"""The books of who holds what: sockets alive, their holders, and what an update changed about them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from sockrec.kernel.descriptors import Table

Inodes = npt.NDArray[np.int64]


class Holdings:
    """Holders by inode and descriptor tables by pid, kept in step.

    A socket that loses its last holder keeps it until it is seen alive once more: such a socket is
    normally gone itself by the next reading, and was read just before its holder went.
    """

    def __init__(self) -> None:
        self.tables: dict[int, Table] = {}
        self.living: set[int] = set()
        self.missing: set[int] = set()
        """Inodes alive whose holders are to be found."""
        self._sorted = np.empty(0, np.int64)
        self._holders: dict[int, tuple[int, ...]] = {}
        # New since an update last came to its end, and those of them that nobody is known to hold.
        self._untold: set[int] = set()
        self._newcomers: set[int] = set()
        # What the holders were before this update, where it touched them; newcomers had none.
        self._before: dict[int, tuple[int, ...]] = {}
        self._orphans: set[int] = set()
        self._disowned: set[int] = set()
        # Found in a table but not asked about yet: most will be, in the next update.
        self._ahead: set[int] = set()

    def holders(self, inode: int) -> tuple[int, ...]:
        """Return the pids that hold a socket, ascending."""
        return self._holders.get(inode, ())

    def holders_of_each(self, inodes: Iterable[int]) -> list[tuple[int, ...]]:
        """Return the same for each of many sockets."""
        holders = self._holders
        return [holders.get(inode, ()) for inode in inodes]

    def begin(self, inodes: Inodes) -> tuple[set[int], list[int]]:
        """Make these the living inodes and forget the rest; return the new and the dead ones.

        New are all that are since an update last came to its `end`.
        Fills `missing` with those that nobody is known to hold.
        """
        now = inodes if np.all(inodes[:-1] < inodes[1:]) else np.unique(inodes)
        fresh: list[int] = []
        dead: list[int] = []
        if not np.array_equal(now, self._sorted):
            fresh, dead = (some.tolist() for some in _differences(now, self._sorted))
            self._sorted = now.copy()
            self.living.difference_update(dead)
            self.living.update(fresh)
            self.missing.difference_update(dead)
            self._orphans.difference_update(dead)
            self._untold.difference_update(dead)
            self._untold.update(fresh)
            for table, number, inode in self._drop(dead):
                table.held = True
                table.vacated[number] = inode
        if self._ahead:
            for table, number, inode in self._drop(self._ahead - self.living):
                # A process of another network namespace, say, would have us look at all its sockets again.
                if table.held or table.sockets:
                    table.vacated[number] = inode
            self._ahead = set()
        self._newcomers = self._untold.difference(self._holders)
        self.missing |= self._newcomers
        for inode in self._orphans:
            self._note(inode)
            self._holders.pop(inode, None)
            self.missing.add(inode)
        self._disowned, self._orphans = self._orphans, set()
        return self._untold, dead

    def end(self) -> set[int]:
        """Leave new orphans with their last holders, and return the inodes whose holders changed.

        Those that `begin` told to be new are not among them, unless they had been found before.
        """
        changed = set()
        for inode, before in self._before.items():
            if inode not in self.living:
                continue
            if before and inode not in self._holders and inode not in self._disowned:
                self._holders[inode] = before
                self._orphans.add(inode)
            elif before != self.holders(inode):
                changed.add(inode)
        self._before, self._newcomers, self._untold = {}, set(), set()
        return changed

    def hold_all(self, table: Table, sockets: dict[int, int]) -> None:
        """Take note that a process holds these sockets, {inode: descriptor}, and maybe others."""
        # Of those that nobody was known to hold all are taken at once: a tenth of the time.
        first = self._newcomers.intersection(sockets).difference(self._holders)
        self._holders.update(dict.fromkeys(first, table.alone))
        self.missing -= first
        table.sockets.update(sockets)
        for inode in sockets.keys() - first if first else sockets:
            self.hold(table, inode, sockets[inode])

    def hold(self, table: Table, inode: int, number: int) -> None:
        """Take note that a process holds a socket, by that descriptor."""
        table.sockets[inode] = number
        holders = self._holders.get(inode)
        if not holders:
            self._note(inode)
            self._holders[inode] = table.alone
        elif table.pid not in holders:
            self._note(inode)
            self._holders[inode] = tuple(sorted((*holders, table.pid)))
        if inode in self.living:
            self.missing.discard(inode)
        else:
            self._ahead.add(inode)

    def release(self, table: Table, inodes: Iterable[int]) -> None:
        """Take note that a process no longer holds these sockets."""
        for inode in inodes:
            del table.sockets[inode]
            table.held = True
            self._note(inode)
            left = tuple(pid for pid in self.holders(inode) if pid != table.pid)
            if left:
                self._holders[inode] = left
                continue
            self._holders.pop(inode, None)
            if not self._before.get(inode) and inode in self.living:
                self.missing.add(inode)  # found and lost again within this update

    def leave(self, pid: int) -> None:
        """Forget a process."""
        table = self.tables.pop(pid, None)
        if table is not None:
            self.release(table, list(table.sockets))

    def sole(self, table: Table) -> dict[int, int]:
        """Return {inode: descriptor} of the sockets that nobody else holds: alive, so still held."""
        alone, holders = table.alone, self._holders
        return {inode: number for inode, number in table.sockets.items() if holders.get(inode) == alone}

    def _note(self, inode: int) -> None:
        if inode not in self._before and inode not in self._newcomers:
            self._before[inode] = self.holders(inode)

    def _drop(self, inodes: Iterable[int]) -> list[tuple[Table, int, int]]:
        """Forget inodes; return where they were, which is where new sockets are likely to be."""
        places = []
        for inode in inodes:
            for pid in self._holders.pop(inode, ()):
                table = self.tables.get(pid)
                if table is not None and (number := table.sockets.pop(inode, None)) is not None:
                    places.append((table, number, inode))
        return places


def _differences(one: Inodes, other: Inodes) -> tuple[Inodes, Inodes]:
    """Return what is only in the one of two sorted arrays, and what is only in the other."""
    both = np.concatenate((one, other))
    both.sort(kind="stable")  # merges two sorted runs: a tenth of the time of looking each up in the other
    differs = np.concatenate(([True], both[1:] != both[:-1], [True]))
    single = both[differs[1:] & differs[:-1]]
    in_one = np.searchsorted(one, single) != np.searchsorted(one, single, side="right")
    return single[in_one], single[~in_one]
