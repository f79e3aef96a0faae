"""What a figure of the page is: lines or bars over time, in words too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sockrec.report.scope import Scope

# What tells the end of a line from the nothing behind it, in seconds.
INSTANT: Final = 1e-6
# More points than a wide screen has, of which nobody sees the ones between.
MOST_POINTS: Final = 4_000
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """A line or the bars of one thing; not a number where nothing is known. `page.css` has the colours."""

    name: str
    colour: str
    values: Values
    dashed: bool = False


@dataclass(frozen=True)
class Figure:
    """A panel of the page.

    `unit` is count, bytes, bytes/s, /s or us. `axis` is `samples` (levels, as each sample found them),
    `steps` (what happened in each step) or moments in seconds since the page's first (each value is of the
    time until the next). `text` says what is shown, `nothing` what is said instead where there is nothing.
    `look` is line, bars or dots. `thinned` says what was left out.
    """

    name: str
    title: str
    unit: str
    axis: str | Values
    text: str
    nothing: str
    series: list[Series] = field(default_factory=list)
    look: str = "line"
    thinned: str = ""

    def json(self) -> dict[str, Any]:
        """Return it for the page."""
        series = [
            {"name": one.name, "colour": one.colour, "dashed": one.dashed, "values": numbers(one.values)}
            for one in self.series
        ]
        axis = self.axis if isinstance(self.axis, str) else numbers(self.axis)
        return vars(self) | {"series": series, "axis": axis}


def numbers(values: Iterable[float]) -> list[float | int | None]:
    """Return numbers as short as they can be told, null for what is none."""
    return [None if one != one else int(one) if one == int(one) else float(f"{one:.7g}") for one in values]


class Samples:
    """The axis of levels: a place for each sample, or for some that follow each other if they are too many.

    Behind the last of each recording its end follows, and a place of nothing, so that lines break there.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        begins = [*scope.begins_run, len(scope.began)]
        self._runs = list(pairwise(begins))
        self.every = -(-len(scope.began) // MOST_POINTS)

    def x(self) -> Values:
        """Return the moments of the places, in seconds since the page's first."""
        parts: list[Values] = []
        for first, last in self._runs:
            began = (self._scope.began[first : last : self.every] - self._scope.first_us) / 1e6
            end = (self._scope.ended[last - 1] - self._scope.first_us) / 1e6
            parts += [np.maximum(began, 0), np.array([end, end + INSTANT])]
        return np.concatenate(parts)

    def levels(
        self, recordings: npt.NDArray[Any], moments_us: npt.NDArray[np.int64], steps: npt.NDArray[np.int64]
    ) -> Values:
        """Return the levels that rise by steps: in each sample that ended after the moment of the step."""
        parts: list[Values] = []
        for first, last in self._runs:
            mine = recordings == self._scope.recording[first]
            places = np.searchsorted(self._scope.ended[first:last], moments_us[mine])
            rises = np.bincount(places, steps[mine], last - first + 1)[: last - first]
            levels = np.cumsum(rises).astype(np.float64)
            parts += [self._thinned(levels), np.array([levels[-1], np.nan])]
        return np.concatenate(parts)

    def _thinned(self, levels: Values) -> Values:
        """Return the highest of each so many."""
        return np.maximum.reduceat(levels, np.arange(0, len(levels), self.every))

    @property
    def thinned(self) -> str:
        """What is said of a figure on this axis."""
        return f"each point is the highest of {self.every} samples" if self.every > 1 else ""
