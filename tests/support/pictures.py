"""Pictures of commands as a terminal shows them: SVG, drawn of what the real commands print.

`python -m tests.support.pictures` stores those of docs/pictures anew, and the viewer's and the page's with
them. They ask for no font of the network, and what a command printed is text in them, to be found and read
aloud.
"""

from __future__ import annotations

import functools
import html
import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from tests.support import console

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "pictures"
_COLUMNS = 100
_SECONDS_EACH = 5
_SAMPLE = "-C sample_captures/port-7071/capture"


@dataclass(frozen=True, slots=True)
class Picture:
    """A terminal with some commands and what they print: all below each other, or one after the other."""

    title: str
    commands: Sequence[str]
    moves: bool = False


PICTURES = {
    "session": Picture(
        "What happened to port 7071",
        (
            f"sockrec diagnose {_SAMPLE}",
            f"sockrec replay {_SAMPLE} --at start+29s -tulpn",
            f"sockrec replay {_SAMPLE} --at start+40s -tulpn",
            f"sockrec lifecycle {_SAMPLE} --port 7071",
            f"sockrec diff {_SAMPLE} start end-10s",
        ),
        moves=True,
    ),
    "diagnose": Picture("What happened", (f"sockrec diagnose {_SAMPLE}",)),
    "replay": Picture(
        "netstat of then: before, and while nobody listened",
        (
            f"sockrec replay {_SAMPLE} --at start+29s -tulpn",
            f"sockrec replay {_SAMPLE} --at start+40s -tulpn",
        ),
    ),
    "lifecycle": Picture("What connections went through", (f"sockrec lifecycle {_SAMPLE} --port 7071",)),
}

_BLACK, _RED, _PALE = (32, 36, 44), (224, 108, 96), (222, 226, 232)
_THEME = TerminalTheme(_BLACK, _PALE, [_BLACK, _RED, *[_PALE] * 6])
# Rich's own, without the fonts that it would load from a CDN, and with words for who can't see it.
_FRAME = """\
<svg role="img" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<title>%s</title>
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: {char_height}px; line-height: {line_height}px;
}}
.{unique_id}-title {{ font: bold 18px system-ui, sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
# Each frame is seen for its share of the time; who wants nothing to move sees the first.
_MOVING = """\
<style>
.frame {{ opacity: 0; animation: turn {seconds}s step-end infinite; }}
@keyframes turn {{ 0% {{ opacity: 1; }} {share}% {{ opacity: 0; }} }}
{delays}
@media (prefers-reduced-motion: reduce) {{
  .frame {{ animation: none; }}
  .frame:first-of-type {{ opacity: 1; }}
}}
</style>
"""


@functools.cache  # several pictures show the same one
def typed(command: str) -> str:
    """Return a command as it is typed, with what it prints now."""
    return f"$ {command}\n{console.output(command, ROOT)}"


def drawn(name: str) -> str:
    """Return a picture, of what its commands print now."""
    picture = PICTURES[name]
    screens = [_cut(typed(command)) for command in picture.commands]
    if not picture.moves:
        return _screen(picture.title, name, screens, 0)
    height = max(screen.count("\n") for screen in screens)
    frames, delays = [], []
    for number, screen in enumerate(screens):
        frame = f"{name}-{number}"
        drawing = _screen(picture.title, frame, [screen], height)
        frames.append(f'<g class="frame" id="{frame}">\n{drawing}</g>\n')
        delays.append(f"#{frame} {{ animation-delay: {number * _SECONDS_EACH}s; }}")
    style = _MOVING.format(
        seconds=_SECONDS_EACH * len(screens), share=round(100 / len(screens), 3), delays="\n".join(delays)
    )
    head = next(line for line in frames[0].splitlines() if line.startswith("<svg"))
    return f"{head}\n{style}{''.join(frames)}</svg>\n"


def _cut(text: str) -> str:
    """Return a text in lines as wide as the terminal."""
    lines = text.splitlines()
    cut = [line[at : at + _COLUMNS] for line in lines for at in range(0, max(len(line), 1), _COLUMNS)]
    return "\n".join(cut)


def _screen(title: str, name: str, screens: Sequence[str], height: int) -> str:
    shown = Text("\n\n".join(screens))
    shown.append("\n" * (height - shown.plain.count("\n")))
    shown.highlight_regex(r"(?m)^\$ .*$", "bold")
    shown.highlight_regex(r"(?m)^\$", "red")
    terminal = Console(
        record=True, file=io.StringIO(), width=_COLUMNS, force_terminal=True, color_system="truecolor"
    )
    terminal.print(shown, no_wrap=True, highlight=False)
    words = html.escape(f"{title}: {'; '.join(screen.splitlines()[0] for screen in screens)}")
    return terminal.export_svg(
        title=title, theme=_THEME, code_format=_FRAME.replace("%s", words), unique_id=f"picture-{name}"
    )


def _store_others() -> None:
    """Store the pictures of the viewer and of the page, which are not of what a command prints."""
    from playwright.sync_api import sync_playwright

    from tests.report import pages
    from tests.report import picture as of_page
    from tests.view import picture as of_viewer

    of_viewer.PLACE.write_text(of_viewer.drawn())
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = pages.write_page(pages.PORT_7071, Path(folder) / "page.html")
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        tab = browser.new_page(viewport=of_page.SIZE)
        tab.goto(page.as_uri())
        tab.wait_for_selector("html[data-ready=yes]")
        of_page.PLACE.write_bytes(of_page.taken(tab))
        browser.close()


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for stored in PICTURES:
        (FOLDER / f"{stored}.svg").write_text(drawn(stored))
    _store_others()
