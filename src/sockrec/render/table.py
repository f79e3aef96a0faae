"""Aligned columns for people, printed as rows come."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final

from sockrec.render.escape import terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

_GAP: Final = "  "
# Wider columns are not padded: one long command line must not push all other rows off the screen.
_WIDEST: Final = 60


def width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(_character_width(character) for character in text)


def _character_width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


class Table:
    """A table whose widths are those of its first batch; later longer cells shift their row, uncut.

    `right` tells which columns are aligned to the right.
    """

    def __init__(self, titles: Sequence[str], right: Sequence[bool]) -> None:
        self._titles = [terminal(title) for title in titles]
        self._right = right
        self._widths: list[int] | None = None

    def batch(self, rows: Sequence[Sequence[str]]) -> str:
        """Return some rows as text; the first call gives the titles too."""
        cells = [[terminal(cell) for cell in row] for row in rows]
        if self._widths is not None:
            return "".join(self._line(row) for row in cells)
        columns = zip(self._titles, *cells, strict=True)
        self._widths = [min(_WIDEST, max(map(width, column))) for column in columns]
        return "".join(self._line(row) for row in [self._titles, *cells])

    def _line(self, cells: Sequence[str]) -> str:
        padded = []
        for cell, wanted, right in zip(cells, self._widths or [], self._right, strict=True):
            blank = " " * max(0, wanted - width(cell))
            padded.append(blank + cell if right else cell + blank)
        return _GAP.join(padded).rstrip() + "\n"
