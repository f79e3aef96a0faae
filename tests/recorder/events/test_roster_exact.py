"""Rows of sockets with exact moments: ordered, never overlapping, and one of each socket in each sample."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sockrec.kernel.arrays import ACTIVITY_FIELDS
from sockrec.recorder.activity import Fields
from sockrec.recorder.events.exact import Exact
from sockrec.recorder.observed import INET_CONDITION, INET_ROW
from sockrec.recorder.roster import EVENT, INFERRED, SAMPLE, Roster, Step
from sockrec.recorder.seen import NEVER, Times
from tests.recorder.events.readings import at, exact, moments, reading
from tests.recorder.events.support import (
    ANCHOR,
    CLOSE,
    CLOSE_WAIT,
    ESTABLISHED,
    FIN_WAIT1,
    SYN_SENT,
    Change,
)

EVERY = 100
TAKES = 10
READ = 5
"""A reading begins every 100 us, sees all sockets 5 us later, and ends 5 us after that."""
STATES = (SYN_SENT, ESTABLISHED, FIN_WAIT1, CLOSE_WAIT)

# A socket: at what times it comes into which states; the last time is its end.
LIFE = st.lists(st.tuples(st.integers(1, 700), st.sampled_from(STATES)), min_size=2, max_size=7)


@dataclass
class Socket:
    """One socket's truth; `moves` are (time, state), ordered, CLOSE being the end."""

    cookie: int
    moves: list[tuple[int, int]]

    @classmethod
    def made(cls, cookie: int, life: list[tuple[int, int]]) -> Socket:
        moves: list[tuple[int, int]] = []
        for time, state in sorted(dict(life).items()):
            if not moves or moves[-1][1] != state:
                moves.append((time, state))
        return cls(cookie, [*moves[:-1], (moves[-1][0], CLOSE)])

    def at(self, time: int) -> int | None:
        """Return its state, None if it is not there."""
        state = next((state for when, state in reversed(self.moves) if when <= time), CLOSE)
        return None if state == CLOSE else state

    def changes(self, after: int, until: int) -> list[Change]:
        states = [CLOSE, *(state for _, state in self.moves)]
        return [
            Change(time * 1000, self.cookie, old, new, 4000 + self.cookie)
            for (time, new), old in zip(self.moves, states, strict=False)
            if after < time <= until
        ]

    def seen(self, time: int) -> list[dict[str, Any]]:
        state = self.at(time)
        place = {"cookie": self.cookie, "local_port": 4000 + self.cookie, "inode": self.cookie}
        return [] if state is None else [place | {"state": state}]


@dataclass
class Row:
    """A row as a reader of the capture would put it together."""

    key: int
    state: int
    begun_as: str
    begun_after: int | None
    first_seen: int
    begun: int
    last_seen: int | None = None
    ended_by: int | None = None
    ended_as: str | None = None
    ended: int = SAMPLE

    def holds(self, began: int, ended: int) -> bool:
        """Say whether it is in force in a sample, by the rule that readers use."""
        if self.first_seen > ended:
            return False
        if self.last_seen is None or self.ended_by is None:
            return True
        exact_end = self.ended == EVENT and self.last_seen == self.ended_by
        return self.ended_by > ended if exact_end else self.last_seen >= began


@dataclass
class Book:
    """Applies steps as the journal's reader does."""

    roster: Roster
    rows: list[Row] = field(default_factory=list)

    def apply(self, step: Step) -> None:
        for end in step.ended:
            told = np.zeros(len(end.row), np.int8) if end.told is None else end.told
            columns = (end.row, end.last_seen, end.ended_by, told)
            for number, last, by, how in zip(*(column.tolist() for column in columns), strict=True):
                row = self.rows[number]
                assert row.ended_as is None
                row.last_seen, row.ended_by = last - ANCHOR, by - ANCHOR
                row.ended_as, row.ended = end.ended_as, how
        for begin in step.begun:
            for i, place in enumerate(begin.places.tolist()):
                after = NEVER if begin.begun_after is None else int(begin.begun_after[i])
                self.rows.append(
                    Row(
                        int(self.roster.key[place]),
                        int(self.roster.condition[INET_ROW["state"]][place]),
                        begin.begun_as,
                        None if after == NEVER else after - ANCHOR,
                        int(begin.first_seen[i]) - ANCHOR,
                        SAMPLE if begin.told is None else int(begin.told[i]),
                    )
                )

    def of(self, key: int) -> list[Row]:
        return [row for row in self.rows if row.key == key and row.begun_as != "carried"]


def known(sockets: list[Socket], number: int, complete: bool, delay: int) -> Exact:
    """Return what events tell after a reading, drained a few microseconds after it ended."""
    since, drained = EVERY * (number - 1), EVERY * number + TAKES + 5
    ended = [one for one in sockets if since <= one.moves[-1][0] <= drained]
    changes = sorted(
        (change for one in sockets for change in one.changes(since, drained)), key=lambda change: change.time
    )
    left = [
        (one.cookie, change.old, change.time // 1000)
        for one in ended
        for change in one.changes(since, drained)
        if complete
    ]
    announced = [(one.cookie, 0, one.moves[-1][0] + delay) for one in ended]
    if not complete:
        return exact(complete_since=10_000, announced=moments(*announced))
    return exact(*changes, left=moments(*left), announced=moments(*announced))


def play(lives: list[list[tuple[int, int]]], complete: list[bool], delay: int) -> tuple[Book, list[Socket]]:
    sockets = [Socket.made(number, life) for number, life in enumerate(lives, 1)]
    roster = Roster(
        len(INET_CONDITION),
        Fields(len(ACTIVITY_FIELDS), (0,)),
        inode_row=INET_ROW["inode"],
        owner_row=INET_ROW["owner"],
        state_row=INET_ROW["state"],
        pace_us=None,
    )
    book = Book(roster)
    for number, whole in enumerate(complete):
        began = EVERY * number
        seen = reading(*(one for socket in sockets for one in socket.seen(began + READ)))
        times = Times(at(began), at(began + TAKES))
        book.apply(roster.observe(*roster.match(seen), times, known(sockets, number, whole, delay)))
    return book, sockets


LIVES = st.lists(LIFE, min_size=1, max_size=4)
COMPLETE = st.lists(st.booleans(), min_size=2, max_size=7)


@given(LIVES, COMPLETE, st.integers(0, 20))
def test_bounds_are_ordered_and_rows_of_one_socket_never_overlap(
    lives: list[list[tuple[int, int]]], complete: list[bool], delay: int
) -> None:
    book, sockets = play(lives, complete, delay)
    for socket in sockets:
        rows = book.of(socket.cookie)
        for row in rows:
            if row.begun_after is not None:
                assert row.begun_after <= row.first_seen
            if row.last_seen is not None and row.ended_by is not None:
                assert row.first_seen <= row.last_seen <= row.ended_by
        for before, after in pairwise(rows):
            assert before.last_seen is not None
            assert before.last_seen <= after.first_seen


@given(LIVES, COMPLETE, st.integers(0, 20))
def test_moments_by_event_are_true(
    lives: list[list[tuple[int, int]]], complete: list[bool], delay: int
) -> None:
    book, sockets = play(lives, complete, delay)
    for socket in sockets:
        entered = set(socket.moves)
        states = [CLOSE, *(state for _, state in socket.moves)]
        left = {(time, old) for (time, _), old in zip(socket.moves, states, strict=False)}
        for row in book.of(socket.cookie):
            assert row.begun != INFERRED
            if row.begun == EVENT:
                assert row.begun_after == row.first_seen
                assert (row.first_seen, row.state) in entered
            if row.ended == EVENT:
                assert row.last_seen is not None
                assert row.ended_by is not None
                announced = socket.moves[-1][0] + delay
                exactly = row.last_seen == row.ended_by and (row.ended_by, row.state) in left
                assert exactly or row.ended_by == announced


@given(LIVES, COMPLETE, st.integers(0, 20))
def test_at_the_end_of_each_sample_one_row_of_each_socket_holds(
    lives: list[list[tuple[int, int]]], complete: list[bool], delay: int
) -> None:
    book, sockets = play(lives, complete, delay)
    for number in range(len(complete)):
        began, ended = EVERY * number, EVERY * number + TAKES
        for socket in sockets:
            rows = [row for row in book.of(socket.cookie) if row.holds(began, ended)]
            read = socket.at(began + READ)
            assert len(rows) <= 1, "never two"
            if any(began <= time <= ended for time, _ in socket.moves):
                continue  # it moved as it was read: at its end it may be in another state, or none
            assert [row.state for row in rows] == ([] if read is None else [read])


@given(LIVES, st.integers(2, 7), st.integers(0, 20))
def test_what_is_whole_is_exact(lives: list[list[tuple[int, int]]], samples: int, delay: int) -> None:
    """Nothing missing: all but what was there at first, or moved as it was read, has its moment."""
    book, sockets = play(lives, [True] * samples, delay)
    for socket in sockets:
        while_read = any(time % EVERY <= TAKES for time, _ in socket.moves)
        for row in book.of(socket.cookie):
            if while_read or row.begun_as == "found":
                continue
            assert row.begun == EVENT
            if row.last_seen is not None:
                assert (row.ended, row.last_seen) == (EVENT, row.ended_by)
