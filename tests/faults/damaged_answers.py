"""Everything that a capture answers, and what of it may be missing after damage."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from sockrec.catalog import open_catalog
from sockrec.errors import CaptureError
from sockrec.model.columns import ENDING, Table
from sockrec.model.tables import TABLES
from sockrec.store.snapshot import take_snapshot
from sockrec.store.survey import SegmentFile
from tests.faults.facts import stored_as

Rows = dict[str, "Counter[tuple[Any, ...]]"]
_ENDING: Final = tuple(column.name for column in ENDING)
_LAST_SEEN, _ENDED_BY, _ENDED_AS = range(3)


def ask(root: Path) -> tuple[Rows, list[str], list[str]]:
    """Return all rows of every table, what was left out, and what is known to be lost."""
    with open_catalog(root) as catalog:
        rows: Rows = {}
        for name, table in TABLES.items():
            stored = stored_as(name)
            columns = ", ".join(f'"{column}"' for column in ("host", *_ordered(table)))
            found = catalog.rows(f"SELECT {columns} FROM {stored}")
            rows[name] = Counter(tuple(map(_plain, row)) for row in found)
        left_out = [str(damage) for damage in catalog.damages if not damage.known]
        known = [str(damage) for damage in catalog.damages if damage.known]
    return rows, left_out, known


class Reader:
    """Reads captures by Arrow, and each file once that several of them have by hard links."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, str], Counter[tuple[Any, ...]]] = {}

    def read(self, root: Path) -> tuple[Rows, list[str], list[str]]:
        """Return what `ask` does; a capture that is whole says the same to every reader."""
        snapshot = take_snapshot(root)
        rows: Rows = {}
        for name, table in TABLES.items():
            rows[name] = Counter()
            for segment in snapshot.survey.segments[name]:
                rows[name].update(self._rows(segment, table))
            for journal, tables in snapshot.journals:
                rows[name].update(_counted(journal.host, tables[name], table))
        damages = snapshot.survey.damages
        left_out = [str(damage) for damage in damages if not damage.known]
        return rows, left_out, [str(damage) for damage in damages if damage.known]

    def _rows(self, segment: SegmentFile, table: Table) -> Counter[tuple[Any, ...]]:
        facts = segment.path.stat()
        key = facts.st_ino, facts.st_mtime_ns, segment.host
        if key not in self._known:
            rows = _counted(segment.host, pq.ParquetFile(segment.path).read(), table)
            if facts.st_nlink == 1:
                return rows
            self._known[key] = rows
        return self._known[key]


def _counted(host: str, rows: pa.Table, table: Table) -> Counter[tuple[Any, ...]]:
    columns = [rows[column].to_pylist() for column in _ordered(table)]
    return Counter((host, *map(_plain, row)) for row in zip(*columns, strict=True))


def _ordered(table: Table) -> list[str]:
    """Return a table's columns with those of the end behind the others."""
    ending = _ENDING if table.spans else ()
    return [*(name for name in table.names if name not in ending), *ending]


def _plain(value: Any) -> Any:
    """Return a value as one that is equal to what DuckDB made of it."""
    return tuple(value) if isinstance(value, list) else value


def ask_or_refuse(root: Path) -> tuple[Rows, list[str], list[str]]:
    """Do what `ask` does; nothing that can be read is one of the answers."""
    try:
        return ask(root)
    except CaptureError as error:
        return {name: Counter() for name in TABLES}, [str(error)], []


def invented(rows: Rows, original: Rows) -> list[str]:
    """Return the rows that are not of the original.

    A row whose end was lost with a frame of the journal is open: seen no later than it was, and ended by
    nothing but a gap, or by the end of its part.
    """
    wrong = []
    for name, found in rows.items():
        extra = found - original[name]
        if not extra:
            continue
        if not TABLES[name].spans:
            wrong += [f"{name}: {row}" for row in extra]
            continue
        # Rows that are there as they were take theirs away first.
        left = _by_beginning(original[name] - found)
        for row in extra.elements():
            begin, end = row[: -len(_ENDING)], row[-len(_ENDING) :]
            fits = next((one for one in left[begin] if _is_less(end, one)), None)
            if fits is None:
                wrong.append(f"{name}: {row}")
            else:
                left[begin].remove(fits)
    return wrong


def missing(rows: Rows, original: Rows) -> int:
    """Return how many rows of the original are not there as they were."""
    return sum((original[name] - rows[name]).total() for name in original)


def _by_beginning(rows: Counter[tuple[Any, ...]]) -> defaultdict[tuple[Any, ...], list[tuple[Any, ...]]]:
    found = defaultdict(list)
    for row in rows.elements():
        found[row[: -len(_ENDING)]].append(row[-len(_ENDING) :])
    return found


def _is_less(end: tuple[Any, ...], original: tuple[Any, ...]) -> bool:
    """Tell whether an end says no more than the original one did.

    Where only the last samples were lost, what went on is known up to an earlier one.
    """
    seen, last = end[_LAST_SEEN], original[_LAST_SEEN]
    if not (seen is None or last is None or seen <= last):
        return False
    if end[_ENDED_AS] in ("carried", "stopped"):
        return end[_ENDED_AS:] == original[_ENDED_AS:] and end[_ENDED_BY] in (None, seen)
    return end[_ENDED_BY:] == (None, "gap", "inferred")
