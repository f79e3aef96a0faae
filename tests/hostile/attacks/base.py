"""What the builders share: a small capture to begin with, and the list that each adds itself to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from tests.catalog.captures import Part

RECORDING: Final = "20261120T103200-aaaa"
METADATA: Final = {"sockrec.format_version": "2"}

Build = Callable[[Path], object]
ATTACKS: Final[dict[str, Build]] = {}


def attack(build: Build) -> Build:
    """Add a builder to the list, under its name."""
    ATTACKS[build.__name__] = build
    return build


def whole(folder: Path, **facts: Any) -> Part:
    """Return a part of five samples with a listener and a connection in it, not written yet.

    It is of a format without checksums: whoever makes a capture can choose, or make them right.
    """
    part = Part(folder, 0, 4, facts=facts, version=2)
    part.socket(1, 0, 3, "found", "closed")
    part.connection(2, 1, 2)
    part.process(4121, 0, 3, "found", "closed")
    return part


def put(rows: pa.Table, path: Path, **options: Any) -> None:
    """Write a Parquet file of that format."""
    pq.write_table(rows.replace_schema_metadata(METADATA), path, **options)


def rewrite(part: Part, table: str, change: Callable[[pa.Table], pa.Table], **options: Any) -> None:
    """Write a part, and one of its tables again as `change` makes it."""
    part.write()
    rows = change(part.tables()[table])
    put(rows, part.path(table), compression="zstd", write_page_checksum=True, **options)


def column(rows: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    place = rows.schema.get_field_index(name)
    return rows if place < 0 else rows.set_column(place, name, values)
