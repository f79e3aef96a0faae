"""`record --max-cpu`: samples come further apart, and a listener's end is still known to one interval."""

from __future__ import annotations

import re
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support import programs
from tests.support.command import CLEAN, SOCKREC, answer, sockrec
from tests.support.netns import Namespace

pytestmark = pytest.mark.moments


def test_listeners_are_read_at_every_tick_whatever_the_budget(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    crowd = programs.start(netns, "idle", programs.IDLE_PAIRS, "2000")
    service = programs.start(netns, "myapp", programs.LISTENER, "10.0.0.5:7071")
    command = (SOCKREC, "record", "-C", capture, "--interval", "200ms", "--for", "8s", "--max-cpu", "0.5%")
    with netns.popen(*command, stderr=subprocess.PIPE, env=CLEAN) as process:
        time.sleep(6)
        before = datetime.now(UTC)
        programs.end(service)
        after = datetime.now(UTC)
        later = programs.start(netns, "other", programs.LISTENER, "10.0.0.5:7072")
        _, complaints = process.communicate()
    for program in (crowd, later):
        programs.end(program)
    assert (process.returncode, complaints) == (0, "")
    rows = answer(
        "sql",
        "-C",
        capture,
        "SELECT number, interval_us, listener_readings, budget FROM samples ORDER BY number",
    )
    assert rows[0]["budget"] is None
    # How soon walking less does not help any more depends on the machine.
    assert {row["budget"] for row in rows[1:]} & {"owners walked less", "interval lengthened"}
    assert max(row["interval_us"] for row in rows) >= 600_000
    assert sum(row["listener_readings"] for row in rows) >= 5
    (stop,) = answer("when", "-C", capture, "port", "7071", "stopped", "listening")
    (start,) = answer("when", "-C", capture, "port", "7072", "started", "listening")
    for moment in (stop, start):
        first, last = (datetime.fromisoformat(moment[key]) for key in ("not_before", "not_after"))
        assert (last - first).total_seconds() <= 0.2
    assert datetime.fromisoformat(stop["not_before"]) <= after
    assert datetime.fromisoformat(stop["not_after"]) >= before
    assert (stop["pid"], start["pid"]) == (service.pid, later.pid)
    done = sockrec("replay", "-C", capture, "--at", "end", "-ltn")
    assert "10.0.0.5:7072" in done.stdout
    assert "10.0.0.5:7071" not in done.stdout


def test_listeners_that_alone_take_more_than_the_budget_are_told_once(
    netns: Namespace, tmp_path: Path
) -> None:
    words = ("--interval", "50ms", "--for", "24s", "--max-cpu", "0.1%", "--no-events")
    done = netns.run(SOCKREC, "record", "-C", tmp_path / "cap", *words, env=CLEAN)
    assert done.returncode == 0
    told = re.fullmatch(
        r"sockrec: .* listeners .* takes (\d+\.\d) % of a core, .* --max-cpu .*\n", done.stderr
    )
    assert told, done.stderr
    assert 0.1 < float(told[1]) < 100


def test_too_little_memory_ends_it_cleanly_and_says_so(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    command = (SOCKREC, "record", "-C", capture, "--for", "10s", "--max-memory", "20MiB")
    done = netns.run(*command, env=CLEAN)
    assert done.returncode == 4
    assert re.fullmatch(r"sockrec: stopped: [^\n]* --max-memory [^\n]*\n", done.stderr)
    (row,) = answer("sql", "-C", capture, "SELECT ended_as FROM recordings")
    assert row["ended_as"] == "stopped"


def test_the_recorder_goes_behind_everybody_else_and_its_command_does_not(
    netns: Namespace, tmp_path: Path
) -> None:
    # Field 19 of /proc/PID/stat is the nice value (proc_pid_stat(5)).
    script = (
        "import os; nice = lambda pid: open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()[16]; "
        "print(nice('self'), nice(os.getppid()))"
    )
    command = ("record", "-C", str(tmp_path / "cap"), "--", "python3", "-c", script)
    assert netns.run(SOCKREC, *command, env=CLEAN).stdout == "0 10\n"
    normal = ("record", "-C", str(tmp_path / "other"), "--priority", "normal", "--", "python3", "-c", script)
    assert netns.run(SOCKREC, *normal, env=CLEAN).stdout == "0 0\n"
