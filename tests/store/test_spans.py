"""Begun rows meet their ends; rows without one are closed as the part was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockrec.model.columns import ENDING
from sockrec.model.tables import TABLES
from sockrec.store.journal import read_journal
from sockrec.store.schema import arrow_schema, begun_schema, ended_schema
from sockrec.store.spans import assemble
from tests.store.rows import SECOND, START, batch, end, open_journal, sample, small_part, socket


def micros(value: Any) -> int | None:
    return None if value is None else round(value.timestamp() * SECOND)


def ends(row: dict[str, Any]) -> tuple[Any, ...]:
    return micros(row["last_seen"]), micros(row["ended_by"]), row["ended_as"], row["ended_evidence"]


def test_schemas() -> None:
    """Each table's columns in order; the journal's two halves hold each of them once."""
    for table in TABLES.values():
        assert arrow_schema(table).names == list(table.names)
        if table.spans:
            ending = [column.name for column in ENDING]
            assert ended_schema(table).names == ["row", *ending]
            assert begun_schema(table).names == [name for name in table.names if name not in ending]
        else:
            with pytest.raises(ValueError, match="do not end"):
                ended_schema(table)
    sockets = arrow_schema(TABLES["sockets"])
    assert sockets.field("holders").type == pa.list_(pa.int64())
    assert sockets.field("first_seen").type == pa.timestamp("us", tz="UTC")
    assert sockets.field("rank").type == pa.float64()


@pytest.mark.parametrize(
    ("ended_as", "open_as", "expected"),
    [
        ("carried", "gap", (START + 3 * SECOND, START + 3 * SECOND, "carried", "sample")),
        ("stopped", "gap", (START + 3 * SECOND, None, "stopped", "sample")),
        (None, None, (START + 3 * SECOND, None, None, None)),
        (None, "gap", (START + 3 * SECOND, None, "gap", "inferred")),
    ],
)
def test_open_rows(
    tmp_path: Path, ended_as: str | None, open_as: str | None, expected: tuple[Any, ...]
) -> None:
    """A row without an end was last seen when the last sample began; the part's own word wins.

    The latest row was first seen after that moment: it was last seen when it was first seen.
    """
    journal = read_journal(small_part(tmp_path, 4, ended_as=ended_as))
    rows = assemble(journal, open_as)["sockets"].to_pylist()
    assert [row["ended_as"] for row in rows[:3]] == ["closed"] * 3
    assert ends(rows[1]) == (START + SECOND + 2000, START + 2 * SECOND + 2000, "closed", "sample")
    last_seen = START + 3 * SECOND + 2000
    assert ends(rows[3]) == (last_seen, last_seen if expected[1] else None, *expected[2:])
    with open_journal(tmp_path, 1) as writer:
        writer.append({"sockets.begun": batch("sockets.begun", [socket(1, START + 2000)])})
        writer.append({"samples": batch("samples", [sample(0)])})
        writer.append({"samples": batch("samples", [sample(3)])})
        if ended_as:
            writer.end(ended_as)
    (row,) = assemble(read_journal(writer.path), open_as)["sockets"].to_pylist()
    assert ends(row) == expected


def test_without_a_sample_a_row_was_seen_when_it_was(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.append({"sockets.begun": batch("sockets.begun", [socket(1, START)])})
    (row,) = assemble(read_journal(journal.path), "gap")["sockets"].to_pylist()
    assert ends(row) == (START, None, "gap", "inferred")


steps = st.lists(
    st.tuples(st.integers(0, 4), st.lists(st.integers(0, 30), max_size=4), st.booleans()), max_size=12
)


@settings(max_examples=60, deadline=None)
@given(steps=steps, word=st.sampled_from(["carried", "stopped", None]))
def test_any_history_equals_a_plain_one(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, list[int], bool]], word: str | None
) -> None:
    """Rows begun and ended in any order equal those that a dictionary of rows gives."""
    expected: list[dict[str, Any]] = []
    last: int | None = None
    with open_journal(tmp_path_factory.mktemp("j")) as journal:
        for number, (opened, closed, sampled) in enumerate(steps):
            now = START + number * SECOND
            begun = [socket(len(expected) + k, now + 2000) for k in range(opened)]
            expected += [{**row, "ended_as": None} for row in begun]
            ending = []
            for row in dict.fromkeys(closed):
                if row < len(expected) and "last_seen" not in expected[row]:
                    ending.append(end(row, now + row))
                    expected[row] |= {key: value for key, value in ending[-1].items() if key != "row"}
            frame = {
                "sockets.begun": batch("sockets.begun", begun),
                "sockets.ended": batch("sockets.ended", ending),
            }
            if sampled:
                frame["samples"] = batch("samples", [sample(number)])
                last = now
            journal.append(frame)
        if word:
            journal.end(word)
    for fact in expected:
        if "last_seen" not in fact:
            seen = max(fact["first_seen"], last or 0)
            fact |= {
                "last_seen": seen,
                "ended_by": seen if word == "carried" else None,
                "ended_as": word or "gap",
                "ended_evidence": "sample" if word else "inferred",
            }
    got = assemble(read_journal(journal.path), "gap")["sockets"]
    assert got.schema.equals(arrow_schema(TABLES["sockets"]))
    wanted = pa.Table.from_pylist(expected, schema=got.schema)
    assert got.to_pylist() == wanted.to_pylist()
