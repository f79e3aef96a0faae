"""The exact moments of what a reading found changed: when a socket came into its state, when it left one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from socket import IPPROTO_TCP
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sockrec.kernel.transitions import Transitions
from sockrec.model.states import CLOSE, FIN_WAIT2, TIME_WAIT
from sockrec.recorder import endpoints
from sockrec.recorder.observed import INET_ROW
from sockrec.recorder.seen import NEVER, Condition, Ints, Mask, Rows

NO_END: Final = int(np.iinfo(np.int64).max)
_REMNANTS: Final = (TIME_WAIT, FIN_WAIT2)
_PAIR = ("family", "local_port", "remote_port", "local_high", "local_low", "remote_high", "remote_low")


class Moments:
    """Moments (recorded microseconds) of sockets in a state, by cookie or by pair of endpoints."""

    def __init__(self) -> None:
        self._key = self._state = self._time = np.empty(0, np.int64)
        self._added: list[tuple[Ints, Ints, Ints]] = []

    def add(self, key: Ints, state: Ints, time: Ints) -> None:
        """Take more of them in."""
        if len(key):
            self._added.append((key, state, time))

    def forget(self, before: int) -> None:
        """Forget the moments before another."""
        self._put_in_order()
        kept = self._time >= before
        self._key, self._state, self._time = self._key[kept], self._state[kept], self._time[kept]

    def first(self, key: Ints, state: Ints) -> Ints:
        """Return the first moment of each socket in its state, `NEVER` for those not here."""
        self._put_in_order()
        place = np.searchsorted(self._key, key)
        return self._step(place, 1, key, lambda rows, places: self._state[places] == state[rows])

    def latest(self, key: Ints, until: int) -> Ints:
        """Return the last moment of each socket in any state that is not after another."""
        self._put_in_order()
        place = np.searchsorted(self._key, key, side="right") - 1
        return self._step(place, -1, key, lambda _, places: self._time[places] <= until)

    def _put_in_order(self) -> None:
        """Order what was added by key and time, once somebody asks."""
        if not self._added:
            return
        parts = [(self._key, self._state, self._time), *self._added]
        key, state, time = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.lexsort((time, key))
        self._key, self._state, self._time = key[order], state[order], time[order]
        self._added = []

    def _step(self, place: Rows, by: int, key: Ints, hits: Callable[[Rows, Rows], Mask]) -> Ints:
        """Return the moment where each search hits, going from place to place while the key is the same."""
        found = np.full(len(key), NEVER)
        looking = np.arange(len(key))
        while len(looking):
            looking = looking[(place[looking] >= 0) & (place[looking] < len(self._key))]
            looking = looking[self._key[place[looking]] == key[looking]]
            hit = hits(looking, place[looking])
            found[looking[hit]] = self._time[place[looking[hit]]]
            looking = looking[~hit]
            place[looking] += by
        return found


@dataclass(slots=True)
class Exact:
    """What is known of one reading's changes; all times but those of `changes` are recorded microseconds.

    `changes` are the state changes that may have made them; from `complete_since` on none is missing.
    Of sockets that ended, by cookie: `left` has when they left which state, `closed` when they closed,
    `announced` by when they had, `told` whose last counters are in an event. By endpoints: `remnants` have
    when they closed, the surest first, and `announced_pairs` by when. `half_closed` are the cookies of
    remnants in FIN_WAIT2. `namespace_of` tells a thread's network namespace at a moment, None if unknown.
    `matched` are the kernel addresses that turned out to be ours, `left_at` those of sockets that left their
    state and have not ended, by cookie; `remnant_keys` are the cookies of new remnants.
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
    left_at: dict[int, int] = field(default_factory=dict)
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
        found[places] = self.closed.latest(key[places], until)
        for moments in self.remnants:
            missing = found[places] == NEVER
            found[places[missing]] = moments.latest(pairs[missing], until)
        found[(found < after) | (found > until)] = NEVER
        inferred = found != NEVER
        bound = self.announced_pairs.latest(pairs, NO_END)
        inferred[places[bound >= after[places]]] = True
        self.remnant_keys = key[inferred]
        half = np.flatnonzero(inferred & (state == FIN_WAIT2))
        self.half_closed.update(key[half].tolist())
        inferred |= ~fresh & self._is_half_closed(key, state == TIME_WAIT)
        waits = ~inferred & (state == TIME_WAIT)
        found[waits] = self.closed.latest(key[waits], until)
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
        found = self.left.first(key, column["state"].astype(np.int64))
        tcp = column["protocol"] == IPPROTO_TCP
        rows = np.flatnonzero(tcp & (found == NEVER) & (after >= self.complete_since))
        address = self._match(rows, column, self.changes.old_state, found, after, until, last=False)
        found[(found < after) | (found > until)] = NEVER
        held = np.flatnonzero(address)
        self.left_at.update(zip(key[held].tolist(), address[held].tolist(), strict=True))
        exact = found != NEVER
        bound = self.announced.latest(key, NO_END)
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
    ) -> Ints:
        """Fill in the moments of the changes to, or from, the states of some rows, by their endpoints.

        Returns the kernel address of each socket so found, 0 for the others.

        All changes of that time are here. Where they are of one kernel address, it is the socket's; where
        they are of several, the namespaces of the threads that made them must tell.
        """
        address_of = np.zeros(len(found), np.int64)
        if not len(rows) or not len(self.changes):
            return address_of
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
            return address_of
        starts = np.flatnonzero(np.diff(row, prepend=-1))
        lowest, highest = np.minimum.reduceat(address, starts), np.maximum.reduceat(address, starts)
        pick = np.maximum if last else np.minimum
        alone = lowest == highest
        found[row[starts[alone]]] = pick.reduceat(times, starts)[alone]
        self.matched.update(lowest[alone].tolist())
        address_of[row[starts[alone]]] = lowest[alone]
        for group in np.flatnonzero(~alone).tolist():
            some = slice(starts[group], starts[group + 1] if group + 1 < len(starts) else None)
            ours = [one for one in set(address[some].tolist()) if self._is_ours(one)]
            if len(ours) == 1:
                found[row[starts[group]]] = pick.reduce(times[some][address[some] == ours[0]])
                self.matched.add(ours[0])
                address_of[row[starts[group]]] = ours[0]
        return address_of

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
