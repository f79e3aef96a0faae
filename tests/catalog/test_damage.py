"""Damaged files are left out and told; what is whole is read; a recorder may write meanwhile."""

from __future__ import annotations

import shutil
import threading
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

import sockrec
from sockrec.catalog import open_catalog
from sockrec.errors import CaptureError, UsageError
from sockrec.model.tables import TABLES
from sockrec.query.when import when
from sockrec.store import parquet, segments
from sockrec.store.layout import Layout, stem
from tests.catalog.captures import Part, began
from tests.faults.scale import cases
from tests.support import command


def _three_parts(root: Path) -> list[Part]:
    parts = []
    for number in range(3):
        part = Part(root, 10 * number, 10 * number + 9, part=number)
        part.socket(1, 10 * number, 10 * number + 9, "carried" if number else "found", "carried")
        for id_ in range(2, 1500):
            part.connection(
                id_ + 2000 * number, 10 * number + 1, 10 * number + 2, local_address=f"10.0.{number}.5"
            )
        parts.append(part.write())
    return parts


def _break_page(path: Path, column: str = "local_address") -> None:
    """Overwrite the middle of a column's pages; both ends of the file stay whole."""
    meta = pq.read_metadata(path)
    names = [meta.schema.column(place).path for place in range(meta.num_columns)]
    chunk = meta.row_group(0).column(names.index(column))
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xff" * chunk.total_compressed_size)


def test_a_page_damaged_inside_shows_at_the_question_and_is_left_out(tmp_path: Path) -> None:
    parts = _three_parts(tmp_path)
    broken = parts[1].path("sockets")
    _break_page(broken)
    with open_catalog(tmp_path) as catalog:
        assert catalog.damages == []
        assert catalog.rows("SELECT count(DISTINCT local_address) FROM sockets WHERE remote_port > 0") == [
            (2,)
        ]
        assert [damage.path for damage in catalog.damages] == [broken]
        assert str(broken) in str(catalog.damages[0])
        assert catalog.rows("SELECT count(*) FROM samples") == [(30,)]
        catalog.refresh()
        assert [damage.path for damage in catalog.damages] == [broken]


def test_a_segment_lost_in_the_middle_ends_nothing(tmp_path: Path) -> None:
    """The socket is carried into the lost part and out of it: one period."""
    parts = _three_parts(tmp_path)
    _break_page(parts[1].path("sockets"))
    with open_catalog(tmp_path) as catalog:
        assert when(catalog, "port 7071 stopped listening").fetchall() == []
        assert catalog.rows("SELECT count(*) FROM listeners") == [(1,)]
        assert len(catalog.damages) == 1


def test_damage_of_what_the_opening_reads_is_left_out_too(tmp_path: Path) -> None:
    parts = _three_parts(tmp_path)
    _break_page(parts[0].path("samples"), "began_at")
    with open_catalog(tmp_path) as catalog:
        assert catalog.rows("SELECT count(*) FROM samples") == [(20,)]
        assert len(catalog.damages) == 1


@pytest.mark.parametrize("content", [b"", b"garbage", b"PAR1" + b"\x00" * 100 + b"PAR1"])
def test_files_that_are_no_parquet_are_told_at_once(tmp_path: Path, content: bytes) -> None:
    parts = _three_parts(tmp_path)
    parts[2].path("sockets").write_bytes(content)
    with open_catalog(tmp_path) as catalog:
        assert len(catalog.damages) == 1
        assert catalog.rows("SELECT count(DISTINCT local_address) FROM sockets WHERE remote_port > 0") == [
            (2,)
        ]


def test_a_statement_that_is_wrong_is_no_damage(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 1)
    part.socket(1, 0, 1, "found", "stopped")
    part.write()
    with open_catalog(tmp_path) as catalog:
        for sql in (
            "SELECT nope FROM sockets",
            "SELECT program::INT FROM sockets",
            "SELECT error('x') FROM sockets",
        ):
            with pytest.raises(UsageError) as caught:
                catalog.rows(sql)
            assert "\n" not in str(caught.value)
        assert catalog.damages == []


def test_nothing_readable_is_an_error_of_the_capture(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 1)
    part.socket(1, 0, 1, "found", "stopped")
    part.write()
    for file in tmp_path.rglob("*.parquet"):
        file.write_bytes(b"garbage")
    with pytest.raises(CaptureError, match="can be read"):
        open_catalog(tmp_path)


def test_segments_dropped_by_retention_meanwhile_are_no_damage(tmp_path: Path) -> None:
    parts = _three_parts(tmp_path)
    with open_catalog(tmp_path) as catalog:
        for table in ("sockets", "samples", "activity", "processes", "unix_sockets"):
            parts[0].path(table).unlink()
        assert catalog.rows("SELECT count(*) FROM samples") == [(20,)]
        assert catalog.rows("SELECT count(DISTINCT local_address) FROM sockets WHERE remote_port > 0") == [
            (2,)
        ]
        assert catalog.damages == []


def test_rows_still_open_are_known_as_such_or_as_broken_off(tmp_path: Path) -> None:
    """Nobody holds the recorder's lock: the journal is a dead recorder's."""
    part = Part(tmp_path, 0, 4)
    part.socket(1, 0, 4, "found", None)
    part.journal()
    with open_catalog(tmp_path) as catalog:
        assert catalog.rows("SELECT ended_as, ended_by FROM sockets") == [("gap", None)]
        assert catalog.rows("SELECT ended_as, ended_not_after FROM listeners") == [("stopped", None)]
        assert when(catalog, "port 7071 stopped listening").fetchall() == []


def test_a_torn_journal_is_read_up_to_the_tear(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 4)
    part.socket(1, 0, 4, "found", None)
    path = part.journal()
    with path.open("ab") as file:
        file.write(path.read_bytes()[:40])
    with open_catalog(tmp_path) as catalog:
        assert catalog.rows("SELECT count(*) FROM sockets") == [(1,)]


def test_sealing_meanwhile_changes_no_answer(tmp_path: Path) -> None:
    """Each row is seen exactly once, however a question falls into the change of files."""
    layout = Layout(tmp_path)
    parts = []
    for number in range(12):
        part = Part(tmp_path, 10 * number, 10 * number + 9, part=number)
        part.socket(1, 10 * number, 10 * number + 9, "carried" if number else "found", "carried")
        part.journal(end="carried")
        parts.append(part)

    def seal() -> None:
        for part in parts:
            segments.seal(layout, part.host, stem(part.recording, part.part))

    sealer = threading.Thread(target=seal)
    sealer.start()
    asked = 0
    with open_catalog(tmp_path) as held:
        while sealer.is_alive() or asked < 3:
            with open_catalog(tmp_path) as catalog:
                assert catalog.rows("SELECT count(*) FROM samples") == [(120,)]
                assert catalog.rows("SELECT count(*) FROM sockets") == [(12,)]
                assert catalog.rows("SELECT count(*) FROM listeners") == [(1,)]
                assert catalog.damages == []
            held.refresh()
            assert held.rows("SELECT count(*) FROM sockets") == [(12,)]
            asked += 1
        sealer.join()
        assert held.rows("SELECT count(*) FROM sockets") == [(12,)]


def test_a_capture_may_lie_behind_a_symbolic_link(tmp_path: Path) -> None:
    part = Part(tmp_path / "real", 0, 1)
    part.socket(1, 0, 1, "found", "stopped")
    part.write()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with open_catalog(tmp_path / "link") as catalog:
        assert catalog.rows("SELECT count(*) FROM sockets") == [(1,)]


def test_a_capture_can_be_moved(tmp_path: Path) -> None:
    part = Part(tmp_path / "one", 0, 1)
    part.socket(1, 0, 1, "found", "stopped")
    part.write()
    shutil.move(tmp_path / "one", tmp_path / "two")
    with open_catalog(tmp_path / "two") as catalog:
        assert catalog.rows("SELECT count(*) FROM sockets") == [(1,)]


def _change_a_value(path: Path, column: str) -> None:
    """Change bytes of a page so that DuckDB reads other values from it, and says nothing."""
    meta = pq.read_metadata(path)
    names = [meta.schema.column(place).path for place in range(meta.num_columns)]
    chunk = meta.row_group(0).column(names.index(column))
    content = path.read_bytes()
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    sql = f"SELECT {column} FROM read_parquet('{path}')"
    before = duckdb.execute(sql).fetchall()
    for at in range(start + chunk.total_compressed_size - 1, start, -1):
        for bit in range(8):
            changed = bytearray(content)
            changed[at] ^= 1 << bit
            path.write_bytes(changed)
            try:
                after = duckdb.connect().execute(sql).fetchall()
            except duckdb.Error:
                continue
            if after != before:
                return
    raise AssertionError("DuckDB notices everything by itself")


@pytest.fixture
def silent(tmp_path: Path) -> tuple[Path, Path]:
    """Give a capture with a file whose values are others, and that file."""
    parts = _three_parts(tmp_path)
    broken = parts[1].path("samples")
    _change_a_value(broken, "sockets")
    return tmp_path, broken


def test_other_values_are_never_an_answer(silent: tuple[Path, Path]) -> None:
    root, broken = silent
    with open_catalog(root) as catalog:
        assert catalog.damages == []
        assert catalog.rows("SELECT DISTINCT sockets FROM samples") == [(1,)]
        assert [(damage.path, damage.what) for damage in catalog.damages] == [(broken, "fails its checksum")]
        assert catalog.rows("SELECT count(*) FROM samples") == [(20,)]


def test_a_relation_read_later_has_none_of_them(silent: tuple[Path, Path]) -> None:
    root, _ = silent
    with sockrec.open(root) as capture:
        assert capture.sql("SELECT DISTINCT sockets FROM samples").fetchall() == [(1,)]
        assert capture.samples().aggregate("count(*)").fetchall() == [(20,)]
        assert len(capture.damages) == 1


def test_no_other_value_is_printed(silent: tuple[Path, Path]) -> None:
    """Also of rows that are printed as they come, from a file after the first."""
    root, _ = silent
    for format_ in ("csv", "jsonl", "table"):
        done = command.sockrec("sql", "-C", root, "SELECT sockets FROM samples", "--format", format_)
        assert done.returncode == 0
        assert "fails its checksum" in done.stderr
        values = {word for line in done.stdout.splitlines() for word in line.split() if word.isdigit()}
        assert values <= {"1"}


def test_a_question_in_another_thread_is_asked_again(silent: tuple[Path, Path]) -> None:
    """The file is found by one question while another, which has read it too, is not answered yet."""
    root, _ = silent
    read, found = threading.Event(), threading.Event()
    answers = []
    with open_catalog(root) as catalog:

        def slowly(connection: duckdb.DuckDBPyConnection) -> list[tuple[int]]:
            rows = connection.execute("SELECT DISTINCT sockets FROM samples").fetchall()
            read.set()
            found.wait(20)
            return rows

        thread = threading.Thread(target=lambda: answers.append(catalog.run(slowly)))
        thread.start()
        assert read.wait(20)
        assert catalog.rows("SELECT DISTINCT sockets FROM samples") == [(1,)]
        found.set()
        thread.join(20)
    assert answers == [[(1,)]]


def test_a_file_is_compared_once_and_again_when_it_is_another(tmp_path: Path) -> None:
    parts = _three_parts(tmp_path)
    path = parts[1].path("samples")
    whole = path.read_bytes()
    with open_catalog(tmp_path) as catalog:
        assert catalog.rows("SELECT sum(sockets) FROM samples") == [(30,)]
        _change_a_value(path, "sockets")
        assert catalog.rows("SELECT sum(sockets) FROM samples") == [(20,)]
        path.write_bytes(whole)
        catalog.refresh()
        assert catalog.rows("SELECT sum(sockets) FROM samples") == [(30,)]
        assert catalog.damages == []
        # Rewritten, as by retention: another file with checksums of its own, compared twice.
        sealed = pq.ParquetFile(path).read()
        parquet.write(path, TABLES["samples"], sealed, parquet.read_metadata(path), row_group=3)
        for _ in range(2):
            assert catalog.rows("SELECT sum(sockets) FROM samples") == [(30,)]
        assert catalog.damages == []


def test_what_a_repair_lost_is_told_by_every_reader(silent: tuple[Path, Path]) -> None:
    root, broken = silent
    assert command.sockrec("verify", "-C", root).returncode == 3
    done = command.sockrec("verify", "-C", root, "--repair")
    assert done.returncode == 0, done
    for words in (["info"], ["sql", "SELECT count(*) FROM samples"]):
        done = command.sockrec(*words, "-C", root)
        assert done.returncode == 0
        assert "10 of 10 rows of samples are lost" in done.stderr
    told = command.answer("verify", "-C", root)
    assert told["whole"] is True
    assert [loss["file"] for loss in told["known_losses"]] == [broken.relative_to(root).as_posix()]


@pytest.mark.parametrize("number", [0, 1])
def test_a_file_without_its_columns_is_left_out(tmp_path: Path, number: int) -> None:
    """The first of its table, of which DuckDB takes the columns, or another."""
    parts = _three_parts(tmp_path)
    path = parts[number].path("sockets")
    rows = pq.ParquetFile(path).read().drop_columns(["uid"])
    parquet.write(path, TABLES["sockets"], rows, parquet.read_metadata(path))
    with open_catalog(tmp_path) as catalog:
        assert len(catalog.rows("SELECT DISTINCT local_address, uid FROM sockets WHERE remote_port > 0")) == 2
        assert [(damage.path, damage.what) for damage in catalog.damages] == [
            (path, "has no column uid: it is no file of sockets")
        ]


_PYTHON = {
    "int": int, "float": float, "bool": bool, "text": str, "time": datetime, "ints": list, "texts": list,
}  # fmt: skip


@pytest.mark.parametrize("name", ["samples", "sockets", "activity", "events", "processes"])
def test_what_is_read_is_what_the_table_says_whatever_a_file_has(name: str, tmp_path: Path) -> None:
    """Each column as text, or as numbers where it is text: cast if it can be, or its file is left out."""
    version = 2  # without checksums, which whoever writes such a file can make, too
    columns = [column for column in TABLES[name].columns if column.since <= version]
    for column in columns[:: cases(5, 1)]:
        root = tmp_path / column.name
        parts = []
        for number in range(2):
            part = Part(root, 10 * number, 10 * number + 9, part=number, version=version)
            part.socket(1, 10 * number, 10 * number + 9, "carried" if number else "found", "carried")
            part.rows["activity"].append({"recording": part.recording, "socket_id": 1, "read_at": began(1)})
            part.event("lost", 10 * number + 1, detail="events", count=1)
            part.process(4121, 10 * number, 10 * number + 9, "carried" if number else "found", "carried")
            parts.append(part.write())
        path = parts[1].path(name)
        rows = pq.read_table(path, partitioning=None)
        other = [1.5] if column.type in ("text", "texts") else ["x"]
        place = rows.schema.get_field_index(column.name)
        rows = rows.set_column(place, column.name, [other * rows.num_rows])
        pq.write_table(rows, path)
        with open_catalog(root) as catalog:
            asked = f'SELECT "{column.name}" FROM parts.{name}'
            of_the_whole = f"{asked} WHERE file = '{parts[0].path(name)}'"
            whole, every = catalog.rows(of_the_whole), catalog.rows(asked)
            assert whole
            assert catalog.rows(of_the_whole) == whole
            assert {type(value) for (value,) in every} <= {_PYTHON[column.type], type(None)}
            assert len(every) > len(whole) or [damage.path for damage in catalog.damages] == [path], column
            catalog.connection.execute("FROM connections").fetchall()
