"""`sockrec events --follow`: what happens, printed while it is recorded, each thing once."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.events.recorded import assert_same, recorded, wait_until
from tests.support.command import CLEAN, SOCKREC, answer
from tests.support.loads.run import Load
from tests.support.netns import Namespace

pytestmark = pytest.mark.moments

# A line is to come so soon after what it tells: the recorder writes several times a second.
LATE_S = 3


class Follower:
    """A `sockrec events --follow` and what it has printed so far, with the moment of each line."""

    def __init__(self, capture: Path, *words: str) -> None:
        command = [SOCKREC, "events", "-C", str(capture), "--follow", "--format", "jsonl", *words]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=CLEAN
        )
        self.rows: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.rows.append(json.loads(line))

    def end(self, seconds: float = 30) -> tuple[int, str]:
        """Wait for its own end; return its status and what it said on stderr."""
        try:
            status = self.process.wait(seconds)
        finally:
            self.process.kill()
            self.process.wait()
        self._reader.join(10)
        assert self.process.stderr is not None
        return status, self.process.stderr.read()


def test_it_prints_each_thing_once_while_it_happens_and_ends_with_the_recording(
    netns: Namespace, tmp_path: Path
) -> None:
    capture = tmp_path / "cap"
    with (
        Load(tmp_path, netns, port=9000, count=1000, rate=1000) as load,
        Load(tmp_path, netns, port=9001, count=1000, rate=1000) as other,
    ):
        with recorded(netns, capture) as recorder:
            follower = Follower(capture, "--port", "9000", "--from", "start")
            counted = load.run()
            done = time.monotonic()
            other.run()
            wait_until(lambda: len(closed(follower.rows)) >= 2000, "all ends are printed")
            assert time.monotonic() - done < 10
            assert follower.process.poll() is None, "the recording goes on, so does it"
            recorder.stop()
        status, complaints = follower.end()
    assert (status, complaints) == (0, "")
    for role in ("client", "server"):
        found = [row for row in closed(follower.rows) if row["role"] == role]
        assert_same((key(row) for row in found), (end[:4] for end in counted.ends(role)))
    twice = Counter((row["kind"], row["socket_id"]) for row in follower.rows if row["kind"] != "lost")
    assert max(twice.values()) == 1
    assert {9000} == {
        row["local_port"] if row["role"] != "client" else row["remote_port"] for row in closed(follower.rows)
    }
    # The same as is told of the finished capture.
    again = answer("events", "-C", capture, "--port", "9000")
    assert Counter(map(identity, closed(again))) == Counter(map(identity, closed(follower.rows)))


def test_it_is_live(netns: Namespace, tmp_path: Path) -> None:
    """What is printed only at the next sample, or at the end, is of no use to somebody who watches."""
    capture = tmp_path / "cap"
    with (
        Load(tmp_path, netns, port=9000, count=10) as load,
        recorded(netns, capture, interval="30s"),
    ):
        follower = Follower(capture, "--port", "9000")
        try:
            time.sleep(2)  # until it has started
            load.run()
            wait_until(lambda: len(closed(follower.rows)) == 20, "printed before the next sample", LATE_S)
        finally:
            follower.process.terminate()
            follower.end()


def closed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["kind"] == "closed"]


def key(row: dict[str, Any]) -> tuple[str, int, str, int]:
    return (row["local_address"], row["local_port"], row["remote_address"], row["remote_port"])


def identity(row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["socket_id"], row["role"], row["not_before"], row["not_after"], row["cause"], *key(row))
