"""The exact moments of what a reading found changed: when a socket came into its state, when it left one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from socket import IPPROTO_TCP

import numpy as np
from numpy.typing import NDArray

from sockrec.kernel.transitions import Transitions
from sockrec.model.states import CLOSE, FIN_WAIT2, TIME_WAIT
from sockrec.recorder.events import endpoints
from sockrec.recorder.observed import INET_ROW
from sockrec.recorder.seen import NEVER, Condition, Ints, Mask, Rows

_REMNANTS = (TIME_WAIT, FIN_WAIT2)
_PAIR = ("family", "local_port", "remote_port", "local_high", "local_low", "remote_high", "remote_low")


class Moments:
    """Moments (recorded microseconds) of sockets in a state, by cookie or by pair of endpoints.

    Of the same socket and state the first moment counts, or the `latest`.
    """

    def __init__(self, *, latest: bool = False) -> None:
        self._latest = latest
        self._key = self._state = self._time = np.empty(0, np.int64)
        self._added: list[tuple[Ints, Ints, Ints]] = []

    def add(self, key: Ints, state: Ints, time: Ints) -> None:
        """Take more of them in."""
        if len(key):
            self._added.append((key, state, time))

    def forget(self, before: int) -> None:
        """Forget the moments before another."""
        self._order()
        kept = self._time >= before
        self._key, self._state, self._time = self._key[kept], self._state[kept], self._time[kept]

    def _order(self) -> None:
        """Put what was added in order, once somebody asks."""
        if not self._added:
            return
        parts = [(self._key, self._state, self._time), *self._added]
        key, state, time = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.lexsort((-time if self._latest else time, state, key))
        key, state, time = key[order], state[order], time[order]
        first = np.ones(len(key), np.bool_)
        first[1:] = (key[1:] != key[:-1]) | (state[1:] != state[:-1])
        self._key, self._state, self._time = key[first], state[first], time[first]
        self._added = []

    def find(self, key: Ints, state: Ints) -> Ints:
        """Return the moment of each socket in its state, `NEVER` for those not here."""
        found = np.full(len(key), NEVER)
        if not len(key):
            return found
        self._order()
        # A socket has a handful of states at most: step through them.
        place = np.searchsorted(self._key, key)
        looking = np.arange(len(key))
        while len(looking):
            looking = looking[place[looking] < len(self._key)]
            looking = looking[self._key[place[looking]] == key[looking]]
            hit = self._state[place[looking]] == state[looking]
            found[looking[hit]] = self._time[place[looking[hit]]]
            looking = looking[~hit]
            place[looking] += 1
        return found


@dataclass(slots=True)
class Exact:
    """What is known of one reading's changes; all times but those of `changes` are recorded microseconds.

    `changes` are the state changes that may have made them; from `complete_since` on none is missing.
    Of sockets that ended, by cookie: `left` has when they left which state, `closed` when they closed,
    `announced` by when they had, `told` whose last counters are in an event. By endpoints: `remnants` have
    when they closed, the surest first, and `announced_pairs` by when. `half_closed` are the cookies of
    remnants in FIN_WAIT2. `namespace_of` tells a thread's network namespace at a moment, None if unknown.
    `matched` are the kernel addresses that turned out to be ours, `remnant_keys` the cookies of new remnants.
    """

    anchor_us: int
    netns: int
    changes: Transitions
    complete_since: int
    left: Moments
    closed: Moments
    remnants: tuple[Moments, ...]
    announced: Moments
    announced_pairs: Moments
    told: Ints
    half_closed: set[int]
    namespace_of: Callable[[int, int], int | None]
    matched: set[int] = field(default_factory=set)
    remnant_keys: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    _pairs: Ints | None = None
    _order: Rows | None = None

    def entered(
        self, key: Ints, condition: Condition, fresh: Mask, after: Ints, until: int
    ) -> tuple[Ints, Mask]:
        """Return when each socket came into its state, and whether it is inferred from another's end.

        `NEVER` where the moment is not known. It was not in that state at `after`, and was at `until`;
        `fresh` marks those that were not seen at all. What the kernel leaves of a socket (TIME_WAIT, or
        FIN_WAIT2 without a process) has a cookie of its own, if nobody had asked for the socket's before.
        """
        column = dict(zip(INET_ROW, condition, strict=True))
        state, found = column["state"].astype(np.int64), np.full(len(key), NEVER)
        left = fresh & np.isin(state, _REMNANTS) & (column["inode"] == 0)
        places = np.flatnonzero(left)
        pairs = endpoints.mixed(column[name][places] for name in _PAIR)
        found[places] = self.closed.find(key[places], np.zeros(len(places), np.int64))
        for moments in self.remnants:
            missing = found[places] == NEVER
            zero = np.zeros(int(missing.sum()), np.int64)
            found[places[missing]] = moments.find(pairs[missing], zero)
        found[(found < after) | (found > until)] = NEVER
        inferred = found != NEVER
        bound = self.announced_pairs.find(pairs, np.zeros(len(places), np.int64))
        inferred[places[bound >= after[places]]] = True
        self.remnant_keys = key[inferred]
        half = np.flatnonzero(inferred & (state == FIN_WAIT2))
        self.half_closed.update(key[half].tolist())
        inferred |= ~fresh & self._is_half_closed(key, state == TIME_WAIT)
        waits = ~inferred & (state == TIME_WAIT)
        found[waits] = self.closed.find(key[waits], np.zeros(int(waits.sum()), np.int64))
        rows = np.flatnonzero(
            ~inferred
            & ~waits
            & (state != CLOSE)  # bound: no change made it so
            & (column["protocol"] == IPPROTO_TCP)
            & (after >= self.complete_since)
        )
        self._match(rows, column, self.changes.new_state, found, after, until, last=True)
        found[(found < after) | (found > until)] = NEVER
        return found, inferred

    def leave(self, key: Ints, condition: Condition, after: Ints, until: int) -> tuple[Ints, Mask, Mask]:
        """Return by when each socket had left its state, whether that is exact, and whether it is a remnant.

        `NEVER` where the moment is not known. It was in it at `after`, and no more at `until`.
        """
        column = dict(zip(INET_ROW, condition, strict=True))
        found = self.left.find(key, column["state"].astype(np.int64))
        tcp = column["protocol"] == IPPROTO_TCP
        rows = np.flatnonzero(tcp & (found == NEVER) & (after >= self.complete_since))
        self._match(rows, column, self.changes.old_state, found, after, until, last=False)
        found[(found < after) | (found > until)] = NEVER
        exact = found != NEVER
        bound = self.announced.find(key, np.zeros(len(key), np.int64))
        # It comes as TIME_WAIT begins.
        told = (
            ~exact & (column["state"] != TIME_WAIT) & (bound != NEVER) & (bound >= after) & (bound <= until)
        )
        found[told] = bound[told]
        return found, exact, self._is_half_closed(key, column["state"] == FIN_WAIT2)

    def _is_half_closed(self, key: Ints, may: Mask) -> Mask:
        """Mark what is left of sockets that had closed before the peer did."""
        mask = np.zeros(len(key), np.bool_)
        if self.half_closed:
            rows = np.flatnonzero(may)
            mask[rows] = [one in self.half_closed for one in key[rows].tolist()]
        return mask

    def _match(
        self,
        rows: Rows,
        column: dict[str, NDArray[np.int64]],
        states: NDArray[np.uint8],
        found: Ints,
        after: Ints,
        until: int,
        *,
        last: bool,
    ) -> None:
        """Fill in the moments of the changes to, or from, the states of some rows, by their endpoints.

        All changes of that time are here. Where they are of one kernel address, it is the socket's; where
        they are of several, the namespaces of the threads that made them must tell.
        """
        if not len(rows) or not len(self.changes):
            return
        pairs, order = self._sorted()
        wanted = endpoints.mixed(column[name][rows] for name in _PAIR)
        first = np.searchsorted(pairs, wanted)
        count = np.searchsorted(pairs, wanted, side="right") - first
        row = np.repeat(rows, count)
        places = order[np.repeat(first - np.cumsum(count) + count, count) + np.arange(count.sum())]
        times = self.changes.times[places] // 1000 + self.anchor_us
        may = (states[places] == column["state"][row]) & (times >= after[row]) & (times <= until)
        row, times, address = row[may], times[may], self.changes.skaddr[places[may]]
        if not len(row):
            return
        starts = np.flatnonzero(np.diff(row, prepend=-1))
        lowest, highest = np.minimum.reduceat(address, starts), np.maximum.reduceat(address, starts)
        pick = np.maximum if last else np.minimum
        alone = lowest == highest
        found[row[starts[alone]]] = pick.reduceat(times, starts)[alone]
        self.matched.update(lowest[alone].tolist())
        for group in np.flatnonzero(~alone).tolist():
            some = slice(starts[group], starts[group + 1] if group + 1 < len(starts) else None)
            ours = [one for one in set(address[some].tolist()) if self._is_ours(one)]
            if len(ours) == 1:
                found[row[starts[group]]] = pick.reduce(times[some][address[some] == ours[0]])
                self.matched.add(ours[0])

    def _is_ours(self, skaddr: int) -> bool:
        """Say whether a socket of several with the same endpoints is of this namespace."""
        places = np.flatnonzero((self.changes.skaddr == skaddr) & (self.changes.thread >= 0))
        return any(
            self.namespace_of(thread, at) == self.netns
            for thread, at in zip(
                self.changes.thread[places].tolist(), self.changes.times[places].tolist(), strict=True
            )
        )

    def _sorted(self) -> tuple[Ints, Rows]:
        if self._pairs is None or self._order is None:
            changes = self.changes
            pairs = endpoints.of_pairs(
                changes.family, changes.local, changes.remote, changes.local_port, changes.remote_port
            )
            self._order = np.argsort(pairs, kind="stable")
            self._pairs = pairs[self._order]
        return self._pairs, self._order
