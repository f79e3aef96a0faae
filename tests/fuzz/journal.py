"""Journals.

Input: a byte, and a file. If the byte is odd, checksums in the file are set right first, so that what is
behind them is reached.
"""

from __future__ import annotations

import struct
import zlib

from sockrec.errors import CaptureError
from sockrec.store import framing
from sockrec.store.journal import JournalWriter
from sockrec.store.journal_reader import read_journal
from sockrec.store.schema import journal_schemas
from sockrec.store.spans import assemble
from tests.fuzz import scratch
from tests.store.rows import HEADER, START, batch, end, sample, socket


def seeds() -> list[bytes]:
    """Return a whole journal, and one whose recorder died."""
    found = []
    for ended in ("stopped", None):
        path = scratch.folder() / "seed.journal"
        path.unlink(missing_ok=True)
        with JournalWriter(path, HEADER) as writer:
            for number in range(3):
                batches = {
                    "samples": batch("samples", [sample(number)]),
                    "sockets.begun": batch("sockets.begun", [socket(number)]),
                }
                if number:
                    batches["sockets.ended"] = batch("sockets.ended", [end(number - 1, START)])
                writer.append(batches)
            if ended:
                writer.end(ended)
        content = path.read_bytes()
        found += [b"\1" + content, b"\0" + content]
    return found


def check(data: bytes) -> None:
    """Read it, with checksums set right if its first byte says so; only `CaptureError` may be raised."""
    if not data:
        return
    path = scratch.folder() / "20261120T103200-3f9a-000000.journal"
    path.write_bytes(mended(data[1:]) if data[0] & 1 else data[1:])
    try:
        journal = read_journal(path)
        tables = assemble(journal, "gap")
    except CaptureError:
        return
    assert set(journal_schemas()) == set(journal.tables)
    for table in tables.values():
        table.validate(full=True)


def mended(content: bytes) -> bytes:
    """Return a file whose frames have the right checksums, as far as their lengths lead to the next."""
    found = bytearray(content)
    head = struct.Struct("<4s8sIBBHIII")
    offset = 0
    while offset + head.size <= len(found) and found[offset : offset + 4] == framing.MAGIC:
        stored = int(head.unpack_from(found, offset)[6])
        crc = zlib.crc32(found[offset : offset + 28])
        crc = zlib.crc32(found[offset + head.size : offset + head.size + stored], crc)
        struct.pack_into("<I", found, offset + 28, crc)
        offset += head.size + stored
    return bytes(found)
