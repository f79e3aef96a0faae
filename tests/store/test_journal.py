"""What is appended comes back; what cannot be appended leaves no trace."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pytest

from sockrec.errors import CaptureError
from sockrec.model.tables import FORMAT_VERSION, TABLES
from sockrec.store import framing
from sockrec.store.journal import JournalVanishedError, JournalWriter, read_journal
from sockrec.store.payload import pack_header
from sockrec.store.schema import BEGUN, ENDED, journal_schemas
from tests.store.rows import (
    HEADER,
    SCHEMAS,
    SECOND,
    START,
    batch,
    full_row,
    open_journal,
    sample,
    small_part,
    socket,
)

ODD_TEXTS = [
    "",
    "\x00",
    "a\x00b",
    "\n\r\t\x1b[31m",
    "\u202e",
    "日本",
    "\U0001f9e6" * 3,
    "=1+1",
    "x" * 100_000,
]


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_column_type_comes_back(tmp_path: Path, name: str) -> None:
    """Full rows, rows of nulls and odd texts come back equal, in every journal table."""
    table = TABLES[name.split(".")[0]]
    columns = set(SCHEMAS[name].names)
    full = {key: value for key, value in full_row(table, ended=True).items() if key in columns}
    rows = [full, {}]
    if name.endswith(ENDED):
        rows = [{**full, "row": 0}, {"row": 1}]
    else:
        texts = [column.name for column in table.columns if column.type == "text" and column.name in columns]
        lists = [column.name for column in table.columns if column.type == "texts"]
        for odd in ODD_TEXTS:
            rows.append(full | dict.fromkeys(texts, odd) | {key: [odd, "", odd] for key in lists})
        rows.append(full | {key: [] for key in lists})
        rows.append({**full, **{c.name: -(2**63) for c in table.columns if c.type == "int"}})
    written = batch(name, rows)
    with open_journal(tmp_path) as journal:
        if name.endswith(ENDED):
            journal.append({name.replace(ENDED, BEGUN): batch(name.replace(ENDED, BEGUN), [{}, {}])})
        journal.append({name: written})
    got = read_journal(journal.path)
    assert got.damages == ()
    assert got.tables[name].to_pylist() == written.to_pylist()
    assert got.tables[name].schema.equals(SCHEMAS[name])


def test_header_and_end(tmp_path: Path) -> None:
    """The header comes back with the format version; the end says how."""
    path = small_part(tmp_path, ended_as="carried")
    journal = read_journal(path)
    assert journal.header == {**HEADER, "format_version": FORMAT_VERSION}
    assert (journal.ended_as, journal.torn, journal.damage) == ("carried", False, None)
    assert journal.size == path.stat().st_size


def test_without_end_it_is_open(tmp_path: Path) -> None:
    """A journal that was closed only reads as one that goes on, and is no damage."""
    journal = read_journal(small_part(tmp_path, ended_as=None))
    assert (journal.ended_as, journal.torn, journal.damage) == (None, False, None)
    assert journal.last_sample == START + 3 * SECOND


def test_rows_are_numbered_across_frames(tmp_path: Path) -> None:
    """`rows` counts what was appended, the number that an end refers to."""
    with open_journal(tmp_path) as journal:
        assert journal.rows("sockets.begun") == 0
        journal.append({"sockets.begun": batch("sockets.begun", [socket(1), socket(2)])})
        assert journal.rows("sockets.begun") == 2
        assert journal.rows("processes.begun") == 0
        journal.append({"sockets.begun": batch("sockets.begun", [socket(3)])})
        assert journal.rows("sockets.begun") == 3
    assert read_journal(journal.path).rows["sockets"].tolist() == [0, 1, 2]


def test_append_returns_bytes_on_disk(tmp_path: Path) -> None:
    """`size` and the sum of what `append` returns are what the file has, while it is open."""
    with open_journal(tmp_path) as journal:
        before = journal.size
        written = sum(journal.append({"samples": batch("samples", [sample(n)])}) for n in range(3))
        assert journal.size == before + written == journal.path.stat().st_size


def test_a_reader_may_stop_at_a_size(tmp_path: Path) -> None:
    """What was appended after `size` was taken is not seen, and nothing is called torn."""
    with open_journal(tmp_path) as journal:
        journal.append({"samples": batch("samples", [sample(0)])})
        size = journal.size
        journal.append({"samples": batch("samples", [sample(1)])})
        got = read_journal(journal.path, size)
        assert (got.tables["samples"].num_rows, got.torn, got.size) == (1, False, size)
        assert read_journal(journal.path).tables["samples"].num_rows == 2


def test_wrong_tables_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    """An unknown table or other columns raise before a byte is written, whatever else came along."""
    good = batch("samples", [sample(0)])
    with open_journal(tmp_path) as journal:
        size = journal.size
        with pytest.raises(ValueError, match="no journal table"):
            journal.append({"samples": good, "sockets": good})
        with pytest.raises(ValueError, match="columns"):
            journal.append({"samples": good, "activity": good})
        assert (journal.size, journal.rows("samples")) == (size, 0)
        with pytest.raises(ValueError, match="carried"):
            journal.end("gap")
        journal.end("stopped")
        with pytest.raises(ValueError, match="ended"):
            journal.append({"samples": good})


def test_an_existing_journal_is_never_written_over(tmp_path: Path) -> None:
    path = small_part(tmp_path)
    content = path.read_bytes()
    with pytest.raises(CaptureError, match="File exists"):
        JournalWriter(path, HEADER)
    assert path.read_bytes() == content


def test_a_symlink_is_not_written_through(tmp_path: Path) -> None:
    """A link that somebody put in the journal's place is refused, its target untouched."""
    (tmp_path / "a.journal").symlink_to(tmp_path / "target")
    with pytest.raises(CaptureError):
        JournalWriter(tmp_path / "a.journal", HEADER)
    assert not (tmp_path / "target").exists()


def test_a_vanished_journal_says_so(tmp_path: Path) -> None:
    with pytest.raises(JournalVanishedError, match="sealed"):
        read_journal(tmp_path / "none.journal")


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    """The message names the version and says to upgrade."""
    path = tmp_path / "new.journal"
    payload = pack_header({"format_version": FORMAT_VERSION + 1}, journal_schemas())
    path.write_bytes(b"".join(framing.pack(b"12345678", 0, framing.HEADER_KIND, payload)))
    with pytest.raises(CaptureError, match=rf"format {FORMAT_VERSION + 1}.*upgrade"):
        read_journal(path)


def test_syncs_at_most_every_so_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 seconds syncs each sample before `append` returns; a long time leaves it to `sync` and `end`."""
    calls: list[int] = []
    real = os.fdatasync

    def counted(fd: int) -> None:
        calls.append(fd)
        real(fd)

    monkeypatch.setattr(os, "fdatasync", counted)
    rows = {"samples": batch("samples", [sample(0)])}
    with open_journal(tmp_path, 0, sync_seconds=0) as journal:
        calls.clear()
        journal.append(rows)
        journal.append(rows)
        assert len(calls) == 2
    with open_journal(tmp_path, 1, sync_seconds=3600) as journal:
        calls.clear()
        journal.append(rows)
        journal.append(rows)
        assert calls == []
        journal.end("stopped")
        assert len(calls) == 1


def test_the_file_describes_itself(tmp_path: Path) -> None:
    """With the framing and the header alone, an Arrow reader gets the rows: no schema of ours needed."""
    path = small_part(tmp_path, samples=1)
    with path.open("rb") as file:
        frames = [f for f in framing.scan(file, path.stat().st_size) if isinstance(f, framing.Frame)]
    header = bytes(frames[0].payload)
    length = int.from_bytes(header[:8], "little")
    facts = json.loads(header[8 : 8 + length])
    at, schemas = 8 + length, {}
    for table in facts["tables"]:
        schemas[table["name"]] = header[at : at + table["schema_bytes"]]
        at += table["schema_bytes"]
    payload = bytes(frames[2].payload)
    at = 8 * len(schemas)
    number = int.from_bytes(payload[at : at + 8], "little")
    body = at + 8 + 16 * number
    seen = {}
    for entry in range(number):
        place = at + 8 + 16 * entry
        name = list(schemas)[int.from_bytes(payload[place : place + 4], "little")]
        size = int.from_bytes(payload[place + 8 : place + 16], "little")
        stream = schemas[name] + payload[body : body + size]
        seen[name] = pa.ipc.open_stream(stream).read_all().num_rows
        body += size
    assert seen == {"sockets.begun": 1, "samples": 1, "activity": 1}
    assert [frame.kind for frame in frames] == [1, 1, 2, 3]
