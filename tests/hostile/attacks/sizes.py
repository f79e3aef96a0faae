"""Files that are larger than they look: a few kilobytes that become gibibytes, and counts that lie."""

from __future__ import annotations

import struct
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.faults.scale import cases
from tests.hostile.attacks.base import METADATA, attack, column, put, rewrite, whole


@attack
def texts_that_expand(folder: Path) -> None:
    """A dictionary page that expands a thousand times: one value of hundreds of mebibytes, in every row."""

    def change(rows: pa.Table) -> pa.Table:
        text = pa.array(["A" * (cases(128, 256) << 20)], pa.large_string())
        return column(rows, "program", text.take(pa.array([0] * rows.num_rows)))

    rewrite(whole(folder), "sockets", change)


@attack
def command_lines_that_expand(folder: Path) -> None:
    """A command line of a hundred mebibytes, in a list."""

    def change(rows: pa.Table) -> pa.Table:
        words = pa.array([["B" * (128 << 20)]], pa.large_list(pa.large_string())).take(
            pa.array([0] * rows.num_rows)
        )
        return column(rows, "argv", words)

    rewrite(whole(folder), "processes", change)


def _many_rows(folder: Path, table: str, groups: int, each: int = 1_000_000) -> None:
    """Write a table of many equal rows, some bytes in each of many row groups."""
    part = whole(folder)
    part.write()
    first = part.tables()[table].slice(0, 1)
    million = first.take(pa.repeat(pa.scalar(0), each))
    with pq.ParquetWriter(
        part.path(table), million.schema.with_metadata(METADATA), compression="zstd"
    ) as writer:
        for _ in range(groups):
            writer.write_table(million, row_group_size=each)


@attack
def millions_of_activity_rows(folder: Path) -> None:
    """Rows that take some bytes for a million of them."""
    part = whole(folder)
    part.active(1, 1)
    part.write()
    row = part.tables()["activity"].slice(0, 1)
    million = row.take(pa.repeat(pa.scalar(0), 1_000_000))
    with pq.ParquetWriter(
        part.path("activity"), row.schema.with_metadata(METADATA), compression="zstd"
    ) as writer:
        for _ in range(cases(20, 100)):
            writer.write_table(million, row_group_size=1_000_000)


@attack
def hundreds_of_thousands_of_socket_rows(folder: Path) -> None:
    """The same socket, each time another answer to `when`: docs/reliability.md says what more would take."""
    _many_rows(folder, "sockets", cases(1, 4), each=100_000)


@attack
def millions_of_samples(folder: Path) -> None:
    """The same sample, millions of times."""
    _many_rows(folder, "samples", cases(5, 50))


def _varint(number: int) -> bytes:
    number <<= 1  # zigzag, of what is not negative
    found = b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])


def _forge_counts(path: Path, rows: int, told: int) -> None:
    """Let a footer tell of other numbers of rows and values than there are."""
    content = path.read_bytes()
    length = int.from_bytes(content[-8:-4], "little")
    body, footer = content[: -8 - length], content[-8 - length : -8]
    assert _varint(rows) in footer
    forged = footer.replace(_varint(rows), _varint(told))
    path.write_bytes(body + forged + struct.pack("<I", len(forged)) + b"PAR1")


def _absurd(folder: Path, told: int) -> None:
    part = whole(folder)
    part.write()
    for table in ("sockets", "samples"):
        row = part.tables()[table].slice(0, 1)
        # A number whose encoding is nowhere else in the footer.
        put(row.take(pa.repeat(pa.scalar(0), 123_457)), part.path(table), row_group_size=1 << 20)
        _forge_counts(part.path(table), 123_457, told)


@attack
def a_footer_of_many_rows(folder: Path) -> None:
    """A footer that tells of 2^40 rows."""
    _absurd(folder, 1 << 40)


@attack
def a_footer_of_most_rows(folder: Path) -> None:
    """A footer that tells of 2^62 rows."""
    _absurd(folder, 1 << 62)


@attack
def thousands_of_row_groups(folder: Path) -> None:
    """A row group for each row."""
    part = whole(folder)
    part.write()
    rows = part.tables()["sockets"].slice(0, 1).take(pa.repeat(pa.scalar(0), cases(3_000, 30_000)))
    put(rows, part.path("sockets"), row_group_size=1, use_dictionary=False)


@attack
def thousands_of_columns(folder: Path) -> None:
    """Columns that nobody knows."""

    def change(rows: pa.Table) -> pa.Table:
        more = [f"c{number}" for number in range(cases(3_000, 20_000))]
        nothing = pa.nulls(rows.num_rows, pa.int64())
        return pa.Table.from_arrays([*rows.columns, *[nothing] * len(more)], [*rows.column_names, *more])

    rewrite(whole(folder), "sockets", change)
