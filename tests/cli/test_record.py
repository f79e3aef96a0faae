"""`sockrec record`: it starts at once, ends cleanly however it is ended, and loses nothing."""

from __future__ import annotations

import itertools
import json
import os
import pty
import re
import signal
import stat
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support import programs
from tests.support.command import CLEAN, SOCKREC, answer, count_samples, recording, sockrec, wait_for_samples
from tests.support.netns import Namespace


def when(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_without_events_a_killed_listener_is_found_within_one_interval(
    netns: Namespace, tmp_path: Path
) -> None:
    capture = tmp_path / "cap"
    service = programs.start(netns, "myapp", programs.LISTENER, "10.0.0.5:7071")
    command = (SOCKREC, "record", "-C", capture, "--interval", "200ms", "--for", "6s", "--no-events")
    with netns.popen(*command, stderr=subprocess.PIPE) as process:
        time.sleep(3)
        before = datetime.now(UTC)
        programs.end(service)
        after = datetime.now(UTC)
        _, complaints = process.communicate()
    assert (process.returncode, complaints) == (0, "")
    (stop,) = answer("when", "-C", capture, "port", "7071", "stopped", "listening")
    assert when(stop["not_before"]) <= after
    assert when(stop["not_after"]) >= before
    width = (when(stop["not_after"]) - when(stop["not_before"])).total_seconds()
    assert 0 < width <= 0.2
    assert (stop["pid"], stop["program"]) == (service.pid, "myapp")
    assert (stop["protocol"], stop["local_address"], stop["local_port"]) == ("tcp", "10.0.0.5", 7071)
    assert (stop["state"], stop["exact"], stop["evidence"]) == ("LISTEN", False, "sample")
    assert 29 <= count_samples(capture) <= 37


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_cleanly(netns: Namespace, tmp_path: Path, number: signal.Signals) -> None:
    capture = tmp_path / "cap"
    with recording(netns, capture) as process:
        wait_for_samples(capture, 3)
        process.send_signal(number)
        out, complaints = process.communicate(timeout=20)
    assert (process.returncode, out, complaints) == (0, "", "")
    (row,) = answer("sql", "-C", capture, "SELECT ended_as, ended_at IS NOT NULL AS ended FROM recordings")
    assert row == {"ended_as": "stopped", "ended": True}
    assert not list(capture.glob("journal/*/*.journal")), "everything is sealed"


def test_with_a_command_it_lasts_as_long_and_ends_as_it_does(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    script = (
        "import socket,time; s=socket.create_server(('10.0.0.5', 7072)); time.sleep(0.5); raise SystemExit(7)"
    )
    done = netns.run(
        SOCKREC, "record", "-C", capture, "--interval", "50ms", "--", "python3", "-c", script, env=CLEAN
    )
    assert (done.returncode, done.stderr) == (7, "")
    (start,) = answer("when", "-C", capture, "port", "7072", "started", "listening")
    assert start["not_before"] is not None, "the first sample is taken before the command starts"
    done = sockrec("record", "-C", tmp_path / "other", "--", "no-such-command")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "other").exists()


def test_a_capture_opens_while_it_is_recorded(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    service = programs.start(netns, "myapp", programs.LISTENER, "10.0.0.5:7071")
    with recording(netns, capture):
        wait_for_samples(capture, 2)
        (row,) = answer("sql", "-C", capture, "SELECT program, ended_as FROM sockets WHERE state = 'LISTEN'")
        assert row == {"program": "myapp", "ended_as": None}
        done = sockrec("when", "-C", capture, "port", "7071", "stopped", "listening")
        assert done.returncode == 1, "a recording that goes on has seen no end"
    programs.end(service)


def test_a_killed_recorder_closes_nothing_and_the_next_one_goes_on(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    service = programs.start(netns, "myapp", programs.LISTENER, "10.0.0.5:7071")
    with recording(netns, capture) as process:
        wait_for_samples(capture, 3)
        process.kill()
    left = count_samples(capture)
    assert left >= 3
    (row,) = answer("sql", "-C", capture, "SELECT ended_as, ended_by FROM sockets WHERE state = 'LISTEN'")
    assert row == {"ended_as": "gap", "ended_by": None}
    # What a laptop needs to show names is there from the first sample on.
    assert "root" in sockrec("replay", "-C", capture, "-lte", "--numeric-ports").stdout
    with recording(netns, capture):
        wait_for_samples(capture, left + 2)
    programs.end(service)
    assert count_samples(capture) >= left + 2
    assert len(answer("sql", "-C", capture, "SELECT * FROM recordings")) == 2
    (gap,) = answer(
        "sql", "-C", capture, "SELECT not_before, not_after FROM gaps WHERE why = 'not recording'"
    )
    assert when(gap["not_before"]) < when(gap["not_after"])
    (period,) = answer("sql", "-C", capture, "SELECT * FROM listeners WHERE local_port = 7071")
    assert period["ended_as"] == "stopped", "one listener, through the gap, never closed"


def test_a_listener_that_goes_while_nobody_looks_has_the_gap_for_its_bounds(
    netns: Namespace, tmp_path: Path
) -> None:
    capture = tmp_path / "cap"
    service = programs.start(netns, "myapp", programs.LISTENER, "10.0.0.5:7071")
    with recording(netns, capture):
        wait_for_samples(capture, 2)
    programs.end(service)
    with recording(netns, capture):
        wait_for_samples(capture, 1)
    (stop,) = answer("when", "-C", capture, "port", "7071", "stopped", "listening")
    (gap,) = answer(
        "sql", "-C", capture, "SELECT not_before, not_after FROM gaps WHERE why = 'not recording'"
    )
    assert stop["evidence"] == "inferred"
    assert when(stop["not_before"]) <= when(gap["not_before"])
    assert when(stop["not_after"]) >= when(gap["not_after"])


def test_a_second_recorder_is_told_who_the_first_is(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    with recording(netns, capture) as process:
        done = netns.run(SOCKREC, "record", "-C", capture, "--for", "1s", env=CLEAN)
        assert done.returncode == 3
        assert done.stderr.count("\n") == 1
        assert str(process.pid) in done.stderr
        wait_for_samples(capture, 3)


def test_everything_is_for_its_owner_only(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    script = f"umask 000; exec {SOCKREC} record -C {capture} --for 300ms --interval 100ms"
    assert netns.run("bash", "-c", script, env=CLEAN).returncode == 0
    for path in [capture, *capture.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_the_live_line_shows_how_it_goes(netns: Namespace, tmp_path: Path) -> None:
    mine, theirs = pty.openpty()
    service = programs.start(netns, "myapp", programs.LISTENER, "10.0.0.5:7071")
    command = (SOCKREC, "record", "-C", tmp_path / "cap", "--interval", "100ms", "--for", "2s")
    with netns.popen(
        *command, stderr=theirs, stdout=subprocess.DEVNULL, env=CLEAN | {"COLUMNS": "200"}
    ) as process:
        os.close(theirs)
        process.wait(20)
    text = os.read(mine, 65536).decode()
    os.close(mine)
    programs.end(service)
    (facts,) = answer("sql", "-C", tmp_path / "cap", "SELECT unavailable FROM recordings")
    for line in facts["unavailable"]:
        assert text.count(f"sockrec: {line}\r\n") == 1, "what this kernel does not give is said once"
    last = text.split("\r")[-2]
    assert re.search(r"0:0[12] .*\d+ samples .*LISTEN 1.* changes? .*B .*CPU \d+\.\d %", last), last


def test_missed_ticks_are_counted_and_not_made_up_for(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    with recording(netns, capture, interval="100ms") as process:
        wait_for_samples(capture, 2)
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(1)
        os.kill(process.pid, signal.SIGCONT)
        wait_for_samples(capture, count_samples(capture) + 2)
    rows = answer(
        "sql", "-C", capture, "SELECT began_at, ticks_missed, interval_us FROM samples ORDER BY began_at"
    )
    late = [row for row in rows if row["ticks_missed"] >= 8]
    assert {row["interval_us"] for row in rows} == {100_000}, "nobody asked for a longer interval"
    assert len(late) == 1
    gaps = answer("sql", "-C", capture, "SELECT not_after FROM gaps")
    assert late[0]["began_at"] in [gap["not_after"] for gap in gaps]
    moments = [when(row["began_at"]) for row in rows]
    assert min(b - a for a, b in itertools.pairwise(moments)).total_seconds() > 0.001


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--interval", "10ms"], 2),
        (["--interval", "soon"], 2),
        (["--for", "0s"], 2),
        (["--max-cpu", "5"], 2),
        (["--max-cpu", "100000%"], 2),
        (["--max-memory", "512"], 2),
        (["--priority", "high"], 2),
        (["--no-such-option"], 2),
        (["-C", "/proc/nowhere/cap"], 3),
        (["-C", "/etc/hostname"], 3),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, words: list[str], status: int) -> None:
    done = sockrec("record", *(words if "-C" in words else ["-C", str(tmp_path / "cap"), *words]))
    assert (done.returncode, done.stdout) == (status, "")
    assert re.fullmatch(r"sockrec: [^\n]+\n", done.stderr)


def test_without_root_it_records_what_it_can_and_says_what_not(netns: Namespace, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for folder in tmp_path.parents:
        folder.chmod(folder.stat().st_mode | 0o011)
    capture = tmp_path / "cap"
    service = programs.start(netns, "myapp", programs.LISTENER, "10.0.0.5:7071")
    user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all")
    command = (*user, SOCKREC, "record", "-C", capture, "--interval", "100ms", "--for", "500ms")
    done = netns.run(*command, env=CLEAN | {"HOME": "/"})
    programs.end(service)
    assert done.returncode == 0
    assert re.fullmatch(r"(sockrec: [^\n]+\n){2}", done.stderr)
    assert [word in done.stderr for word in ("root", "no state changes")] == [True, True]
    (row,) = answer("sql", "-C", capture, "SELECT pid, owner FROM sockets WHERE local_port = 7071")
    assert row == {"pid": None, "owner": "no permission"}
    (row,) = answer("sql", "-C", capture, "SELECT unavailable FROM recordings")
    assert "root" in str(row["unavailable"])


def test_ten_thousand_idle_sockets_for_sixty_samples_take_less_than_a_megabyte(
    netns: Namespace, tmp_path: Path
) -> None:
    capture = tmp_path / "cap"
    program = programs.start(netns, "idle", programs.IDLE_PAIRS, "5000")
    with recording(netns, capture):
        wait_for_samples(capture, 60, seconds=60)
    programs.end(program)
    (row,) = answer("sql", "-C", capture, "SELECT count(*) AS n, min(sockets) AS sockets FROM samples")
    assert row["n"] >= 60
    assert row["sockets"] >= 10_000
    size = sum(path.stat().st_size for path in capture.rglob("*") if path.is_file())
    assert size < 1_000_000


TELL_PRIORITY = """
import os, subprocess
print(os.nice(0), flush=True)
subprocess.run(['ionice', '-p', str(os.getpid())])
input()
"""


@pytest.mark.parametrize(("priority", "nice"), [("low", 10), ("normal", 0)])
def test_it_runs_behind_everybody_else_and_its_command_does_not(
    netns: Namespace, tmp_path: Path, priority: str, nice: int
) -> None:
    command = ("python3", "-c", TELL_PRIORITY)
    words = (SOCKREC, "record", "-C", tmp_path / "cap", "--priority", priority, "--", *command)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with netns.popen(*words, env=CLEAN, **pipes) as process:
        assert process.stdout is not None
        command_is = [process.stdout.readline() for _ in range(2)]
        recorder_is = os.getpriority(os.PRIO_PROCESS, process.pid)
        io = subprocess.run(["ionice", "-p", str(process.pid)], capture_output=True, text=True).stdout
        _, complaints = process.communicate("\n", timeout=20)
    assert (process.returncode, complaints) == (0, "")
    assert command_is[0] == f"{os.nice(0)}\n"
    assert "prio 7" not in command_is[1]
    assert recorder_is == nice
    assert (io == "best-effort: prio 7\n") == (priority == "low")


def test_limits_are_recorded_with_the_other_options(netns: Namespace, tmp_path: Path) -> None:
    for name, words in (
        ("default", ()),
        ("off", ("--max-cpu", "off", "--max-memory", "0")),
        ("set", ("--max-cpu", "50%", "--max-memory", "700MiB")),
    ):
        done = netns.run(SOCKREC, "record", "-C", tmp_path / name, "--for", "100ms", *words, env=CLEAN)
        assert (done.returncode, done.stderr) == (0, "")
    found = {}
    for name in ("default", "off", "set"):
        (row,) = answer("sql", "-C", tmp_path / name, "SELECT options FROM recordings")
        options = json.loads(row["options"]) if isinstance(row["options"], str) else row["options"]
        found[name] = (options["cpu_share"], options["memory_bytes"])
    assert found == {"default": (0.05, 1 << 30), "off": (None, None), "set": (0.5, 700 << 20)}
