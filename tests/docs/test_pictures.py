"""Pictures of commands show what the commands print, and load nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from tests.support import pictures


class _Words(HTMLParser):
    """Collects the text of a picture, piece by piece."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def handle_data(self, data: str) -> None:
        self.words.append(data.replace("\xa0", " "))


def _shown(svg: str) -> str:
    parsed = _Words()
    parsed.feed("".join(re.findall(r'-matrix">(.*?)</g>', svg, re.DOTALL)))
    return "".join("".join(parsed.words).split())


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_the_picture_stored_is_what_is_printed_now(name: str) -> None:
    stored = (pictures.FOLDER / f"{name}.svg").read_text()
    assert stored == pictures.drawn(name), "stale: run `python -m tests.support.pictures`"


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_the_picture_has_every_word_of_the_output(name: str) -> None:
    stored = (pictures.FOLDER / f"{name}.svg").read_text()
    typed = "".join(map(pictures.typed, pictures.PICTURES[name].commands))
    assert _shown(stored) == "".join(typed.split())


def test_no_picture_loads_anything() -> None:
    found = list(pictures.FOLDER.glob("*.svg"))
    assert {path.stem for path in found} >= set(pictures.PICTURES)
    for path in found:
        text = path.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?://|@import|@font-face|<script", text), path.name
