"""Samples one after the other, by a clock that the tests turn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sockrec.errors import UsageError
from sockrec.replay.moment import Sample
from sockrec.replay.pace import followed, paced, parse_speed, stepped


def sample(began_seconds: float, recording: str = "r1") -> Sample:
    began = round(began_seconds * 1e6)
    return Sample("web-1", recording, 0, began, began + 10_000, 1_000_000, None)


class Clock:
    """Time that passes only by sleeping, or as a test says."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept.append(round(seconds, 6))
        self.time += seconds


def shown_at(samples: list[Sample], speed: float | None, takes: float = 0.0) -> list[float]:
    """Return when each sample was shown, if showing one takes some seconds."""
    clock = Clock()
    times = []
    for _ in paced(samples, speed, clock.now, clock.sleep):
        times.append(round(clock.time - 1000, 6))
        clock.time += takes
    return times


SAMPLES = [sample(seconds) for seconds in (50, 51, 53, 53.5)]


def test_samples_come_at_the_recorded_pace_times_the_speed() -> None:
    assert shown_at(SAMPLES, 1) == [0, 1, 3, 3.5]
    assert shown_at(SAMPLES, 10) == [0, 0.1, 0.3, 0.35]
    assert shown_at(SAMPLES, 0.5) == [0, 2, 6, 7]
    assert shown_at(SAMPLES, None) == [0, 0, 0, 0]


def test_time_taken_by_showing_is_not_added() -> None:
    assert shown_at(SAMPLES, 1, takes=0.4) == [0, 1, 3, 3.5]
    assert shown_at(SAMPLES, 1, takes=1.5) == [0, 1.5, 3, 4.5]


def test_nobody_waits_from_one_recording_to_the_next() -> None:
    assert shown_at([sample(0), sample(1), sample(90_000, "r2"), sample(90_002, "r2")], 1) == [0, 1, 2, 4]


def test_samples_are_asked_for_only_when_due() -> None:
    taken = []

    def endless() -> Iterator[Sample]:
        for second in range(10**9):
            taken.append(second)
            yield sample(second)

    clock = Clock()
    running = paced(endless(), 1, clock.now, clock.sleep)
    assert [next(running).began_us for _ in range(3)] == [0, 1_000_000, 2_000_000]
    assert len(taken) == 3


@pytest.mark.parametrize(
    ("text", "speed"), [("1", 1.0), (" 0.5", 0.5), ("1e3", 1000.0), ("max", None), ("MAX", None)]
)
def test_speeds(text: str, speed: float | None) -> None:
    assert parse_speed(text) == speed


@pytest.mark.parametrize("text", ["0", "-1", "fast", "", "inf", "nan"])
def test_what_is_no_speed(text: str) -> None:
    with pytest.raises(UsageError, match="is not a speed"):
        parse_speed(text)


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        (["\n", "\n", "\n"], 4),
        (["\n", "q\n", "\n"], 2),
        (["\n", ""], 2),
        (["Quit\n"], 1),
        (["  next\n", ""], 2),
    ],
)
def test_each_line_shows_one_more(typed: list[str], shown: int) -> None:
    lines = iter(typed)
    assert list(stepped(SAMPLES, lambda: next(lines))) == SAMPLES[:shown]


def test_following_gives_each_new_sample_once_and_the_last_ones_after_the_end() -> None:
    # What each look finds, and whether recording still went on just before it.
    looks = [([], True), ([1, 2], True), ([], True), ([3], True), ([4], False), ([], False), ([5], True)]
    asked: list[int] = []
    slept: list[float] = []
    place = 0

    def is_recording() -> bool:
        return looks[place][1]

    def new_samples(began_us: int) -> list[Sample]:
        nonlocal place
        asked.append(began_us)
        found, _ = looks[place]
        place += 1
        return [sample(second) for second in found]

    given = [
        one.began_us // 1_000_000 for one in followed(new_samples, sample(0), is_recording, slept.append)
    ]
    assert given == [1, 2, 3, 4]
    assert [began // 1_000_000 for began in asked] == [0, 0, 2, 2, 3, 4]
    assert slept == [0.25, 0.25]
