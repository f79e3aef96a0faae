"""Moments of sockets in states, against a dict."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sockrec.recorder.events.exact import Moments
from sockrec.recorder.seen import NEVER
from tests.recorder.events.support import numbers

MOMENT = st.tuples(st.integers(-2, 2), st.integers(0, 2), st.integers(0, 20))
PLAY = st.lists(st.lists(MOMENT, max_size=5) | st.integers(0, 20), max_size=8)
EVERYTHING = [(key, state) for key in range(-3, 4) for state in range(4)]


@given(PLAY, st.integers(0, 20))
def test_the_first_in_a_state_and_the_latest_of_all(
    play: list[list[tuple[int, int, int]] | int], until: int
) -> None:
    moments, model = Moments(), set[tuple[int, int, int]]()
    for step in play:
        if isinstance(step, int):
            moments.forget(step)
            model = {one for one in model if one[2] >= step}
        else:
            columns = [numbers(list(column)) for column in zip(*step, strict=True)] or [numbers([])] * 3
            moments.add(columns[0], columns[1], columns[2])
            model |= set(step)
        keys, states = (numbers(list(column)) for column in zip(*EVERYTHING, strict=True))
        first = dict(zip(EVERYTHING, moments.first(keys, states).tolist(), strict=True))
        assert first == {
            where: min((time for *here, time in model if tuple(here) == where), default=NEVER)
            for where in EVERYTHING
        }
        latest = dict(zip(EVERYTHING, moments.latest(keys, until).tolist(), strict=True))
        assert latest == {
            where: max((time for key, _, time in model if key == where[0] and time <= until), default=NEVER)
            for where in EVERYTHING
        }


def test_nothing_is_found_where_nothing_is() -> None:
    assert Moments().first(numbers([1]), numbers([0])).tolist() == [NEVER]
    assert Moments().latest(numbers([1]), 0).tolist() == [NEVER]
    assert Moments().first(numbers([]), numbers([])).tolist() == []
