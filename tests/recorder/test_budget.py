"""The CPU budget over simulated hours: never over it, no less than it, and evenly."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockrec.recorder.budget import Budget, Cost

MINUTE = 60_000_000
SECOND = 1_000_000

shares = st.sampled_from([0.005, 0.05, 0.3, 1.5])
simulated = settings(max_examples=25, deadline=None)
intervals = st.sampled_from([50_000, 190_000, SECOND, 5 * SECOND])


def simulate(
    budget: Budget,
    interval_us: int,
    seconds: float,
    cost_of: Callable[[int], int],
    expected: Callable[[int], float] | None = None,
    listeners_us: int = 0,
    began_us: int = 0,
) -> list[tuple[int, int]]:
    """Ask at each tick, spend what is allowed, and return (when, cost) of the full samples."""
    samples = []
    for now in range(began_us, began_us + int(seconds * SECOND), interval_us):
        cost = cost_of(now)
        if budget.allows(now, expected(now) if expected else cost):
            budget.spend(now, cost)
            samples.append((now, cost))
        else:
            assert budget.allows(now, 0), "the listeners are always read"
            budget.spend(now, listeners_us)
    return samples


def gaps(samples: list[tuple[int, int]]) -> list[int]:
    return [after - before for (before, _), (after, _) in itertools.pairwise(samples)]


def worst_minute(samples: list[tuple[int, int]]) -> int:
    worst = total = first = 0
    for when, cost in samples:
        total += cost
        while samples[first][0] <= when - MINUTE:
            total -= samples[first][1]
            first += 1
        worst = max(worst, total)
    return worst


@simulated
@given(shares, intervals, st.lists(st.integers(0, 4 * SECOND), min_size=1, max_size=20), st.floats(0, 3))
def test_no_minute_has_more_than_its_share_and_one_sample(
    share: float, interval_us: int, costs: list[int], misjudged: float
) -> None:
    """Whatever samples cost, and however wrong that was expected to be."""
    bounded = itertools.cycle(costs)
    plan: dict[int, int] = {}

    def cost_of(now: int) -> int:
        return plan.setdefault(now, next(bounded))

    def expected(now: int) -> float:
        # Never nothing: that is how the listeners alone are asked for.
        return 1 + misjudged * plan[now]

    samples = simulate(Budget(share, 0), interval_us, 200, cost_of, expected)
    assert worst_minute(samples) <= share * MINUTE + max(costs) + 1


@simulated
@given(shares, intervals, st.floats(0.02, 40))
def test_in_the_long_run_all_of_the_share_is_used_and_no_more(
    share: float, interval_us: int, load: float
) -> None:
    """`load` is what samples at each tick would cost, in shares."""
    cost = max(1, int(load * share * interval_us))
    # The first minutes may have some more, or less: they are left out.
    samples = simulate(Budget(share, 0), interval_us, 400 + 50 * interval_us / SECOND, lambda _: cost)
    settled = [when for when, _ in samples if when >= 3 * MINUTE]
    span = settled[-1] - settled[0]
    rate = min(1 / interval_us, share / cost)
    assert (len(settled) - 1) / span == pytest.approx(rate, rel=0.01, abs=1.5 / span)


@simulated
@given(shares, intervals, st.floats(1.5, 30))
def test_samples_are_spread_evenly_once_it_is_short(share: float, interval_us: int, load: float) -> None:
    """What the first minute spent as it came echoes for some minutes more, ever fainter."""
    cost = int(load * share * interval_us)
    settled = gaps(
        simulate(Budget(share, 0), interval_us, 270 + 40 * load * interval_us / SECOND, lambda _: cost)
    )[-10:]
    mean = sum(settled) / len(settled)
    assert max(settled) - min(settled) <= max(4 * interval_us, mean / 2)


def test_a_sample_that_takes_more_than_a_minutes_share_is_taken_ever_so_seldom() -> None:
    samples = simulate(Budget(0.05, 0), SECOND, 7200, lambda _: 6 * SECOND)
    assert set(gaps(samples)) == {120 * SECOND}


def test_a_short_spike_does_not_make_samples_fewer() -> None:
    """The budget is the average of a minute: after a cheap one half of it may be spent at once."""
    samples = simulate(
        Budget(0.05, 0),
        SECOND,
        300,
        lambda now: 200_000 if 100 * SECOND <= now < 106 * SECOND else 5_000,
    )
    assert set(gaps(samples)) == {SECOND}


def test_it_comes_back_to_every_tick_when_the_cost_falls() -> None:
    fall = 600 * SECOND
    budget = Budget(0.05, 0)
    samples = simulate(budget, SECOND, 700, lambda now: 170_000 if now < fall else 5_000)
    before = [sample for sample in samples if 500 * SECOND <= sample[0] < fall]
    after = [sample for sample in samples if sample[0] >= fall]
    assert 3 * SECOND <= max(gaps(before)) <= 4 * SECOND
    assert after[0][0] <= fall + 4 * SECOND
    assert set(gaps(after)) == {SECOND}
    assert not budget.strained(700 * SECOND)


def test_an_expensive_first_sample_is_paid_for_over_a_minute() -> None:
    """It leaves no half minute unseen, as it would if nothing were allowed until it is paid."""
    samples = simulate(
        Budget(0.05, 0), SECOND, 300, lambda now: 170_000 if now else 1_500_000, lambda _: 170_000
    )
    assert max(gaps(samples)) <= 9 * SECOND
    assert worst_minute(samples) <= 0.05 * MINUTE + 170_000
    assert sum(cost for _, cost in samples) <= 0.05 * 300 * SECOND + 170_000


def test_what_is_spent_on_other_things_counts() -> None:
    """Reading the listeners takes 3 ms each second: only the rest is left for full samples."""
    samples = simulate(Budget(0.05, 0), SECOND, 1800, lambda _: 170_000, listeners_us=3_000)
    settled = [cost for when, cost in samples if when >= 3 * MINUTE]
    listeners = 1620 - len(settled)
    total = sum(settled) + 3_000 * listeners
    assert total == pytest.approx(0.05 * 1620 * SECOND, rel=0.05)
    assert max(gaps(samples)) <= 10 * SECOND


def test_other_spending_over_the_limit_stops_full_samples_but_never_the_listeners() -> None:
    budget = Budget(0.05, 0)
    budget.spend(0, 4 * SECOND)
    assert simulate(budget, SECOND, 59, lambda _: 1_000, began_us=SECOND) == []
    assert simulate(budget, SECOND, 10, lambda _: 1_000, began_us=60 * SECOND)[0][0] == 60 * SECOND


def test_it_is_strained_while_more_than_half_of_a_minutes_share_is_spent() -> None:
    budget = Budget(0.1, 7 * SECOND)
    assert not budget.strained(7 * SECOND)
    budget.spend(10 * SECOND, 3 * SECOND)
    assert not budget.strained(10 * SECOND)
    budget.spend(20 * SECOND, 1_000)
    assert budget.strained(20 * SECOND)
    assert budget.strained(70 * SECOND - 1)
    assert not budget.strained(70 * SECOND)


def test_strain_comes_before_samples_become_fewer() -> None:
    budget = Budget(0.05, 0)
    for now in range(0, 60 * SECOND, SECOND):
        if not budget.allows(now, 170_000):
            break
        budget.spend(now, 170_000)
    assert now > 5 * SECOND
    assert budget.strained(now)


@given(st.integers(1, MINUTE), st.integers(1, MINUTE))
def test_the_first_sample_says_little_of_what_the_next_ones_cost(first: int, others: int) -> None:
    cost = Cost()
    assert cost.expected_us == 0
    cost.add(first)
    assert 0 < cost.expected_us < first
    for _ in range(3):
        cost.add(others)
        assert cost.expected_us == others


@given(st.lists(st.integers(0, MINUTE), min_size=2, max_size=50))
def test_the_expectation_stays_within_what_was_seen_after_the_first(costs: list[int]) -> None:
    cost = Cost()
    for one in costs:
        cost.add(one)
    assert min(costs[1:]) - 1 <= cost.expected_us <= max(costs[1:]) + 1


def test_one_outlier_raises_the_expectation_little_and_a_fall_is_believed_soon() -> None:
    cost = Cost()
    for one in (500_000, 10_000, 10_000, 100_000):
        cost.add(one)
    assert 10_000 < cost.expected_us <= 30_000
    for _ in range(40):
        cost.add(100_000)
    assert cost.expected_us == pytest.approx(100_000, rel=0.01)
    for _ in range(5):
        cost.add(10_000)
    assert cost.expected_us < 13_000
