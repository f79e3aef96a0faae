"""Journals that expand, lie of their lengths, or never come to an end."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from sockrec.model.tables import SAMPLES
from sockrec.store import framing
from sockrec.store.journal import JournalWriter
from sockrec.store.layout import Layout, stem
from sockrec.store.schema import arrow_schema
from tests.catalog.captures import START, us
from tests.faults.scale import cases
from tests.hostile.attacks.base import RECORDING, attack, whole


def _journal(folder: Path, part: int = 0) -> Path:
    path = Layout(folder).journal("web-1", stem(RECORDING, part))
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _frame(sequence: int, kind: int, stored: bytes, raw: int, codec: int) -> bytes:
    head = struct.pack("<4s8sIBBHII", framing.MAGIC, b"12345678", sequence, kind, codec, 0, len(stored), raw)
    return head + struct.pack("<I", zlib.crc32(stored, zlib.crc32(head))) + stored


def _header(facts: Mapping[str, Any], tail: bytes = b"") -> bytes:
    text = json.dumps(facts).encode()
    return struct.pack("<Q", len(text)) + text + tail


@attack
def a_journal_that_expands(folder: Path) -> None:
    """Frames of a few kilobytes, each of which becomes a gibibyte; some in the place of the header."""
    whole(folder).write()
    bomb = pa.compress(bytes(1 << 30), codec="zstd", asbytes=True)
    for part, kinds in enumerate(((1, 1, 2, 2, 2, 2), (2, 2, 3), (1, 2, 2, 2, 3, 3)), 7):
        frames = (_frame(number, kind, bomb, 1 << 30, 1) for number, kind in enumerate(kinds))
        _journal(folder, part).write_bytes(b"".join(frames))


@attack
def a_journal_that_expands_into_rows(folder: Path) -> None:
    """A journal of batches of equal rows, many times their size: docs/reliability.md says what more take."""
    part = whole(folder)
    part.describe()
    row = pa.RecordBatch.from_pylist(part.rows["samples"][:1], schema=arrow_schema(SAMPLES))
    batch = row.take(pa.repeat(pa.scalar(0), 200_000))
    header = {"recording": RECORDING, "host": "web-1", "part": 0, "started": us(START)}
    with JournalWriter(_journal(folder), header) as writer:
        for _ in range(cases(5, 20)):
            writer.append({"samples": batch})


@attack
def a_journal_of_many_tables(folder: Path) -> None:
    """Headers that list a million tables, lengths of 2^63, and no tables."""
    whole(folder).write()
    base = {"format_version": 1, "recording": RECORDING, "host": "web-1", "part": 0, "started": 0}
    entry = {"name": "samples", "schema_bytes": 8}
    heads = [
        _header(base | {"tables": [entry] * 1_000_000}),
        _header(
            base | {"tables": [{"name": f"t{number}", "schema_bytes": 1} for number in range(300)]},
            bytes(300),
        ),
        _header(base | {"tables": []}),
        _header(base | {"tables": [{"name": "samples", "schema_bytes": 1 << 62}]}),
        _header(base | {"tables": 7}),
        struct.pack("<Q", 1 << 63) + b"{}",
    ]
    for number, head in enumerate(heads, 7):
        stored = pa.compress(head, codec="zstd", asbytes=True)
        _journal(folder, number).write_bytes(_frame(0, 1, stored, len(head), 1))


@attack
def a_journal_of_false_beginnings(folder: Path) -> None:
    """Mebibytes of magic numbers, and of headers whose frames never end."""
    whole(folder).write()
    _journal(folder, 7).write_bytes(framing.MAGIC * (2 << 20))
    head = struct.pack("<4s8sIBBHIII", framing.MAGIC, b"12345678", 0, 1, 0, 0, 7 << 20, 7 << 20, 0)
    _journal(folder, 8).write_bytes(head * (8 << 15))


@attack
def a_journal_of_a_tebibyte(folder: Path) -> None:
    """A journal that takes no room, and a terabyte of zeros to read."""
    whole(folder).write()
    with _journal(folder, 7).open("wb") as file:
        file.truncate(1 << 40)
