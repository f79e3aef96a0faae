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


@given(PLAY, st.booleans())
def test_the_first_or_latest_moment_of_each_counts(
    play: list[list[tuple[int, int, int]] | int], latest: bool
) -> None:
    moments, model = Moments(latest=latest), dict[tuple[int, int], int]()
    for step in play:
        if isinstance(step, int):
            moments.forget(step)
            model = {where: time for where, time in model.items() if time >= step}
        else:
            columns = [numbers(list(column)) for column in zip(*step, strict=True)] or [numbers([])] * 3
            moments.add(columns[0], columns[1], columns[2])
            for key, state, time in step:
                pick = max if latest else min
                model[key, state] = pick(model.get((key, state), time), time)
        keys, states = (numbers(list(column)) for column in zip(*EVERYTHING, strict=True))
        found = dict(zip(EVERYTHING, moments.find(keys, states).tolist(), strict=True))
        assert found == {where: model.get(where, NEVER) for where in EVERYTHING}


def test_nothing_is_found_where_nothing_is() -> None:
    assert Moments().find(numbers([1]), numbers([0])).tolist() == [NEVER]
    assert Moments().find(numbers([]), numbers([])).tolist() == []
