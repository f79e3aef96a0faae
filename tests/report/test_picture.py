"""The picture of the page is of today's page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.report import picture
from tests.report.conftest import Seen


def test_the_picture_stored_shows_what_the_page_says(see: Callable[..., Seen], port_7071: Path) -> None:
    told = picture.described(picture.PLACE.read_bytes())
    assert told == picture.words(see(port_7071).page), "stale: run `python -m tests.support.pictures`"
    assert "port 7071 stopped listening and came back" in told
