"""The roster's rows say again exactly what each reading said: nothing lost, nothing made up."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sockrec.recorder.activity import DEADLINE_GRAIN_US, Fields
from sockrec.recorder.roster import Begun, Roster, Step
from sockrec.recorder.seen import NEVER, Observed, Times

TCP, UDP = 6, 17
STATE = 1
INODE = 2
OWNER = 3  # none of these sockets has one
DEADLINE = 1
FIELDS = Fields(2, (0, DEADLINE), deadline=DEADLINE)

# One socket as the kernel may show it: protocol, state, inode, and two numbers that move.
Seen = dict[int, tuple[int, int, int, int, int]]
SOCKET = st.tuples(
    st.sampled_from([TCP, UDP]), st.integers(1, 3), st.integers(0, 2), st.integers(0, 2), st.just(NEVER)
)
READING = st.tuples(
    st.dictionaries(st.integers(1, 12), SOCKET, max_size=8),
    st.randoms(use_true_random=False),
    st.sampled_from([frozenset[int]()] * 4 + [frozenset({TCP})]),
)


@dataclass
class Row:
    """A row as a reader of the capture would put it together."""

    key: int
    condition: tuple[int, ...]
    begun_as: str
    begun_after: int | None
    first_seen: int
    rank: float
    last_seen: int | None = None
    ended_by: int | None = None
    ended_as: str | None = None

    def in_sample(self, times: Times) -> bool:
        """Say whether it is in force in a sample, by the rule that readers use."""
        last = times.began if self.last_seen is None else self.last_seen
        if self.begun_as == "carried" and self.first_seen >= times.began:
            return False
        return self.first_seen <= times.ended and last >= times.began


@dataclass
class Book:
    """Applies steps as the journal's reader does."""

    roster: Roster
    rows: list[Row] = field(default_factory=list)
    activity: dict[int, list[tuple[int, tuple[int, ...]]]] = field(default_factory=dict)

    def apply(self, step: Step, times: Times) -> None:
        for end in step.ended:
            for number, last, by in zip(
                end.row.tolist(), end.last_seen.tolist(), end.ended_by.tolist(), strict=True
            ):
                row = self.rows[number]
                assert row.ended_as is None, "a row ends once"
                row.last_seen, row.ended_by, row.ended_as = last, by, end.ended_as
        for begin in step.begun:
            self._begin(begin)
        moved = step.moved
        for key, at, values in zip(
            moved.key.tolist(), moved.read_at.tolist(), moved.values.T.tolist(), strict=True
        ):
            assert at == times.ended
            self.activity.setdefault(key, []).append((at, tuple(values)))

    def _begin(self, begin: Begun) -> None:
        for i, place in enumerate(begin.places.tolist()):
            assert int(self.roster.row[place]) == len(self.rows)
            after = None if begin.begun_after is None else int(begin.begun_after[i])
            self.rows.append(
                Row(
                    int(self.roster.key[place]),
                    tuple(int(column[place]) for column in self.roster.condition[:OWNER]),
                    begin.begun_as,
                    after,
                    int(begin.first_seen[i]),
                    float(self.roster.rank[place]),
                )
            )


def observed(sockets: Seen, order: list[int], doubtful: frozenset[int] = frozenset()) -> Observed:
    table = np.array([sockets[key] for key in order], np.int64).reshape(len(order), 5).T
    condition = (*table[:3], np.zeros(len(order), np.int64))
    return Observed(np.array(order, np.int64), condition, np.ascontiguousarray(table[3:]), doubtful)


# In these tests a TCP socket in state 2 listens.
LISTENERS = ((0, TCP), (1, 2))


def listening(sockets: Seen, order: list[int]) -> Observed:
    """A reading of the listeners alone."""
    places = [key for key in order if sockets[key][:2] == (TCP, 2)]
    seen = observed(sockets, places)
    return Observed(seen.key, seen.condition, seen.activity, scope=LISTENERS)


def play(readings: list[tuple[Seen, list[int], frozenset[int]]]) -> tuple[Book, list[Times]]:
    roster = Roster(4, FIELDS, inode_row=INODE, owner_row=OWNER, state_row=STATE, pace_us=0)
    book = Book(roster)
    samples = []
    for number, (sockets, order, doubtful) in enumerate(readings):
        times = Times(1000 * number + 1000, 1000 * number + 1010)
        seen = observed(sockets, order, doubtful)
        book.apply(roster.observe(*roster.match(seen), times), times)
        samples.append(times)
    return book, samples


@given(st.lists(READING, min_size=1, max_size=8))
def test_rows_reproduce_every_reading_in_order(readings: list[tuple[Seen, object, frozenset[int]]]) -> None:
    played = []
    for sockets, random, doubtful in readings:
        order = sorted(sockets)
        random.shuffle(order)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
        played.append((sockets, order, doubtful))
    book, samples = play(played)
    for times, (sockets, order, doubtful) in zip(samples, played, strict=True):
        rows = sorted((row for row in book.rows if row.in_sample(times)), key=lambda row: row.rank)
        certain = [row for row in rows if row.key in sockets]
        assert [row.key for row in certain] == order
        assert [row.condition for row in certain] == [sockets[key][:3] for key in order]
        # What a doubtful reading did not show may still be there; nothing else may.
        assert all(row.condition[0] in doubtful for row in rows if row.key not in sockets)
        for key in order:
            latest = [values for at, values in book.activity[key] if at <= times.ended][-1]
            assert latest == sockets[key][3:]


@given(st.lists(READING, min_size=1, max_size=8))
def test_bounds_are_in_order_and_never_claim_what_was_not_read(
    readings: list[tuple[Seen, object, frozenset[int]]],
) -> None:
    played = [(sockets, sorted(sockets), doubtful) for sockets, _, doubtful in readings]
    book, samples = play(played)
    whole = [(t, s) for t, (s, _, doubtful) in zip(samples, played, strict=True) if not doubtful]
    for row in book.rows:
        if row.begun_after is not None:
            assert row.begun_after <= row.first_seen
        if row.ended_as is not None:
            assert row.last_seen is not None
            assert row.ended_by is not None
            assert row.first_seen <= row.last_seen <= row.ended_by
        if row.begun_as == "opened":
            assert any(t.began == row.begun_after for t in samples), "absence is a reading's word"
        if row.ended_as == "closed":
            assert any(t.ended == row.ended_by for t in samples)
    for times, sockets in whole:
        in_force = {row.key for row in book.rows if row.in_sample(times)}
        assert in_force == set(sockets)


def test_a_socket_first_met_after_a_doubtful_reading_may_be_older() -> None:
    sockets: Seen = {1: (TCP, 1, 5, 0, NEVER)}
    none: Seen = {}
    book, samples = play([(none, [], frozenset()), (none, [], frozenset({TCP})), (sockets, [1], frozenset())])
    assert book.rows[0].begun_as == "opened"
    assert book.rows[0].begun_after == samples[0].began
    book, _ = play([(none, [], frozenset({TCP})), (sockets, [1], frozenset())])
    assert book.rows[0].begun_as == "found"
    assert book.rows[0].begun_after is None


def test_a_made_up_identity_with_another_inode_is_another_socket() -> None:
    first: Seen = {-7: (TCP, 1, 5, 0, NEVER)}
    book, _ = play([(first, [-7], frozenset()), ({-7: (TCP, 1, 6, 0, NEVER)}, [-7], frozenset())])
    assert [(row.begun_as, row.ended_as) for row in book.rows] == [("found", "closed"), ("opened", None)]
    book, _ = play([(first, [-7], frozenset()), ({-7: (TCP, 3, 0, 0, NEVER)}, [-7], frozenset())])
    assert [(row.begun_as, row.ended_as) for row in book.rows] == [("found", "changed"), ("changed", None)]


def test_of_a_socket_that_a_reading_shows_twice_what_it_is_in_use_as_counts() -> None:
    for states in ((7, 1), (1, 7)):
        roster = Roster(4, FIELDS, inode_row=INODE, owner_row=OWNER, state_row=STATE, pace_us=0)
        table = np.array([(TCP, state, 5, 0) for state in states], np.int64).T
        seen = Observed(np.array([1, 1]), tuple(table), np.full((2, 2), NEVER))
        roster.observe(*roster.match(seen), Times(1000, 1010))
        assert roster.condition[STATE].tolist() == [1]
        assert roster.used.tolist() == [True]


def test_a_running_timer_is_no_change_but_a_new_deadline_is() -> None:
    def with_deadline(at: int) -> tuple[Seen, list[int], frozenset[int]]:
        return {1: (TCP, 1, 5, 0, at)}, [1], frozenset()

    steady = [with_deadline(10_000_000 + jitter) for jitter in (0, 4_000, -4_000, DEADLINE_GRAIN_US)]
    book, _ = play(steady)
    assert len(book.activity[1]) == 1
    creeping = [with_deadline(10_000_000 + 4_000 * n) for n in range(8)]
    book, _ = play(creeping)
    assert len(book.activity[1]) > 1, "a deadline that creeps away is measured from where it stood"


def test_carrying_over_begins_every_row_again_and_cuts_none_short() -> None:
    sockets: Seen = {key: (TCP, 1, key, 0, NEVER) for key in range(1, 6)}
    roster = Roster(4, FIELDS, inode_row=INODE, owner_row=OWNER, state_row=STATE, pace_us=0)
    seen = observed(sockets, sorted(sockets))
    roster.observe(*roster.match(seen), Times(1000, 1010))
    seen = observed(sockets, sorted(sockets))
    roster.observe(*roster.match(seen), Times(2000, 2010))
    carried = roster.carry(2000)
    assert carried.first_seen.tolist() == [2000] * 5
    assert roster.row.tolist() == list(range(5))
    del sockets[3]
    seen = observed(sockets, sorted(sockets))
    step = roster.observe(*roster.match(seen), Times(3000, 3010))
    (ended,) = step.ended
    assert (ended.row.tolist(), ended.last_seen.tolist()) == ([2], [2000])


@given(st.lists(st.tuples(READING, st.booleans()), min_size=1, max_size=10))
def test_readings_of_listeners_alone_change_nothing_else(
    readings: list[tuple[tuple[Seen, object, frozenset[int]], bool]],
) -> None:
    """Between whole readings, those of the listeners narrow their bounds and leave all other rows alone."""
    roster = Roster(4, FIELDS, inode_row=INODE, owner_row=OWNER, state_row=STATE, pace_us=0)
    book = Book(roster)
    moments: list[tuple[Times, Seen, bool]] = []
    for number, ((sockets, _, _), whole) in enumerate(readings):
        times = Times(1000 * number + 1000, 1000 * number + 1010)
        order = sorted(sockets)
        if whole or not number:
            seen = observed(sockets, order)
            book.apply(roster.observe(*roster.match(seen), times), times)
        else:
            seen = listening(sockets, order)
            step = roster.observe_same(seen, times)
            book.apply(roster.observe(*roster.match(seen), times) if step is None else step, times)
        moments.append((times, sockets, whole or not number))
    for index, (times, sockets, whole) in enumerate(moments):
        if whole:
            rows = sorted((row for row in book.rows if row.in_sample(times)), key=lambda row: row.rank)
            assert [row.key for row in rows] == sorted(sockets)
            assert [row.condition for row in rows] == [sockets[row.key][:3] for row in rows]
        # A listener's end and beginning are known to within two readings of whatever kind.
        for row in book.rows:
            if row.condition[:2] == (TCP, 2) and row.begun_as == "opened" and row.first_seen == times.ended:
                assert row.begun_after == moments[index - 1][0].began
            if row.condition[:2] == (TCP, 2) and row.ended_as == "closed" and row.ended_by == times.ended:
                assert row.last_seen is not None
                assert row.last_seen >= moments[index - 1][0].began


def test_a_reading_that_brings_nothing_new_is_told_apart_from_one_that_does() -> None:
    sockets: Seen = {1: (TCP, 2, 5, 0, NEVER), 2: (TCP, 1, 6, 0, NEVER)}
    roster = Roster(4, FIELDS, inode_row=INODE, owner_row=OWNER, state_row=STATE, pace_us=0)
    seen = observed(sockets, [1, 2])
    roster.observe(*roster.match(seen), Times(1000, 1010))
    step = roster.observe_same(listening(sockets, [1, 2]), Times(2000, 2010))
    assert step is not None
    assert not (step.begun)
    assert not (step.ended)
    assert not len(step.moved)
    assert roster.last_seen.tolist() == [2000, 1010]
    sockets[1] = (TCP, 2, 5, 7, NEVER)
    step = roster.observe_same(listening(sockets, [1, 2]), Times(3000, 3010))
    assert step is not None
    assert step.moved.key.tolist() == [1]
    del sockets[1]
    assert roster.observe_same(listening(sockets, [2]), Times(4000, 4010)) is None


@given(st.lists(st.tuples(READING, st.booleans()), min_size=1, max_size=10))
def test_every_socket_keeps_its_own_numbers_through_readings_of_listeners_alone(
    readings: list[tuple[tuple[Seen, object, frozenset[int]], bool]],
) -> None:
    roster = Roster(4, FIELDS, inode_row=INODE, owner_row=OWNER, state_row=STATE, pace_us=0)
    told: Seen = {}
    for number, ((sockets, random, _), alone) in enumerate(readings):
        order = sorted(sockets)
        random.shuffle(order)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
        times = Times(1000 * number + 1000, 1000 * number + 1010)
        if alone:
            # A socket that was seen in another state is not asked again here: one of those that are new.
            sockets = {
                key: one for key, one in sockets.items() if key not in told or told[key][:2] == (TCP, 2)
            }
            order = [key for key in order if key in sockets]
            seen = listening(sockets, order)
            told = {key: one for key, one in told.items() if one[:2] != (TCP, 2)}
            told |= {key: sockets[key] for key in seen.key.tolist()}
        else:
            seen = observed(sockets, order)
            told = dict(sockets)
        roster.observe(*roster.match(seen), times)
        assert sorted(roster.key.tolist()) == sorted(told)
        for place, key in enumerate(roster.key.tolist()):
            assert tuple(int(column[place]) for column in roster.condition[:OWNER]) == told[key][:3]
            assert tuple(roster.activity.values[:, place].tolist()) == told[key][3:]
