"""Names that hostile processes choose do no harm where they are shown."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockrec.render import escape

_STEERING = [
    *map(chr, range(0x20)),
    *map(chr, range(0x7F, 0xA0)),
    "\u2028",
    "\u2029",
    "\u202e",
    "\u2066",
    "\ufeff",
]


@pytest.mark.parametrize("character", _STEERING)
def test_no_steering_character_is_left(character: str) -> None:
    text = f"a{character}b"
    assert character not in escape.terminal(text)
    assert character not in escape.markdown(text)
    assert character not in escape.json_text(json.dumps(text, ensure_ascii=False))
    assert json.loads(escape.json_text(json.dumps(text, ensure_ascii=False))) == text
    if character != "\n":
        assert character not in escape.spreadsheet(text)


def test_what_is_shown_instead() -> None:
    assert escape.terminal("\x1b[2Jx\u202e") == r"\x1b[2Jx\u202e"
    assert escape.terminal("\U000e0041") == r"\U000e0041"
    assert escape.terminal("Grüße, 世界 nginx: worker") == "Grüße, 世界 nginx: worker"


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"])
def test_formulas_are_text_to_a_spreadsheet(cell: str) -> None:
    assert escape.spreadsheet(cell).startswith("'")


@pytest.mark.parametrize("cell", ["nginx", "10.0.0.5", "a=b", "a-b", "", "/usr/bin/x -y"])
def test_other_cells_stay_as_they_are(cell: str) -> None:
    assert escape.spreadsheet(cell) == cell


def test_markdown_cells_are_one_line_without_markup() -> None:
    assert escape.markdown("a|b\nc") == r"a\|b c"
    assert escape.markdown("<b>[x](y)*`") == r"\<b\>\[x\](y)\*\`"
    assert escape.markdown("a\\|b") == r"a\\\|b"


@given(st.text())
def test_any_text(text: str) -> None:
    shown = escape.terminal(text)
    assert shown == escape.terminal(shown)
    assert len(shown.splitlines()) <= 1
    assert "\n" not in escape.markdown(text)
    assert not escape.spreadsheet(text).startswith(("=", "+", "-", "@"))
    assert json.loads(escape.json_text(json.dumps(text, ensure_ascii=False))) == text
