"""What the frames of a journal hold, packed and parsed. All integers are little-endian.

Header frame: u64 length of a JSON object, that object, then one Arrow IPC schema message for each of
its `tables`, in order. Sample frame: one u64 for each of those tables, the rows of it written in the
frames before; u64 number of batches; for each batch u32 table (its place in the list), u32 rows, u64
length; then the batches as Arrow IPC record-batch messages. End frame: the same row counts, then a
JSON object with `ended_as`.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

ENDED_AS: Final = ("carried", "stopped")
# Multiples of 8, so that messages lie in the payload as Arrow wants them.
_LENGTH: Final = struct.Struct("<Q")
_BATCH: Final = struct.Struct("<IIQ")
_MOST_TABLES: Final = 256


class BadPayloadError(Exception):
    """A frame is whole but says what cannot be. The journal's reader makes it a `Damage`."""


def counts_struct(tables: int) -> struct.Struct:
    """Return the layout of the row counts of that many journal tables."""
    return struct.Struct(f"<{tables}Q")


def pack_header(header: Mapping[str, Any], schemas: Mapping[str, pa.Schema]) -> list[bytes]:
    """Return the payload of a header frame, in pieces."""
    messages = {name: schema.serialize().to_pybytes() for name, schema in schemas.items()}
    tables = [{"name": name, "schema_bytes": len(message)} for name, message in messages.items()]
    text = json.dumps({**header, "tables": tables}).encode()
    return [_LENGTH.pack(len(text)), text, *messages.values()]


def pack_batches(batches: Sequence[tuple[int, pa.RecordBatch]]) -> list[bytes | pa.Buffer]:
    """Return what follows the row counts of a sample frame, in pieces; `batches` are (table, rows)."""
    messages = [batch.serialize() for _, batch in batches]
    entries = [
        _BATCH.pack(table, batch.num_rows, message.size)
        for (table, batch), message in zip(batches, messages, strict=True)
    ]
    return [_LENGTH.pack(len(entries)), *entries, *messages]


def pack_end(ended_as: str) -> bytes:
    """Return what follows the row counts of an end frame."""
    return json.dumps({"ended_as": ended_as}).encode()


def parse_end(payload: memoryview) -> str:
    """Return how the part ended; raises `BadPayloadError`."""
    try:
        word = json.loads(bytes(payload))["ended_as"]
    except (ValueError, TypeError, KeyError, RecursionError):
        word = None
    if word not in ENDED_AS:
        raise BadPayloadError("the end frame does not say how the part ended")
    return str(word)


def parse_header(payload: memoryview) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
    """Return the JSON of a header frame, and for each journal table its name and schema message."""
    try:
        (length,) = _LENGTH.unpack_from(payload)
        at = _LENGTH.size + length
        header = json.loads(bytes(payload[_LENGTH.size : at]))
        tables = header.pop("tables")
        messages = []
        for table in tables[:_MOST_TABLES]:
            name, size = table["name"], table["schema_bytes"]
            if not isinstance(name, str) or not isinstance(size, int) or not 0 < size <= len(payload) - at:
                raise BadPayloadError("its header does not list its tables rightly")
            messages.append((name, bytes(payload[at : at + size])))
            at += size
    except (struct.error, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadPayloadError("its header can't be parsed") from error
    return header, messages


def parse_batches(payload: memoryview, tables: int) -> list[tuple[int, int, memoryview]]:
    """Return (table, rows, message) for each batch of a sample frame."""
    try:
        (number,) = _LENGTH.unpack_from(payload)
        at = _LENGTH.size + number * _BATCH.size
        if number > tables or at > len(payload):
            raise BadPayloadError("a frame lists more batches than it holds")
        entries = []
        for table, rows, length in _BATCH.iter_unpack(payload[_LENGTH.size : at]):
            if table >= tables or length > len(payload) - at:
                raise BadPayloadError("a frame lists a batch that it does not hold")
            entries.append((table, rows, payload[at : at + length]))
            at += length
    except struct.error as error:
        raise BadPayloadError("a frame's list of batches is cut short") from error
    if at != len(payload) or len({table for table, _, _ in entries}) != len(entries):
        raise BadPayloadError("a frame's list of batches does not match what it holds")
    return entries
