"""The viewer driven by keys, and what stands on its screen: Textual's pilot, without a terminal."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sockrec.view.app import Viewer
from sockrec.view.source import Source

if TYPE_CHECKING:
    from textual.pilot import Pilot

SAMPLES = Path(__file__).parents[2] / "sample_captures"
_TEXT = re.compile(r'<text class="[^"]*-r\d+" x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)</text>')
_NAMES = {
    " ": "space",
    "/": "slash",
    "=": "equals_sign",
    ".": "full_stop",
    "!": "exclamation_mark",
    "?": "question_mark",
}
_NAMES |= {"+": "plus", "-": "minus", ":": "colon", "_": "underscore", "[": "left_square_bracket"}
_NAMES |= {"]": "right_square_bracket"}

# Where Textual's screenshots have the first line, and how far they have lines and cells apart.
_FIRST_Y, _LINE_HEIGHT, _CELL_WIDTH = 20, 24.4, 12.2


class Screen:
    """The viewer at work: keys in, lines of text out."""

    def __init__(self, pilot: Pilot[Any], viewer: Viewer) -> None:
        self._pilot, self.viewer = pilot, viewer

    async def settle(self) -> None:
        """Wait until nothing is being read any more."""
        await self._until(lambda group: group not in ("aside", "follow"))

    async def diagnosed(self) -> None:
        """Wait until everything that is to be found was found."""
        await self._until(lambda group: group != "follow")

    async def _until(self, counts: Callable[[str], bool]) -> None:
        await self._pilot.pause()
        # What one of them is done with may begin another.
        while busy := [worker for worker in self.viewer.workers if counts(worker.group)]:
            await self.viewer.workers.wait_for_complete(busy)
            await self._pilot.pause()

    async def press(self, *keys: str) -> list[str]:
        """Press keys, by Textual's names; return the lines that then stand on the screen."""
        await self._pilot.press(*keys)
        await self.settle()
        return self.lines()

    async def type(self, text: str) -> list[str]:
        """Type a text and Enter."""
        return await self.press(*(_NAMES.get(letter, letter) for letter in text), "enter")

    async def resize(self, width: int, height: int) -> list[str]:
        """Make the terminal another size."""
        await self._pilot.resize_terminal(width, height)
        await self.settle()
        return self.lines()

    def lines(self) -> list[str]:
        """Return the lines on the screen."""
        svg = self.viewer.export_screenshot(simplify=True)
        rows: dict[int, list[tuple[float, str]]] = {}
        for x, y, text in _TEXT.findall(svg):
            row = round((float(y) - _FIRST_Y) / _LINE_HEIGHT)
            rows.setdefault(row, []).append((float(x), html.unescape(text).replace("\xa0", " ")))
        found = []
        for row in range(max(rows) + 1):
            line = ""
            for x, text in sorted(rows.get(row, [])):
                line = line.ljust(round(x / _CELL_WIDTH)) + text
            found.append(line.rstrip())
        return found

    def text(self) -> str:
        """Return all that stands on the screen in one line, without frames and what fills up."""
        return " ".join(re.sub("[│╭╮╰╯─]", " ", " ".join(self.lines())).split())


def drive(
    capture: Path,
    script: Callable[[Screen], Awaitable[None]],
    at: str | None = "start",
    size: tuple[int, int] = (120, 40),
) -> None:
    """Run a script on the viewer of a capture, begun at a moment."""

    async def run() -> None:
        source = Source(capture)
        viewer = Viewer(source, None if at is None else source.understood(at))
        try:
            async with viewer.run_test(size=size) as pilot:
                screen = Screen(pilot, viewer)
                await screen.settle()
                await script(screen)
        finally:
            viewer.close()

    # The browser of other tests has a loop of its own in the main thread, for as long as it is there.
    with ThreadPoolExecutor(1) as apart:
        apart.submit(asyncio.run, run()).result()
