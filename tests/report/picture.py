"""The picture of the page: its beginning, as a browser shows that of the sample capture.

What stands on it is in the PNG, too, as its description: whether the picture is of today's page is then known
without comparing what two browsers drew.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from tests.support.pictures import FOLDER

if TYPE_CHECKING:
    from playwright.sync_api import Page, ViewportSize

PLACE = FOLDER / "report.png"
SIZE: ViewportSize = {"width": 1100, "height": 1000}
# Where a chunk may stand, and what one of compressed text begins with (PNG specification, zTXt).
_AFTER_HEADER = 8 + 25
_TEXT, _KEYWORD = b"zTXt", b"Description\0\0"


def words(page: Page) -> str:
    """Return what stands on the part of a page that the picture has."""
    return "\n".join(page.locator(part).inner_text() for part in ("header", "#findings"))


def taken(page: Page) -> bytes:
    """Return the picture of a page in a window of `SIZE`, as PNG."""
    png = page.screenshot()
    told = _KEYWORD + zlib.compress(words(page).encode())
    chunk = struct.pack(">I", len(told)) + _TEXT + told + struct.pack(">I", zlib.crc32(_TEXT + told))
    return png[:_AFTER_HEADER] + chunk + png[_AFTER_HEADER:]


def described(png: bytes) -> str:
    """Return what stands on a picture."""
    at = png.index(_TEXT + _KEYWORD)
    (length,) = struct.unpack(">I", png[at - 4 : at])
    return zlib.decompress(png[at + 4 : at + 4 + length].removeprefix(_KEYWORD)).decode()
