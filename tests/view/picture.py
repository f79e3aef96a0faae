"""The picture of the viewer: `sockrec view` on the sample capture, while nobody listened on port 7071."""

from __future__ import annotations

import re

from tests.support.pictures import FOLDER
from tests.view.driving import SAMPLES, Screen, drive

PLACE = FOLDER / "view.svg"
# Textual's pictures load a font of the network, and name its maker.
_FOREIGN = re.compile(r"@font-face\s*\{.*?\}\s*|<!--.*?-->\s*", re.DOTALL)


def drawn() -> str:
    """Return the picture as SVG."""
    found: list[str] = []

    async def look(screen: Screen) -> None:
        await screen.diagnosed()
        found.append(screen.viewer.export_screenshot(title="sockrec view"))

    drive(SAMPLES / "port-7071" / "capture", look, at="start+31.5s", size=(110, 32))
    return _FOREIGN.sub("", found[0])
