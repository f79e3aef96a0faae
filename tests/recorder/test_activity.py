"""Which numbers are written when: queues at once, counters at their pace, at an alarm, and at the end."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sockrec.recorder import activity
from sockrec.recorder.activity import Fields, Moved
from sockrec.recorder.roster import Roster
from sockrec.recorder.seen import NEVER, Observed, Times

SECOND = 1_000_000
PACE = 60 * SECOND
FIELDS = Fields.named(("queue", "bytes", "lost", "buffer"), ("queue",), ("lost",), ("buffer",))
Numbers = tuple[int, int, int, int]
Seen = dict[int, Numbers]


@dataclass
class Writing:
    """One kind of socket, read once a second, and the rows that this brings: (second, values) by socket."""

    pace_us: int | None = PACE
    rows: dict[int, list[tuple[float, Numbers]]] = field(default_factory=dict)
    second: int = 0

    def __post_init__(self) -> None:
        self.roster = Roster(2, FIELDS, inode_row=0, owner_row=1, state_row=0, pace_us=self.pace_us)

    def read(self, sockets: Seen) -> None:
        """Take one reading; the second is over when it ends."""
        self.second += 1
        keys = np.array(list(sockets), np.int64)
        values = np.array(list(sockets.values()), np.int64).reshape(len(keys), 4).T.copy()
        condition = (np.zeros(len(keys), np.int64), np.zeros(len(keys), np.int64))
        seen, match = self.roster.match(Observed(keys, condition, values))
        now = self.second * SECOND
        self.take(self.roster.observe(seen, match, Times(now - 10, now)).moved)

    def finish(self) -> None:
        """End the recording."""
        self.take(self.roster.activity.finish(self.roster.key))

    def take(self, moved: Moved) -> None:
        """Keep the rows, as a journal would."""
        for key, at, values in zip(
            moved.key.tolist(), moved.read_at.tolist(), moved.values.T.tolist(), strict=True
        ):
            self.rows.setdefault(key, []).append((at / SECOND, tuple(values)))

    def counted(self, key: int) -> list[tuple[float, Numbers]]:
        """Return the rows of a socket that have counters."""
        return [(at, values) for at, values in self.rows[key] if values[3] != NEVER]


def crowd(moved: int) -> Seen:
    """Sockets enough that nobody's turn comes early; all have moved so often."""
    return {1000 + number: (0, moved, 0, 1) for number in range(2500)}


def test_queues_are_written_when_they_move_and_counters_when_their_time_comes() -> None:
    writing = Writing()
    for second in range(1, 130):
        queue = 5 if second in {10, 20} else 0
        writing.read({1: (queue, 100 * second, 0, 1), **crowd(second)})
    assert [at for at, values in writing.rows[1] if values[0]] == [10, 20]
    assert {values[1:] for at, values in writing.rows[1] if at in {10, 11}} == {(NEVER, NEVER, NEVER)}
    times = [at for at, _ in writing.counted(1)]
    assert times[0] == 1, "what was there before the recording is written whole at once"
    assert len(times) <= 4, "a turn that comes early is no more than that"
    assert all(later - earlier <= 61 for earlier, later in itertools.pairwise(times)), times
    assert all(values[1] == 100 * at for at, values in writing.counted(1)), "as they were when read"


def test_an_alarm_does_not_wait() -> None:
    writing = Writing()
    for second in range(1, 30):
        writing.read({1: (0, second, second // 17, 1), **crowd(second)})
    assert [(at, values) for at, values in writing.counted(1) if values[2] == 1] == [(17, (0, 17, 1, 1))]


def test_the_last_counters_of_a_socket_are_written_when_it_is_gone() -> None:
    writing = Writing()
    for second in range(1, 30):
        one = {1: (0, min(second, 20), 0, 1)} if second < 25 else {}
        writing.read(one | crowd(second))
    assert writing.counted(1)[-1] == (20, (0, 20, 0, 1)), "as of the reading in which they last moved"


def test_the_last_counters_are_written_when_a_socket_has_none_any_more() -> None:
    """In TIME_WAIT the kernel keeps no tcp_info."""
    writing = Writing()
    for second in range(1, 30):
        counters = (second, 0, 1) if second < 25 else (NEVER, NEVER, NEVER)
        writing.read({1: (0, *counters), **crowd(second)})
    assert writing.counted(1)[-1] == (24, (0, 24, 0, 1))


def test_a_new_socket_that_comes_and_goes_leaves_its_counters() -> None:
    writing = Writing()
    for second in range(1, 40):
        writing.read(({1: (0, second, 0, 1)} if 10 <= second < 13 else {}) | crowd(second))
    assert writing.rows[1][0] == (10, (0, NEVER, NEVER, NEVER)), "its queues as soon as it is seen"
    assert writing.counted(1) == [(12, (0, 12, 0, 1))]


def test_what_is_held_back_is_written_when_the_recording_ends() -> None:
    writing = Writing()
    for second in range(1, 30):
        writing.read({1: (0, second, 0, 1), **crowd(second)})
    writing.finish()
    assert writing.counted(1)[-1] == (29, (0, 29, 0, 1))
    before = len(writing.rows[1])
    writing.finish()
    assert len(writing.rows[1]) == before, "once"


def test_on_a_small_host_counters_are_written_as_they_move() -> None:
    writing = Writing()
    for second in range(1, 10):
        writing.read(dict.fromkeys(range(activity.EARLY_A_SAMPLE), (0, second, 0, 1)))
    assert [at for at, _ in writing.counted(3)] == list(range(1, 10))


def test_of_more_than_that_the_turns_are_fair() -> None:
    writing = Writing()
    number = 4 * activity.EARLY_A_SAMPLE
    for second in range(1, 14):
        writing.read(dict.fromkeys(range(number), (0, second, 0, 1)))
    assert {len(writing.counted(key)) for key in range(number)} == {4}


def test_with_no_pace_every_counter_is_written_as_it_moves() -> None:
    writing = Writing(pace_us=0)
    for second in range(1, 10):
        writing.read({1: (0, second, 0, 1), **crowd(second)})
    assert [at for at, _ in writing.counted(1001)] == list(range(1, 10))


SOCKETS = st.dictionaries(
    st.integers(0, 60),
    st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 1), st.sampled_from([1, 1, 1, NEVER])),
    max_size=60,
)


@given(st.lists(SOCKETS, min_size=1, max_size=10), st.sampled_from([0, 3 * SECOND, PACE]))
def test_queues_are_always_known_and_counters_are_never_made_up(readings: list[Seen], pace_us: int) -> None:
    writing = Writing(pace_us=pace_us)
    played: list[Seen] = []
    for sockets in readings:
        # Without its buffer a socket has no counters at all.
        bare = (NEVER, NEVER, NEVER)
        played.append({k: v if v[3] != NEVER else (v[0], *bare) for k, v in sockets.items()})
        writing.read(played[-1])
    writing.finish()
    for second, sockets in enumerate(played, 1):
        for key, values in sockets.items():
            until_now = [row for at, row in writing.rows[key] if at <= second]
            assert until_now[-1][0] == values[0]
    for key, rows in writing.rows.items():
        assert all(values[1:] in {played[int(at) - 1][key][1:], (NEVER,) * 3} for at, values in rows)
        assert all(values[0] == played[int(at) - 1][key][0] for at, values in rows)
        lives = [second for second, sockets in enumerate(played, 1) if key in sockets]
        final = [played[second - 1][key] for second in lives if played[second - 1][key][3] != NEVER]
        if final:
            assert writing.counted(key)[-1][1][1:] == final[-1][1:], "its last counters are known in the end"


def test_without_counters_there_are_none() -> None:
    writing = Writing(pace_us=None)
    for second in range(1, 10):
        writing.read({1: (second, second, second, 1)} if second < 8 else {})
    writing.finish()
    assert [values for _, values in writing.rows[1]] == [(n, NEVER, NEVER, NEVER) for n in range(1, 8)]


def test_what_is_written_along_is_no_reason_to_write() -> None:
    """Its latest value stands in the row that another field brings, and in the last one."""
    fields = Fields.named(
        ("queue", "bytes", "age", "buffer"), ("queue",), (), ("buffer",), companions=("age",)
    )
    writing = Writing()
    writing.roster = Roster(2, fields, inode_row=0, owner_row=1, state_row=0, pace_us=0)
    for second in range(1, 10):
        writing.read({1: (0, 100 if second > 5 else 0, second, 1)})
    assert writing.rows[1] == [(1, (0, 0, 1, 1)), (6, (0, 100, 6, 1))]
    some = writing.roster.activity.observe_some(
        np.array([0]), np.array([[0], [100], [77], [1]]), writing.roster.key, 11 * SECOND
    )
    assert not len(some)
    writing.finish()
    assert len(writing.rows[1]) == 2, "nothing but what is written along moved"
    carried = writing.roster.activity.carry(writing.roster.key, 12 * SECOND)
    assert carried.values.T.tolist() == [[0, 100, 77, 1]]
