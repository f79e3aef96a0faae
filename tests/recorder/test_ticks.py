"""Ticks that go by while the recorder sleeps too long belong to the sample that is taken then."""

from __future__ import annotations

import pytest

from sockrec.kernel import host
from sockrec.recorder.stop import Stop
from sockrec.recorder.ticks import Ticks

_PERIOD = 90_000  # an interval of 100 ms comes a tenth early


class _Clock(Stop):
    """A boot clock that stands still but while somebody waits, and then goes on as long as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 5_000_000
        self.longer: list[int] = []

    def wait(self, seconds: float) -> bool:
        self.now += round(seconds * 1e6) + (self.longer.pop(0) if self.longer else 0)
        return False


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    made = _Clock()
    monkeypatch.setattr(host, "boot_us", lambda: made.now)
    return made


def test_one_that_wakes_in_time_misses_none(clock: _Clock) -> None:
    ticks = Ticks(100_000, None, clock)
    for number in range(1, 6):
        ticks.wait()
        assert (ticks.number, ticks.missed) == (number, 0)
        assert clock.now == ticks.began_us + number * _PERIOD


def test_the_sample_after_a_long_sleep_has_what_it_missed(clock: _Clock) -> None:
    """The process was stopped while it waited: the hole is before this sample, not after it."""
    ticks = Ticks(100_000, None, clock)
    ticks.wait()
    clock.longer = [10 * _PERIOD + 1000]
    ticks.wait()
    assert (ticks.number, ticks.missed) == (12, 10)
    ticks.wait()
    assert (ticks.number, ticks.missed) == (13, 0)
    assert clock.now == ticks.began_us + 13 * _PERIOD, "no burst, and the pace is kept"


def test_what_went_by_before_the_reading_began_is_told_once(clock: _Clock) -> None:
    ticks = Ticks(100_000, None, clock)
    ticks.wait()
    clock.now += 3 * _PERIOD + 10
    assert ticks.late(clock.now) == 3
    assert ticks.late(clock.now) == 0
    ticks.wait()
    assert (ticks.number, ticks.missed) == (5, 0)


def test_a_slow_reading_is_told_with_the_next_sample(clock: _Clock) -> None:
    ticks = Ticks(100_000, None, clock)
    ticks.wait()
    clock.now += 3 * _PERIOD + 10
    ticks.wait()
    assert (ticks.number, ticks.missed) == (5, 3)


def test_ticks_are_counted_from_the_first_sample(clock: _Clock) -> None:
    ticks = Ticks(100_000, None, clock)
    clock.now += 5 * _PERIOD + 10
    assert ticks.late(clock.now) == 0
    first = clock.now
    ticks.wait()
    assert (ticks.number, ticks.missed) == (1, 0)
    assert clock.now == first + _PERIOD
