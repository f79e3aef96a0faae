"""The disk fills up or breaks while a recording goes on: it does not end, and what is lost is counted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sockrec.catalog import open_catalog
from tests.support import programs
from tests.support.command import CLEAN, SOCKREC, answer, sockrec, wait_for_samples
from tests.support.netns import Namespace

Begin = Callable[..., "Recorder"]
FULL = "No space left on device"


class Recorder:
    """`sockrec record` whose talk can be waited for."""

    def __init__(self, namespace: Namespace, capture: Path, *words: str, under: tuple[str, ...] = ()) -> None:
        self.log = capture.parent.parent / "talk"
        command = (*under, SOCKREC, "record", "-C", str(capture), "--interval", "100ms", *words)
        with self.log.open("w") as log:
            self.process = namespace.popen(*command, stderr=log, env=CLEAN)
        wait_for_samples(capture, 3)

    def wait_for(self, text: str, seconds: float = 20) -> None:
        until = time.monotonic() + seconds
        while text not in self.log.read_text():
            assert time.monotonic() < until, (text, self.log.read_text())
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)

    def stop(self) -> int:
        """Stop it, which is a child where another program runs it; return its exit status."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        os.kill(int(children[0]) if children else pid, signal.SIGINT)
        return self.process.wait(30)


@pytest.fixture
def begin(netns: Namespace, disk: Path) -> Iterator[Begin]:
    """Give what starts recorders, and end those that still run."""
    started: list[Recorder] = []

    def start(capture: Path, *words: str, under: tuple[str, ...] = ()) -> Recorder:
        started.append(Recorder(netns, capture, *words, under=under))
        return started[-1]

    yield start
    for recorder in started:
        if recorder.process.poll() is None:
            recorder.stop()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Leave no room on a disk."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while filler.stat().st_size < 4 << 20:
            file.write(bytes(4096))
    yield
    filler.unlink()


def numbers(capture: Path) -> list[int]:
    with open_catalog(capture) as catalog:
        assert catalog.damages == []
        return [number for (number,) in catalog.rows("SELECT number FROM samples ORDER BY began_at")]


def told_across(gap: dict[str, Any], moment: dict[str, Any]) -> bool:
    """Say whether a moment is told as within a gap: from the sample before it to the sample after it."""
    first, begins, ends, last = (
        datetime.fromisoformat(text)
        for text in (moment["not_before"], gap["not_before"], gap["not_after"], moment["not_after"])
    )
    return first <= begins < ends <= last and last - first < ends - begins + timedelta(seconds=0.2)


def test_what_a_full_disk_does_not_take_is_written_later(netns: Namespace, begin: Begin, disk: Path) -> None:
    capture = disk / "capture"
    service = programs.start(netns, "myapp", programs.LISTENER, "10.0.0.5:7071")
    recorder = begin(capture)
    with full(disk):
        recorder.wait_for(f"{FULL}; free some space there")
        recorder.wait_for("recording goes on in memory, up to 65536 KiB")
        programs.end(service)
        time.sleep(1)
        written = len(numbers(capture))
    recorder.wait_for("the disk takes what is recorded again: nothing was lost")
    assert recorder.stop() == 0
    found = numbers(capture)
    assert found == list(range(len(found)))
    assert len(found) > written + 5, "the disk was full for more than a second"
    assert answer("sql", "-C", capture, "FROM gaps WHERE why NOT LIKE '% missed'") == []
    (end,) = answer("when", "-C", capture, "port", "7071", "stopped", "listening")
    assert (end["exact"], end["pid"]) == (True, service.pid)


def test_what_memory_does_not_hold_is_a_gap(netns: Namespace, begin: Begin, disk: Path) -> None:
    capture = disk / "capture"
    lasting = programs.start(netns, "lasting", programs.LISTENER, "10.0.0.5:7070")
    ending = programs.start(netns, "ending", programs.LISTENER, "10.0.0.5:7071")
    recorder = begin(capture, "--disk-buffer", "4KiB")
    with full(disk):
        recorder.wait_for("samples are dropped from now on")
        time.sleep(0.5)
        programs.end(ending)
        coming = programs.start(netns, "coming", programs.LISTENER, "10.0.0.5:7072")
        time.sleep(0.5)
    recorder.wait_for(" were dropped\n")
    time.sleep(0.5)
    assert recorder.stop() == 0
    dropped = int(re.findall(r"again: (\d+) samples since \S+ were dropped", recorder.log.read_text())[0])
    assert dropped >= 5
    found = numbers(capture)
    assert found.count(0) == 2, "one recording before and one after"
    (counted,) = answer("sql", "-C", capture, "SELECT sum(samples_dropped)::BIGINT AS n FROM samples")
    assert counted["n"] == dropped
    assert [
        row["ended_as"] for row in answer("sql", "-C", capture, "FROM recordings ORDER BY started_at")
    ] == [
        "dropped",
        "stopped",
    ]
    (gap,) = answer("sql", "-C", capture, "FROM gaps WHERE why NOT LIKE '% missed'")
    assert gap["why"] == f"{dropped} samples dropped: the disk did not take them"
    (end,) = answer("when", "-C", capture, "port", "7071", "stopped", "listening")
    assert told_across(gap, end)
    (start,) = answer("when", "-C", capture, "port", "7072", "started", "listening")
    assert told_across(gap, start)
    assert sockrec("when", "-C", capture, "port", "7070", "stopped", "listening").returncode == 1
    periods = answer("sql", "-C", capture, "FROM listeners WHERE local_port = 7070")
    assert len(periods) == 1, "it was there before and after: one period"
    for program in (lasting, coming):
        programs.end(program)


def test_a_recording_that_ends_on_a_full_disk_says_what_is_missing(
    netns: Namespace, begin: Begin, disk: Path
) -> None:
    capture = disk / "capture"
    recorder = begin(capture)
    with full(disk):
        recorder.wait_for("recording goes on in memory")
        time.sleep(0.5)
        before = numbers(capture)
        assert recorder.stop() == 3
        assert re.search(
            rf"\nsockrec: what was recorded since \S+ could not be kept: [^\n]*{FULL}[^\n]*\n\Z",
            recorder.log.read_text(),
        )
        after = numbers(capture)
    assert after[: len(before)] == before


def test_recording_does_not_begin_on_a_full_disk(netns: Namespace, disk: Path) -> None:
    with full(disk):
        done = netns.run(SOCKREC, "record", "-C", disk / "capture", "--for", "5s", env=CLEAN)
    assert done.returncode == 3
    assert re.fullmatch(rf"sockrec: cannot write [^\n]*: {FULL}; free some space[^\n]*\n", done.stderr)


@pytest.mark.parametrize(
    ("call", "error", "which", "said"),
    [
        ("pwritev2", "EIO", "8..10", "Input/output error"),
        ("pwritev2", "EROFS", "8..10", "Read-only file system"),
        ("pwritev2", "EDQUOT", "8..10", "Disk quota exceeded"),
        ("fdatasync", "EIO", "3..4", "Input/output error"),
    ],
)
def test_a_disk_that_fails_for_a_while_costs_nothing(
    begin: Begin, tmp_path: Path, call: str, error: str, which: str, said: str
) -> None:
    capture = tmp_path / "disk" / "capture"
    inject = ("-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={which}")
    recorder = begin(
        capture, "--sync", "200ms", under=("strace", "-f", "-o", str(tmp_path / "calls"), *inject)
    )
    recorder.wait_for(f"{said};")
    recorder.wait_for("nothing was lost")
    assert recorder.stop() == 0
    found = numbers(capture)
    assert found == list(range(len(found)))
    assert answer("sql", "-C", capture, "FROM gaps WHERE why LIKE '%dropped%'") == []


def test_parts_that_cannot_be_sealed_stay_journaled(netns: Namespace, begin: Begin, tmp_path: Path) -> None:
    """Publishing a segment fails: all is there, from the journal; the next recording seals it."""
    capture = tmp_path / "disk" / "capture"
    inject = ("-e", "trace=rename", "-e", "inject=rename:error=EIO:when=2+")
    service = programs.start(netns, "myapp", programs.LISTENER, "10.0.0.5:7071")
    recorder = begin(capture, under=("strace", "-f", "-o", str(tmp_path / "calls"), *inject))
    assert recorder.stop() == 0
    programs.end(service)
    assert "stays in its journal" in recorder.log.read_text()
    assert list(capture.glob("journal/*/*.journal"))
    found = numbers(capture)
    assert found == list(range(len(found)))
    again = netns.run(SOCKREC, "record", "-C", capture, "--for", "300ms", env=CLEAN)
    assert (again.returncode, again.stderr) == (0, "")
    assert list(capture.glob("journal/*/*.journal")) == []
    assert len(numbers(capture)) > len(found)
