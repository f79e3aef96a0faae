"""What moves in every socket: the latest numbers of each, and which of them are worth a row.

Queues and timers, which netstat shows, are written for every sample in which they move. The counters
behind them (tcp_info, socket memory) move with every segment, and cost twenty times as much: of one socket
they are written at most once each pace, but at once when something goes wrong, and last when it ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sockrec.recorder.seen import NEVER, Ints, Mask, Match, Observed, Rows

# Deadlines are read with the clock's and the timer wheel's grain in them.
DEADLINE_GRAIN_US: Final = 10_000
# So many sockets' counters are written in each sample before their time: on a small host, all that move.
EARLY_A_SAMPLE: Final = 16
_SPARE: Final = 1024


@dataclass(frozen=True, slots=True)
class Fields:
    """The numbers kept of one kind of socket, by their rows in an array (`count`, n).

    `always` are in every row written; the others are counters. `alarms` are the counters whose moving
    is news, `companions` those whose moving is none: they are written as they are when another one is. A
    socket has counters if one of `present` is known. `deadline` is that of the timer.
    """

    count: int
    always: tuple[int, ...]
    alarms: tuple[int, ...] = ()
    present: tuple[int, ...] = ()
    deadline: int | None = None
    companions: frozenset[int] = frozenset()

    @property
    def counters(self) -> list[int]:
        """The rows of the counters."""
        return [row for row in range(self.count) if row not in self.always]

    @classmethod
    def named(
        cls,
        names: tuple[str, ...],
        always: tuple[str, ...],
        alarms: tuple[str, ...] = (),
        present: tuple[str, ...] = (),
        deadline: str | None = None,
        companions: tuple[str, ...] = (),
    ) -> Fields:
        """Return fields given by name."""
        place = {name: row for row, name in enumerate(names)}
        rows = [tuple(place[name] for name in group) for group in (always, alarms, present, companions)]
        timer = None if deadline is None else place[deadline]
        return cls(len(names), rows[0], rows[1], rows[2], timer, frozenset(rows[3]))


@dataclass(frozen=True, slots=True)
class Moved:
    """Rows to write: of which sockets (n), their numbers (k, n), and when those were read."""

    key: Ints
    values: Ints
    read_at: Ints

    def __len__(self) -> int:
        return len(self.key)

    @classmethod
    def none(cls, fields: Fields) -> Moved:
        """Return no rows."""
        nothing = np.empty(0, np.int64)
        return cls(nothing, np.empty((fields.count, 0), np.int64), nothing)


class Activity:
    """The numbers of every live socket, in the roster's order; times in recorded microseconds.

    `pace_us` is the least time between two writings of one socket's counters; None for never.
    """

    def __init__(self, fields: Fields, pace_us: int | None) -> None:
        self.values: Ints = np.empty((fields.count, 0), np.int64)
        self._fields = fields
        self._pace_us = pace_us
        self._counters = np.array(fields.counters, np.intp)
        self._compared = np.array(
            [row for row in range(fields.count) if row not in fields.companions], np.intp
        )
        self._news = frozenset(fields.always) | frozenset(fields.alarms)
        # When anything last moved, when counters were last written, and whether they moved since.
        self._moved_at: Ints = np.empty(0, np.int64)
        self._written_at: Ints = np.empty(0, np.int64)
        self._pending: Mask = np.empty(0, np.bool_)
        self._room: Ints = self.values

    def observe(
        self,
        seen: Observed,
        match: Match,
        stays: Mask,
        found: Mask,
        gone: Rows,
        untold: Mask,
        keys: Ints,
        ended: int,
    ) -> Moved:
        """Take a reading in, and return what of it is to be written.

        `stays` marks the sockets read that are in the condition they were in, `found` those that were
        there before the first reading; `gone` are the places, in the roster until now, of sockets that
        are no more, and `keys` its identities; `untold` marks, there too, those whose last counters are
        not written elsewhere.
        """
        now = seen.activity
        moved, alarmed, stirred = self._compare(now, match, stays)
        known, has_counters = match.known, self._has_counters(now)
        last = self._last_rows(match, has_counters, gone, untold, keys)

        self._moved_at = np.where(moved | stirred, ended, match.was(self._moved_at))
        # A new socket's counters began at 0 just now: that need not be written.
        self._written_at = np.where(known, match.was(self._written_at), ended)
        self._pending = (stirred | (known & match.was(self._pending)) | ~known) & has_counters
        self.values = now
        whole = (alarmed | found) & has_counters
        if self._pace_us is not None:
            whole |= self._pending & (ended - self._written_at >= self._pace_us)
        self._add_early(whole)
        return _joined(last, self._rows(np.flatnonzero(moved | whole), whole, seen.key, ended))

    def observe_some(self, places: Rows, now: Ints, keys: Ints, ended: int) -> Moved:
        """Take in a reading of the sockets at some places, which are few: what moved is written whole."""
        before = self.values[np.ix_(self._compared, places)]
        moved = places[(now[self._compared] != before).any(axis=0)]
        self.values[:, places] = now
        self._moved_at[moved] = ended
        return self._rows(moved, self._has_counters(self.values), keys, ended)

    def keep(self, before: Activity, places: Rows) -> None:
        """Put the sockets that a reading does not tell of before those that it does.

        `places` are where they were `before`, in the order of `filled`; that one is used up.
        """
        kept, seen, values = len(places), self.values, before.values
        sockets = kept + seen.shape[1]
        need = max(sockets, values.shape[1])
        if need > self._room.shape[1] or not np.may_share_memory(values, self._room):
            # 40 MB at 100,000 sockets: copied once, not at each change of a listener.
            if need > self._room.shape[1]:
                self._room = np.empty((self._fields.count, need + _SPARE), np.int64)
            self._room[:, : values.shape[1]] = values
        filling = np.flatnonzero(places != np.arange(kept))
        self._room[:, filling] = self._room[:, places[filling]]
        self._room[:, kept:sockets] = seen
        self.values = self._room[:, :sockets]
        self._moved_at = np.concatenate((before._moved_at[places], self._moved_at))
        self._written_at = np.concatenate((before._written_at[places], self._written_at))
        self._pending = np.concatenate((before._pending[places], self._pending))

    def before(self) -> Activity:
        """Return all of this as it is now, for `keep`."""
        copy = Activity(self._fields, self._pace_us)
        copy.values, copy._moved_at = self.values, self._moved_at
        copy._written_at, copy._pending = self._written_at, self._pending
        return copy

    def carry(self, keys: Ints, at: int) -> Moved:
        """Return everything, as read at that moment: a journal part begins with it."""
        rows = self._rows(np.arange(len(keys)), self._has_counters(self.values), keys, at)
        return Moved(rows.key, rows.values, np.full(len(keys), at))

    def finish(self, keys: Ints) -> Moved:
        """Return the counters not written yet: the recording ends."""
        places = np.flatnonzero(self._pending)
        self._pending[:] = False
        return Moved(keys[places], self.values[:, places], self._moved_at[places])

    def _compare(self, now: Ints, match: Match, stays: Mask) -> tuple[Mask, Mask, Mask]:
        """Mark the sockets in which something that is always written moved, an alarm, a counter."""
        moved, stirred = ~stays, np.zeros(len(stays), np.bool_)
        alarmed = np.zeros(len(stays), np.bool_)
        for row in self._compared.tolist():
            values, before = now[row], match.was(self.values[row])
            if row == self._fields.deadline:
                # A running timer is no change: its deadline stands still, but for the grain.
                still = (values != before) & (values > 0) & (before > 0) & stays
                still &= np.abs(values - before) <= DEADLINE_GRAIN_US
                values[still] = before[still]
            if row in self._fields.alarms:
                alarmed |= values != before
            elif row in self._news:
                moved |= values != before
            else:
                stirred |= values != before
        alarmed &= match.known
        return moved, alarmed, (stirred | alarmed) & match.known

    def _has_counters(self, values: Ints) -> Mask:
        """Mark the sockets that have counters to be written."""
        mask = np.zeros(values.shape[1], np.bool_)
        if self._pace_us is not None:
            for row in self._fields.present:
                mask |= values[row] != NEVER
        return mask

    def _last_rows(self, match: Match, has_counters: Mask, gone: Rows, untold: Mask, keys: Ints) -> Moved:
        """Return the last counters of sockets that are gone, or have none any more (TIME_WAIT)."""
        stripped = match.place[match.known & ~has_counters]
        places = np.concatenate((gone, stripped))
        places = places[self._pending[places] & untold[places]]
        return Moved(keys[places], self.values[:, places], self._moved_at[places])

    def _add_early(self, whole: Mask) -> None:
        """Mark a few more whose counters have waited longest."""
        waiting = np.flatnonzero(self._pending & ~whole)
        if len(waiting) > EARLY_A_SAMPLE:
            longest = np.argpartition(self._written_at[waiting], EARLY_A_SAMPLE)[:EARLY_A_SAMPLE]
            waiting = waiting[longest]
        whole[waiting] = True

    def _rows(self, places: Rows, whole: Mask, keys: Ints, ended: int) -> Moved:
        """Return the rows of some places, without counters where they are not `whole`."""
        values = self.values[:, places]
        bare = ~whole[places]
        if bare.any():
            values[np.ix_(self._counters, np.flatnonzero(bare))] = NEVER
        counted = places[~bare]
        self._pending[counted] = False
        self._written_at[counted] = ended
        return Moved(keys[places], values, self._moved_at[places])


def filled(places: Rows) -> Rows:
    """Return ascending places in another order: each where it was, but for the last, which fill the holes."""
    order = np.arange(len(places))
    within = places[places < len(places)]
    holes = np.ones(len(places), np.bool_)
    holes[within] = False
    order[holes] = places[len(within) :]
    return order


def _joined(*parts: Moved) -> Moved:
    filled = [part for part in parts if len(part)] or list(parts[-1:])
    if len(filled) == 1:
        return filled[0]
    columns: list[NDArray[Any]] = [
        np.concatenate([getattr(part, name) for part in filled], axis=-1)
        for name in ("key", "values", "read_at")
    ]
    return Moved(*columns)
