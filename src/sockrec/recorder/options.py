"""How to record, and where a recording stands: what goes into a recorder, and what it tells of itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from sockrec.errors import UsageError
from sockrec.model import durations
from sockrec.recorder.writer import BUFFER_BYTES
from sockrec.store import retention

LEAST_INTERVAL_US: Final = 50_000


@dataclass(frozen=True, slots=True)
class Options:
    """How to record: times in microseconds, `cpu_share` of one core; None for no limit.

    `slow_us`: how often interfaces, routes, groups, limits and counters are read. `resolve`: whether to ask
    for the host names of addresses.
    `counters_us` is the least time between two writings of one socket's counters; None for never.
    `events`: whether to ask for them; `event_buffer`: bytes of room for each source, None for enough.
    `disk_buffer`: how many bytes wait in memory while the disk takes none, before samples are dropped.
    What is older than `max_age_us`, or than the ring, is removed, and the oldest of what is above
    `max_bytes`; what is older than `thin_after_us` is thinned.
    """

    interval_us: int = 1_000_000
    for_us: int | None = None
    sync_us: int = 1_000_000
    command: tuple[str, ...] = ()
    cpu_share: float | None = 0.05
    memory_bytes: int | None = None
    slow_us: int = 10_000_000
    resolve: bool = False
    counters_us: int | None = 60_000_000
    events: bool = True
    event_buffer: int | None = None
    disk_buffer: int = BUFFER_BYTES
    max_bytes: int | None = None
    max_age_us: int | None = None
    thin_after_us: int | None = None
    ring_us: int | None = None

    def __post_init__(self) -> None:
        if self.interval_us < LEAST_INTERVAL_US:
            raise UsageError(f"an interval of {self.interval_us / 1000:g} ms is too short; the least is 50ms")
        if self.slow_us < LEAST_INTERVAL_US:
            raise UsageError(f"--slow-interval {self.slow_us / 1000:g}ms is too short; the least is 50ms")
        if self.for_us is not None and self.for_us <= 0:
            raise UsageError("--for must be longer than nothing")
        if self.max_bytes is not None and self.max_bytes < retention.LEAST_BYTES:
            least = retention.LEAST_BYTES >> 20
            raise UsageError(f"--max-size leaves no room for anything useful: the least is {least}MiB")
        if self.ring_us is not None and self.max_age_us is not None:
            raise UsageError("--ring says what is kept, and so does --max-age: give one or the other")
        least_us = max(1_000_000, 2 * self.interval_us)
        for option, span_us in (("--ring", self.ring_us), ("--max-age", self.max_age_us)):
            if span_us is not None and span_us < least_us:
                raise UsageError(f"{option} is too short: the least here is {durations.show(least_us)}")


@dataclass(slots=True)
class Status:
    """Where a recording stands, for its live line and its last word."""

    elapsed_us: int = 0
    samples: int = 0
    sockets: Counter[str] = field(default_factory=Counter)
    changes: int = 0
    events: int = 0
    events_lost: int = 0
    bytes: int = 0
    cpu_percent: float = 0.0
    ticks_missed: int = 0
    incomplete: int = 0
    interval_us: int = 0
    disk: str | None = None
