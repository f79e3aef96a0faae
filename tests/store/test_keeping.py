"""What is kept is whole by itself, wherever it lies; a crash in the middle of it leaves no part that lies."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sockrec.errors import CaptureError, UsageError
from sockrec.store import files, keep_requests
from sockrec.store.keep_requests import Wish, make_output
from sockrec.store.keeping import Keeping, keep_unattended
from sockrec.store.layout import Layout, stem
from sockrec.store.parts import take_inventory
from sockrec.store.recordings import write_recording
from sockrec.store.segments import seal
from sockrec.store.survey import survey
from sockrec.store.verify import verify
from tests.store.rows import HOST, RECORDING, SECOND, START, small_part
from tests.store.test_retention import PACE, sealed

TABLES = ("samples", "sockets", "activity")


class Crash(BaseException):
    """Stands for kill -9."""


def wish(output: Path, **more: Any) -> Wish:
    return Wish("why", str(output), START, by={"pid": 7, "uid": 8, "program": "x"}, **more)


def link(capture: Layout, asked: Wish, *, complete: bool = False) -> int:
    return Keeping(capture, HOST, asked).link(take_inventory(capture, HOST), complete=complete)


def numbers(root: Path, table: str = "samples") -> list[int]:
    return sorted(int(path.stem[-6:]) for path in root.glob(f"{table}/host=*/date=*/[!.]*.parquet"))


def described(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Layout(root).recording(HOST, RECORDING).read_text())
    return found


def test_parts_are_linked_until_the_wish_is_over(tmp_path: Path) -> None:
    layout = sealed(tmp_path / "cap", 3)
    kept = tmp_path / "kept"
    asked = wish(kept, until_us=START + 3 * PACE)
    assert link(layout, asked) == 3
    assert link(layout, asked) == 0
    small_part(layout.root, part=3)
    small_part(layout.root, part=4)
    seal(layout, HOST, stem(RECORDING, 3))
    seal(layout, HOST, stem(RECORDING, 4))
    assert link(layout, asked, complete=True) == 1, "part 4 began when it was over"
    for table in TABLES:
        assert numbers(kept, table) == [0, 1, 2, 3]
    for path in kept.rglob("*.parquet"):
        assert path.samefile(layout.root / path.relative_to(kept))
    told = described(kept)
    assert (told["ended_as"], told["ended_us"], told["kept"]["complete"]) == ("kept", START + 3 * PACE, True)
    assert told["kept"]["reason"] == "why"
    assert "kept" not in described(layout.root)
    assert verify(kept).findings == []
    assert verify(kept).remarks == []


@pytest.mark.parametrize("why", [errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP])
def test_where_there_are_no_links_files_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: int
) -> None:
    layout = sealed(tmp_path / "cap", 2)

    def refused(*_words: object, **_more: object) -> None:
        raise OSError(why, os.strerror(why))

    monkeypatch.setattr(os, "link", refused)
    kept = tmp_path / "kept"
    link(layout, wish(kept), complete=True)
    copies = list(kept.rglob("*.parquet"))
    assert len(copies) == 6
    for path in copies:
        original = layout.root / path.relative_to(kept)
        assert not path.samefile(original)
        assert path.read_bytes() == original.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600
    assert verify(kept).findings == []


def test_a_disk_that_does_not_take_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = sealed(tmp_path / "cap", 1)

    def full(*_words: object, **_more: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(CaptureError, match=rf"cannot write {tmp_path / 'kept'}: No space left"):
        link(layout, wish(tmp_path / "kept"))


def dying(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Have the process die before its n-th change of the disk."""
    count = 0

    def mortal(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*words: Any, **more: Any) -> Any:
            nonlocal count
            count += 1
            if count == at:
                raise Crash
            return call(*words, **more)

        return run

    monkeypatch.setattr(os, "link", mortal(os.link))
    monkeypatch.setattr(os, "replace", mortal(os.replace))
    monkeypatch.setattr(files, "sync_folder", mortal(files.sync_folder))


def test_a_crash_at_any_step_leaves_whole_parts_only_and_again_ends_it(tmp_path: Path) -> None:
    layout = sealed(tmp_path / "cap", 3)
    crashed = 0
    for at in range(1, 200):
        kept = tmp_path / str(at)
        with pytest.MonkeyPatch.context() as patch:
            dying(patch, at)
            try:
                link(layout, wish(kept), complete=True)
                survived = True
            except Crash:
                survived = False
                crashed += 1
        for table in TABLES:
            assert set(numbers(kept)) <= set(numbers(kept, table)), at
        # What is half there is named.
        half = set(numbers(kept, "sockets")) - set(numbers(kept))
        if half:
            assert {stem(RECORDING, number) for number in half} <= set(described(kept)["kept"]["linking"])
            assert not described(kept)["kept"]["complete"]
            assert verify(kept).findings == []
        link(layout, wish(kept), complete=True)
        for table in TABLES:
            assert numbers(kept, table) == [0, 1, 2], at
        assert described(kept)["kept"]["linking"] == []
        assert verify(kept).findings == [], at
        if survived:
            break
    else:
        raise AssertionError("it never came to an end")
    assert crashed > 15


def test_what_nobody_records_is_kept_of_every_host_with_journals_and_evidence(tmp_path: Path) -> None:
    layout = sealed(tmp_path / "cap", 2)
    small_part(layout.root, part=2, ended_as=None)
    evidence = layout.journal(HOST, stem(RECORDING, 0)).with_suffix(".damaged")
    evidence.write_bytes(b"evidence")
    for path in list(layout.root.rglob(f"host={HOST}")):
        if path.parent.name != "journal":
            shutil.copytree(path, path.with_name("host=db-1"))
    write_recording(layout.recording("db-1", RECORDING), {"recording": RECORDING, "host": "db-1"})
    kept = tmp_path / "kept"
    keep_unattended(layout, wish(kept))
    names = {path.relative_to(kept) for path in kept.rglob("*") if path.is_file()}
    assert names == {path.relative_to(layout.root) for path in layout.root.rglob("*") if path.is_file()}
    assert [journal.stem for journal in survey(kept).journals] == [stem(RECORDING, 2)]
    journal = Layout(kept).journal(HOST, stem(RECORDING, 2))
    assert not journal.samefile(layout.journal(HOST, stem(RECORDING, 2)))
    assert described(kept)["kept"]["complete"]


def test_a_part_stuck_before_others_does_not_keep_those_from_a_dead_recorders_capture(tmp_path: Path) -> None:
    layout = sealed(tmp_path / "cap", 3)
    small_part(layout.root, part=1)  # the disk did not take its segments: its journal counts
    kept = tmp_path / "kept"
    keep_unattended(layout, wish(kept))
    assert numbers(kept) == [0, 2]
    assert [journal.stem for journal in survey(kept).journals] == [stem(RECORDING, 1)]


def test_wishes_come_back_as_they_were_asked(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "cap")
    files.make_folder(layout.journals(HOST))
    asked = wish(tmp_path / "kept", for_us=60 * SECOND)
    path = keep_requests.ask(layout, HOST, asked)
    assert keep_requests.waiting(layout, HOST) == [path]
    assert keep_requests.read(path) == asked
    assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()
    with pytest.raises(FileNotFoundError):
        keep_requests.read(path)


def test_folders_are_named_by_the_moment_and_never_shared(tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    capture.mkdir()
    made = [make_output(capture, None, START) for _ in range(3)]
    names = ["cap-kept-20261120T103200Z", "cap-kept-20261120T103200Z-2", "cap-kept-20261120T103200Z-3"]
    assert [path.name for path in made] == names
    with pytest.raises(UsageError, match="lies in the capture"):
        make_output(capture, tmp_path / "cap" / ".." / "cap" / "x", START)
    (made[0] / "notes").touch()
    with pytest.raises(UsageError, match="holds something already"):
        make_output(capture, made[0], START)
    assert make_output(capture, made[1], START) == made[1]
