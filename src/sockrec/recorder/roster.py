"""The roster: every live socket of one kind, as arrays in the kernel's order, and what a reading changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from sockrec.model.states import CLOSE
from sockrec.recorder import ranks
from sockrec.recorder.activity import Activity, Fields, Moved, filled
from sockrec.recorder.seen import NEVER, Condition, Ints, Mask, Match, Observed, Rows, Scope, Times, in_scope

SAMPLE: Final = 0
EVENT: Final = 1
INFERRED: Final = 2


class Exact(Protocol):
    """What events tell of the changes that a reading found; all arrays are of n sockets.

    `condition` is what they are in, or were in; times are recorded microseconds.
    """

    told: Ints
    """Sockets whose last counters are written elsewhere."""

    def entered(
        self, key: Ints, condition: Condition, fresh: Mask, after: Ints, until: int
    ) -> tuple[Ints, Mask]:
        """Return when each came into its state, between two moments, and whether that is inferred.

        `NEVER` where it is not known; `fresh` marks those not seen before.
        """

    def leave(self, key: Ints, condition: Condition, after: Ints, until: int) -> tuple[Ints, Mask, Mask]:
        """Return by when each had left its state, whether just then, and whether another's end tells it all.

        `NEVER` where the moment is not known.
        """


@dataclass(frozen=True, slots=True)
class Ended:
    """Rows that ended: journal row numbers, last evidence of each, first evidence against it, and how.

    `told` says how each is known (`SAMPLE`, `EVENT`, `INFERRED`), None for by sample.
    """

    row: Ints
    last_seen: Ints
    ended_by: Ints
    ended_as: str
    told: NDArray[np.int8] | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """Rows that began: their places in the roster now, and how; `told` as in `Ended`."""

    places: Rows
    begun_after: Ints | None
    first_seen: Ints
    begun_as: str
    told: NDArray[np.int8] | None = None


@dataclass(frozen=True, slots=True)
class Gone:
    """Sockets that the last reading did not find any more, as they were; `used` as in `Roster`."""

    key: Ints
    state: Ints
    inode: Ints
    owner: Ints
    last_seen: Ints
    used: Mask


@dataclass(frozen=True, slots=True)
class Step:
    """What one reading changed. Rows of `begun` are numbered in the order they stand here."""

    ended: tuple[Ended, ...]
    begun: tuple[Begun, ...]
    moved: Moved

    @property
    def changes(self) -> int:
        """How many rows began or ended, those only carried along not counted."""
        return sum(len(end.row) for end in self.ended if end.ended_as == "closed") + sum(
            len(begin.places) for begin in self.begun if begin.begun_as != "carried"
        )


class Roster:
    """Every live socket of one kind.

    `inode_row`, `owner_row` and `state_row` are the indices of these in `condition`; `fields` and
    `pace_us` tell of its activity. `used` marks sockets that some reading saw in another state than CLOSE.
    """

    def __init__(
        self,
        conditions: int,
        fields: Fields,
        *,
        inode_row: int,
        owner_row: int,
        state_row: int,
        pace_us: int | None,
    ) -> None:
        self.key: Ints = np.empty(0, np.int64)
        self.condition: Condition = tuple(np.empty(0, np.int64) for _ in range(conditions))
        self.activity = Activity(fields, pace_us)
        self.rank: NDArray[np.float64] = np.empty(0)
        self.row: Ints = np.empty(0, np.int64)
        self.first_seen: Ints = np.empty(0, np.int64)
        self.last_seen: Ints = np.empty(0, np.int64)
        self.used: Mask = np.empty(0, np.bool_)
        self.rows_begun = 0
        self._order: Rows = np.empty(0, np.intp)
        self._sorted = (self._order, self.key)
        self._read_at: int | None = None
        self._scope: Scope = ()
        self._scope_read_at = NEVER
        self._doubtful_since: dict[int, int | None] = {}
        self._inode_row = inode_row
        self._owner_row = owner_row
        self._state_row = state_row
        self.gone = self._as_gone(np.empty(0, np.intp))

    def __len__(self) -> int:
        return len(self.key)

    def find(self, key: Ints) -> Rows:
        """Return the places of sockets, -1 for those that are not here."""
        if not len(self.key) or not len(key):
            return np.full(len(key), -1, np.intp)
        if self._sorted[0] is not self._order:
            self._sorted = (self._order, self.key[self._order])
        mine = self._sorted[1]
        found = np.minimum(np.searchsorted(mine, key), len(mine) - 1)
        place: Rows = np.where(mine[found] == key, self._order[found], -1)
        return place

    def match(self, seen: Observed) -> tuple[Observed, Match]:
        """Find the sockets of a reading in the roster; returns the reading with each socket once."""
        key = seen.key
        if len(key) == len(self.key) and (key == self.key).all():
            return seen, Match(np.arange(len(key)), np.ones(len(key), np.bool_), True, self._order)
        order = np.argsort(key)
        ordered = key[order]
        if (ordered[1:] == ordered[:-1]).any():
            # A dump shows a socket twice when it changes hash chains meanwhile, as when it connects.
            used_first = np.lexsort((seen.condition[self._state_row] == CLOSE, key))
            _, first = np.unique(key[used_first], return_index=True)
            return self.match(seen.only(np.sort(used_first[first])))
        place = np.empty(len(key), np.intp)
        place[order] = self.find(ordered)
        return seen, Match(place, place >= 0, False, order)

    def observe_nothing(self) -> None:
        """Note that a reading said nothing."""
        self.gone = self._as_gone(np.empty(0, np.intp))

    def observe_same(self, seen: Observed, times: Times) -> Step | None:
        """Take in a reading of limited scope that brings nothing but activity; None if it brings more."""
        places = np.flatnonzero(in_scope(seen.scope, self.condition))
        if not np.array_equal(self.key[places], seen.key):
            return None
        for row, (now, before) in enumerate(zip(seen.condition, self.condition, strict=True)):
            if row != self._owner_row and not np.array_equal(now, before[places]):
                return None
        self.gone = self._as_gone(places[:0])
        self.last_seen[places] = np.maximum(self.first_seen[places], times.began)
        self._scope, self._scope_read_at = seen.scope, times.began
        return Step((), (), self.activity.observe_some(places, seen.activity, self.key, times.ended))

    def observe(self, seen: Observed, match: Match, times: Times, exact: Exact | None = None) -> Step:
        """Take a reading in, and return what it changed.

        `seen` and `match` are what `match` returned; `exact` knows moments from events. A socket that
        is missing where the reading is doubtful stays.
        """
        place = match.place
        differs, reused = self._compare(seen, match)
        changed = differs & ~reused
        stays = match.known & ~differs
        rank, moved = ranks.assign(np.where(stays, match.was(self.rank), np.nan))

        gone, unread = self._missing(seen, place[match.known & ~reused])
        # Cut at the sample before: in this one the row stands in its new place already.
        carried_at = self.last_seen[place[moved]]
        self.gone = self._as_gone(gone)
        state = seen.condition[self._state_row]
        moved_on = changed & (state != match.was(self.condition[self._state_row]))
        ended = (
            self._ended(gone, times.ended, "closed", exact),
            self._ended(place[changed & ~moved_on], times.ended, "changed", None),
            self._ended(place[moved_on], times.ended, "changed", exact),
            Ended(self.row[place[moved]], carried_at, carried_at, "carried"),
        )
        before = self._absent_at(seen, times.began)
        fresh = ~match.known | reused
        found = fresh & (before == NEVER)
        before[changed] = self.last_seen[place[changed]]
        before[moved] = carried_at
        first_seen = np.where(stays, match.was(self.first_seen), times.ended)
        first_seen[moved] = carried_at
        told = np.zeros(len(place), np.int8)
        new = np.flatnonzero((fresh & ~found) | moved_on)
        if exact is not None and len(new):
            now = tuple(column[new] for column in seen.condition)
            entered, inferred = exact.entered(seen.key[new], now, fresh[new], before[new], times.ended)
            known = entered != NEVER
            told[new] = np.where(inferred, INFERRED, np.where(known, EVENT, SAMPLE))
            before[new[known]] = first_seen[new[known]] = entered[known]
        row = match.was(self.row).copy()
        last_seen = np.maximum(first_seen, times.began)
        used = (match.was(self.used) & match.known & ~reused) | (state != CLOSE)
        left = (self.key, self.condition, self.rank, self.row, self.first_seen, self.last_seen, self.used)
        activity_left = self.activity.before()
        untold = np.ones(len(self.key), np.bool_)
        if exact is not None:
            told_of = self.find(exact.told)
            untold[told_of[told_of >= 0]] = False
        active = self.activity.observe(seen, match, stays, found, gone, untold, self.key, times.ended)
        self.key, self.condition = seen.key, seen.condition
        self.rank, self.row = rank, row
        self.first_seen, self.last_seen, self.used = first_seen, last_seen, used
        self._order = match.order
        begun: tuple[Begun, ...] = (
            self._begun(found, "found", None),
            self._begun(fresh & (before != NEVER), "opened", before, told),
            self._begun(changed, "changed", before, told),
            self._begun(moved, "carried", before),
        )
        if len(unread):
            self._keep(left, filled(unread))
            self.activity.keep(activity_left, filled(unread))
            begun = tuple(replace(begin, places=begin.places + len(unread)) for begin in begun)
        return Step(
            tuple(end for end in ended if len(end.row)),
            tuple(begin for begin in begun if len(begin.places)),
            active,
        )

    def carry(self, began: int, begun_as: str = "carried") -> Begun:
        """Begin a new journal part: every row again, numbered from 0, cut at the sample that began then."""
        self.rows_begun = 0
        self.first_seen = np.maximum(self.first_seen, began)
        self.last_seen = np.maximum(self.first_seen, self.last_seen)
        after = self.first_seen if begun_as == "carried" else None
        return self._begun(np.ones(len(self.key), np.bool_), begun_as, after)

    def _compare(self, seen: Observed, match: Match) -> tuple[Mask, Mask]:
        """Mark the known sockets whose condition differs, and those of them that are other sockets."""
        differs = np.zeros(len(match.place), np.bool_)
        for now, before in zip(seen.condition, self.condition, strict=True):
            differs |= now != match.was(before)
        differs &= match.known
        mine, theirs = seen.condition[self._inode_row], match.was(self.condition[self._inode_row])
        # A made-up key has no inode in it for a connected socket: its inode goes when it closes.
        reused = differs & (seen.key < 0) & (mine != theirs) & (mine != 0) & (theirs != 0)
        return differs, reused

    def _missing(self, seen: Observed, found: Rows) -> tuple[Rows, Rows]:
        """Return the places not found: those that are gone, and those the reading says nothing of."""
        absent = np.ones(len(self.key), np.bool_)
        absent[found] = False
        places = np.flatnonzero(absent)
        unread = (
            np.isin(self.condition[0][places], list(seen.doubtful))
            | ~in_scope(seen.scope, self.condition)[places]
        )
        return places[~unread], places[unread]

    def _keep(self, left: tuple[Any, ...], unread: Rows) -> None:
        """Put sockets that a reading does not tell of before those that it did."""
        key, condition, rank, row, first_seen, last_seen, used = left
        self.key = np.concatenate((key[unread], self.key))
        self.condition = tuple(
            np.concatenate((before[unread], now))
            for now, before in zip(self.condition, condition, strict=True)
        )
        self.rank = np.concatenate((rank[unread], self.rank))
        self.row = np.concatenate((row[unread], self.row))
        self.first_seen = np.concatenate((first_seen[unread], self.first_seen))
        self.last_seen = np.concatenate((last_seen[unread], self.last_seen))
        self.used = np.concatenate((used[unread], self.used))
        self._order = np.argsort(self.key)

    def _ended(self, places: Rows, by: int, ended_as: str, exact: Exact | None) -> Ended:
        last_seen, ended_by = self.last_seen[places], np.full(len(places), by)
        if exact is None or not len(places):
            return Ended(self.row[places], last_seen, ended_by, ended_as)
        condition = tuple(column[places] for column in self.condition)
        left, sure, inferred = exact.leave(self.key[places], condition, last_seen, by)
        told = left != NEVER
        return Ended(
            self.row[places],
            np.where(sure, left, last_seen),
            np.where(told, left, ended_by),
            ended_as,
            np.where(inferred, INFERRED, np.where(told, EVENT, SAMPLE)).astype(np.int8),
        )

    def _as_gone(self, places: Rows) -> Gone:
        rows = (self._state_row, self._inode_row, self._owner_row)
        state, inode, owner = (self.condition[row][places] for row in rows)
        return Gone(self.key[places], state, inode, owner, self.last_seen[places], self.used[places])

    def _absent_at(self, seen: Observed, began: int) -> Ints:
        """Return, for each socket read, when the last reading that would have shown it began, or NEVER."""
        read_at = NEVER if self._read_at is None else self._read_at
        before = np.full(len(seen.key), read_at, np.int64)
        if self._scope_read_at > read_at:
            before[in_scope(self._scope, seen.condition)] = self._scope_read_at
        if seen.scope:
            self._scope, self._scope_read_at = seen.scope, began
            return before
        for kind in seen.doubtful:
            self._doubtful_since.setdefault(kind, self._read_at)
        for kind, since in self._doubtful_since.items():
            before[seen.condition[0] == kind] = NEVER if since is None else since
        self._doubtful_since = {k: t for k, t in self._doubtful_since.items() if k in seen.doubtful}
        self._read_at = began
        return before

    def _begun(
        self, mask: Mask, begun_as: str, before: Ints | None, told: NDArray[np.int8] | None = None
    ) -> Begun:
        places = np.flatnonzero(mask)
        self.row[places] = np.arange(self.rows_begun, self.rows_begun + len(places))
        self.rows_begun += len(places)
        return Begun(
            places,
            None if before is None else before[places],
            self.first_seen[places],
            begun_as,
            None if told is None else told[places],
        )
