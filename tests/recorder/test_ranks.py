"""Ranks keep the kernel's order while sockets come, go and change places."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sockrec.recorder import ranks


def _step(before: dict[int, float], order: list[int]) -> tuple[dict[int, float], set[int]]:
    given_ranks = np.array([before.get(name, np.nan) for name in order])
    after, moved = ranks.assign(given_ranks)
    return dict(zip(order, after.tolist(), strict=True)), {order[i] for i in np.flatnonzero(moved)}


@given(st.lists(st.lists(st.integers(0, 30), unique=True), max_size=12))
def test_any_order_is_kept_and_only_marked_rows_get_another_rank(orders: list[list[int]]) -> None:
    known: dict[int, float] = {}
    for order in orders:
        after, moved = _step(known, order)
        values = [after[name] for name in order]
        assert all(a < b for a, b in itertools.pairwise(values))
        assert {name for name in order if name in known and known[name] != after[name]} <= moved
        assert moved <= known.keys()
        known = after


@given(st.lists(st.integers(0, 1000), unique=True, min_size=2), st.data())
def test_newcomers_alone_move_nobody(order: list[int], data: st.DataObject) -> None:
    known, _ = _step({}, order)
    mixed = list(order)
    for newcomer in range(2000, 2000 + data.draw(st.integers(1, 20))):
        mixed.insert(data.draw(st.integers(0, len(mixed))), newcomer)
    _, moved = _step(known, mixed)
    assert not moved


def test_one_row_that_jumps_to_the_front_moves_alone() -> None:
    known, _ = _step({}, list(range(1000)))
    _, moved = _step(known, [999, *range(999)])
    assert moved == {999}


def test_a_place_that_never_stops_filling_moves_few() -> None:
    """New sockets go to the head of a hash chain: always between the same two neighbours."""
    order = list(range(10_000))
    known, _ = _step({}, order)
    moved_in_all = 0
    for newcomer in range(10_000, 10_500):
        order.insert(5_000, newcomer)
        known, moved = _step(known, order)
        moved_in_all += len(moved)
    assert moved_in_all < 20 * 500


def test_rows_with_the_same_rank_get_two() -> None:
    """A reading of the listeners alone gives one a rank that another socket has already."""
    given_ranks = np.array([0.0, 1.0, 1.0, np.nan, 2.0])
    after, moved = ranks.assign(given_ranks)
    assert all(a < b for a, b in itertools.pairwise(after.tolist()))
    assert moved.sum() == 1
    assert moved[1] or moved[2]
