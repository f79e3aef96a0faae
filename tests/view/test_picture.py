"""The picture of the viewer is what it shows."""

from __future__ import annotations

from tests.view import picture


def test_the_picture_stored_is_what_the_viewer_shows_now() -> None:
    assert picture.PLACE.read_text() == picture.drawn(), "stale: run `python -m tests.support.pictures`"
