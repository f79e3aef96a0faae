"""Stretches of a capture in memory: the last few that were read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sockrec.replay.moment import Sample
    from sockrec.replay.stretch import Stretch
    from sockrec.view.timeline import Timeline

SAMPLES: Final = 600
"""How many samples are read at once: ten minutes at the usual interval."""
_KEPT: Final = 4
# So near to the end of a stretch the next one is read.
_NEAR: Final = 120


class Stretches:
    """Finds the stretch that a sample is of, if it was read."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._kept: list[Stretch] = []

    def add(self, stretch: Stretch) -> None:
        """Keep one that was read."""
        self._kept.append(stretch)
        del self._kept[:-_KEPT]

    def find(self, sample: Sample) -> Stretch | None:
        """Return the stretch of a sample, the one in whose middle it is most; None if none was read."""
        found = [one for one in self._kept if one.covers(sample)]
        return max(found, key=lambda one: self._room(one, sample), default=None)

    def _room(self, stretch: Stretch, sample: Sample) -> int:
        number = self._timeline.number_of
        here = number(sample)
        return min(here - number(stretch.first), number(stretch.last) - here)

    def wanted(self, sample: Sample) -> list[Sample]:
        """Return the samples to be read before they are asked for; none if enough of those near are there."""
        near = self._timeline.around(sample, SAMPLES)
        found = self.find(sample)
        if found is None:
            return near
        number = self._timeline.number_of
        here = number(sample)
        before = here - number(found.first) < min(_NEAR, here - number(near[0]))
        after = number(found.last) - here < min(_NEAR, number(near[-1]) - here)
        return near if before or after else []

    def forget(self, from_us: int) -> None:
        """Forget those that reach beyond a moment: more is known of it since."""
        self._kept = [one for one in self._kept if one.last.ended_us < from_us]
