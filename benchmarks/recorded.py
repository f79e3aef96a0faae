"""The real recorder, held between its samples: a script is told what each took, and goes on from there."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from sockrec.recorder.options import LEAST_INTERVAL_US, Options, Status
from sockrec.recorder.recorder import Recorder
from sockrec.store import layout


@dataclass(frozen=True, slots=True)
class Tick:
    """One sample: CPU seconds of the whole recorder, all threads, and the bytes on disk after it."""

    cpu: float
    bytes: int


Script = Generator[None, Tick, None]
"""Yields when it wants the next sample to be taken, and is sent what that one took."""


def record(
    capture: Path,
    script: Script,
    counters_us: int | None = Options().counters_us,
    *,
    interval_us: int = LEAST_INTERVAL_US,
    events: bool = True,
) -> Recorder:
    """Record until the script ends; return the recorder, done.

    The whole of `Recorder.run` is measured, from the end of one step of the script to the beginning of
    the next: events taken in during a whole interval, reading, ledger, owners, journal, rotation, the live
    line's counts. The script's own work is not. The recorder takes one more sample as it stops.
    """
    # Without a budget: here the cost is the question, not what is done about it.
    options = Options(interval_us=interval_us, cpu_share=None, counters_us=counters_us, events=events)
    recorder = Recorder(capture, options, layout.new_recording(time.time_ns() // 1000))
    next(script)
    begun = time.process_time()

    def on_sample(status: Status) -> None:
        nonlocal begun
        if recorder.stop.is_set():
            return
        first_tick = time.monotonic() - status.elapsed_us / 1e6
        tick = Tick(time.process_time() - begun, status.bytes)
        try:
            script.send(tick)
        except StopIteration:
            recorder.stop.set()
        # A step ends at any time within an interval: the rest of that is let go by.
        time.sleep(-(time.monotonic() - first_tick) % (interval_us / 1e6))
        begun = time.process_time()

    recorder.run(on_sample)
    return recorder
