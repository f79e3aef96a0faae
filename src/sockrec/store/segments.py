"""Sealing: a finished journal part becomes one Parquet file per table, and only then goes.

Readers prefer a journal to segments of the same stem, so a crash at any point leaves every row exactly
once; sealing again writes the same files over.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sockrec.errors import CaptureError
from sockrec.model.tables import FORMAT_VERSION, TABLES
from sockrec.store import files, layout
from sockrec.store.journal_reader import Journal, read_journal
from sockrec.store.spans import assemble

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sockrec.model.tables import Table

_ROW_GROUP: Final = 65_536
# A quarter more time than level 3, in the sealer's thread, for 3 % less; 15 takes twice the time for 5 %.
_ZSTD_LEVEL: Final = 9
# Numbers that hardly come twice; a dictionary of the others (samples have few times) is half the size.
# Both are encodings that Spark's and DuckDB's vectorised readers have; BYTE_STREAM_SPLIT Spark's has not.
_UNREPEATED: Final = frozenset({"socket_id", "inode", "peer_inode", "local_port", "remote_port"})
_OFTEN: Final = 4
_LIST_ELEMENT: Final = ".list.element"


def seal(capture: layout.Layout, host: str, stem: str, open_as: str = "gap") -> int:
    """Write the segments of a journal part, drop the journal, and return the bytes of the segments.

    `open_as` is how rows still open end if the journal has no end frame. A journal with damage in it is
    kept, as `<stem>.damaged`: its whole frames are in the segments. Raises `CaptureError` if the journal
    can't be read or the disk does not take the segments; the journal then stays as it is.
    """
    path = capture.journal(host, stem)
    journal = read_journal(path)
    first, last = _time_span(journal)
    tables = assemble(journal, open_as)
    folder = layout.date_folder(first)
    written = 0
    try:
        for table in TABLES.values():
            rows = tables[table.name]
            if rows.num_rows:
                segment = capture.segment(table.name, host, layout.date_of(folder) or "", stem)
                written += _write(segment, table, rows, _metadata(journal, host, stem, first, last))
        if journal.damages:
            os.replace(path, path.with_suffix(layout.DAMAGED_SUFFIX))  # noqa: PTH105 - as in files.publish
        else:
            path.unlink()
        files.sync_folder(path.parent)
    except OSError as error:
        raise files.unwritable(capture.root, error) from None
    return written


def recover(capture: layout.Layout, host: str) -> list[str]:
    """Seal the journals that earlier recordings of a host left, and return their stems, oldest first.

    Rows that were open end as `gap`, unless the part was ended. Unfinished temporary files are removed.
    Only for whoever holds the host's `RecorderLock`. Raises `CaptureError`.
    """
    stems = []
    try:
        for leftover in _leftovers(capture, host):
            leftover.unlink(missing_ok=True)
        stems = sorted(
            path.stem
            for path in capture.journals(host).iterdir()
            if path.suffix == layout.JOURNAL_SUFFIX and path.is_file() and not path.is_symlink()
        )
    except FileNotFoundError:
        return []
    except OSError as error:
        raise files.unwritable(capture.root, error) from None
    for stem in stems:
        seal(capture, host, stem)
    return stems


def deep_check(path: Path) -> str | None:
    """Read a whole Parquet file, page checksums included, and return what is wrong with it, or None."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                file.read_row_group(group).validate(full=True)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        text = str(error).strip()
        return text.splitlines()[0] if text else type(error).__name__
    return None


def _write(path: Path, table: Table, rows: pa.Table, metadata: dict[str, str]) -> int:
    files.make_folder(path.parent)
    temporary = files.temporary(path)
    ordered = _ordered(table, rows)
    unrepeated = _unrepeated(table, ordered)
    try:
        fd = files.create(temporary, exclusive=False)
        with os.fdopen(fd, "wb") as file:
            with pq.ParquetWriter(
                file,
                ordered.schema,
                compression="zstd",
                compression_level=_ZSTD_LEVEL,
                use_dictionary=[
                    column.name + _LIST_ELEMENT if column.type in {"ints", "texts"} else column.name
                    for column in table.columns
                    if column.name not in unrepeated and column.type not in {"float", "bool"}
                ],
                column_encoding=dict.fromkeys(unrepeated, "DELTA_BINARY_PACKED"),
                write_statistics=True,
                write_page_checksum=True,
                # The Parquet types say all; a copy of the Arrow schema would only make each file larger.
                store_schema=False,
            ) as writer:
                writer.add_key_value_metadata(metadata)
                writer.write_table(ordered, row_group_size=_ROW_GROUP)
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
        for column in table.columns
        if column.name in _UNREPEATED
        or (column.type == "time" and pc.count_distinct(rows[column.name]).as_py() * _OFTEN > rows.num_rows)
    ]


def _ordered(table: Table, rows: pa.Table) -> pa.Table:
    """Return the rows in the table's order."""
    keys = [(name, "ascending") for name in table.order]
    if not table.sparse:
        return rows.sort_by(keys)
    bare = pc.is_null(pc.coalesce(*(rows[name] for name in table.sparse)))
    marked = rows.append_column("", bare).sort_by([("", "ascending"), *keys])
    return marked.remove_column(rows.num_columns)


def _time_span(journal: Journal) -> tuple[int, int]:
    """Return when the first and the last sample began (UTC microseconds); without samples, the start."""
    began = journal.tables["samples"]["began_at"].drop_null().cast(pa.int64())
    if len(began):
        return int(began[0].as_py()), int(began[-1].as_py())
    started = journal.header.get("started")
    start = started if isinstance(started, int) else _start_in_name(journal.path.stem)
    return start, start


def _start_in_name(stem: str) -> int:
    try:
        return int(datetime.strptime(stem[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp()) * 1_000_000
    except ValueError:
        raise CaptureError(f"{stem} is not the name of a journal that sockrec wrote: move it away") from None


def _metadata(journal: Journal, host: str, stem: str, first: int, last: int) -> dict[str, str]:
    """Return the Parquet key-value metadata of a segment; times in microseconds UTC."""
    recording, part = layout.split_stem(stem) or (stem, 0)
    facts: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "recording": recording,
        "host": host,
        "part": part,
        "first_sample_at": first,
        "last_sample_at": last,
    }
    if journal.damages:
        facts["damage"] = "; ".join(damage.what for damage in journal.damages)
    return {f"sockrec.{name}": str(value) for name, value in facts.items()}


def _leftovers(capture: layout.Layout, host: str) -> Iterator[Path]:
    for table in TABLES:
        yield from (
            path for path in capture.segments(table, host).glob("date=*/.*") if files.is_temporary(path.name)
        )
    folder = capture.root / layout.RECORDINGS / layout.host_folder(host)
    yield from (path for path in folder.glob(".*") if files.is_temporary(path.name))
