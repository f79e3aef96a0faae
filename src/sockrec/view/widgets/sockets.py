"""The table of sockets: of thousands of lines, those on the screen are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Static

from sockrec.view import columns
from sockrec.view.widgets import styles

if TYPE_CHECKING:
    from textual import events

    from sockrec.query.findings.interest import Interest
    from sockrec.view.table import Subject, Table

_SIGNS = {"+": styles.NEW, "~": styles.CHANGED}


class Titles(Static):
    """The line over the table."""

    DEFAULT_CSS: ClassVar = "Titles { height: 1; }"

    def fit(self, wide: Sequence[int]) -> None:
        """Show the titles in columns of some widths."""
        self.update(Text(" " + columns.titles(wide), styles.TITLE, no_wrap=True))


class Sockets(ScrollView, can_focus=True, inherit_bindings=False):
    """netstat's table with a cursor, which stays on its socket wherever that stands."""

    DEFAULT_CSS: ClassVar = "Sockets { height: 1fr; overflow-x: hidden; scrollbar-size-vertical: 1; }"

    class Chosen(Message):
        """Another line has the cursor."""

    def __init__(self, titles: Titles) -> None:
        super().__init__()
        self._titles = titles
        self.table: Table | None = None
        self.subject: Subject | None = None
        self._place = 0
        self._is_old = False
        self._longest = [0] * len(columns.TITLES)
        self._cells: dict[int, tuple[tuple[str, ...], str]] = {}
        self._is_there = False
        self._wished: Interest | None = None
        self.wide: tuple[int, ...] = ()

    @property
    def place(self) -> int | None:
        """Where the selected socket stands; None if it is not there."""
        if self.table is None or self.subject is None:
            return None
        return self._place if self._is_there else None

    def put(self, table: Table, *, is_old: bool = False) -> None:
        """Show the sockets of a moment; `is_old` where they are those of a moment before it."""
        self.table, self._is_old = table, is_old
        self._cells.clear()
        if self._wished is not None:
            self.subject = table.about(self._wished) or self.subject
            self._wished = None
        if self.subject is None and len(table):
            self.subject = table.subject(min(self._place, len(table) - 1))
        self._find()
        self.virtual_size = Size(self._room, len(table))
        if self._is_there:
            self._reveal()
        self.refresh()

    def wish(self, told: Interest) -> None:
        """Select what something is about in the table that is shown next, if it is there."""
        self._wished = told

    def choose(self) -> None:
        """Select the first line if what is selected is not there."""
        if self.table is not None and len(self.table) and not self._is_there:
            self._place = 0
            self._is_there = True
            self.move(0)

    def outdate(self) -> None:
        """Show what is there as of another moment."""
        self._is_old = True
        self.refresh()

    def _find(self) -> None:
        assert self.table is not None  # noqa: S101 - asked for with a table only
        found = None if self.subject is None else self.table.place_of(self.subject)
        self._is_there = found is not None
        self._place = found if found is not None else max(0, min(self._place, len(self.table) - 1))

    def move(self, by: int) -> None:
        """Move the cursor by some lines."""
        if self.table is None or not len(self.table):
            return
        # Where the selected one is gone, the first move only shows where the cursor is.
        step = by if self._is_there or abs(by) > 1 else 0
        self._place = max(0, min(len(self.table) - 1, self._place + step))
        self.subject = self.table.subject(self._place)
        self._is_there = True
        self._reveal()
        self.refresh()
        self.post_message(self.Chosen())

    def page(self, by: int) -> None:
        """Move the cursor by a screen."""
        self.move(by * max(2, self.size.height - 1))

    def _reveal(self) -> None:
        self.scroll_to_region(Region(0, self._place, 1, 1), animate=False, immediate=True)

    def on_click(self, event: events.Click) -> None:
        """Select the line clicked on."""
        place = int(self.scroll_offset.y) + event.y
        if self.table is not None and place < len(self.table):
            self._place = place
            self._is_there = True
            self.move(0)

    def on_resize(self) -> None:
        """Take the widths anew."""
        self._longest = [0] * len(columns.TITLES)
        if self.table is not None:
            self.virtual_size = Size(self._room, len(self.table))
            if self._is_there:
                self.call_after_refresh(self._reveal)

    @property
    def _room(self) -> int:
        """How many columns of the terminal a line has: the scrollbar takes one."""
        return self.scrollable_content_region.width

    def _widths(self) -> tuple[int, ...]:
        if self.table is not None:
            first = int(self.scroll_offset.y)
            for place in range(first, min(len(self.table), first + self.size.height)):
                cells, _ = self._of(place)
                self._longest = [
                    max(known, cell_len(text)) for known, text in zip(self._longest, cells, strict=True)
                ]
        return columns.widths(self._longest, self._room - 1)

    def _of(self, place: int) -> tuple[tuple[str, ...], str]:
        assert self.table is not None  # noqa: S101 - asked for with a table only
        found = self._cells.get(place)
        if found is None:
            line = self.table.line(place)
            found = self._cells[place] = columns.texts(line), line.sign
        return found

    def render_lines(self, crop: Region) -> list[Strip]:
        """Return the lines on the screen, in columns that fit all of them."""
        self._fit()
        return super().render_lines(crop)

    def _fit(self) -> None:
        wide = self._widths()
        if wide != self.wide:
            self.wide = wide
            self._titles.fit(wide)

    def render_line(self, y: int) -> Strip:
        """Return one line of the screen."""
        place = int(self.scroll_offset.y) + y
        if self.table is None or place >= len(self.table):
            return Strip.blank(self._room)
        cells, sign = self._of(place)
        style = styles.FAINT if self._is_old else _SIGNS.get(sign, styles.PLAIN)
        if self._is_there and place == self._place:
            style += Style(reverse=True)
        text = set_cell_size(sign + columns.text(cells, self.wide), self._room)
        return Strip([Segment(text, style)], self._room)
