"""Whether a segment is whole: every byte compared with its checksums, and its columns with its table's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from sockrec.model.tables import TABLES
from sockrec.store.check_block import End, damaged_stretches
from sockrec.store.damage import Damage
from sockrec.store.parquet import columns_of, misfit
from sockrec.store.survey import check_end

if TYPE_CHECKING:
    from pathlib import Path

_ERRORS: Final = (pa.ArrowException, OSError, ValueError, MemoryError)
_OPEN: Final = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def check_whole(path: Path) -> Damage | None:
    """Read a segment whole and say what is wrong with it, or None.

    Those of formats without a check block are read page by page. Whoever rewrites a segment asks this
    first: what is read of a damaged one would get right checksums.
    """
    found = check_end(path)
    if found is None:
        return Damage(path, "is gone")
    if isinstance(found, Damage):
        return found
    return check_data(path, found[1])


def check_data(path: Path, end: End) -> Damage | None:
    """Do what `check_whole` does for a segment whose end was checked already."""
    if end.check is None:
        what = deep_check(path) or columns_misfit(path)
        return None if what is None else Damage(path, what)
    try:
        fd = os.open(path, _OPEN)
        try:
            bad = list(damaged_stretches(fd, end.check))
        finally:
            os.close(fd)
    except OSError as error:
        return Damage(path, f"can't be read: {error.strerror}")
    if not bad:
        what = columns_misfit(path)
        return None if what is None else Damage(path, what)
    many = f": {len(bad)} stretches of {len(end.check.ends)}" if len(end.check.ends) > 1 else ""
    return Damage(path, f"fails its checksum{many}", end.check.bounds(bad[0])[0])


def deep_check(path: Path) -> str | None:
    """Read a whole Parquet file, page checksums included, and return what is wrong with it, or None."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                columns_of(file, group)
                file.read_row_group(group).validate(full=True)
    except _ERRORS as error:
        return _line(error)
    return None


def columns_misfit(path: Path) -> str | None:
    """Say why a segment has not the columns of the table whose folder it lies in, or None if it has."""
    try:
        return misfit(path, TABLES[path.parents[2].name])
    except _ERRORS as error:
        return _line(error)


def _line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
