"""Older data kept thinner: `activity` of a part rewritten to at most one row a socket and minute.

The part's `samples` are rewritten first, to tell so: after a crash between the two they say less than there
is. Both are known to be done from their metadata (`sockrec.thinned_us`), so that each part is thinned once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sockrec.errors import CaptureError
from sockrec.model.tables import ACTIVITY, ALWAYS_WRITTEN, FORMAT_VERSION, SAMPLES, TABLES
from sockrec.store import files, parquet
from sockrec.store.parts import tell
from sockrec.store.schema import arrow_schema
from sockrec.store.whole import check_whole

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from sockrec.store.parts import Part

STEP_US: Final = 60_000_000
_KEY: Final = "sockrec.thinned_us"
_NAMES: Final = frozenset({"recording", "socket_id", "read_at", *ALWAYS_WRITTEN})


def needs_thinning(part: Part) -> bool:
    """Say whether a part can be thinned and has not been.

    Parts of an older format have no column to tell it in, and stay as they are; so do damaged ones, which
    would look whole if they were written anew.
    """
    if tell(part).format_version != FORMAT_VERSION:
        return False
    paths = _to_rewrite(part)
    try:
        todo = any(_KEY not in parquet.read_metadata(path) for path in paths)
    except (OSError, pa.ArrowException):
        return False
    return todo and all(check_whole(path) is None for path in paths)


def thin(part: Part, step_us: int = STEP_US) -> int:
    """Thin a part, or finish it; return the bytes saved.

    Of each socket the last row of every `step_us` stays. Counters that are null in it are those of the last
    row of that time that has them. Raises `CaptureError` if a file can't be read, or the disk does not take
    the new one; the old one then stays.
    """
    saved = 0
    for path in _to_rewrite(part):
        is_activity = path in part.files.get(ACTIVITY.name, [])
        try:
            metadata = parquet.read_metadata(path)
            if _KEY in metadata:
                continue
            before = path.stat().st_size
            rows = _thinned(path, step_us) if is_activity else _told(path, step_us)
            table = TABLES[ACTIVITY.name if is_activity else SAMPLES.name]
            saved += before - parquet.write(path, table, rows, {**metadata, _KEY: str(step_us)})
        except pa.ArrowException as error:
            raise CaptureError(f"{path} can't be thinned: {str(error).splitlines()[0]}") from None
        except OSError as error:
            raise files.unwritable(path, error) from None
    return saved


def _to_rewrite(part: Part) -> list[Path]:
    """Return the files that thinning concerns, in the order in which it rewrites them."""
    return [path for table in (SAMPLES.name, ACTIVITY.name) for path in part.files.get(table, [])]


def _told(path: Path, step_us: int) -> pa.Table:
    """Return the samples of a part whose activity is, or will be, thinned."""
    rows = pq.read_table(path, partitioning=None)
    columns = {
        field.name: pa.array(np.full(rows.num_rows, step_us), field.type)
        if field.name == "thinned_us"
        else rows[field.name]
        for field in arrow_schema(SAMPLES)
    }
    return pa.table(columns, schema=arrow_schema(SAMPLES))


def _thinned(path: Path, step_us: int) -> pa.Table:
    """Return the rows of `activity` that stay."""
    with pq.ParquetFile(path) as file:
        keys = file.read(columns=["socket_id", "read_at", *ACTIVITY.sparse])
        socket = keys["socket_id"].cast(pa.int64()).fill_null(-1).to_numpy()
        read_at = keys["read_at"].cast(pa.int64()).fill_null(0).to_numpy()
        counted = np.zeros(len(socket), bool)
        for name in ACTIVITY.sparse:
            counted |= keys[name].is_valid().to_numpy()
        last, source = _choose(socket, read_at, counted, step_us)
        columns: dict[str, Any] = {}
        # One column at a time: whole, the rows of a busy host take hundreds of megabytes.
        for field in arrow_schema(ACTIVITY):
            column = file.read(columns=[field.name])[field.name]
            columns[field.name] = column.take(last if field.name in _NAMES else source)
    return pa.table(columns, schema=arrow_schema(ACTIVITY))


def _choose(
    socket: NDArray[np.int64], read_at: NDArray[np.int64], counted: NDArray[np.bool_], step_us: int
) -> tuple[pa.Array, pa.Array]:
    """Return the places of the rows that stay, and for each that of the row whose counters it takes."""
    step = read_at // step_us
    order = np.lexsort((counted, read_at, socket))
    ends = np.empty(len(order), bool)
    if len(order):
        before, after = order[:-1], order[1:]
        ends[:-1] = (socket[before] != socket[after]) | (step[before] != step[after])
        ends[-1] = True
    last = order[ends]
    # The place in `order` of the latest row with counters so far; of an earlier group it does not count.
    seen = np.maximum.accumulate(np.where(counted[order], np.arange(len(order)), -1))[ends]
    group_begins = np.concatenate((np.zeros(min(1, len(last)), np.int64), np.flatnonzero(ends)[:-1] + 1))
    source = np.where(seen >= group_begins, order[seen], last)
    return pa.array(last), pa.array(source)
