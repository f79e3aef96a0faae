"""What a capture holds: whole, sorted, cheap, and nothing foreign believed."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sockrec.errors import CaptureError
from sockrec.model.tables import FORMAT_VERSION, TABLES
from sockrec.store import snapshot as snapshotting
from sockrec.store import survey as surveying
from sockrec.store.check_block import CheckedFile, block_ending, place_of
from sockrec.store.layout import Layout, stem
from sockrec.store.lock import RecorderLock
from sockrec.store.recordings import LARGEST, read_recording, write_recording
from sockrec.store.segments import seal
from sockrec.store.snapshot import take_snapshot
from sockrec.store.survey import survey
from tests.store.rows import HOST, RECORDING, batch, open_journal, sample, small_part


def sealed(root: Path, part: int = 0) -> Path:
    """Record and seal a small part, and return its samples segment."""
    path = small_part(root, part=part)
    seal(Layout(root), HOST, path.stem)
    return Layout(root).segment("samples", HOST, "2026-11-20", path.stem)


def reasons(root: Path) -> dict[str, str]:
    return {str(damage.path.relative_to(root)): damage.what for damage in survey(root).damages}


def test_lists_everything_in_order(tmp_path: Path) -> None:
    """Segments by time, journals not sealed yet, recordings, hosts."""
    layout = Layout(tmp_path)
    for part in (2, 0, 1):
        sealed(tmp_path, part)
    journal = small_part(tmp_path, part=3)
    other = layout.segment("samples", "db-1", "2026-11-19", stem("20261119T000000-0000", 0))
    other.parent.mkdir(parents=True)
    segment = layout.segment("samples", HOST, "2026-11-20", stem(RECORDING, 0))
    other.write_bytes(written_as(other, segment.read_bytes()))
    write_recording(layout.recording(HOST, RECORDING), {"recording": RECORDING, "host": HOST})
    found = survey(tmp_path)
    assert found.hosts == ["db-1", HOST]
    assert set(found.segments) == set(TABLES)
    stems = ["20261119T000000-0000-000000", *(stem(RECORDING, part) for part in range(3))]
    assert [segment.stem for segment in found.segments["samples"]] == stems
    first = found.segments["samples"][0]
    assert (first.host, first.date, first.table, first.size) == (
        "db-1",
        "2026-11-19",
        "samples",
        other.stat().st_size,
    )
    (listed,) = found.journals
    assert (listed.path, listed.host, listed.stem) == (journal, HOST, stem(RECORDING, 3))
    assert (listed.size, listed.running) == (journal.stat().st_size, False)
    assert found.recordings == [{"format_version": FORMAT_VERSION, "recording": RECORDING, "host": HOST}]
    assert found.damages == []


def test_a_journal_runs_while_its_recorder_does(tmp_path: Path) -> None:
    """Only the journals of the recording that the lock's holder announced are running."""
    small_part(tmp_path, part=0, ended_as=None)
    assert [journal.running for journal in survey(tmp_path).journals] == [False]
    assert take_snapshot(tmp_path).journals[0][1]["sockets"]["ended_as"].to_pylist()[-1] == "gap"
    with RecorderLock(Layout(tmp_path), HOST) as lock:
        assert [journal.running for journal in survey(tmp_path).journals] == [False]
        lock.announce(RECORDING)
        assert [journal.running for journal in survey(tmp_path).journals] == [True]
        assert take_snapshot(tmp_path).journals[0][1]["sockets"]["ended_as"].to_pylist()[-1] is None
    assert [journal.running for journal in survey(tmp_path).journals] == [False]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"PAR1", "is cut short"),
        (b"hello world, this is not it", "is not a Parquet file"),
        (b"PAR1" + bytes(40) + b"PAR1", "has no whole footer: it is cut short or overwritten"),
        (b"PAR1" + b"\xff" * 40 + b"PAR1", "has no whole footer: it is cut short or overwritten"),
        (b"PAR1" + bytes(40), "has no whole footer: it is cut short or overwritten"),
        (b"PARE" + bytes(40) + b"PARE", "is encrypted"),
    ],
)
def test_broken_segments_are_listed_with_a_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    """A file that is no whole Parquet file is left out and told; its neighbours are not."""
    sealed(tmp_path, 0)
    bad = sealed(tmp_path, 1)
    bad.write_bytes(content)
    assert reasons(tmp_path) == {str(bad.relative_to(tmp_path)): reason}
    assert [segment.stem for segment in survey(tmp_path).segments["samples"]] == [stem(RECORDING, 0)]
    assert len(survey(tmp_path).segments["sockets"]) == 2


def test_every_truncation_of_a_segment_is_seen(tmp_path: Path) -> None:
    """Cut anywhere, a segment is never taken for a whole one."""
    segment = sealed(tmp_path)
    for size in range(segment.stat().st_size - 1, -1, -1):
        os.truncate(segment, size)
        found = survey(tmp_path)
        assert found.segments["samples"] == [], size
        assert len(found.damages) == 1


def test_links_and_other_things_are_not_followed(tmp_path: Path) -> None:
    """Links, pipes and devices anywhere in a capture are told and left alone, without waiting on them."""
    root = tmp_path / "capture"
    segment = sealed(root, 0)
    secret = tmp_path / "elsewhere"
    shutil.copytree(root, secret)
    (segment.parent / "a.parquet").symlink_to(secret / segment.relative_to(root))
    os.mkfifo(segment.parent / "b.parquet")
    (segment.parent.parent / "date=2026-11-21").symlink_to(secret)
    (root / "sockets" / "host=x").symlink_to(secret / "sockets" / "host=web-1")
    (root / "processes").symlink_to(secret / "samples")
    (root / "journal" / "host=web-1" / "c.journal").symlink_to("/etc/passwd")
    os.mkfifo(root / "journal" / "host=web-1" / "d.journal")
    (root / "recordings" / "host=web-1").mkdir(parents=True)
    (root / "recordings" / "host=web-1" / "r.json").symlink_to("/etc/passwd")
    found = survey(root)
    assert len(found.damages) == 8
    assert all(damage.what.endswith(": not followed") for damage in found.damages)
    assert [len(found.segments[name]) for name in ("samples", "sockets", "processes")] == [1, 1, 0]
    assert (found.journals, found.recordings) == ([], [])


def test_foreign_files_are_no_concern(tmp_path: Path) -> None:
    """Notes, hidden files, other tables and unfinished segments are neither read nor damage."""
    segment = sealed(tmp_path)
    (tmp_path / "README").write_text("notes")
    (tmp_path / "events").mkdir()
    (segment.parent / ".x.parquet.tmp").write_text("half")
    (segment.parent / "_SUCCESS").write_text("")
    (segment.parent.parent / "notes").mkdir()
    found = survey(tmp_path)
    assert (found.damages, len(found.segments["samples"])) == ([], 1)


def test_what_is_no_capture(tmp_path: Path) -> None:
    """Each is one line that says what to do."""
    empty, other, bare = tmp_path / "empty", tmp_path / "other", tmp_path / "bare"
    for folder in (empty, other, bare / "recordings"):
        folder.mkdir(parents=True)
    (other / "notes").write_text("x")
    (tmp_path / "file").write_text("x")
    for path, words in {
        tmp_path / "none": "there is no capture at .*--capture",
        tmp_path / "file": "not a folder.*--capture",
        tmp_path / "file" / "below": "not a folder.*--capture",
        empty: "is empty and holds no recording.*sockrec record",
        other: "is not a capture.*--capture",
        bare: "holds no recording.*sockrec record",
    }.items():
        with pytest.raises(CaptureError, match=words) as caught:
            survey(path)
        assert "\n" not in str(caught.value)


def test_a_capture_of_somebody_else(tmp_path: Path) -> None:
    """Without permission it is one line that says whose it is to read."""
    sealed(tmp_path)
    program = f"""
import os, sys
os.setgid(65534); os.setuid(65534)
from pathlib import Path
from sockrec.errors import CaptureError
from sockrec.store.survey import survey
try:
    survey(Path({str(tmp_path / "samples")!r}).parent)
except CaptureError as error:
    print(error)
"""
    # The interpreter may lie where that user can't look: import first, then become it.
    program = "import sockrec.store.survey\n" + program
    tmp_path.chmod(0o700)
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "permission denied; run as the user who recorded it" in out
    assert out.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not whole JSON"),
        (b'{"format_version": 1', "is not whole JSON"),
        (b"\xff\xfe", "is not whole JSON"),
        (b"[" * 100_000, "is not whole JSON"),
        (b"[1]", "names no format version"),
        (b'{"format_version": "1"}', "names no format version"),
    ],
)
def test_broken_recordings_are_told(tmp_path: Path, content: bytes, reason: str) -> None:
    sealed(tmp_path)
    path = Layout(tmp_path).recording(HOST, RECORDING)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert reasons(tmp_path) == {str(path.relative_to(tmp_path)): reason}


def test_a_huge_recording_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.touch()
    os.truncate(path, LARGEST + 1)
    assert "not read" in str(read_recording(path))


def test_a_newer_recording_says_upgrade(tmp_path: Path) -> None:
    path = Layout(tmp_path).recording(HOST, RECORDING)
    write_recording(path, {"format_version": FORMAT_VERSION + 1})
    with pytest.raises(CaptureError, match=f"format {FORMAT_VERSION + 1}.*upgrade"):
        survey(tmp_path)


def test_a_recording_is_replaced_whole(tmp_path: Path) -> None:
    """Odd texts come back, the second write replaces the first, nothing else is left."""
    path = tmp_path / "recordings" / "r.json"
    write_recording(path, {"host": "a"})
    facts = {"format_version": FORMAT_VERSION, "host": "\u202e\n\x00ü", "options": {"interval": 0.05}}
    write_recording(path, facts)
    assert read_recording(path) == facts
    assert [entry.name for entry in path.parent.iterdir()] == ["r.json"]


def test_a_link_in_place_of_the_temporary_file(tmp_path: Path) -> None:
    """A link that waits where the file will be written is refused, its target untouched."""
    (tmp_path / ".r.json.tmp").symlink_to(tmp_path / "target")
    with pytest.raises(CaptureError, match="cannot write"):
        write_recording(tmp_path / "r.json", {})
    assert not (tmp_path / "target").exists()


def test_no_heavy_import() -> None:
    """Listing, locating and locking stay clear of pyarrow and numpy, for start-up time."""
    modules = "survey layout lock locate recordings files damage format_version"
    program = f"""
import importlib, sys
for name in {modules!r}.split():
    importlib.import_module("sockrec.store." + name)
print(sorted({{"pyarrow", "numpy", "duckdb"}} & set(sys.modules)))
"""
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out == "[]\n"


def written_as(path: Path, content: bytes) -> bytes:
    """Return a segment as it would be if it had been written for that path."""
    end = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    block = block_ending(content, end)
    assert block is not None
    sink = io.BytesIO()
    checked = CheckedFile(sink)
    checked.write(content[: block.begin])
    checked.hold()
    checked.write(content[end:])
    checked.finish(place_of(path))
    return sink.getvalue()


def test_a_thousand_files_are_each_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = sealed(tmp_path)
    content = segment.read_bytes()
    for number in range(1000):
        folder = segment.parent.parent / f"date=2026-12-{1 + number // 50:02}"
        folder.mkdir(exist_ok=True)
        path = folder / f"{stem(RECORDING, number)}.parquet"
        path.write_bytes(written_as(path, content))
    opened: Counter[str] = Counter()
    really = os.open

    def count(path: Path | str, *words: Any, **more: Any) -> int:
        opened[str(path)] += 1
        return really(path, *words, **more)

    monkeypatch.setattr(os, "open", count)
    assert len(survey(tmp_path).segments["samples"]) == 1001
    assert set(opened.values()) == {1}


def test_a_part_sealed_during_the_survey_is_listed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal that goes, and one that comes, between two looks make the survey look again."""
    path = small_part(tmp_path, part=0, ended_as="carried")
    real = surveying._segments
    looks = []

    def meanwhile(found: surveying.Survey) -> None:
        real(found)
        looks.append(len(found.journals))
        if len(looks) == 1:
            small_part(tmp_path, part=1)
            seal(Layout(tmp_path), HOST, path.stem)

    monkeypatch.setattr(surveying, "_segments", meanwhile)
    found = survey(tmp_path)
    assert [journal.stem for journal in found.journals] == [stem(RECORDING, 1)]
    assert [segment.stem for segment in found.segments["samples"]] == [stem(RECORDING, 0)]
    assert looks == [1, 1]


def test_a_snapshot_is_of_when_it_was_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples appended after the survey are not in it; a journal sealed after it is read as segments."""
    with open_journal(tmp_path) as journal:
        journal.append({"samples": batch("samples", [sample(0)])})

        def then_append(root: Path) -> surveying.Survey:
            found = survey(root)
            journal.append({"samples": batch("samples", [sample(1)])})
            return found

        with monkeypatch.context() as patch:
            patch.setattr(snapshotting, "survey", then_append)
            (read,) = take_snapshot(tmp_path).journals
            assert read[1]["samples"]["number"].to_pylist() == [0]

    def then_seal(root: Path) -> surveying.Survey:
        found = survey(root)
        if found.journals:
            seal(Layout(tmp_path), HOST, journal.path.stem)
        return found

    monkeypatch.setattr(snapshotting, "survey", then_seal)
    snapshot = take_snapshot(tmp_path)
    assert snapshot.journals == []
    assert len(snapshot.survey.segments["samples"]) == 1


def test_readers_never_lose_a_part_that_is_being_sealed(tmp_path: Path) -> None:
    """While parts are written and sealed one after the other, every snapshot is a gapless beginning."""
    small_part(tmp_path, 2, part=0, ended_as="carried")
    parts = 25
    done = threading.Event()

    def record() -> None:
        try:
            for part in range(1, parts):
                path = small_part(tmp_path, 2, part=part, ended_as="carried")
                seal(Layout(tmp_path), HOST, Layout(tmp_path).journal(HOST, stem(RECORDING, part - 1)).stem)
                assert path.exists()
        finally:
            done.set()

    thread = threading.Thread(target=record)
    thread.start()
    most = 0
    try:
        while not done.is_set() or most < parts:
            finished = done.is_set()
            snapshot = take_snapshot(tmp_path)
            found = [segment.stem for segment in snapshot.survey.segments["samples"]]
            # A journal listed right after it was made may hold nothing yet; it counts as a part all the same.
            found += [journal.stem for journal, _ in snapshot.journals]
            assert sorted(found) == [stem(RECORDING, part) for part in range(len(found))]
            assert len(found) >= most
            most = len(found)
            if finished:
                break
    finally:
        thread.join()
    assert most == parts


def test_recordings_of_one_second_are_in_the_order_they_began(tmp_path: Path) -> None:
    """Their names tell the second, and then chance."""
    paths = Layout(tmp_path)
    for name, started in (("20261120T103200-ffff", 1), ("20261120T103200-0000", 2)):
        facts = {"recording": name, "host": "web-1", "started_us": started}
        write_recording(paths.recording("web-1", name), facts)
    assert [facts["started_us"] for facts in survey(tmp_path).recordings] == [1, 2]
