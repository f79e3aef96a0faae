"""What is laid over the table: a text to read, or findings to choose from."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from sockrec.view.widgets import styles

if TYPE_CHECKING:
    from textual.app import ComposeResult


# What stands left and right of a text: the frame, a blank each, the scrollbar.
_FRAME = 5


def _broken(text: str, width: int, indent: str = "") -> str:
    """Return a text whose lines stay apart where there is no room for them on a screen of that width.

    What follows of a line stands under it by two columns more, or by `indent`.
    """
    room = max(20, width - _FRAME)
    lines = []
    for line in text.splitlines():
        if cell_len(line) <= room:
            lines.append(line)
            continue
        under = indent or " " * (len(line) - len(line.lstrip()) + 2)
        lines += textwrap.wrap(line, room, subsequent_indent=under, break_on_hyphens=False)
    return "\n".join(lines)


class Overlay(ModalScreen[int | None]):
    """What all of them share: a title, a line that says how to leave, and Escape and q that do."""

    BINDINGS: ClassVar = [Binding("escape,q", "close")]
    DEFAULT_CSS: ClassVar = """
    Overlay, Overlay:ansi { background: ansi_default; }
    Overlay .title { height: 1; text-style: bold; }
    Overlay .hint { height: 1; text-style: dim; }
    Overlay VerticalScroll, Overlay OptionList { height: 1fr; border: round ansi_blue; padding: 0 1;
        background: ansi_default; scrollbar-size-vertical: 1; }
    Overlay OptionList, Overlay OptionList:focus { max-height: 100%; width: 100%; margin: 0;
        border: round ansi_blue; }
    """

    def __init__(self, title: str, hint: str) -> None:
        super().__init__()
        self._title, self._hint = title, hint

    def compose(self) -> ComposeResult:
        """Lay it out."""
        yield Static(Text(self._title, no_wrap=True), classes="title")
        yield from self.content()
        yield Static(Text(self._hint, no_wrap=True), classes="hint")

    def content(self) -> ComposeResult:
        """Yield what stands between title and hint."""
        raise NotImplementedError

    def action_close(self) -> None:
        """Go back to the table."""
        self.dismiss(None)


class Reading(Overlay):
    """A text, plain, that can be scrolled; it may come later than its screen."""

    def __init__(self, title: str, text: str) -> None:
        super().__init__(title, "Up Down PgUp PgDn scroll   Esc back")
        self._text = text

    def content(self) -> ComposeResult:
        """Yield the text."""
        with VerticalScroll():
            yield Static(id="text")

    def fill(self, text: str) -> None:
        """Show another text."""
        self._text = text
        self.on_resize()

    def on_resize(self) -> None:
        """Break its lines where there is no room for them, so that they stay apart."""
        self.query_one("#text", Static).update(Text(_broken(self._text, self.app.size.width)))


class Findings(Overlay):
    """What was found; Enter returns the number of the one chosen."""

    def __init__(self, found: Sequence[tuple[str, str]] | None) -> None:
        super().__init__("Findings", "Up Down choose   Enter goes to its moment   Esc back")
        self._found = found

    def content(self) -> ComposeResult:
        """Yield the list."""
        yield OptionList(*self._options(), markup=False)

    def _options(self) -> list[Option]:
        if self._found is None:
            return [Option("still looking ...", disabled=True)]
        if not self._found:
            return [Option("nothing was found", disabled=True)]
        options = []
        for severity, text in self._found:
            title, _, rest = _broken(text, self.app.size.width, "  ").partition("\n")
            shown = Text().append(title, styles.BY_SEVERITY.get(severity, styles.TITLE)).append(f"\n{rest}")
            options.append(Option(shown))
        return options

    def fill(self, found: Sequence[tuple[str, str]]) -> None:
        """Show what was found meanwhile."""
        self._found = found
        self.on_resize()

    def on_resize(self) -> None:
        """Lay them out for the room there is; the one that was chosen stays so."""
        options = self.query_one(OptionList)
        chosen = options.highlighted or 0
        options.clear_options()
        options.add_options(self._options())
        options.highlighted = chosen if self._found else None

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Return which was chosen."""
        self.dismiss(event.option_index)
