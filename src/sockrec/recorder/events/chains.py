"""The state changes of every TCP socket, kept until its end tells its cookie.

Recent ones, those since the last reading of all sockets, stand as they came. Older ones are of sockets
that live on, some of other namespaces: they lie ordered by kernel address, and are touched only as
their socket ends. What no reading found to be ours goes after a while.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from sockrec.kernel.arrays import NULL
from sockrec.kernel.transitions import Cookies, Transitions, tie
from sockrec.recorder.seen import Ints, Mask, Rows

# A socket that no reading shows (refused, and not closed yet) may still be ours for so long.
UNMATCHED_FOR_NS: Final = 60_000_000_000
# About 70 bytes each.
MOST: Final = 1 << 20
_DEAD_SHARE: Final = 4


def none() -> Transitions:
    """Return no state changes."""
    return blank(0)


def blank(n: int) -> Transitions:
    """Return n state changes of which nothing is known."""
    number, small, port = np.zeros(n, np.int64), np.zeros(n, np.uint8), np.zeros(n, np.int32)
    address = np.zeros((n, 16), np.uint8)
    return Transitions(number, number, small, small, small, address, address, port, port, number - 1)


def joined(*parts: Transitions) -> Transitions:
    """Return the state changes of all parts, one part after the other."""
    filled = [part for part in parts if len(part)]
    if len(filled) < 2:
        return filled[0] if filled else parts[0]
    return Transitions(
        *(np.concatenate([getattr(part, each.name) for part in filled]) for each in fields(Transitions))
    )


@dataclass(frozen=True, slots=True)
class Finished:
    """The changes of sockets that ended, by cookie and then by time, with the ends themselves.

    `cookie` is of each change; `known` marks the ends whose chain a reading had found to be ours.
    """

    changes: Transitions
    cookie: Ints
    ends: Cookies
    known: Mask


class Chains:
    """All state changes whose sockets have not ended."""

    def __init__(self) -> None:
        self.recent = none()
        self.forgotten = 0
        """How many were dropped for want of room."""
        self._old = none()
        self._ours: Mask = np.empty(0, np.bool_)
        self._dead: Mask = np.empty(0, np.bool_)

    def __len__(self) -> int:
        return len(self.recent) + len(self._old) - int(self._dead.sum())

    def add(self, changes: Transitions, ends: Cookies) -> Finished:
        """Take in what happened; return the chains of the sockets that ended."""
        taken = self._take(ends.skaddr)
        pool = joined(self._old.take(taken), self.recent, changes)
        cookie = tie(pool, ends)
        over = cookie != NULL
        self.recent = pool.take(~over)
        if len(self.recent) > MOST:
            self.forgotten += len(self.recent) - MOST
            self.recent = self.recent.take(np.arange(len(self.recent) - MOST, len(self.recent)))
        finished, cookie = pool.take(over), cookie[over]
        order = np.lexsort((finished.times, cookie))
        was_ours = np.zeros(len(pool), np.bool_)
        was_ours[: len(taken)] = self._ours[taken]
        ours = np.unique(cookie[was_ours[over]])
        return Finished(finished.take(order), cookie[order], ends, np.isin(ends.cookie, ours))

    def of(self, skaddr: int) -> Transitions:
        """Return what is kept of the socket at a kernel address, which has not ended, in order."""
        old = np.flatnonzero((self._old.skaddr == skaddr) & ~self._dead)
        new = np.flatnonzero(self.recent.skaddr == skaddr)
        found = joined(self._old.take(old), self.recent.take(new))
        return found.take(np.argsort(found.times, kind="stable"))

    def settle(self, before_ns: int, ours: Ints) -> None:
        """Put those from before a reading away; `ours` are kernel addresses that it found."""
        past = self.recent.times < before_ns
        fresh = self.recent.take(past)
        self.recent = self.recent.take(~past)
        stay = ~self._dead & (self._ours | (self._old.times > before_ns - UNMATCHED_FOR_NS))
        if len(fresh) or len(self._dead) > _DEAD_SHARE * int(stay.sum()):
            whole = joined(self._old.take(stay), fresh)
            mine = np.concatenate((self._ours[stay], np.zeros(len(fresh), np.bool_)))
            mine |= np.isin(whole.skaddr, ours)
            if len(whole) > MOST:
                self.forgotten += len(whole) - MOST
                newest = np.argsort(whole.times)[-MOST:]
                whole, mine = whole.take(newest), mine[newest]
            order = np.lexsort((whole.times, whole.skaddr))
            self._old, self._ours = whole.take(order), mine[order]
            self._dead = np.zeros(len(order), np.bool_)

    def clear(self) -> None:
        """Forget everything: changes were lost, and what is here could be taken for another socket's."""
        self.recent = self._old = none()
        self._ours = self._dead = np.empty(0, np.bool_)

    def _take(self, skaddr: Ints) -> Rows:
        """Return the places of old changes at these kernel addresses, which are dead from now on."""
        if not len(self._old) or not len(skaddr):
            return np.empty(0, np.intp)
        wanted = np.unique(skaddr)
        first = np.searchsorted(self._old.skaddr, wanted)
        count = np.searchsorted(self._old.skaddr, wanted, side="right") - first
        places: Rows = np.repeat(first - np.cumsum(count) + count, count) + np.arange(count.sum())
        places = places[~self._dead[places]]
        self._dead[places] = True
        return places
