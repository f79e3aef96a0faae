"""The time bar as a widget: density, marks, scale; a click on it jumps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from sockrec.model import durations, timetext
from sockrec.view import bar
from sockrec.view.widgets import styles

if TYPE_CHECKING:
    from datetime import tzinfo

    from textual import events

    from sockrec.replay.stretch import Ints
    from sockrec.view.timeline import Timeline

_CURSOR = "^"
_SIGN_STYLES = {bar.SIGNS[name]: style for name, style in styles.BY_SEVERITY.items()}


class TimeBar(Widget):
    """Three lines: how much changed when; signs of findings, of the mark and of the cursor; the scale."""

    DEFAULT_CSS: ClassVar = "TimeBar { height: 3; }"

    class Clicked(Message):
        """A moment was clicked on, microseconds UTC."""

        def __init__(self, time_us: int) -> None:
            super().__init__()
            self.time_us = time_us

    def __init__(self, timeline: Timeline, zone: tzinfo) -> None:
        super().__init__()
        self._timeline, self._zone = timeline, zone
        self._counts: Ints | None = None
        self._gaps: list[tuple[int, int]] = []
        self._findings: list[bar.Mark] = []
        self._mark_us: int | None = None
        self._cursor_us = timeline.first_us
        self._zoom = 0
        self._heights: tuple[bar.Window, str] | None = None
        self._lines: list[list[Segment]] | None = None

    def know(self, counts: Ints, gaps: Sequence[tuple[int, int]]) -> None:
        """Take what changed with each sample, and when not all is known."""
        self._counts, self._gaps = counts, list(gaps)
        self._heights = None
        self._changed()

    def found(self, marks: Sequence[bar.Mark]) -> None:
        """Take where something was found, the most telling first."""
        self._findings = list(marks)
        self._changed()

    def point(self, cursor_us: int, mark_us: int | None) -> None:
        """Take where the cursor and the mark are."""
        self._cursor_us, self._mark_us = cursor_us, mark_us
        self._changed()

    def zoom(self, by: int) -> None:
        """Show half of the time, or twice of it."""
        total = self._timeline.last_us - self._timeline.first_us
        wanted = max(0, self._zoom + by)
        if wanted <= self._zoom or total >> self._zoom > 10_000_000:
            self._zoom = wanted
        self._changed()

    def _changed(self) -> None:
        self._lines = None
        self.refresh()

    def _window(self) -> bar.Window:
        return bar.window(self._timeline, self.size.width, self._zoom, self._cursor_us)

    def on_resize(self) -> None:
        """Draw it anew."""
        self._changed()

    def on_click(self, event: events.Click) -> None:
        """Tell which moment was clicked on."""
        shown = self._window()
        self.post_message(self.Clicked(shown.first_us + int((event.x + 0.5) * shown.column_us)))

    def render_line(self, y: int) -> Strip:
        """Return one of the three lines."""
        if self._lines is None:
            self._lines = self._drawn()
        return Strip(self._lines[y] if y < len(self._lines) else [])

    def _drawn(self) -> list[list[Segment]]:
        shown = self._window()
        if self._heights is None or self._heights[0] != shown:
            # The same as long as only the cursor moves.
            blank = " " * shown.width
            counted = blank if self._counts is None else bar.density(shown, self._timeline, self._counts)
            self._heights = shown, bar.overlaid(shown, counted, self._gaps, bar.GAP)
        heights = self._heights[1]
        here = shown.column(self._cursor_us)
        signs = [*self._findings, *([bar.Mark(self._mark_us, self._mark_us, "M")] if self._mark_us else [])]
        below = bar.marks(shown, [*signs, bar.Mark(self._cursor_us, self._cursor_us, _CURSOR)])
        top = [
            Segment(sign, (styles.GAP if sign == bar.GAP else styles.BAR) + Style(reverse=column == here))
            for column, sign in enumerate(heights)
        ]
        signed = [
            Segment(sign, _SIGN_STYLES.get(sign, styles.TITLE) + Style(reverse=column == here))
            for column, sign in enumerate(below)
        ]
        one_day = shown.last_us - shown.first_us < 86_400_000_000
        first, last = (
            timetext.clock(moment, self._zone, 0) if one_day else timetext.full(moment, self._zone, 0)[:16]
            for moment in (shown.first_us, shown.last_us)
        )
        step = durations.show(shown.column_us)
        return [top, signed, [Segment(bar.scale(shown, first, last, step), styles.FAINT)]]
