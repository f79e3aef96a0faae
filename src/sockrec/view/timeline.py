"""Where the cursor can stand: at every sample, and in every stretch without samples."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from sockrec.replay.moment import Sample


class Stop(NamedTuple):
    """One place of the cursor: a moment (microseconds UTC), and the sample in force at it.

    `silent_until` is None at a sample. Where samples were due and none came, it is when the next one began:
    what is shown is then as it was before.
    """

    time_us: int
    sample: Sample
    silent_until: int | None = None


class Timeline:
    """The samples of one host in order, and the silences between them; `samples` must not be empty.

    `ended_us` is when each sample of `samples` ended.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._stops: list[Stop] = []
        self._times: list[int] = []
        self._began: list[int] = []
        self.ended_us: list[int] = []
        self.samples: list[Sample] = []
        self.extend(samples)

    def extend(self, samples: Sequence[Sample]) -> None:
        """Add samples that were taken since."""
        for sample in samples:
            if self.samples:
                before = self.samples[-1]
                # From then on `replay` says that nothing was recorded (`Moments.silence`).
                silent = before.ended_us + 2 * before.interval_us + 1
                if silent < sample.began_us:
                    self._add(Stop(silent, before, sample.began_us))
            self.samples.append(sample)
            self._began.append(sample.began_us)
            self.ended_us.append(sample.ended_us)
            self._add(Stop(sample.began_us, sample))

    def _add(self, stop: Stop) -> None:
        self._stops.append(stop)
        self._times.append(stop.time_us)

    def __len__(self) -> int:
        return len(self._stops)

    def __getitem__(self, place: int) -> Stop:
        return self._stops[place]

    @property
    def first_us(self) -> int:
        """When the first sample began."""
        return self._times[0]

    @property
    def last_us(self) -> int:
        """When the last sample ended."""
        return self.ended_us[-1]

    def at(self, time_us: int) -> int:
        """Return the place in force at a moment; the first one for what is before."""
        return max(0, bisect_right(self._times, time_us) - 1)

    def moved(self, place: int, by_us: int) -> int:
        """Return the place so much later or earlier; another one in any case, if there is one."""
        if by_us == 0 or not 0 <= place < len(self):
            return place
        there = self.at(self._times[place] + by_us)
        step = 1 if by_us > 0 else -1
        if there == place:
            there += step
        return min(max(there, 0), len(self) - 1)

    def shows(self, known_us: int) -> int:
        """Return the place of the first sample that ended at or after a moment; the last one if none did."""
        number = min(bisect_left(self.ended_us, known_us), len(self.ended_us) - 1)
        return self.place_of(number)

    def after(self, last_seen_us: int) -> int:
        """Return the place of the first sample that began after a moment; the last one if none did."""
        number = min(bisect_right(self._began, last_seen_us), len(self._began) - 1)
        return self.place_of(number)

    def place_of(self, number: int) -> int:
        """Return where the sample stands that is the `number`-th of all, counted from 0."""
        return bisect_left(self._times, self._began[number])

    def number_of(self, sample: Sample) -> int:
        """Return the how-manieth of all a sample is, counted from 0."""
        return bisect_left(self._began, sample.began_us)

    def around(self, sample: Sample, count: int) -> list[Sample]:
        """Return at most so many samples of one recording, with this one in their middle."""
        middle = self.number_of(sample)
        first = max(0, middle - count // 2)
        near = self.samples[first : first + max(1, count)]
        here = middle - first
        low = here
        while low > 0 and near[low - 1].recording == sample.recording:
            low -= 1
        high = here
        while high + 1 < len(near) and near[high + 1].recording == sample.recording:
            high += 1
        return near[low : high + 1]
