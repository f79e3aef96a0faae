"""The end of a growing journal, read on from where it was left: nothing of it is read twice.

What is damaged is left out, as `read_journal` does, which also reports it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from sockrec.errors import CaptureError
from sockrec.model.columns import ENDING
from sockrec.model.tables import EVENTS, SOCKETS
from sockrec.store import framing
from sockrec.store.format_version import check_version
from sockrec.store.journal_reader import is_in_its_place
from sockrec.store.payload import BadPayloadError, counts_struct, parse_batches, parse_end, parse_header
from sockrec.store.schema import BEGUN, ENDED, ROW, arrow_schema, begun_schema, conform, ended_schema

if TYPE_CHECKING:
    from pathlib import Path

_BEGUN: Final = SOCKETS.name + BEGUN
_ENDED: Final = SOCKETS.name + ENDED
_SCHEMAS: Final = {
    _BEGUN: begun_schema(SOCKETS),
    _ENDED: ended_schema(SOCKETS),
    EVENTS.name: arrow_schema(EVENTS),
}
_ENDING: Final = tuple(column.name for column in ENDING)


@dataclass(slots=True)
class Added:
    """What was appended since the last reading, with the model's columns.

    `begun` are rows of `sockets` that began, their ends null; `ended` rows that ended, whole; `events`
    stored events.
    """

    begun: pa.Table
    ended: pa.Table
    events: pa.Table


class JournalTail:
    """Reads what is appended to a journal; `known` of its bytes were read elsewhere and are not given again.

    It can be read to its end even when it was sealed and dropped meanwhile. Raises `CaptureError` if it
    can't be opened, or a newer sockrec writes it.
    """

    def __init__(self, path: Path, known: int = 0) -> None:
        self.path = path
        self.ended_as: str | None = None
        self._known = known
        self._offset = 0
        self._tables: list[tuple[str, pa.Schema]] = []
        self._counts = counts_struct(0)
        # Rows of sockets that began, by their numbers: ends name them. A part is bounded, and so are they.
        self._first: list[int] = []
        self._begun: list[pa.Table] = []
        self._new: dict[str, list[pa.Table]] = {}
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise CaptureError(f"cannot read {path}: {error.strerror}") from None

    @property
    def is_dropped(self) -> bool:
        """Whether its name is gone: nothing is appended any more."""
        return os.fstat(self._file.fileno()).st_nlink == 0

    def read(self) -> Added:
        """Return what whole frames were appended since the last call; raises `CaptureError`."""
        self._new = {name: [] for name in (_BEGUN, _ENDED, EVENTS.name)}
        try:
            size = os.fstat(self._file.fileno()).st_size
            for found in framing.scan(self._file, size, self._offset):
                if isinstance(found, framing.Bad):
                    if found.torn:
                        break  # being written now
                    self._offset = found.end
                    continue
                self._offset = found.end
                try:
                    self._frame(found)
                except (BadPayloadError, pa.ArrowException, ValueError):
                    continue
        except OSError as error:
            raise CaptureError(f"cannot read {self.path}: {error.strerror}") from None
        sockets = arrow_schema(SOCKETS)
        return Added(
            _all(sockets, [conform(table, sockets) for table in self._new[_BEGUN]]),
            _all(sockets, self._new[_ENDED]),
            _all(_SCHEMAS[EVENTS.name], self._new[EVENTS.name]),
        )

    def close(self) -> None:
        """Let the file go."""
        self._file.close()

    def _frame(self, frame: framing.Frame) -> None:
        if frame.kind == framing.HEADER_KIND:
            header, texts = parse_header(frame.payload)
            check_version(self.path, header.get("format_version", 0))
            if not is_in_its_place(self.path, header):
                return  # and so nothing of it is understood
            self._tables = [(name, pa.ipc.read_schema(pa.py_buffer(text))) for name, text in texts]
            self._counts = counts_struct(len(self._tables))
        elif self._tables and frame.kind == framing.SAMPLE_KIND:
            counts = self._counts.unpack_from(frame.payload)
            for place, _, message in parse_batches(frame.payload[self._counts.size :], len(self._tables)):
                name, schema = self._tables[place]
                if name in _SCHEMAS:
                    batch = pa.ipc.read_record_batch(pa.py_buffer(message), schema)
                    batch.validate(full=True)
                    self._take(name, batch, counts[place], is_new=frame.end > self._known)
        elif self._tables and frame.kind == framing.END_KIND:
            self.ended_as = parse_end(frame.payload[self._counts.size :])

    def _take(self, name: str, batch: pa.RecordBatch, first: int, *, is_new: bool) -> None:
        rows = conform(pa.Table.from_batches([batch]), _SCHEMAS[name])
        if name == _BEGUN:
            self._first.append(first)
            self._begun.append(rows)
        if is_new:
            self._new[name] += self._whole(rows) if name == _ENDED else [rows]

    def _whole(self, ends: pa.Table) -> list[pa.Table]:
        """Return the rows that ended, each with its beginning; those are left out whose beginning is lost."""
        schema = arrow_schema(SOCKETS)
        number = ends[ROW].fill_null(-1).to_numpy()
        batch = np.searchsorted(self._first, number, side="right") - 1
        whole = []
        for which in np.unique(batch[batch >= 0]).tolist():
            begun = self._begun[which]
            place = np.flatnonzero(batch == which)
            row = number[place] - self._first[which]
            known = row < begun.num_rows
            rows, ending = begun.take(row[known]), ends.take(place[known])
            columns = [(ending if name in _ENDING else rows)[name] for name in schema.names]
            whole.append(pa.Table.from_arrays(columns, schema=schema))
        return whole


def _all(schema: pa.Schema, tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables([schema.empty_table(), *tables])
