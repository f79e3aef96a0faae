"""A segment's Parquet file: how its rows are ordered, encoded and checked.

It gets its name only when it is whole.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sockrec.store import files
from sockrec.store.check_block import CheckedFile, place_of
from sockrec.store.schema import ARROW_TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sockrec.model.columns import Column, Table

ROW_GROUP: Final = 65_536
# A quarter more time than level 3, in the sealer's thread, for 3 % less; 15 takes twice the time for 5 %.
_ZSTD_LEVEL: Final = 9
# Numbers that hardly come twice; a dictionary of the others (samples have few times) is half the size.
# Both are encodings that Spark's and DuckDB's vectorised readers have; BYTE_STREAM_SPLIT Spark's has not.
_UNREPEATED: Final = frozenset({"socket_id", "inode", "peer_inode", "local_port", "remote_port"})
_OFTEN: Final = 4
_LIST_ELEMENT: Final = ".list.element"
# Rows of a row group: two hundred times as many as are written, and what other tools make of them.
_MOST_ROWS: Final = 1 << 24


def write(
    path: Path, table: Table, rows: pa.Table, metadata: Mapping[str, str], *, row_group: int = ROW_GROUP
) -> int:
    """Write the rows of a table, in the table's order, as the file at `path`; return its bytes.

    `metadata` is the file's key-value metadata, keys with `sockrec.` before them. `rows` may lack columns,
    as those of an older format do. What stands at `path` is replaced at once, or not at all:
    the file is written and synced under a hidden name first. Raises `OSError`, and `CaptureError` if its
    folder can't be made.
    """
    files.make_folder(path.parent)
    temporary = files.temporary(path)
    ordered = _ordered(table, rows)
    unrepeated = _unrepeated(table, ordered)
    try:
        fd = files.create(temporary, exclusive=False)
        with os.fdopen(fd, "wb") as file:
            checked = CheckedFile(file)
            with pq.ParquetWriter(
                pa.PythonFile(checked, mode="w"),
                ordered.schema,
                compression="zstd",
                compression_level=_ZSTD_LEVEL,
                use_dictionary=[
                    column.name + _LIST_ELEMENT if column.type in {"ints", "texts"} else column.name
                    for column in _columns(table, ordered)
                    if column.name not in unrepeated and column.type not in {"float", "bool"}
                ],
                column_encoding=dict.fromkeys(unrepeated, "DELTA_BINARY_PACKED"),
                write_statistics=True,
                write_page_checksum=True,
                # The Parquet types say all; a copy of the Arrow schema would only make each file larger.
                store_schema=False,
            ) as writer:
                writer.add_key_value_metadata(dict(metadata))
                for first in range(0, max(1, ordered.num_rows), row_group):
                    writer.write_table(ordered.slice(first, row_group), row_group_size=row_group)
                    # So that damage in one row group leaves the others proved.
                    checked.cut()
                checked.hold()
            checked.finish(place_of(path))
            file.flush()
            os.fsync(file.fileno())
            size = os.fstat(file.fileno()).st_size
        files.publish(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    return size


def _unrepeated(table: Table, rows: pa.Table) -> list[str]:
    """Return the columns of numbers that hardly come twice: exact moments, not those of samples."""
    return [
        column.name
        for column in _columns(table, rows)
        if column.name in _UNREPEATED
        or (column.type == "time" and pc.count_distinct(rows[column.name]).as_py() * _OFTEN > rows.num_rows)
    ]


def _columns(table: Table, rows: pa.Table) -> list[Column]:
    """Return the columns that the rows have: those of an older format may lack some."""
    return [column for column in table.columns if column.name in rows.column_names]


def _ordered(table: Table, rows: pa.Table) -> pa.Table:
    """Return the rows in the table's order."""
    keys = [(name, "ascending") for name in table.order]
    if not table.sparse:
        return rows.sort_by(keys)
    bare = pc.is_null(pc.coalesce(*(rows[name] for name in table.sparse if name in rows.column_names)))
    marked = rows.append_column("", bare).sort_by([("", "ascending"), *keys])
    return marked.remove_column(rows.num_columns)


def read_metadata(path: Path) -> dict[str, str]:
    """Return the key-value metadata of a segment, as `write` was given it.

    Raises `OSError` or `pyarrow.ArrowException` if the footer can't be read.
    """
    raw = pq.read_metadata(path).metadata or {}
    return {
        key.decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for key, value in raw.items()
        if key.startswith(b"sockrec.")
    }


def misfit(source: Path | pa.BufferReader, table: Table) -> str | None:
    """Say why a file is none of the table's: a column of another type, or none that it has always had.

    None if it is one. Raises `OSError` or `pyarrow.ArrowException` if the footer can't be read.
    """
    schema = pq.read_schema(source)
    for column in table.columns:
        found = schema.get_all_field_indices(column.name)
        if not found and column.since == 1:
            return f"has no column {column.name}: it is no file of {table.name}"
        if len(found) > 1 or (found and schema.field(found[0]).type != ARROW_TYPES[column.type]):
            return f"has another type of {column.name}: it is no file of {table.name}"
    return None


def columns_of(file: pq.ParquetFile, number: int) -> list[pq.ColumnChunkMetaData]:
    """Return what the footer says of the columns of a row group, once it is known to be possible.

    Raises `OSError` or `pyarrow.ArrowException` for a footer that is not, and for a row group that can't have
    as many rows as it says: Arrow makes room for all of them before it reads the first, and a file of 4 KB
    could claim a terabyte.
    """
    # Where the footer contradicts itself pyarrow ends the process as it makes these objects. As it begins to
    # read rows it raises the same as an error.
    next(file.iter_batches(batch_size=1, row_groups=[number]), None)
    group = file.metadata.row_group(number)
    columns = [group.column(place) for place in range(group.num_columns)]
    values = [column.num_values for column in columns]
    # A list has one value at least, if it is null.
    if not group.num_rows <= min(values, default=0) <= max(values, default=0) <= _MOST_ROWS:
        raise pa.ArrowInvalid(f"row group {number} says that it has {group.num_rows} rows: it has not")
    return columns
