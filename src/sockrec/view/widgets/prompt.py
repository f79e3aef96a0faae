"""The line in which a filter or a time is typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import Binding
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input, Static

from sockrec.view.widgets import styles

if TYPE_CHECKING:
    from textual.app import ComposeResult


class Prompt(Vertical):
    """A line to type in, with what can be typed, or what was wrong with it, under it."""

    DEFAULT_CSS: ClassVar = """
    Prompt { height: 2; display: none; }
    Prompt Input { height: 1; border: none; padding: 0; background: ansi_default; }
    """
    BINDINGS: ClassVar = [Binding("escape", "leave", priority=True)]

    class Answered(Message):
        """Something was typed, for what is asked for: `kind` as given to `ask`."""

        def __init__(self, kind: str, text: str) -> None:
            super().__init__()
            self.kind, self.text = kind, text

    class Left(Message):
        """Nothing was typed."""

    def __init__(self) -> None:
        super().__init__()
        self._kind = ""

    def compose(self) -> ComposeResult:
        """Lay it out."""
        yield Input(compact=True, select_on_focus=False)
        yield Static(id="help")

    def ask(self, kind: str, text: str, forms: str) -> None:
        """Begin to ask."""
        self._kind = kind
        line = self.query_one(Input)
        line.value = text
        line.placeholder = kind
        line.cursor_position = len(text)
        self.query_one("#help", Static).update(
            Text(f"{kind}: {forms}", styles.FAINT, no_wrap=True, overflow="ellipsis")
        )
        self.display = True
        # At once: what is typed next is meant for it.
        self.screen.set_focus(line)

    def refuse(self, why: str) -> None:
        """Say what was wrong, and go on asking."""
        self.query_one("#help", Static).update(Text(why, styles.WARNING, no_wrap=True, overflow="ellipsis"))

    def done(self) -> None:
        """Go away."""
        self.display = False

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Tell what was typed."""
        event.stop()
        self.post_message(self.Answered(self._kind, event.value))

    def action_leave(self) -> None:
        """Leave without an answer."""
        self.post_message(self.Left())
