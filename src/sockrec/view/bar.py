"""The time bar: how much changed when, where nothing is known, where something was found."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from sockrec.replay.stretch import Ints
    from sockrec.view.timeline import Timeline

LEVELS: Final = "▁▂▃▄▅▆▇█"
GAP: Final = "░"
"""Nothing, or not all, is known of that time."""
SIGNS: Final = {"critical": "!", "warning": "*", "notice": "+"}
_LEAST_SPAN_US: Final = 10_000_000


class Mark(NamedTuple):
    """Something to mark on the bar: a sign at a moment, or over a time."""

    first_us: int
    last_us: int
    sign: str


@dataclass(frozen=True, slots=True)
class Window:
    """The time that the bar shows, microseconds UTC, in so many columns."""

    first_us: int
    last_us: int
    width: int

    @property
    def column_us(self) -> float:
        """How much time a column stands for."""
        return max(1, self.last_us - self.first_us) / self.width

    def column(self, time_us: int) -> int | None:
        """Return the column of a moment; None if it is not in the window."""
        if not self.first_us <= time_us <= self.last_us:
            return None
        return min(self.width - 1, int((time_us - self.first_us) / self.column_us))


def window(timeline: Timeline, width: int, zoom: int, cursor_us: int) -> Window:
    """Return what the bar shows: all time halved `zoom` times, with the cursor in its middle."""
    first, last = timeline.first_us, timeline.last_us
    span = max((last - first) >> zoom, min(_LEAST_SPAN_US, last - first))
    begin = min(max(first, cursor_us - span // 2), last - span)
    return Window(begin, begin + span, max(1, width))


def density(shown: Window, timeline: Timeline, counts: Ints) -> str:
    """Return a character a column: how much changed in it, on a logarithmic scale, or `GAP`.

    A column of less than a sample has what changed in the sample's whole interval: nobody knows when in it.
    """
    samples = timeline.samples
    ended = np.array(timeline.ended_us, dtype=np.int64)
    known = np.zeros(len(samples), dtype=np.int64)
    known[: len(counts)] = counts[: len(samples)]
    total = np.concatenate(([0], np.cumsum(known)))
    edges = shown.first_us + np.arange(shown.width + 1) * shown.column_us
    places = np.searchsorted(ended, edges, side="left")
    sums = total[places[1:]] - total[places[:-1]]
    # No sample ended in the column: the next one tells of it.
    alone = (places[1:] == places[:-1]) & (places[1:] < len(samples))
    sums[alone] = known[np.minimum(places[1:][alone], len(samples) - 1)]
    most = max(1, int(sums.max()))
    scale = (len(LEVELS) - 1) / math.log1p(most)
    return "".join(LEVELS[min(len(LEVELS) - 1, math.ceil(math.log1p(n) * scale))] for n in sums.tolist())


def overlaid(shown: Window, text: str, spans: Iterable[tuple[int, int]], sign: str) -> str:
    """Return the text with a sign in every column that one of some times touches."""
    signs = list(text)
    for first, last in spans:
        if last < shown.first_us or first > shown.last_us:
            continue
        begin = shown.column(max(first, shown.first_us)) or 0
        end = shown.column(min(last, shown.last_us))
        signs[begin : (end or 0) + 1] = sign * ((end or 0) + 1 - begin)
    return "".join(signs)


def marks(shown: Window, found: Sequence[Mark]) -> str:
    """Return a line of signs; where several are in a column, the first given is seen."""
    signs = [" "] * shown.width
    for mark in reversed(found):
        column = shown.column(mark.last_us)
        if column is not None:
            signs[column] = mark.sign
    return "".join(signs)


def scale(shown: Window, first: str, last: str, step: str) -> str:
    """Return the line under the bar: its ends, and between them how long a column is, if there is room."""
    room = shown.width - len(first) - len(last)
    if room < 1:
        return first[: shown.width]
    middle = f"{step} a column"
    return first + (middle.center(room) if len(middle) + 2 <= room else " " * room) + last
