"""Journals read as docs/capture-format.md describes them, by nothing of sockrec's own: they judge it.

A fact is a row as a tuple: the table, then all values, times in microseconds. Rows of conditions that last
are two facts, one of the beginning and one of the end.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

HEADER: Final = 1
SAMPLE: Final = 2
END: Final = 3
Fact = tuple[Any, ...]

_MAGIC: Final = b"\x89SRJ"
_FRAME: Final = struct.Struct("<4s8sIBBHIII")
ENDS: Final = ("closed", "changed")
"""What a condition is said to have ended as where somebody saw the end."""
ENDING: Final = ("last_seen", "ended_by", "ended_as", "ended_evidence")


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole frame: where it lies, what it is, and its payload as it was before compression."""

    offset: int
    end: int
    sequence: int
    kind: int
    payload: bytes


def frames(data: bytes) -> Iterator[Frame]:
    """Give the whole frames at the beginning of a file, up to the first that is not whole."""
    offset = 0
    while len(data) - offset >= _FRAME.size:
        head = data[offset : offset + _FRAME.size]
        magic, _, sequence, kind, codec, zero, stored, raw, crc = _FRAME.unpack(head)
        end = offset + _FRAME.size + stored
        body = data[offset + _FRAME.size : end]
        if magic != _MAGIC or zero or end > len(data) or zlib.crc32(body, zlib.crc32(head[:28])) != crc:
            return
        payload = pa.Codec("zstd").decompress(body, decompressed_size=raw).to_pybytes() if codec else body
        yield Frame(offset, end, sequence, kind, payload)
        offset = end


class Part:
    """One journal, frame by frame; `facts` are what each of its frames says.

    `samples` are the numbers of the samples in it, `ended_as` its last word.
    """

    def __init__(self) -> None:
        self.header: dict[str, Any] = {}
        self.samples: list[int] = []
        self.ended_as: str | None = None
        self._schemas: list[tuple[str, bytes]] = []
        self._begun: dict[str, list[Fact]] = {}

    def read(self, frame: Frame) -> list[Fact]:
        """Return what the next frame says."""
        if frame.kind == HEADER:
            if not self.header:
                self._read_header(frame.payload)
            return []
        rest = frame.payload[8 * len(self._schemas) :]
        if frame.kind == END:
            self.ended_as = json.loads(rest)["ended_as"]
            return []
        (count,) = struct.unpack_from("<Q", rest)
        at = 8 + 16 * count
        found: list[Fact] = []
        for number in range(count):
            table, rows, length = struct.unpack_from("<IIQ", rest, 8 + 16 * number)
            name, schema = self._schemas[table]
            batch = pa.ipc.open_stream(pa.py_buffer(schema + rest[at : at + length])).read_all()
            assert batch.num_rows == rows
            at += length
            found += self._facts(name, batch)
        return found

    def _read_header(self, payload: bytes) -> None:
        (length,) = struct.unpack_from("<Q", payload)
        self.header = json.loads(payload[8 : 8 + length])
        at = 8 + length
        for table in self.header["tables"]:
            self._schemas.append((table["name"], payload[at : at + table["schema_bytes"]]))
            at += table["schema_bytes"]

    def _facts(self, name: str, batch: pa.Table) -> list[Fact]:
        table, _, half = name.partition(".")
        values = rows(batch)
        if half == "begun":
            begun = [(table, *row) for row in values]
            self._begun.setdefault(table, []).extend(begun)
            return begun
        if half == "ended":
            which = self._begun[table]
            return [end_of(which[row], ending) for row, *ending in values if ending[2] in ENDS]
        if table == "samples":
            self.samples += batch["number"].to_pylist()
        return [(table, *row) for row in values]


def end_of(begun: Fact, ending: list[Any]) -> Fact:
    """Return the fact that a condition ended; `ending` are the values of `ENDING`."""
    return (f"{begun[0]} ended", *begun[1:], *ending)


def rows(table: pa.Table) -> list[list[Any]]:
    """Return an Arrow table's rows as lists of values that can be hashed; times in microseconds."""
    columns = []
    for column in table.columns:
        if pa.types.is_timestamp(column.type):
            columns.append(column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist())
        elif pa.types.is_list(column.type):
            columns.append([None if value is None else tuple(value) for value in column.to_pylist()])
        else:
            columns.append(column.to_pylist())
    return [list(row) for row in zip(*columns, strict=True)]


def written(data: bytes) -> tuple[Part, list[list[Fact]]]:
    """Return a journal's part, and for each of its whole frames what it says."""
    part = Part()
    return part, [part.read(frame) for frame in frames(data)]
