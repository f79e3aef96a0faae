"""Samples one after the other: at the pace they were taken, faster, by hand, or as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from sockrec.errors import UsageError
from sockrec.replay.moment import Sample

MAX: Final = "max"
_LEAST_POLL_S: Final = 0.02


def parse_speed(text: str) -> float | None:
    """Return how many times faster than recorded; None for `max`, without waiting.

    Raises `UsageError` for anything but `max` and a number above 0.
    """
    if text.strip().lower() == MAX:
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise UsageError(f"{text!r} is not a speed; write 1, 10, 0.5 or max")
    return speed


def paced(
    samples: Iterable[Sample],
    speed: float | None = 1.0,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[Sample]:
    """Yield samples as far apart as they were taken, divided by `speed`; None means at once.

    The schedule is kept as a whole: time that the reader takes to show one is not added. Nobody
    waits through the time between two recordings: it passes as one interval.
    """
    begun = now()
    due = 0.0
    before: Sample | None = None
    for sample in samples:
        if before is not None and speed is not None:
            one_recording = sample.recording == before.recording
            apart_us = sample.began_us - before.began_us if one_recording else sample.interval_us
            due += apart_us / 1e6 / speed
            wait = begun + due - now()
            if wait > 0:
                sleep(wait)
        before = sample
        yield sample


def stepped(samples: Iterable[Sample], read_line: Callable[[], str]) -> Iterator[Sample]:
    """Yield the first sample, and one more for every line read; `q` or the end of input ends it."""
    for place, sample in enumerate(samples):
        if place:
            line = read_line()
            if not line or line.strip().lower().startswith("q"):
                return
        yield sample


def followed(
    new_samples: Callable[[int], list[Sample]],
    last: Sample,
    is_recording: Callable[[], bool],
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[Sample]:
    """Yield each new sample of a running recording, until it has ended and all were given.

    `new_samples(began_us)` returns those begun after that time, read anew from the capture;
    `is_recording` tells whether more can come. It is asked four times an interval.
    """
    while True:
        # Asked before reading: what is written in between is found by the next round.
        more = is_recording()
        found = new_samples(last.began_us)
        for sample in found:
            last = sample
            yield sample
        if not more and not found:
            return
        if not found:
            sleep(max(_LEAST_POLL_S, last.interval_us / 4e6))
