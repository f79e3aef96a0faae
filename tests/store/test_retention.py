"""Retention removes whole parts, oldest first, and a crash in the middle of it leaves no part that lies."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sockrec.model.tables import TABLES
from sockrec.store import files, retention
from sockrec.store.layout import Layout, stem
from sockrec.store.parts import take_inventory
from sockrec.store.recordings import write_recording
from sockrec.store.retention import Removed, Retention, read_removed
from sockrec.store.segments import seal
from sockrec.store.survey import survey
from tests.store.rows import HOST, RECORDING, SECOND, START, small_part

PARTS = 5
# A part of `small_part` begins a thousand seconds after the one before it, and lasts four.
PACE = 1000 * SECOND


class Crash(BaseException):
    """Stands for kill -9: nothing of ours handles it."""


def sealed(root: Path, parts: int = PARTS) -> Layout:
    """Make a capture of some sealed parts."""
    layout = Layout(root)
    for number in range(parts):
        small_part(root, part=number)
        seal(layout, HOST, stem(RECORDING, number))
    write_recording(layout.recording(HOST, RECORDING), {"recording": RECORDING, "host": HOST})
    return layout


def check(kept: Retention, now_us: int, room: int = 0) -> retention.Checked:
    return kept.check(take_inventory(kept.capture, HOST), now_us, room)


def stems(root: Path, table: str) -> list[str]:
    return sorted(path.stem for path in root.glob(f"{table}/host=*/date=*/*.parquet"))


def numbers(root: Path, table: str = "samples") -> list[int]:
    return [int(name[-6:]) for name in stems(root, table)]


def test_parts_that_are_too_old_go_whole_and_the_others_stay(tmp_path: Path) -> None:
    layout = sealed(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    keeping = Retention(layout, HOST, RECORDING, max_age_us=PACE)
    # The last sample of part 2 is as old as is allowed, to the microsecond.
    checked = check(keeping, START + 2 * PACE + 3 * SECOND + PACE)
    for table in ("samples", "sockets", "activity"):
        assert numbers(tmp_path, table) == [2, 3, 4]
    left = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    assert left.items() <= before.items()
    assert [part.number for part in checked.parts] == [2, 3, 4]
    assert checked.due_us == START + 3 * PACE + 3 * SECOND
    gone = keeping.removed
    assert (gone.parts, gone.until_us) == (2, START + PACE + 3 * SECOND)
    assert read_removed(layout, HOST) == gone
    check(keeping, START + 2 * PACE + 3 * SECOND + PACE + 1)
    assert numbers(tmp_path) == [3, 4]
    assert keeping.removed.parts == 3


def test_a_capture_is_brought_below_its_limit_by_its_oldest_parts(tmp_path: Path) -> None:
    layout = sealed(tmp_path)
    whole = take_inventory(layout, HOST)
    part = whole.parts[0].bytes
    assert {one.bytes for one in whole.parts} == {part}
    assert whole.bytes >= sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    keeping = Retention(layout, HOST, RECORDING, max_bytes=whole.bytes)
    assert check(keeping, 0).bytes == whole.bytes
    assert numbers(tmp_path) == [0, 1, 2, 3, 4], "it fits"
    assert check(keeping, 0, room=1).bytes == whole.bytes - part
    assert numbers(tmp_path) == [1, 2, 3, 4]
    # The note of what was removed takes its block from now on.
    assert check(keeping, 0, room=2 * part).bytes + 2 * part <= whole.bytes
    assert numbers(tmp_path) == [3, 4] or numbers(tmp_path) == [2, 3, 4]
    check(keeping, 0, room=whole.bytes)
    assert numbers(tmp_path) == [4], "what happened last is not given for room"
    check(Retention(layout, HOST, RECORDING, max_bytes=1), 0)
    assert numbers(tmp_path) == []


def test_what_is_not_sealed_is_never_touched(tmp_path: Path) -> None:
    layout = sealed(tmp_path)
    journal = small_part(tmp_path, part=5, ended_as=None)
    # Sealing of part 2 is still going on: its segments are there, and its journal counts.
    layout.journal(HOST, stem(RECORDING, 2)).write_bytes(journal.read_bytes())
    check(Retention(layout, HOST, RECORDING, max_bytes=1, max_age_us=1), START + 100 * PACE)
    for table in ("samples", "sockets", "activity"):
        assert numbers(tmp_path, table) == [2]
    assert {path.stem[-1] for path in tmp_path.glob("journal/*/*.journal")} == {"2", "5"}


def test_a_part_newer_than_the_newest_journal_listed_is_being_sealed(tmp_path: Path) -> None:
    layout = sealed(tmp_path)
    layout.journal(HOST, stem(RECORDING, 3)).write_bytes(b"")
    check(Retention(layout, HOST, RECORDING, max_bytes=1), 0)
    assert numbers(tmp_path) == [3, 4]


def test_a_recording_goes_with_its_last_part_but_never_the_one_being_made(tmp_path: Path) -> None:
    layout = sealed(tmp_path)
    damaged = layout.journal(HOST, stem(RECORDING, 1)).with_suffix(".damaged")
    damaged.write_bytes(b"evidence")
    segment = next(tmp_path.glob(f"sockets/*/*/{damaged.stem}.parquet"))
    described = layout.recording(HOST, RECORDING)
    repaired = [segment.with_suffix(".damaged"), segment.with_name(f"{damaged.stem}-2.damaged")]
    kept = [described.with_suffix(".damaged"), described.with_name(f"{RECORDING}-1.damaged")]
    for path in (*repaired, *kept):
        path.write_bytes(b"evidence")
    mine = "20261120T113200-aaaa"
    write_recording(layout.recording(HOST, mine), {"recording": mine, "host": HOST})
    stranger = tmp_path / "sockets" / f"host={HOST}" / "date=2026-11-20" / "notes.parquet"
    stranger.write_bytes(b"not ours")
    other = layout.recording("db-1", RECORDING)
    write_recording(other, {"recording": RECORDING, "host": "db-1"})
    keeping = Retention(layout, HOST, mine, max_age_us=SECOND)
    check(keeping, START + PACE)
    assert layout.recording(HOST, RECORDING).exists()
    assert all(path.exists() for path in (damaged, *repaired, *kept))
    check(keeping, START + 3 * PACE)
    assert not any(path.exists() for path in (damaged, *repaired)), "evidence goes with its part"
    assert all(path.exists() for path in kept)
    check(keeping, START + 300 * 86_400 * SECOND)
    assert not any(path.exists() for path in (described, *kept))
    assert layout.recording(HOST, mine).exists()
    assert stranger.exists()
    assert other.exists()


def test_a_day_that_is_over_and_empty_goes(tmp_path: Path) -> None:
    layout = sealed(tmp_path)
    keeping = Retention(layout, HOST, RECORDING, max_age_us=SECOND)
    check(keeping, START + 100 * PACE)
    assert numbers(tmp_path) == []
    assert list(tmp_path.glob("sockets/*/date=*")), "the sealer may be about to write there"
    small_part(tmp_path, part=9)
    seal(layout, HOST, stem(RECORDING, 9))
    check(keeping, START + 3 * 86_400 * SECOND)
    assert not list(tmp_path.glob("*/*/date=*"))


def test_parts_of_the_recording_being_made_are_the_newest_whatever_the_clock_said(tmp_path: Path) -> None:
    layout = sealed(tmp_path)
    later = "20270101T000000-bbbb"  # by a clock that was wrong
    for path in tmp_path.rglob(f"{stem(RECORDING, 4)}.parquet"):
        path.rename(path.with_name(path.name.replace(RECORDING, later)))
    size = take_inventory(layout, HOST).bytes
    check(Retention(layout, HOST, RECORDING, max_bytes=size - 1), 0)
    assert [name[:15] for name in stems(tmp_path, "samples")] == [RECORDING[:15]] * 4


def interrupted(monkeypatch: pytest.MonkeyPatch, at: int) -> Callable[[], int]:
    """Have the process die at its n-th change of the disk, before or after it is done."""
    count = 0

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*words: Any, **more: Any) -> Any:
            nonlocal count
            count += 1
            if count == at:
                raise Crash
            done = call(*words, **more)
            count += 1
            if count == at:
                raise Crash
            return done

        return run

    monkeypatch.setattr(Path, "unlink", dying(Path.unlink))
    monkeypatch.setattr(os, "replace", dying(os.replace))
    monkeypatch.setattr(files, "sync_folder", dying(files.sync_folder))
    return lambda: count


def test_a_crash_at_any_step_leaves_no_part_that_looks_whole_and_the_next_start_ends_it(
    tmp_path: Path,
) -> None:
    crashed = 0
    sealed(tmp_path / "whole")
    for at in range(1, 200):
        root = tmp_path / str(at)
        shutil.copytree(tmp_path / "whole", root)
        layout = Layout(root)
        every = {table: stems(root, table) for table in TABLES}
        with pytest.MonkeyPatch.context() as patch:
            interrupted(patch, at)
            try:
                check(Retention(layout, HOST, RECORDING, max_age_us=PACE), START + 3 * PACE)
                survived = True
            except Crash:
                survived = False
                crashed += 1
        # What has its samples has everything else that it had.
        for table, before in every.items():
            there = set(stems(root, "samples")) & set(before)
            assert there <= set(stems(root, table)), (at, table)
        assert survey(root).damages == []
        again = Retention(layout, HOST, RECORDING)
        promised = set(again.removed.removing)
        again.finish()
        assert not {path.stem for path in root.rglob("*.parquet")} & promised, at
        check(Retention(layout, HOST, RECORDING, max_age_us=PACE), START + 3 * PACE)
        for table in ("samples", "sockets", "activity"):
            assert numbers(root, table) == [2, 3, 4], at
        if survived:
            break
    else:
        raise AssertionError("it never came to an end")
    assert crashed > 15


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"parts": 1}', '{"parts": "x", "bytes": 0, "until_us": 0, "removing": []}']
)
def test_a_note_that_is_none_removes_nothing(tmp_path: Path, text: str) -> None:
    layout = sealed(tmp_path)
    (layout.journals(HOST) / "removed").write_text(text)
    keeping = Retention(layout, HOST, RECORDING)
    assert keeping.removed == Removed()
    keeping.finish()
    assert numbers(tmp_path) == [0, 1, 2, 3, 4]


def test_a_note_names_parts_of_this_host_only(tmp_path: Path) -> None:
    layout = sealed(tmp_path)
    outside = tmp_path / "outside.parquet"
    outside.write_bytes(b"")
    told = '{"parts": 1, "bytes": 1, "until_us": 1, "removing": ["../outside", "/etc/passwd", 7]}'
    (layout.journals(HOST) / "removed").write_text(told)
    Retention(layout, HOST, RECORDING).finish()
    assert outside.exists()
    assert numbers(tmp_path) == [0, 1, 2, 3, 4]


def test_links_out_of_the_capture_are_not_followed(tmp_path: Path) -> None:
    layout = sealed(tmp_path / "cap")
    elsewhere = sealed(tmp_path / "other")
    (tmp_path / "cap" / "events").symlink_to(elsewhere.root / "sockets")
    date = tmp_path / "cap" / "processes" / f"host={HOST}"
    date.mkdir(parents=True)
    (date / "date=2026-11-20").symlink_to(next(elsewhere.root.glob("sockets/*/*")))
    check(Retention(layout, HOST, RECORDING, max_bytes=1), 0)
    assert numbers(tmp_path / "cap") == []
    assert numbers(elsewhere.root, "sockets") == [0, 1, 2, 3, 4]
