"""Parquet files as `verify` reads them. Input: a file's bytes."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq

from sockrec.model.tables import TABLES
from sockrec.store.schema import arrow_schema
from sockrec.store.whole import deep_check
from tests.fuzz import scratch
from tests.store.rows import full_row


def seeds() -> list[bytes]:
    """Return small segments."""
    found = []
    for name in ("samples", "processes"):
        sink = io.BytesIO()
        rows = pa.Table.from_pylist(
            [full_row(TABLES[name], ended=True)] * 5, schema=arrow_schema(TABLES[name])
        )
        pq.write_table(rows, sink, compression="zstd", write_page_checksum=True, store_schema=False)
        found.append(sink.getvalue())
    return found


def check(data: bytes) -> None:
    """Check it: nothing is raised, and what is wrong is said in one line."""
    path = scratch.folder() / "segment.parquet"
    path.write_bytes(data)
    what = deep_check(path)
    assert what is None or (what and "\n" not in what)
