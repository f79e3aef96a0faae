"""Sealing: a finished journal part becomes one Parquet file per table, and only then goes.

Readers prefer a journal to segments of the same stem, so a crash at any point leaves every row exactly
once; sealing again writes the same files over.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sockrec.errors import CaptureError
from sockrec.model.tables import FORMAT_VERSION, TABLES
from sockrec.store import files, layout, parquet
from sockrec.store.journal_reader import Journal, read_journal
from sockrec.store.spans import assemble

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
    metadata = _metadata(journal, host, stem, first, last)
    counts = {name: rows.num_rows for name, rows in tables.items() if rows.num_rows}
    metadata["sockrec.tables"] = json.dumps(counts)
    written = 0
    try:
        for table in TABLES.values():
            rows = tables[table.name]
            if rows.num_rows:
                segment = capture.segment(table.name, host, layout.date_of(folder) or "", stem)
                written += parquet.write(segment, table, rows, metadata)
        if journal.damages:
            os.replace(path, path.with_suffix(layout.DAMAGED_SUFFIX))  # noqa: PTH105 - as in files.publish
        else:
            path.unlink()
        files.sync_folder(path.parent)
    except OSError as error:
        raise files.unwritable(capture.root, error) from None
    return written


def unsealed(capture: layout.Layout, host: str) -> list[str]:
    """Return the stems of a host's journals, oldest first; unfinished temporary files are removed.

    Only for whoever holds the host's `RecorderLock`. Raises `CaptureError`.
    """
    try:
        for leftover in _leftovers(capture, host):
            leftover.unlink(missing_ok=True)
        return sorted(
            path.stem
            for path in capture.journals(host).iterdir()
            if path.suffix == layout.JOURNAL_SUFFIX and path.is_file() and not path.is_symlink()
        )
    except FileNotFoundError:
        return []
    except OSError as error:
        raise files.unwritable(capture.root, error) from None


def recover(capture: layout.Layout, host: str) -> list[str]:
    """Seal the journals that earlier recordings of a host left, and return their stems, oldest first.

    Rows that were open end as `gap`, unless the part was ended. Unfinished temporary files are removed.
    Only for whoever holds the host's `RecorderLock`. Raises `CaptureError`.
    """
    stems = unsealed(capture, host)
    for stem in stems:
        seal(capture, host, stem)
    return stems


def _time_span(journal: Journal) -> tuple[int, int]:
    """Return when the first and the last sample began (UTC microseconds); without samples, the start."""
    began = journal.tables["samples"]["began_at"].drop_null().cast(pa.int64())
    if len(began):
        return int(began[0].as_py()), int(began[-1].as_py())
    started = journal.header.get("started")
    start = started if isinstance(started, int) else start_in_name(journal.path.stem)
    return start, start


def start_in_name(stem: str) -> int:
    """Return when a recording began (microseconds UTC), by a stem of it; raises `CaptureError`."""
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
    for folder in (capture.root / layout.RECORDINGS / layout.host_folder(host), capture.journals(host)):
        yield from (path for path in folder.glob(".*") if files.is_temporary(path.name))
