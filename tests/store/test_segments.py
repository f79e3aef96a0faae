"""Sealing keeps every row exactly once, whenever it is interrupted, in files that any engine reads."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sockrec.errors import CaptureError
from sockrec.model.tables import FORMAT_VERSION, TABLES
from sockrec.store.framing import MAGIC
from sockrec.store.journal import read_journal
from sockrec.store.layout import Layout, stem
from sockrec.store.schema import arrow_schema
from sockrec.store.segments import recover, seal
from sockrec.store.snapshot import take_snapshot
from sockrec.store.spans import assemble
from sockrec.store.whole import deep_check
from tests.store.rows import (
    HOST,
    RECORDING,
    SECOND,
    START,
    batch,
    end,
    full_row,
    idle_sockets,
    open_journal,
    sample,
    small_part,
    socket,
)


class Crash(BaseException):
    """Stands for kill -9: nothing of ours handles it."""


def read_all(root: Path) -> dict[str, list[str]]:
    """Return every row of a capture as text, sorted, as a reader meets it: segments and journals."""
    snapshot = take_snapshot(root)
    assert snapshot.survey.damages == []
    rows: dict[str, list[str]] = {}
    for name in TABLES:
        tables = [pq.ParquetFile(segment.path).read() for segment in snapshot.survey.segments[name]]
        tables += [journal[name] for _, journal in snapshot.journals]
        rows[name] = sorted(repr(row) for table in tables for row in table.to_pylist())
    return rows


def full_part(root: Path) -> Path:
    """Journal a part with rows of every type in every table, nulls included."""
    with open_journal(root) as journal:
        for number in range(3):
            frame = {"samples": batch("samples", [{**full_row(TABLES["samples"]), **sample(number)}])}
            for table in TABLES.values():
                name = table.name + ".begun" * table.spans
                if table.name != "samples":
                    full = full_row(table) | ({"first_seen": START} if table.spans else {})
                    bare = {"first_seen": START + number} if table.spans else {}
                    frame[name] = batch(name, [full, bare, full])
                if table.spans:
                    ending = [end(3 * number, START + number)]
                    frame[f"{table.name}.ended"] = batch(f"{table.name}.ended", ending)
            journal.append(frame)
        journal.end("carried")
    return journal.path


def test_a_segment_is_what_the_journal_was(tmp_path: Path) -> None:
    """Same rows, same types, sorted as the model says, under the day of the first sample."""
    path = full_part(tmp_path)
    tables = assemble(read_journal(path), None)
    written = seal(Layout(tmp_path), HOST, path.stem)
    found = sorted(tmp_path.rglob("*.parquet"))
    assert written == sum(file.stat().st_size for file in found)
    assert [file.relative_to(tmp_path).as_posix() for file in found] == sorted(
        f"{name}/host=web-1/date=2026-11-20/{path.stem}.parquet" for name in TABLES
    )
    for name, table in TABLES.items():
        segment = Layout(tmp_path).segment(name, HOST, "2026-11-20", path.stem)
        got = pq.ParquetFile(segment).read()
        assert got.schema.equals(arrow_schema(table)), name
        assert (
            got.to_pylist() == tables[name].sort_by([(key, "ascending") for key in table.order]).to_pylist()
        )
        assert got.num_rows == (3 if name == "samples" else 9)
        assert deep_check(segment) is None
    assert not path.exists()


def test_empty_tables_make_no_files(tmp_path: Path) -> None:
    path = small_part(tmp_path)
    seal(Layout(tmp_path), HOST, path.stem)
    names = {file.relative_to(tmp_path).parts[0] for file in tmp_path.rglob("*.parquet")}
    assert names == {"sockets", "activity", "samples"}


def test_a_part_without_rows_goes_without_a_trace(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.end("stopped")
    assert seal(Layout(tmp_path), HOST, journal.path.stem) == 0
    assert not journal.path.exists()
    assert list(tmp_path.rglob("*.parquet")) == []


def test_how_a_segment_is_written(tmp_path: Path) -> None:
    """zstd, delta on what hardly repeats, dictionaries on the rest, statistics, checksums, its facts."""
    path = full_part(tmp_path)
    seal(Layout(tmp_path), HOST, path.stem)
    file = pq.ParquetFile(Layout(tmp_path).segment("sockets", HOST, "2026-11-20", path.stem))
    facts = {key.decode(): value.decode() for key, value in file.metadata.metadata.items()}
    assert facts == {
        "sockrec.format_version": str(FORMAT_VERSION),
        "sockrec.recording": RECORDING,
        "sockrec.host": HOST,
        "sockrec.part": "0",
        "sockrec.first_sample_at": str(START),
        "sockrec.last_sample_at": str(START + 2 * SECOND),
        "sockrec.tables": json.dumps({name: 3 if name == "samples" else 9 for name in TABLES}),
    }
    columns = {}
    for index in range(file.metadata.num_columns):
        column = file.metadata.row_group(0).column(index)
        columns[column.path_in_schema] = column
        assert column.compression == "ZSTD"
        assert column.is_stats_set
    for name in ("state", "begun_as", "holders.list.element"):
        assert "RLE_DICTIONARY" in columns[name].encodings
    # In so few rows moments hardly come twice, as exact ones do in many.
    for name in ("local_port", "socket_id", "inode", "first_seen"):
        assert "DELTA_BINARY_PACKED" in columns[name].encodings
        assert not columns[name].has_dictionary_page
    assert not columns["rank"].has_dictionary_page


def test_rows_without_counters_stand_behind_those_that_have_them(tmp_path: Path) -> None:
    """So a column of counters is one run of values and one of nulls, which costs nothing."""
    with open_journal(tmp_path) as journal:
        rows = [
            {"socket_id": one, "read_at": START + second * SECOND, "rcvbuf": second % 2 or None}
            for second in range(4)
            for one in (9, 3)
        ]
        journal.append({"activity": batch("activity", rows), "samples": batch("samples", [sample(0)])})
    seal(Layout(tmp_path), HOST, journal.path.stem)
    (segment,) = tmp_path.glob("activity/*/*/*.parquet")
    table = pq.ParquetFile(segment).read()
    assert table["rcvbuf"].to_pylist() == [1, 1, 1, 1, None, None, None, None]
    assert table["socket_id"].to_pylist() == [3, 3, 9, 9, 3, 3, 9, 9]
    for half in (table[:4], table[4:]):
        for times in (half["read_at"][:2], half["read_at"][2:]):
            assert times.to_pylist() == sorted(times.to_pylist())


def test_row_groups_hold_65536_rows(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        rows = [socket(number % 60_000) for number in range(70_000)]
        journal.append(
            {"sockets.begun": batch("sockets.begun", rows), "samples": batch("samples", [sample(0)])}
        )
    seal(Layout(tmp_path), HOST, journal.path.stem)
    (segment,) = tmp_path.glob("sockets/*/*/*.parquet")
    file = pq.ParquetFile(segment)
    assert [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)] == [65_536, 4_464]
    ports = file.read()["local_port"].to_pylist()
    assert ports == sorted(ports)


def calls(count: int, before: bool, real: Callable[..., Any]) -> Callable[..., Any]:
    """Return `real`, crashing before or after its call number `count`."""
    left = [count]

    def crashing(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if before and left[0] < 0:
            raise Crash
        result = real(*args, **kwargs)
        if not before and left[0] < 0:
            raise Crash
        return result

    return crashing


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("step", range(7))
def test_a_crash_while_sealing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, before: bool
) -> None:
    """Whichever step it dies at, readers meet every row exactly once, then and after recovery."""
    path = full_part(tmp_path)
    wanted = read_all(tmp_path)
    assert Counter(map(len, wanted.values())) == {9: len(TABLES) - 1, 3: 1}
    with monkeypatch.context() as patch:
        if step < len(TABLES):
            patch.setattr(os, "replace", calls(step, before, os.replace))
        elif step == len(TABLES):
            patch.setattr(Path, "unlink", calls(0, before, Path.unlink))
        else:
            patch.setattr(pq.ParquetWriter, "write_table", calls(2, before, pq.ParquetWriter.write_table))
        with pytest.raises(Crash):
            seal(Layout(tmp_path), HOST, path.stem)
    assert read_all(tmp_path) == wanted
    recover(Layout(tmp_path), HOST)
    assert read_all(tmp_path) == wanted
    assert [file for file in tmp_path.rglob("*") if file.is_file() and file.suffix != ".parquet"] == []


def test_the_journal_goes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is synced before it gets its name, its folder after; the journal goes after all of that."""
    path = small_part(tmp_path)
    steps: list[tuple[str, str]] = []
    fsync, replace, unlink = os.fsync, os.replace, Path.unlink

    def synced(fd: int) -> None:
        steps.append(("sync", Path(f"/proc/self/fd/{fd}").readlink().name))
        fsync(fd)

    def renamed(source: Path, target: Path) -> None:
        steps.append(("rename", source.name))
        replace(source, target)

    def unlinked(self: Path, missing_ok: bool = False) -> None:
        steps.append(("unlink", self.name))
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    monkeypatch.setattr(Path, "unlink", unlinked)
    seal(Layout(tmp_path), HOST, path.stem)
    hidden = f".{path.stem}.parquet.tmp"
    whole = [("sync", hidden), ("rename", hidden), ("sync", "date=2026-11-20")]
    last = [("unlink", path.name), ("sync", "host=web-1")]
    made = [step for step in steps if step in whole or step in last]
    folders = [("sync", "host=web-1")]  # once for each table: its new folder of the day
    assert made == (folders + whole) * 3 + last


def test_recovery_seals_what_a_crash_left(tmp_path: Path) -> None:
    """Each leftover journal is sealed, open rows as `gap`; parts that were ended keep their word."""
    small_part(tmp_path, 2, part=0, ended_as="carried")
    torn = small_part(tmp_path, 3, part=1, ended_as=None)
    os.truncate(torn, torn.stat().st_size - 5)
    leftover = Layout(tmp_path).segment("sockets", HOST, "2026-11-19", "x").with_name(".x.parquet.tmp")
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    stems = recover(Layout(tmp_path), HOST)
    assert stems == [stem(RECORDING, 0), stem(RECORDING, 1)]
    assert recover(Layout(tmp_path), HOST) == []
    assert not leftover.exists()
    assert list(Layout(tmp_path).journals(HOST).iterdir()) == []
    words = {}
    for name in stems:
        table = pq.ParquetFile(Layout(tmp_path).segment("sockets", HOST, "2026-11-20", name)).read()
        words[name] = table["ended_as"].to_pylist()
    assert words == {stems[0]: ["closed", "carried"], stems[1]: ["closed", "gap"]}


def test_recovery_where_nothing_was_recorded(tmp_path: Path) -> None:
    assert recover(Layout(tmp_path / "none"), HOST) == []


def test_a_damaged_journal_is_kept(tmp_path: Path) -> None:
    """Its whole frames are sealed, the file stays under another name, and readers are told of it."""
    path = small_part(tmp_path, 4)
    content = bytearray(path.read_bytes())
    frames = [found.start() for found in re.finditer(re.escape(MAGIC), content)]
    content[(frames[-2] + frames[-1]) // 2] ^= 0xFF
    path.write_bytes(content)
    damages = read_journal(path).damages
    assert damages
    seal(Layout(tmp_path), HOST, path.stem)
    assert path.with_suffix(".damaged").read_bytes() == content
    snapshot = take_snapshot(tmp_path)
    assert [damage.path.name for damage in snapshot.survey.damages] == [f"{path.stem}.damaged"]
    assert snapshot.journals == []
    (segment,) = snapshot.survey.segments["samples"]
    file = pq.ParquetFile(segment.path)
    assert file.metadata.num_rows == 3
    assert file.metadata.metadata[b"sockrec.damage"].decode() == "; ".join(d.what for d in damages)


def test_deep_check_sees_a_flipped_byte(tmp_path: Path) -> None:
    """A byte changed inside a page, which the footer does not show, is found by its checksum."""
    path = full_part(tmp_path)
    seal(Layout(tmp_path), HOST, path.stem)
    segment = Layout(tmp_path).segment("sockets", HOST, "2026-11-20", path.stem)
    content = bytearray(segment.read_bytes())
    column = pq.ParquetFile(segment).metadata.row_group(0).column(1)
    content[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    segment.write_bytes(content)
    reason = deep_check(segment)
    assert reason is not None
    assert "\n" not in reason
    assert deep_check(tmp_path / "none.parquet") is not None


def test_an_unwritable_capture_is_one_line(tmp_path: Path) -> None:
    """A file where a folder should be: one line, and the journal stays."""
    path = small_part(tmp_path)
    (tmp_path / "sockets").write_text("in the way")
    with pytest.raises(CaptureError, match="cannot write") as caught:
        seal(Layout(tmp_path), HOST, path.stem)
    assert "\n" not in str(caught.value)
    assert path.exists()


def test_ten_thousand_idle_sockets_are_small(tmp_path: Path) -> None:
    """10,000 idle connections over 60 samples, with what tcp_info says of each, take below 500 KB."""
    sockets, activity = idle_sockets(10_000)
    with open_journal(tmp_path) as journal:
        for number in range(60):
            frame: dict[str, pa.RecordBatch] = {"samples": batch("samples", [sample(number)])}
            if not number:
                frame |= {"sockets.begun": sockets, "activity": activity}
            journal.append(frame)
        journal.end("stopped")
    assert journal.size < 1_000_000
    assert seal(Layout(tmp_path), HOST, journal.path.stem) < 500_000


def test_deep_check_makes_no_room_for_what_is_only_claimed() -> None:
    """4 KB whose footer says that its row group has 526,506,718,843 rows; its columns have 5."""
    reason = deep_check(Path(__file__).with_name("claims_a_terabyte.parquet"))
    assert reason == "row group 0 says that it has 526506718843 rows: it has not"
