"""The OOM killer ends a listener: a real one, in a memory cgroup of its own."""

from __future__ import annotations

import re
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.events.listeners import VICTIM, Program, assert_exact
from tests.events.memory_limit import MemoryLimit
from tests.events.recorded import recorded, rows, when
from tests.support.netns import Namespace


def test_a_kill_for_want_of_memory_is_told_from_a_kill(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    try:
        group = MemoryLimit(48 << 20)
    except OSError as error:
        pytest.skip(f"no OOM kill can be had here: no memory cgroup can be made ({error})")
    with group, recorded(netns, capture, interval="500ms") as recorder:
        pids, truth = [], []
        for port in range(7200, 7205):
            with Program(tmp_path, netns, "victim", VICTIM, str(port), "memory") as program:
                assert program.hear() == "ready"
                group.take(program.pid)
                if port % 2:
                    recorder.more_samples(2)
                before = datetime.now(UTC)
                program.say()
                assert program.process.wait(60) == -signal.SIGKILL
                pids.append(program.pid)
                truth.append((before, datetime.now(UTC)))
    found = when(capture, "program", "victim", "stopped", "listening")
    assert [row["pid"] for row in found] == pids
    for row, moments in zip(found, truth, strict=True):
        assert_exact(row, moments)
        assert re.search(r"\bOOM\b|out of memory", row["cause"]), row["cause"]
    facts = rows(
        capture,
        "SELECT pid, cause, signal FROM events WHERE kind = 'stopped listening' ORDER BY not_after",
    )
    assert facts == [{"pid": pid, "cause": "oom", "signal": signal.SIGKILL} for pid in pids]
