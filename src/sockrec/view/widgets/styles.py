"""The colours: the terminal's own sixteen, so that they are readable on its background, light or dark.

Nothing is told by colour alone: signs and words say it too.
"""

from __future__ import annotations

from typing import Final

from rich.style import Style
from textual.theme import Theme

PLAIN: Final = Style()
TITLE: Final = Style(bold=True)
FAINT: Final = Style(dim=True)
SELECTED: Final = Style(reverse=True)
NEW: Final = Style(color="green", bold=True)
CHANGED: Final = Style(color="blue", bold=True)
WARNING: Final = Style(color="red", bold=True)
BAR: Final = Style(color="blue")
GAP: Final = Style(color="red")
BY_SEVERITY: Final = {
    "critical": Style(color="red", bold=True),
    "warning": Style(color="magenta", bold=True),
    "notice": Style(color="blue"),
}

THEME: Final = Theme(
    name="terminal",
    ansi=True,
    primary="ansi_blue",
    secondary="ansi_default",
    warning="ansi_magenta",
    error="ansi_red",
    success="ansi_green",
    accent="ansi_blue",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    boost="ansi_default",
    variables={
        "ansi-background": "ansi_default",
        "ansi-foreground": "ansi_default",
        "border": "ansi_blue",
        "border-blurred": "ansi_blue",
        "block-cursor-foreground": "ansi_default",
        "block-cursor-background": "ansi_default",
        "block-cursor-text-style": "reverse",
        "block-cursor-blurred-foreground": "ansi_default",
        "block-cursor-blurred-background": "ansi_default",
        "block-cursor-blurred-text-style": "reverse",
        "block-hover-background": "ansi_default",
        "input-cursor-background": "ansi_default",
        "input-cursor-foreground": "ansi_default",
        "input-cursor-text-style": "reverse",
        "input-selection-background": "ansi_blue",
        "input-selection-foreground": "ansi_white",
        "scrollbar": "ansi_blue",
        "scrollbar-hover": "ansi_blue",
        "scrollbar-active": "ansi_blue",
        "scrollbar-background": "ansi_default",
        "scrollbar-corner-color": "ansi_default",
        "scrollbar-background-hover": "ansi_default",
        "scrollbar-background-active": "ansi_default",
        "screen-selection-background": "ansi_blue",
        "screen-selection-foreground": "ansi_white",
    },
)
