"""`sockrec events --follow`: what a recorder writes, as it writes it, each thing once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pytest

from sockrec.store import segments
from sockrec.store.journal import JournalWriter
from sockrec.store.layout import Layout, stem
from sockrec.store.lock import RecorderLock
from sockrec.store.schema import journal_schemas
from tests.catalog.captures import Part, began, ended, us
from tests.support.command import CLEAN, SOCKREC

pytestmark = pytest.mark.moments

PATIENCE_S = 20
SCHEMAS = journal_schemas()


class Recorder:
    """Writes parts of a recording by hand, under a recorder's lock; rows are numbered anew in each part."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rows = Part(root, 0, -1)
        self._layout = Layout(root)
        self._lock = RecorderLock(self._layout, self.rows.host)
        self._lock.announce(self.rows.recording)
        self._part = 0
        self._began: list[dict[str, Any]] = []
        self._journal = self._open()
        self.rows.describe()

    def _open(self) -> JournalWriter:
        path = self._layout.journal(self.rows.host, stem(self.rows.recording, self._part))
        header = {"recording": self.rows.recording, "host": self.rows.host, "part": self._part}
        return JournalWriter(path, header | {"started": us(began(0))}, sync_seconds=1e9)

    def write(self) -> None:
        """Append what was added to `rows`, as one frame: sockets that began, and those that ended in it."""
        rows = self.rows.rows
        frames = {name: rows[name] for name in ("events", "samples")}
        frames["sockets.begun"] = rows["sockets"]
        first = self._journal.rows("sockets.begun")
        frames["sockets.ended"] = [
            {"row": first + place} | row for place, row in enumerate(rows["sockets"]) if row["ended_as"]
        ]
        self._append(frames)
        for name in rows:
            rows[name].clear()

    def end(self, row: int, **columns: Any) -> None:
        """Append a frame with the end of a socket's row."""
        self._append({"sockets.ended": [{"row": row} | columns]})

    def _append(self, frames: dict[str, list[dict[str, Any]]]) -> None:
        self._journal.append(
            {name: pa.RecordBatch.from_pylist(rows, schema=SCHEMAS[name]) for name, rows in frames.items()}
        )

    def rotate(self) -> None:
        """Begin the next part, and seal this one."""
        old, old_stem = self._journal, stem(self.rows.recording, self._part)
        self._part += 1
        self._journal = self._open()
        old.end("carried")
        old.close()
        segments.seal(self._layout, self.rows.host, old_stem)

    def tear(self) -> None:
        """Leave the first bytes of a frame at the end of the journal."""
        with self._journal.path.open("rb") as file:
            head = file.read(20)
        with self._journal.path.open("ab") as file:
            file.write(head)

    def close(self) -> None:
        """Stop recording."""
        self._journal.end("stopped")
        self._journal.close()
        self._lock.close()


class Follower:
    """A `sockrec events --follow --format jsonl` and what it has printed so far."""

    def __init__(self, capture: Path, *words: str) -> None:
        self.process = subprocess.Popen(
            [SOCKREC, "events", "-C", str(capture), "--follow", "-f", "jsonl", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=CLEAN,
        )
        self.rows: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.rows.append(json.loads(line))

    def told(self) -> list[tuple[str, int | None]]:
        return [(row["kind"], row["socket_id"]) for row in self.rows]

    def wait_for(self, *wanted: tuple[str, int | None]) -> None:
        until = time.monotonic() + PATIENCE_S
        while self.told() != list(wanted) and time.monotonic() < until:
            time.sleep(0.02)
        assert self.told() == list(wanted)

    def end(self) -> tuple[int, str]:
        """Wait for its own end; return its status and what it said on stderr."""
        status = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self.process.stderr is not None
        return status, self.process.stderr.read()

    def __enter__(self) -> Follower:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


Begin = Callable[[], Recorder]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Give a function that begins to record: a listener found, and one connection that came and went."""
    made: list[Recorder] = []

    def start() -> Recorder:
        recorder = Recorder(tmp_path)
        made.append(recorder)
        recorder.rows.sample(0)
        recorder.rows.socket(1, 0, 0, "found", None)
        recorder.rows.closed(2, 0.25, 0.5)
        recorder.write()
        return recorder

    yield start
    for recorder in made:
        recorder._lock.close()


Told = tuple[tuple[str, int | None], ...]
BEFORE: Told = (("opened", 2), ("closed", 2))


def test_each_thing_is_printed_once_as_it_comes(begin: Begin, tmp_path: Path) -> None:
    recorder = begin()
    with Follower(tmp_path) as follower:
        follower.wait_for(*BEFORE)
        recorder.rows.closed(3, 1.25, 1.5)
        recorder.write()
        more: Told = (*BEFORE, ("opened", 3), ("closed", 3))
        follower.wait_for(*more)
        # One that is late; a half frame before it that is finished only then.
        recorder.tear()
        time.sleep(1.2)
        assert len(follower.rows) == len(more)
        assert follower.process.poll() is None
        os.truncate(recorder._journal.path, recorder._journal.size)
        recorder.rows.sample(2)
        recorder.rows.connection(5, 2, 2, "opened", None)
        recorder.rows.event("exited", 0.75, pid=7, program="x", cause="exit")
        recorder.write()
        more = (*more, ("exited", None), ("opened", 5))
        follower.wait_for(*more)
        assert follower.rows[-1]["role"] == "server"
        # The end of a socket whose beginning came in an earlier frame, told by a sample.
        recorder.end(1, last_seen=began(2), ended_by=ended(3), ended_as="closed", ended_evidence="sample")
        more = (*more, ("closed", 5))
        follower.wait_for(*more)
        assert follower.rows[-1]["not_after"] == "2026-11-20T10:32:03.010000Z"
        recorder.close()
        assert follower.end() == (0, "")
        assert follower.told() == list(more)


def test_it_goes_on_in_the_next_part(begin: Begin, tmp_path: Path) -> None:
    recorder = begin()
    with Follower(tmp_path) as follower:
        follower.wait_for(*BEFORE)
        recorder.rows.closed(3, 1.25, 1.5)
        recorder.write()
        recorder.rotate()
        recorder.rows.socket(1, 1, 1, "carried", None)
        recorder.rows.closed(4, 2.25, 2.5)
        recorder.write()
        follower.wait_for(*BEFORE, ("opened", 3), ("closed", 3), ("opened", 4), ("closed", 4))
        recorder.close()
        assert follower.end() == (0, "")


def test_a_part_that_was_sealed_too_soon_is_told_of(begin: Begin, tmp_path: Path) -> None:
    recorder = begin()
    with Follower(tmp_path) as follower:
        follower.wait_for(*BEFORE)
        follower.process.send_signal(signal.SIGSTOP)
        for id_ in (3, 4):
            recorder.rotate()
            recorder.rows.closed(id_, id_ + 0.25, id_ + 0.5)
            recorder.write()
        follower.process.send_signal(signal.SIGCONT)
        follower.wait_for(*BEFORE, ("opened", 4), ("closed", 4))
        recorder.close()
        status, said = follower.end()
    assert status == 0
    assert said.startswith("sockrec: 1 part of the recording sealed too soon to be followed whole")


def test_the_end_of_a_listener_waits_for_its_cause(begin: Begin, tmp_path: Path) -> None:
    recorder = begin()
    bounds = {"last_seen": began(1), "ended_by": ended(2), "ended_as": "closed", "ended_evidence": "sample"}
    with Follower(tmp_path) as follower:
        follower.wait_for(*BEFORE)
        recorder.end(0, **bounds)
        time.sleep(1.2)
        recorder.rows.stopped(1, 1, 2.01, evidence="inferred", cause="exit", exit_code=3)
        recorder.rows.socket(9, 2, 2, "opened", None, local_port=80)
        recorder.write()
        more: Told = (*BEFORE, ("listening", 9), ("stopped listening", 1))
        until = time.monotonic() + PATIENCE_S
        while len(follower.rows) < len(more) and time.monotonic() < until:
            time.sleep(0.02)
        assert sorted(map(str, follower.told())) == sorted(map(str, more))
        (stopped,) = [row for row in follower.rows if row["kind"] == "stopped listening"]
        assert (stopped["cause"], stopped["evidence"]) == ("exit", "inferred")
        # Of the other one no cause comes: at the end at the latest it is told of without.
        recorder.end(1, **bounds)
        recorder.close()
        assert follower.end() == (0, "")
    assert [row["cause"] for row in follower.rows if row["kind"] == "stopped listening"] == ["exit", None]


def test_it_begins_with_the_last_ten_or_where_it_is_told_to(begin: Begin, tmp_path: Path) -> None:
    recorder = begin()
    for id_ in range(3, 20):
        recorder.rows.closed(id_, id_ + 0.25, id_ + 0.5)
    recorder.write()
    with Follower(tmp_path) as last, Follower(tmp_path, "--from", "10:32:15.4") as whole:
        last.wait_for(*((kind, id_) for id_ in range(15, 20) for kind in ("opened", "closed")))
        wanted = [(kind, id_) for id_ in range(15, 20) for kind in ("opened", "closed")][1:]
        whole.wait_for(*wanted)
        recorder.rows.closed(99, 14.0, 14.5)
        recorder.rows.closed(98, 20.25, 20.5)
        recorder.write()
        whole.wait_for(*wanted, ("opened", 98), ("closed", 98))
        recorder.close()
        assert (last.end(), whole.end()) == ((0, ""), (0, ""))
    assert len(last.rows) == 14


def test_only_what_is_asked_for(begin: Begin, tmp_path: Path) -> None:
    recorder = begin()
    with Follower(tmp_path, "--port", "80") as follower:
        recorder.rows.closed(3, 1.25, 1.5)
        recorder.rows.closed(4, 1.25, 1.5, local_port=80)
        recorder.rows.closed(5, 1.3, 1.6, role="client", local_port=999, remote_port=80)
        recorder.write()
        follower.wait_for(("opened", 4), ("opened", 5), ("closed", 4), ("closed", 5))
        recorder.close()
        assert follower.end() == (0, "")


def test_nothing_matched_by_the_end(begin: Begin, tmp_path: Path) -> None:
    recorder = begin()
    with Follower(tmp_path, "--port", "81") as follower:
        time.sleep(1)
        recorder.close()
        status, said = follower.end()
    assert (status, follower.rows) == (1, [])
    assert "no event matches" in said


def test_nobody_records(begin: Begin, tmp_path: Path) -> None:
    begin().close()
    with Follower(tmp_path) as follower:
        status, said = follower.end()
        assert follower.told() == list(BEFORE)
    assert (status, said) == (0, "sockrec: nobody records here: there is no more to follow\n")


def test_interrupted_it_ends_as_tail_does(begin: Begin, tmp_path: Path) -> None:
    begin()
    with Follower(tmp_path) as follower:
        follower.wait_for(*BEFORE)
        follower.process.send_signal(signal.SIGINT)
        assert follower.end() == (130, "")


def test_a_round_without_news_is_cheap(begin: Begin, tmp_path: Path) -> None:
    """It looks at the ends of the journals only: sealed files, and what it read before, are left alone."""
    recorder = begin()
    for number in range(40):
        recorder.rows.sample(number + 1)
        for id_ in range(500):
            recorder.rows.closed(1000 * number + id_, number + id_ / 1e4, number + id_ / 1e4 + 0.1)
        recorder.write()
        if number == 30:
            recorder.rotate()
    with Follower(tmp_path, "--port", "9") as follower:
        process = follower.process
        time.sleep(4)
        spent = _cpu_seconds(process.pid)
        time.sleep(3)
        assert _cpu_seconds(process.pid) - spent < 0.15
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE_S)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
