"""Journal tables made into final ones: each begun row joined with its end, or closed where none is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sockrec.model.network_tables import NETWORK_TABLES
from sockrec.model.tables import TABLES
from sockrec.store.schema import BEGUN, ENDED, ROW, TIME, arrow_schema

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sockrec.model.columns import Table
    from sockrec.store.journal_reader import Journal

_NONE: Final = int(np.iinfo(np.int64).min)


def assemble(journal: Journal, open_as: str | None) -> dict[str, pa.Table]:
    """Return the final tables of a journal part, with the model's columns, rows as they were written.

    Rows without an end get one: the part's own word (`carried`, `stopped`) if it has an end frame, else
    `open_as`: None while it is being recorded, `gap` after a crash. They were last seen in the last
    sample of the part. Rows whose end may have gone with a damaged frame are known only up to the
    sample before it, and end as `gap`.
    """
    tables = {}
    for table in TABLES.values():
        if table.spans:
            tables[table.name] = _join(table, journal, open_as)
        else:
            tables[table.name] = journal.tables[table.name]
    return tables


def _join(table: Table, journal: Journal, open_as: str | None) -> pa.Table:
    begun = journal.tables[table.name + BEGUN]
    ended = journal.tables[table.name + ENDED]
    place = np.full(begun.num_rows, -1, np.int64)
    place[np.searchsorted(journal.rows[table.name], ended[ROW].to_numpy())] = np.arange(ended.num_rows)
    is_open = place < 0
    closed = ended.drop_columns([ROW]).take(pa.array(place, mask=is_open))
    closing = _open_ends(table, journal, open_as, is_open)
    columns = []
    for column in table.columns:
        if column.name in closing:
            columns.append(pc.if_else(pa.array(is_open), closing[column.name], closed[column.name]))
        else:
            columns.append(begun[column.name])
    return pa.Table.from_arrays(columns, schema=arrow_schema(table))


def _open_ends(
    table: Table, journal: Journal, open_as: str | None, is_open: NDArray[np.bool_]
) -> dict[str, pa.Array]:
    """Return the ending columns that hold where a row is open."""
    word = journal.ended_as or open_as
    first_seen = _microseconds(journal.tables[table.name + BEGUN]["first_seen"])
    looked = _LastLook(table, journal)
    # A cut is where the next part begins: at the last sample, whenever the table was read.
    cut = _NONE if journal.last_sample is None else journal.last_sample
    last = np.full(len(is_open), cut if word == "carried" else looked.by(journal.last_sample), np.int64)
    unsure = np.zeros(len(is_open), bool)
    # Backwards: a row open at several losses is known up to the first of them.
    for loss in reversed(journal.losses):
        if loss.lost.get(table.name + ENDED, 0) > 0:
            before = loss.read.get(table.name + BEGUN, 0)
            last[:before] = looked.by(loss.last_sample)
            unsure[:before] = True
    known = np.maximum(first_seen, last)
    last_seen = pa.array(known, mask=known == _NONE).cast(TIME)
    words = pa.array([None, word, "gap"], pa.string())
    evidences = {None: None, "gap": "inferred"}
    proofs = pa.array([None, evidences.get(word, "sample"), "inferred"], pa.string())
    which = pa.array(np.where(unsure, 2, 1))
    bounded = ~unsure if word == "carried" else np.zeros(len(is_open), bool)
    return {
        "last_seen": last_seen,
        "ended_by": pc.if_else(pa.array(bounded), last_seen, pa.scalar(None, TIME)),
        "ended_as": words.take(which),
        "ended_evidence": proofs.take(which),
    }


class _LastLook:
    """When the rows of a table were last looked at: in each sample, or as the samples tell."""

    def __init__(self, table: Table, journal: Journal) -> None:
        samples = journal.tables["samples"]
        self._began = self._looked = None
        if table in NETWORK_TABLES:
            self._began = _microseconds(samples["began_at"])
            self._looked = _microseconds(samples["network_read_at"])

    def by(self, last_sample: int | None) -> int:
        """Return the last time until that sample, in microseconds; `_NONE` if there was none."""
        if last_sample is None:
            return _NONE
        if self._began is None or self._looked is None:
            return last_sample
        return int(self._looked[self._began <= last_sample].max(initial=_NONE))


def _microseconds(times: pa.ChunkedArray) -> NDArray[np.int64]:
    values: NDArray[np.int64] = times.cast(pa.int64()).fill_null(_NONE).to_numpy()
    return values
