"""Any text, made harmless, is harmless, and what can be read back is the same text."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from sockrec.render import escape, formats
from sockrec.render.names import byte_length, encode, printable
from tests.hostile.texts import TEXTS, steering, stored

MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
# As `escape.spreadsheet` documents it.
ADDED = re.compile(r"""(?:\A|(?<=[;\n]))'(?=["' \t\r]*[=+\-@＝＋－＠])|\A'(?='*\n)""")
FORMULA = tuple("=+-@＝＋－＠")
_HOSTILE = st.sampled_from([stored(text)[:5000] for text in TEXTS.values()])
_PIECES = st.sampled_from(
    [*"=+-@;'\"\n\t\r |\\`*_~[]()<>&$!#\x1b\x9b\u202e\ud800a1", "\\x1b", "http://a.example", "=", ";"]
)
TEXT = st.one_of(st.text(max_size=60), _HOSTILE, st.lists(_PIECES, max_size=15).map("".join))
# Those who ask for CSV get line breaks as they are, inside of quotes.
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def safe(text: str) -> bool:
    """Tell whether a text can go to a terminal."""
    return not steering(text.encode("utf-8", "surrogateescape"))


@settings(deadline=None)
@given(TEXT)
def test_no_text_steers_a_terminal(text: str) -> None:
    for shown in (escape.terminal(text), escape.markdown(text), escape.json_text(text)):
        assert safe(shown)
        assert "\n" not in shown
    assert not CONTROL.search(escape.spreadsheet(text))


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_netstats_columns_stay_where_they_are(text: str) -> None:
    assert safe(printable(text))
    assert "\n" not in printable(text)
    assert byte_length(printable(text)) == byte_length(text)
    raw = text.encode()
    assert encode(printable(raw.decode("utf-8", "surrogateescape"))) == encode(printable(text))


@settings(deadline=None)
@given(st.binary())
def test_bytes_that_are_no_utf8_steer_no_terminal_either(raw: bytes) -> None:
    shown = printable(raw.decode("utf-8", "surrogateescape"))
    assert safe(shown)
    assert len(encode(shown)) == len(raw)


@settings(deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=3))
def test_no_cell_of_csv_is_a_formula_however_it_is_split(cells: list[str]) -> None:
    text = formats.whole("csv", [f"c{place}" for place in range(len(cells))], [cells], [False] * len(cells))
    for delimiter in ",;":
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            for cell in row:
                assert not cell.lstrip("\"' \t\r").startswith(FORMULA) or cell.lstrip('"').startswith("'"), (
                    cell
                )
    # A reader that knows nothing of our quotes.
    for cell in re.split("[;\n]", text):
        assert not cell.startswith(FORMULA)


@settings(deadline=None)
@given(TEXT)
def test_a_cell_of_csv_is_read_back(text: str) -> None:
    if escape.terminal(text.replace("\n", "")) != text.replace("\n", ""):
        return  # characters that are shown, not kept
    written = formats.whole("csv", ["a", "b"], [[text, 1]], [False, True])
    _, (cell, _) = csv.reader(io.StringIO(written, newline=""))
    assert ADDED.sub("", cell) == text


@settings(deadline=None)
@given(TEXT)
def test_json_is_read_back(text: str) -> None:
    for name in ("json", "jsonl"):
        written = formats.whole(name, ["a"], [[text]], [False])
        assert safe(written)
        found = json.loads(written)
        assert (found[0] if name == "json" else found) == {"a": text}


@settings(deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=3))
def test_a_row_of_markdown_is_one_line_of_plain_text(cells: list[str]) -> None:
    titles = [f"c{place}" for place in range(len(cells))]
    written = formats.whole("markdown", titles, [cells, cells], [False] * len(cells))
    assert written.count("\n") == 4
    page = MARKDOWN.render(written)
    found = re.findall(r"<td>(.*?)</td>", page, re.DOTALL)
    wanted = [escape.terminal(" ".join(re.split("[\n\r]", cell))).strip() for cell in cells]
    assert [html.unescape(cell) for cell in found] == 2 * wanted
    assert not re.search(r"<(?!/?(table|thead|tbody|tr|th|td)>)", page)


@pytest.mark.parametrize(
    "text",
    [
        "\n" * 200_000,
        ";" * 200_000,
        ";'" * 100_000,
        '"' * 200_000,
        "_" * 200_000,
        "\x1b" * 200_000,
        " " * 200_000,
    ],
)
def test_long_texts_cost_no_more_than_their_length(text: str) -> None:
    before = time.process_time()
    for function in (escape.terminal, escape.spreadsheet, escape.markdown, escape.json_text, printable):
        function(text)
    assert time.process_time() - before < 5
