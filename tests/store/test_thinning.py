"""Thinning leaves one row of activity a socket and minute, once, and tells it before it does."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from sockrec.errors import CaptureError
from sockrec.model.tables import ACTIVITY, ALWAYS_WRITTEN, TABLES
from sockrec.store import parquet, thinning
from sockrec.store.layout import Layout, stem
from sockrec.store.parts import Part, take_inventory
from sockrec.store.segments import seal
from sockrec.store.survey import survey
from sockrec.store.thinning import needs_thinning, thin
from sockrec.store.whole import deep_check
from tests.store.rows import HOST, RECORDING, SECOND, START, batch, open_journal, sample, socket

MINUTE = 60 * SECOND
SAMPLES = 400
SOCKETS = 7
COUNTERS = [name for name in ACTIVITY.names[3:] if name not in ALWAYS_WRITTEN]


class Crash(BaseException):
    """Stands for kill -9."""


def moved(dice: random.Random, number: int, now: int) -> Iterator[dict[str, Any]]:
    for place in range(SOCKETS):
        # Of socket 0 each sample has a row, of the last few.
        if place and dice.random() < place / SOCKETS:
            continue
        row: dict[str, Any] = {
            "recording": RECORDING,
            "socket_id": 100 + place,
            "read_at": now,
            "recv_q": dice.randrange(1000),
            "send_q": number,
            "timer": dice.choice(["off", "on", "keepalive"]),
        }
        if dice.random() < 0.1:
            row |= {"rcvbuf": dice.randrange(1000), "snd_cwnd": 10, "segs_out": number}
        elif dice.random() < 0.05:
            row |= {"snd_cwnd": dice.randrange(1000)}  # read from /proc: no sock_diag
        yield row


def recorded(root: Path) -> Part:
    """Seal a part of almost seven minutes, with activity in most of its samples; return it."""
    dice = random.Random(5)
    with open_journal(root) as journal:
        for number in range(SAMPLES):
            now = START + 40 * SECOND + number * SECOND
            frames = {
                "samples": batch("samples", [sample(number, began_at=now, ended_at=now)]),
                "activity": batch("activity", moved(dice, number, now)),
            }
            if not number:
                sockets = [socket(100 + place, now) for place in range(SOCKETS)]
                frames["sockets.begun"] = batch("sockets.begun", sockets)
            journal.append(frames)
        journal.end("stopped")
    seal(Layout(root), HOST, stem(RECORDING, 0))
    return part_of(root)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "cap"
    recorded(root)
    return root


@pytest.fixture
def capture(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "cap")


def part_of(root: Path) -> Part:
    (part,) = take_inventory(Layout(root), HOST).parts
    return part


def rows(part: Part, table: str) -> list[dict[str, Any]]:
    (path,) = part.files[table]
    found: list[dict[str, Any]] = pq.ParquetFile(path).read().to_pylist()
    return found


def in_micros(row: Mapping[str, Any]) -> int:
    return int(row["read_at"].timestamp() * 1_000_000 + 0.5)


def expected(whole: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what is left of activity, row by row, as the issue says it."""
    minutes: dict[tuple[int, int], dict[str, Any]] = {}
    for row in sorted(whole, key=in_micros):
        key = row["socket_id"], in_micros(row) // MINUTE
        before = minutes.get(key, dict.fromkeys(row))
        counted = row["rcvbuf"] is not None or row["snd_cwnd"] is not None
        source = row if counted else before
        minutes[key] = {**row, **{name: source[name] for name in COUNTERS}}
    return sorted(minutes.values(), key=lambda row: (row["socket_id"], row["read_at"]))


def test_the_last_row_of_each_minute_stays_with_the_last_counters_of_it(capture: Path) -> None:
    part = part_of(capture)
    whole = rows(part, "activity")
    others = {path: path.read_bytes() for path in part.files["sockets"]}
    wanted = expected(whole)
    assert SOCKETS * 6 <= len(wanted) <= SOCKETS * 8
    # Of every kind there is one: counters of the row itself, of one before it, and none in the minute.
    assert needs_thinning(part)
    saved = thin(part)
    left = rows(part, "activity")
    assert sorted(left, key=lambda row: (row["socket_id"], row["read_at"])) == wanted
    assert any(row["rcvbuf"] is None for row in left)
    assert any(row["segs_out"] not in (None, row["send_q"]) for row in left), "counters of a row before"
    assert saved > 0
    assert {path: path.read_bytes() for path in part.files["sockets"]} == others
    told = rows(part, "samples")
    assert len(told) == SAMPLES
    assert {row["thinned_us"] for row in told} == {MINUTE}
    for paths in part.files.values():
        assert [deep_check(path) for path in paths] == [None]
    assert survey(capture).damages == []


def test_each_part_is_thinned_once(capture: Path) -> None:
    part = part_of(capture)
    thin(part)
    files = {path: path.stat().st_ino for path in part.paths}
    assert not needs_thinning(part)
    assert thin(part) == 0
    assert {path: path.stat().st_ino for path in part.paths} == files
    assert part_of(capture).files == part.files


def test_after_a_crash_between_the_two_it_says_less_than_it_has(
    capture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = part_of(capture)
    whole = rows(part, "activity")
    write = parquet.write

    def dying(path: Path, *words: Any, **more: Any) -> Any:
        if path in part.files["activity"]:
            raise Crash
        return write(path, *words, **more)

    with monkeypatch.context() as patch:
        patch.setattr(parquet, "write", dying)
        with pytest.raises(Crash):
            thin(part)
    assert {row["thinned_us"] for row in rows(part, "samples")} == {MINUTE}
    assert rows(part, "activity") == whole
    assert needs_thinning(part)
    thin(part)
    assert len(rows(part, "activity")) == len(expected(whole))
    assert not needs_thinning(part)


def test_a_part_without_activity_is_told_of_all_the_same(capture: Path) -> None:
    (path,) = part_of(capture).files["activity"]
    path.unlink()
    part = part_of(capture)
    assert needs_thinning(part)
    thin(part)
    assert not needs_thinning(part)
    assert {row["thinned_us"] for row in rows(part, "samples")} == {MINUTE}


def test_parts_of_an_older_format_stay_whole(tmp_path: Path) -> None:
    frozen = Path(__file__).parents[1] / "captures" / "v1" / "sealed"
    capture = shutil.copytree(frozen, tmp_path / "cap")
    before = {path: path.read_bytes() for path in capture.rglob("*.parquet")}
    (part,) = take_inventory(Layout(capture), "web-1").parts
    assert not needs_thinning(part)
    assert {path: path.read_bytes() for path in capture.rglob("*.parquet")} == before


def test_a_damaged_file_stays_as_it_is(capture: Path) -> None:
    part = part_of(capture)
    (path,) = part.files["activity"]
    content = bytearray(path.read_bytes())
    content[100:900] = bytes(800)
    path.write_bytes(content)
    assert not needs_thinning(part), "written anew it would look whole"
    with pytest.raises(CaptureError, match="activity"):
        thin(part)
    assert path.read_bytes() == content


def test_no_rows_and_one_row() -> None:
    import numpy as np

    none = np.empty(0, np.int64)
    last, source = thinning._choose(none, none, none.astype(bool), MINUTE)
    assert (len(last), len(source)) == (0, 0)
    one = np.array([5], np.int64)
    last, source = thinning._choose(one, one, np.array([False]), MINUTE)
    assert (last.to_pylist(), source.to_pylist()) == ([0], [0])


def test_every_table_but_two_is_left_alone() -> None:
    part = Part("x", {name: [Path(name)] for name in TABLES})
    assert thinning._to_rewrite(part) == [Path("samples"), Path("activity")]
