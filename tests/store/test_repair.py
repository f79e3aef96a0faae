"""Verify names every damage and what is lost; repair leaves a whole capture with all that can be read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sockrec.catalog import open_catalog
from sockrec.errors import CaptureError
from sockrec.model.tables import SAMPLES
from sockrec.store import files, layout, parquet, segments
from sockrec.store.check_block import MISPLACED
from sockrec.store.layout import Layout, stem
from sockrec.store.lock import RecorderLock
from sockrec.store.recordings import read_recording, write_recording
from sockrec.store.repair import repair
from sockrec.store.schema import arrow_schema
from sockrec.store.snapshot import take_snapshot
from sockrec.store.verify import verify
from tests.store.rows import HOST, RECORDING, sample, small_part
from tests.store.test_check_block import METADATA, segment

CAPTURES = Path(__file__).parents[1] / "captures"


def capture(root: Path, parts: int = 3) -> Layout:
    """Record and seal some parts."""
    paths = Layout(root)
    for part in range(parts):
        path = small_part(root, part=part, ended_as="carried" if part < parts - 1 else "stopped")
        segments.seal(paths, HOST, path.stem)
    write_recording(
        paths.recording(HOST, RECORDING), {"recording": RECORDING, "host": HOST, "kernel": "6.18"}
    )
    return paths


def place(paths: Layout, table: str, part: int) -> Path:
    return paths.segment(table, HOST, "2026-11-20", stem(RECORDING, part))


def change(path: Path, at: int = 100) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)


def rows(root: Path) -> dict[str, list[str]]:
    """Return every row that a reader meets."""
    snapshot = take_snapshot(root)
    found: dict[str, list[str]] = {}
    for name, listed in snapshot.survey.segments.items():
        tables = [pq.ParquetFile(one.path).read() for one in listed]
        tables += [journal[name] for _, journal in snapshot.journals]
        found[name] = sorted(repr(row) for table in tables for row in table.to_pylist())
    return found


def told(root: Path) -> dict[str, tuple[str, str]]:
    """Return what verify finds, by file."""
    return {
        finding.damage.path.relative_to(root).as_posix(): (finding.damage.what, finding.lost)
        for finding in verify(root).findings
    }


def mend(root: Path) -> list[str]:
    """Repair; the capture is whole then, and there is nothing to do a second time."""
    repaired = repair(root, verify(root))
    assert repaired.after.findings == []
    again = repair(root, repaired.after)
    assert again.done == []
    return [damage.what for damage in repaired.done]


def test_a_whole_capture(tmp_path: Path) -> None:
    paths = capture(tmp_path)
    verified = verify(tmp_path)
    assert verified.is_whole
    found = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock"]
    assert verified.files == len(found)
    assert verified.bytes == sum(path.stat().st_size for path in found)
    assert (verified.losses, verified.remarks, verified.recording) == ([], [], [])
    assert read_recording(paths.recording(HOST, RECORDING))


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("name", ["sealed", "journaled"])
def test_captures_of_older_formats_are_whole(version: str, name: str) -> None:
    assert told(CAPTURES / version / name) == {}


def test_what_is_lost_is_told_with_table_rows_and_time(tmp_path: Path) -> None:
    paths = capture(tmp_path)
    path = place(paths, "samples", 1)
    change(path)
    ((file, (what, lost)),) = told(tmp_path).items()
    assert (file, what) == (path.relative_to(tmp_path).as_posix(), "fails its checksum")
    assert lost == (
        f"all 4 rows of samples of the part {path.stem}, "
        "2026-11-20 10:48:40.000+00:00 to 2026-11-20 10:48:43.000+00:00"
    )
    (finding,) = verify(tmp_path).findings
    assert finding.damage.offset == 0


def test_a_damaged_part_loses_its_own_rows_only(tmp_path: Path) -> None:
    paths = capture(tmp_path)
    before = rows(tmp_path)
    path = place(paths, "samples", 1)
    damaged = pq.ParquetFile(path).read().to_pylist()
    change(path)
    content = path.read_bytes()
    (done,) = mend(tmp_path)
    assert "4 of 4 rows of samples are lost" in done
    after = rows(tmp_path)
    assert after.pop("samples") == sorted(set(before.pop("samples")) - {repr(row) for row in damaged})
    assert after == before
    assert path.with_suffix(layout.DAMAGED_SUFFIX).read_bytes() == content


def test_what_was_lost_stays_known(tmp_path: Path) -> None:
    """Also when the evidence is gone, and after a second damage."""
    paths = capture(tmp_path)
    path = place(paths, "samples", 1)
    change(path)
    mend(tmp_path)
    (loss,) = verify(tmp_path).losses
    assert loss.path == path
    (remark,) = verify(tmp_path).remarks
    assert f"rm {remark.path}" in remark.what
    remark.path.unlink()
    assert verify(tmp_path).losses == [loss]
    assert verify(tmp_path).remarks == []
    content = path.read_bytes()
    path.write_bytes(content[:-4] + b"PARX")
    mend(tmp_path)
    assert path.read_bytes() == content


def test_one_row_group_is_lost_of_three(tmp_path: Path) -> None:
    path = segment(tmp_path)
    write_recording(Layout(tmp_path).recording(HOST, RECORDING), {"recording": RECORDING, "host": HOST})
    second = pq.read_metadata(path).row_group(1).column(2)
    change(path, second.data_page_offset)
    (finding,) = verify(tmp_path).findings
    assert "--repair saves 12 of them" in finding.lost
    (done,) = mend(tmp_path)
    assert "8 of 20 rows of samples are lost" in done
    assert pq.ParquetFile(path).read()["number"].to_pylist() == [*range(8), *range(16, 20)]
    assert parquet.read_metadata(path)["sockrec.recording"] == RECORDING


def _footer(content: bytes) -> int:
    return len(content) - 8 - int.from_bytes(content[-8:-4], "little")


@pytest.mark.parametrize(
    ("harm", "numbers"),
    [
        (lambda content: content + b"garbage", range(20)),
        (lambda content: content[:-7] + b"\xff\xff\xff" + content[-4:], range(20)),
        (lambda content: content[:-4] + bytes(4), range(20)),
        (lambda content: bytes(4) + content[4:], range(20)),
        (lambda content: content[:60] + content[50:], range(8, 20)),
        (lambda content: content[:50] + content[60:], range(8, 20)),
        (lambda content: content[: _footer(content) - 100] + content[_footer(content) - 90 :], range(16)),
        (lambda content: content[: _footer(content) - 30] + content[_footer(content) - 20 :], ()),
        (lambda content: content[: len(content) // 2], ()),
    ],
    ids=["more", "length", "magic", "first magic", "put in", "cut out", "late", "block", "half"],
)
def test_what_is_put_right(
    tmp_path: Path, harm: Callable[[bytes], bytes], numbers: range | tuple[()]
) -> None:
    """Bytes put in or cut out move what is behind them; the checksums tell where it belongs."""
    path = segment(tmp_path)
    write_recording(Layout(tmp_path).recording(HOST, RECORDING), {"recording": RECORDING, "host": HOST})
    whole = path.read_bytes()
    path.write_bytes(harm(whole))
    assert verify(tmp_path).findings
    mend(tmp_path)
    assert pq.ParquetFile(path).read()["number"].to_pylist() == list(numbers)
    if numbers == range(20):
        assert path.read_bytes() == whole
        assert not path.with_suffix(layout.DAMAGED_SUFFIX).exists()


def test_swapped_files_are_put_back(tmp_path: Path) -> None:
    """Of two tables, of two parts, of two hosts, and descriptions: nothing is lost."""
    paths = capture(tmp_path)
    other = "20261120T113200-aaaa"
    for recording in (other,):
        write_recording(paths.recording(HOST, recording), {"recording": recording, "host": HOST})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    pairs = [
        (place(paths, "samples", 0), place(paths, "sockets", 0)),
        (place(paths, "samples", 1), place(paths, "samples", 2)),
        (paths.recording(HOST, RECORDING), paths.recording(HOST, other)),
    ]
    for one, two in pairs:
        first, second = one.read_bytes(), two.read_bytes()
        one.write_bytes(second)
        two.write_bytes(first)
    found = told(tmp_path)
    assert {what for what, _ in found.values()} == {MISPLACED}
    assert len(found) == 6
    mend(tmp_path)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path: content for path, content in after.items() if path.name != "lock"} == before


def test_swapped_journals_are_put_back(tmp_path: Path) -> None:
    one, two = small_part(tmp_path, 2, part=0, ended_as=None), small_part(tmp_path, 3, part=1, ended_as=None)
    write_recording(Layout(tmp_path).recording(HOST, RECORDING), {"recording": RECORDING, "host": HOST})
    before = rows(tmp_path)
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    assert rows(tmp_path)["samples"] == []
    assert len(told(tmp_path)) == 2
    mend(tmp_path)
    assert rows(tmp_path) == before


def test_a_copy_in_another_place_is_not_read_twice(tmp_path: Path) -> None:
    paths = capture(tmp_path)
    before = rows(tmp_path)
    copy = paths.segment("samples", HOST, "2026-11-21", stem(RECORDING, 1))
    copy.parent.mkdir()
    shutil.copy(place(paths, "samples", 1), copy)
    assert rows(tmp_path) == before
    assert list(told(tmp_path)) == [copy.relative_to(tmp_path).as_posix()]
    mend(tmp_path)
    assert not copy.exists()
    assert rows(tmp_path) == before


def test_a_missing_table_and_a_missing_part_are_told(tmp_path: Path) -> None:
    paths = capture(tmp_path, 4)
    place(paths, "sockets", 0).unlink()
    for table in ("samples", "sockets", "activity"):
        place(paths, table, 2).unlink(missing_ok=True)
    found = told(tmp_path)
    assert set(found) == {
        place(paths, "sockets", 0).relative_to(tmp_path).as_posix(),
        place(paths, "samples", 2).relative_to(tmp_path).as_posix(),
    }
    assert found[f"sockets/host={HOST}/date=2026-11-20/{stem(RECORDING, 0)}.parquet"][1].startswith(
        "all 4 rows"
    )
    mend(tmp_path)
    assert len(verify(tmp_path).losses) == 2


def test_the_first_parts_may_be_gone(tmp_path: Path) -> None:
    """Deleting the oldest files is retention."""
    paths = capture(tmp_path, 4)
    for path in tmp_path.rglob(f"{stem(RECORDING, 0)}.parquet"):
        path.unlink()
    assert told(tmp_path) == {}
    assert place(paths, "samples", 1).exists()


def test_a_damaged_description_is_written_anew(tmp_path: Path) -> None:
    paths = capture(tmp_path)
    path = paths.recording(HOST, RECORDING)
    path.write_bytes(path.read_bytes().replace(b"6.18", b"6.19"))
    assert told(tmp_path)[path.relative_to(tmp_path).as_posix()][0] == "fails its checksum"
    mend(tmp_path)
    facts = read_recording(path)
    assert isinstance(facts, dict)
    assert (facts["recording"], facts["host"]) == (RECORDING, HOST)
    assert facts["started_us"] == segments.start_in_name(RECORDING)
    assert "kernel" not in facts
    assert [loss.path for loss in verify(tmp_path).losses] == [path]
    path.unlink()
    assert told(tmp_path)[path.relative_to(tmp_path).as_posix()][0] == "is missing"
    mend(tmp_path)


@pytest.mark.parametrize("tail", [b"", b"\n", b" ", b"{}"])
def test_a_description_without_its_checksum_is_damaged(tmp_path: Path, tail: bytes) -> None:
    paths = capture(tmp_path)
    path = paths.recording(HOST, RECORDING)
    facts = json.loads(path.read_bytes())
    path.write_bytes(json.dumps(facts).encode() + tail)
    assert list(told(tmp_path)) == [path.relative_to(tmp_path).as_posix()]


def test_a_damaged_journal_of_a_dead_recorder_is_sealed(tmp_path: Path) -> None:
    path = small_part(tmp_path, 4, ended_as=None)
    write_recording(Layout(tmp_path).recording(HOST, RECORDING), {"recording": RECORDING, "host": HOST})
    before = rows(tmp_path)
    change(path, path.stat().st_size * 3 // 4)
    readable = rows(tmp_path)
    assert readable != before
    assert told(tmp_path)
    mend(tmp_path)
    assert rows(tmp_path) == readable
    assert path.with_suffix(".damaged").exists()
    (loss,) = verify(tmp_path).losses
    assert loss.known


def test_a_journal_of_which_nothing_is_left_stays_known(tmp_path: Path) -> None:
    capture(tmp_path, 1)
    path = small_part(tmp_path, 4, part=1, ended_as=None)
    path.write_bytes(b"garbage" * 1000)
    mend(tmp_path)
    path.with_suffix(".damaged").unlink()
    assert verify(tmp_path).is_whole
    assert [loss.path for loss in verify(tmp_path).losses] == [place(Layout(tmp_path), "samples", 1)]


def test_a_running_recording_is_no_damage_and_not_repaired(tmp_path: Path) -> None:
    paths = capture(tmp_path)
    journal = small_part(tmp_path, 4, part=3, ended_as=None)
    os.truncate(journal, journal.stat().st_size - 3)
    with RecorderLock(paths, HOST) as lock:
        lock.announce(RECORDING)
        verified = verify(tmp_path)
        assert verified.is_whole
        assert verified.recording == [HOST]
        change(place(paths, "samples", 0))
        with pytest.raises(CaptureError, match="records web-1"):
            repair(tmp_path, verify(tmp_path))
        assert list(tmp_path.rglob("*.damaged")) == []
    mend(tmp_path)


def test_what_a_crash_leaves_is_a_remark(tmp_path: Path) -> None:
    paths = capture(tmp_path)
    files.temporary(place(paths, "samples", 0)).write_bytes(b"half")
    verified = verify(tmp_path)
    assert verified.is_whole
    assert len(verified.remarks) == 1


def test_the_rows_of_an_older_format_are_saved_too(tmp_path: Path) -> None:
    """A damaged page of format 2: its row group goes, the others stay, in a file with checksums."""
    path = segment(tmp_path)
    table = pa.Table.from_pylist([sample(number) for number in range(20)], schema=arrow_schema(SAMPLES))
    table = table.drop_columns(["samples_dropped", "thinned_us"])
    metadata = {**METADATA, "sockrec.format_version": "2", "sockrec.host": HOST}
    metadata |= {"sockrec.first_sample_at": str(1_795_170_720_000_000)}
    pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=8, write_page_checksum=True)
    write_recording(Layout(tmp_path).recording(HOST, RECORDING), {"recording": RECORDING, "host": HOST})
    assert told(tmp_path) == {}
    column = pq.read_metadata(path).row_group(1).column(2)
    begin = column.dictionary_page_offset or column.data_page_offset
    change(path, begin + column.total_compressed_size - 1)
    (done,) = mend(tmp_path)
    assert "8 of 20 rows" in done
    assert pq.ParquetFile(path).read()["number"].to_pylist() == [*range(8), *range(16, 20)]
    assert parquet.read_metadata(path)["sockrec.format_version"] == "2"


def test_a_description_of_an_older_format_stays_of_it(tmp_path: Path) -> None:
    """Readers take from it which columns the segments lack."""
    root = tmp_path / "capture"
    shutil.copytree(CAPTURES / "v2" / "sealed", root)
    (description,) = root.glob("recordings/*/*.json")
    with open_catalog(root) as catalog:
        before = catalog.rows("FROM samples ORDER BY ALL")
    description.write_bytes(b"{")
    mend(root)
    with open_catalog(root) as catalog:
        assert catalog.rows("FROM samples ORDER BY ALL") == before
