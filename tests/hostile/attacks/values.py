"""Names of folders, and values of columns, that no recorder writes."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

import pyarrow as pa

from sockrec.model.tables import TABLES
from sockrec.store.schema import arrow_schema
from tests.catalog.captures import Part
from tests.hostile.attacks.base import attack, column, put, rewrite, whole

_FAR: Final = (-(1 << 63), -(1 << 62), 0, (1 << 62), (1 << 63) - 1)


@attack
def names_of_folders(folder: Path) -> None:
    """Hosts, days and stems that are paths, escapes, numbers far away."""
    part = whole(folder)
    part.write()
    segment = part.path("sockets")
    hosts = [
        "..", "%2e%2e", "%2E%2E%2F%2E%2E", "%00", "a%00b", "%2Fetc", "\x1b[2J", "%FF%FE", "%1B%5D0;x%07", "",
        "%", "%zz", "'; DROP TABLE x; --", "*", "?[a-z]",
        "{a,b}", "a" * 200, "\u202e", "host=x", "$HOME", "\\",
        "=1+1",
    ]  # fmt: skip
    for host in hosts:
        for date in ("2026-11-20", "0001-01-01", "9999-12-31", "x" * 100, "..", "*"):
            made = folder / "sockets" / f"host={host}" / f"date={date}"
            made.mkdir(parents=True, exist_ok=True)
            os.link(segment, made / segment.name)
        (folder / "recordings" / f"host={host}").mkdir(exist_ok=True)
        (folder / "journal" / f"host={host}").mkdir(parents=True, exist_ok=True)
    for name in (
        "'.parquet",
        "*.parquet",
        "[.parquet",
        "\n.parquet",
        f"{'9' * 15}.parquet",
        "20261120T103200-aaaa-" + "9" * 60 + ".parquet",
    ):
        os.link(segment, segment.with_name(name))


@attack
def times_far_away(folder: Path) -> None:
    """Every time is one of the first and last that 64 bits have."""
    part = whole(folder)
    part.write()
    for table in ("sockets", "samples", "processes"):
        rows = part.tables()[table]
        many = pa.concat_tables([rows] * 5)
        for place, one in enumerate(TABLES[table].columns):
            if one.type == "time":
                far = [_FAR[(row + place) % len(_FAR)] for row in range(many.num_rows)]
                many = column(many, one.name, pa.array(far, pa.int64()).cast(pa.timestamp("us", "UTC")))
        put(many, part.path(table))


@attack
def numbers_far_away(folder: Path) -> None:
    """Every number is one of the first and last that 64 bits have, or none."""
    part = whole(folder)
    part.active(1, 1)
    part.write()
    for table in ("sockets", "samples", "processes", "activity"):
        many = pa.concat_tables([part.tables()[table]] * 5)
        for place, one in enumerate(TABLES[table].columns):
            count = many.num_rows
            if one.type == "int":
                many = column(
                    many, one.name, pa.array([_FAR[(row + place) % 5] for row in range(count)], pa.int64())
                )
            if one.type == "float":
                floats = [math.nan, math.inf, -math.inf, 1e308, -0.0]
                many = column(
                    many, one.name, pa.array([floats[row % 5] for row in range(count)], pa.float64())
                )
        put(many, part.path(table))


@attack
def nothing_but_nulls(folder: Path) -> None:
    """Every value of every table is null."""
    part = whole(folder)
    part.active(1, 1)
    part.stopped(1, 3)
    part.write()
    for name, table in TABLES.items():
        if part.path(name).exists():
            nulls = [pa.nulls(7, field.type) for field in arrow_schema(table)]
            put(pa.Table.from_arrays(nulls, schema=arrow_schema(table)), part.path(name))


@attack
def columns_of_other_types(folder: Path) -> None:
    """Text where numbers should be, numbers where times should be, structures where text should be."""
    part = whole(folder)
    part.write()
    for name, table in TABLES.items():
        if not part.path(name).exists():
            continue
        rows = part.tables()[name]
        for one in table.columns:
            other: pa.Array = pa.array(["x"] * rows.num_rows)
            if one.type == "text":
                other = pa.array([{"a": [1]}] * rows.num_rows)
            if one.type == "time":
                other = pa.array([b"\xff\x00"] * rows.num_rows)
            rows = column(rows, one.name, other)
        put(rows, part.path(name))


@attack
def columns_that_are_missing(folder: Path) -> None:
    """Files with one column, with none of ours, and with one of ours twice."""
    part = whole(folder)
    part.write()
    put(part.tables()["sockets"].select(["socket_id"]), part.path("sockets"))
    put(pa.table({"x": [1]}), part.path("processes"))
    samples = part.tables()["samples"]
    twice = pa.Table.from_arrays(
        [*samples.columns, samples["number"]], names=[*samples.column_names, "number"]
    )
    put(twice, part.path("samples"))


@attack
def text_that_is_no_utf8(folder: Path) -> None:
    """Text columns with bytes that are no UTF-8, and with NUL."""

    def change(rows: pa.Table) -> pa.Table:
        for one in TABLES["sockets"].columns:
            if one.type == "text":
                raw = pa.array([b"\xff\xfe\x00\x1b[2J"] * rows.num_rows, pa.binary())
                text = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
                rows = column(rows, one.name, text)
        return rows

    rewrite(whole(folder), "sockets", change)


@attack
def rows_that_contradict(folder: Path) -> None:
    """One socket many times at once, equal ranks, ends before beginnings, owners and states of nowhere."""
    part = Part(folder, 0, 9, version=2)
    for number in range(300):
        part.socket(
            1, number % 9, 8, ("opened", "carried", "found")[number % 3],
            ("closed", "carried", "gap", None)[number % 4], rank=1.0,
            local_port=(7071, 0, -1, 1 << 40)[number % 4],
            local_address=("10.0.0.5", "", "::", "\x1b[2J", "x" * 1000)[number % 5],
            state=("LISTEN", "", "\n", "ESTABLISHED")[number % 4], owner=("held", "\x1b", "last")[number % 3],
        )  # fmt: skip
        row = part.rows["sockets"][-1]
        if number % 2:
            row["begun_after"], row["ended_by"] = row["ended_by"], row["begun_after"]
            row["first_seen"], row["last_seen"] = row["last_seen"], row["first_seen"]
        part.process(4121, number % 9, 8)
        part.closed(1, 8, 2)
        part.event("\x1b[2J" if number % 2 else "lost", 5, 2, count=-(1 << 40))
        part.sample(number % 9, ended_at=None if number % 5 == 0 else part.rows["samples"][0]["began_at"])
    part.write()
