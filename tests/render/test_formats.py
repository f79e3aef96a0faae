"""Rows in every format, to the byte."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockrec.errors import UsageError
from sockrec.render import formats

_AT = datetime(2026, 11, 20, 11, 32, 4, 100, tzinfo=timezone(timedelta(hours=1)))
_COLUMNS = ["port", "program", "at", "holders"]
_NUMERIC = [True, False, False, False]
_ROWS: list[tuple[Any, ...]] = [(7071, "=cmd|x", _AT, [4121, 4122]), (-5, "\x1b[2J\nä", None, None)]

_WANTED = {
    "table": (
        "port  program       at                           holders\n"
        "7071  =cmd|x        2026-11-20T10:32:04.000100Z  [4121, 4122]\n"
        "  -5  \\x1b[2J\\x0aä\n"
    ),
    "csv": (
        "port,program,at,holders\n"
        '7071,\'=cmd|x,2026-11-20T10:32:04.000100Z,"[4121, 4122]"\n'
        '-5,"\\x1b[2J\nä",,\n'
    ),
    "json": (
        '[\n{"port": 7071, '
        '"program": "=cmd|x", "at": "2026-11-20T10:32:04.000100Z", "holders": [4121, 4122]},\n'
        '{"port": -5, "program": "\\u001b[2J\\nä", "at": null, "holders": null}\n]\n'
    ),
    "jsonl": (
        '{"port": 7071, "program": "=cmd|x", "at": "2026-11-20T10:32:04.000100Z", "holders": [4121, 4122]}\n'
        '{"port": -5, "program": "\\u001b[2J\\nä", "at": null, "holders": null}\n'
    ),
    "markdown": (
        "| port | program | at | holders |\n| ---: | --- | --- | --- |\n"
        "| 7071 | =cmd\\|x | 2026-11-20T10:32:04.000100Z | \\[4121, 4122\\] |\n"
        "| -5 | \\x1b\\[2J ä |  |  |\n"
    ),
}


@pytest.mark.parametrize("name", formats.FORMATS)
def test_bytes(name: str) -> None:
    assert formats.whole(name, _COLUMNS, _ROWS, _NUMERIC) == _WANTED[name]


@pytest.mark.parametrize("name", formats.FORMATS)
def test_batches_say_the_same_as_one(name: str) -> None:
    """Widths come from the first batch, so it has the widest cells here."""
    made = formats.make(name, _COLUMNS, _NUMERIC)
    text = made.head() + "".join(made.rows([row]) for row in _ROWS[::-1][::-1]) + made.tail()
    assert text.replace(" ", "") == _WANTED[name].replace(" ", "")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("table", "a  b\n"),
        ("csv", "a,b\n"),
        ("json", "[]\n"),
        ("jsonl", ""),
        ("markdown", "| a | b |\n| --- | --- |\n"),
    ],
)
def test_no_rows(name: str, wanted: str) -> None:
    assert formats.whole(name, ["a", "b"], [], [False, False]) == wanted


def test_values_that_json_lacks_are_exact() -> None:
    row = {
        "big": 2**100,
        "decimal": Decimal("1.50"),
        "float": 0.1,
        "nan": float("nan"),
        "inf": float("-inf"),
        "date": date(2026, 11, 20),
        "naive": datetime(2026, 11, 20),
        "blob": b"\x00\xff",
        "long": timedelta(seconds=1),
        "deep": {"a": [True, None, {"b": Decimal(3)}]},
    }
    text = formats.json_value(row)
    assert '"decimal": 1.50,' in text
    assert json.loads(text) == {
        **row,
        "decimal": 1.5,
        "nan": "nan",
        "inf": "-inf",
        "date": "2026-11-20",
        "naive": "2026-11-20T00:00:00",
        "blob": "00ff",
        "long": "0:00:01",
        "deep": {"a": [True, None, {"b": 3}]},
    }


def test_long_cells_are_never_cut() -> None:
    long = "x" * 500
    for name in formats.FORMATS:
        assert long in formats.whole(name, ["a", "b"], [(long, 1)], [False, True])


def test_wide_characters_keep_columns_straight() -> None:
    lines = formats.whole("table", ["a", "b"], [("世界", 1), ("ab", 22)], [False, True]).splitlines()
    assert lines == ["a      b", "世界   1", "ab    22"]


@pytest.mark.parametrize("name", ["json", "jsonl"])
def test_columns_of_one_name_have_no_place_in_json(name: str) -> None:
    with pytest.raises(UsageError, match="same name"):
        formats.make(name, ["a", "a"], [False, False])


def test_an_unknown_format_names_the_known() -> None:
    with pytest.raises(UsageError, match="table, csv, json, jsonl, markdown"):
        formats.make("xml", [], [])


_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
)


@given(st.lists(st.tuples(_SCALARS, _SCALARS), max_size=5))
def test_json_comes_back_as_it_was(rows: list[tuple[Any, ...]]) -> None:
    for name in ("json", "jsonl"):
        text = formats.whole(name, ["a", "b"], rows, [False, False])
        found = json.loads(text) if name == "json" else [json.loads(line) for line in text.split("\n")[:-1]]
        assert [(row["a"], row["b"]) for row in found] == rows


@given(st.lists(st.tuples(st.text(), st.integers()), min_size=1, max_size=5))
def test_csv_and_markdown_keep_their_shape(rows: list[tuple[Any, ...]]) -> None:
    text = formats.whole("csv", ["a", "b"], rows, [False, True])
    parsed = list(csv.reader(io.StringIO(text, newline="")))
    assert [len(row) for row in parsed] == [2] * (len(rows) + 1)
    assert [row[1] for row in parsed[1:]] == [str(number) for _, number in rows]
    assert len(formats.whole("markdown", ["a", "b"], rows, [False, True]).splitlines()) == len(rows) + 2


def test_times_of_any_zone_are_utc() -> None:
    assert formats.plain(_AT) == formats.plain(_AT.astimezone(UTC)) == "2026-11-20T10:32:04.000100Z"
