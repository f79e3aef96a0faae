"""When listeners begin and end, to the millisecond, and what ended them."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.events.listeners import SERIES, VICTIM, Program, assert_exact, listen_in_series
from tests.events.recorded import Recorder, recorded, rows, when
from tests.support.command import sockrec
from tests.support.loads.run import python_named
from tests.support.netns import Namespace

pytestmark = pytest.mark.moments

TIMES = 20
Moments = tuple[datetime, datetime]


def test_a_hundred_of_a_hundred_to_the_millisecond(netns: Namespace, tmp_path: Path) -> None:
    """Of one process, one after the other; a sample sees the tenth of them that last longest."""
    capture = tmp_path / "cap"
    draw = random.Random(4)
    series = [(7100 + i, 300.0 if i % 10 == 5 else draw.uniform(0, 30)) for i in range(100)]
    with Program(tmp_path, netns, "lister", SERIES) as program:
        with recorded(netns, capture, interval="200ms"):
            truth = listen_in_series(program, series)
        pid = program.pid
    ended = when(capture, "pid", str(pid), "stopped", "listening")
    began = when(capture, "pid", str(pid), "started", "listening")
    for found, moments in (
        (ended, [period.ended for period in truth]),
        (began, [period.began for period in truth]),
    ):
        assert [row["local_port"] for row in found] == [period.port for period in truth]
        for row, moment in zip(found, moments, strict=True):
            assert_exact(row, moment)
            assert (row["pid"], row["program"], row["local_address"]) == (pid, "lister", "10.0.0.5")
    (alone,) = when(capture, "port", "7142", "stopped", "listening")
    assert_exact(alone, truth[42].ended)
    facts = rows(
        capture,
        "SELECT kind, cause, count(*) AS n FROM events WHERE local_port BETWEEN 7100 AND 7199 "
        "GROUP BY ALL ORDER BY 1",
    )
    assert facts == [
        {"kind": "listening", "cause": None, "n": 100},
        {"kind": "stopped listening", "cause": "close", "n": 100},
    ]


@dataclass(frozen=True, slots=True)
class Case:
    """A way for a listener to end: what its program is told, what is done to it, what is to be said of it."""

    how: str
    words: str
    """Has to be found in the cause that `when` gives, `{me}` being this process."""
    facts: dict[str, Any]
    """Of the row in `events`."""
    act: Callable[[Program], None] = Program.say
    says_when: bool = False
    goes_on: bool = False
    """The process lives on."""


def kill(number: signal.Signals) -> Callable[[Program], None]:
    return lambda program: os.kill(program.pid, number)


ME = {"by_pid": os.getpid()}
CASES = {
    "close": Case("close", r"\bclosed\b", {"cause": "close"}, says_when=True, goes_on=True),
    "close by another thread": Case(
        "thread", r"\bclosed\b", {"cause": "close"}, says_when=True, goes_on=True
    ),
    "exit(3)": Case("exit", r"\bexited\b.*\b3\b", {"cause": "exit", "exit_code": 3}),
    "sys.exit(3)": Case("sys.exit", r"\bclosed it, then exited\b.*\b3\b", {"cause": "close", "exit_code": 3}),
    "exit of another thread": Case("thread exits", r"\bexited\b.*\b4\b", {"cause": "exit", "exit_code": 4}),
    "SIGSEGV": Case("fault", r"\bSIGSEGV\b", {"cause": "signal", "signal": signal.SIGSEGV, "by_pid": None}),
    "SIGKILL": Case(
        "",
        r"\bSIGKILL\b.*\[{me}\]",
        {"cause": "signal", "signal": signal.SIGKILL, **ME},
        kill(signal.SIGKILL),
    ),
    "SIGTERM": Case(
        "",
        r"\bSIGTERM\b.*\[{me}\]",
        {"cause": "signal", "signal": signal.SIGTERM, **ME},
        kill(signal.SIGTERM),
    ),
    "exec": Case("exec", r"(?=.*\bexec\b).*\bsleep\b", {"cause": "exec"}, goes_on=True),
}


def start(folder: Path, namespace: Namespace, ports: range, how: str) -> list[Program]:
    programs = [Program(folder, namespace, "victim", VICTIM, str(port), how) for port in ports]
    for program in programs:
        assert program.hear() == "ready"
    return programs


def in_two_halves(
    folder: Path, namespace: Namespace, recorder: Recorder, how: str
) -> tuple[list[Program], range]:
    """Start `TIMES` programs, of which samples see the listeners of one half."""
    ports = range(7200, 7200 + TIMES)
    programs = start(folder, namespace, ports[: TIMES // 2], how)
    recorder.more_samples(2)
    return programs + start(folder, namespace, ports[TIMES // 2 :], how), ports


@pytest.mark.parametrize("name", CASES)
def test_each_cause_is_named_twenty_times_of_twenty(netns: Namespace, tmp_path: Path, name: str) -> None:
    capture = tmp_path / "cap"
    case = CASES[name]
    programs: list[Program] = []
    try:
        with recorded(netns, capture, interval="500ms") as recorder:
            programs, ports = in_two_halves(tmp_path, netns, recorder, case.how)
            truth = [end(case, program) for program in programs]
    finally:
        for program in programs:
            program.end()
    pids = [program.pid for program in programs]
    found = when(capture, "program", "victim", "stopped", "listening")
    assert [row["pid"] for row in found] == pids, "in the order in which they were ended"
    assert [row["local_port"] for row in found] == list(ports)
    for row, moments in zip(found, truth, strict=True):
        assert_exact(row, moments)
        assert re.search(case.words.format(me=os.getpid()), row["cause"]), row["cause"]
        assert "unknown" not in row["cause"]
    facts = rows(
        capture,
        "SELECT pid, program, evidence, cause, exit_code, signal, by_pid, detail FROM events "
        "WHERE kind = 'stopped listening' ORDER BY not_after",
    )
    detail = [row.pop("detail") for row in facts]
    same = {"program": "victim", "evidence": "event", "exit_code": None, "signal": None, "by_pid": None}
    assert facts == [{"pid": pid, **same, **case.facts} for pid in pids]
    if name == "exec":
        assert {Path(path).name for path in detail} == {"sleep"}
    gone = rows(
        capture,
        "SELECT pid, cause, exit_code, signal FROM events WHERE kind = 'exited' ORDER BY not_after",
    )
    if case.goes_on:
        assert not {row["pid"] for row in gone} & set(pids)
    else:
        known = {"cause": None, "exit_code": None, "signal": None}
        wanted = {key: case.facts.get(key) for key in known}
        if wanted["cause"] == "close":  # and then it ended by itself
            wanted["cause"] = "exit"
        assert [row for row in gone if row["pid"] in pids] == [{"pid": pid, **wanted} for pid in pids]


def end(case: Case, program: Program) -> Moments:
    """Have a listener end; return when it did, as closely as is known."""
    before = datetime.now(UTC)
    case.act(program)
    if case.says_when:
        return program.hear_moments()
    if case.goes_on:
        _wait_for_exec(program)
    else:
        program.process.wait(20)
    return before, datetime.now(UTC)


def _wait_for_exec(program: Program) -> None:
    # Its standard output is Python's no more: nothing tells but the name.
    path = Path(f"/proc/{program.pid}/comm")
    for _ in range(100_000):
        if path.read_text() == "sleep\n":
            time.sleep(0.05)  # it has its name before its sockets are closed
            return
    raise AssertionError("it did not become another program")


def test_a_process_that_inherited_it_closes_it_last(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    programs = []
    children, truth = [], []
    try:
        with recorded(netns, capture, interval="500ms") as recorder:
            for half in range(2):
                for port in range(7200 + half * TIMES // 2, 7200 + (half + 1) * TIMES // 2):
                    programs.append(Program(tmp_path, netns, "victim", VICTIM, str(port), "inherited"))
                    children.append(int(programs[-1].hear()))
                if not half:
                    recorder.more_samples(2)
            for program in programs:
                program.say()
                truth.append(program.hear_moments())
    finally:
        for program in programs:
            program.end()
    found = when(capture, "program", "victim", "stopped", "listening")
    facts = rows(
        capture,
        "SELECT pid, cause, by_pid, by_program FROM events WHERE kind = 'stopped listening' "
        "ORDER BY not_after",
    )
    assert len(found) == len(facts) == TIMES
    for row, fact, moments, child, program in zip(found, facts, truth, children, programs, strict=True):
        assert_exact(row, moments)
        if fact["pid"] == child:  # a sample or reading saw that it alone held it at the last
            assert fact["cause"] == "close"
        else:
            assert fact == {
                "pid": program.pid,
                "cause": "other process",
                "by_pid": child,
                "by_program": "victim",
            }
            assert f"[{child}]" in row["cause"]
            assert re.search(r"\bclosed\b", row["cause"])


PARENT = """
import subprocess, sys
words = [sys.argv[1], "-S", "-c", sys.argv[2], "7300", ""]
child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.readline()
child.terminate()
child.wait()
print("done", flush=True)
sys.stdin.readline()
"""


def test_the_sender_of_a_signal_is_named(netns: Namespace, tmp_path: Path) -> None:
    """A parent that kills its child; the child's end alone does not tell who it was."""
    capture = tmp_path / "cap"
    child_program = str(python_named(tmp_path, "victim"))
    with (
        recorded(netns, capture, interval="500ms") as recorder,
        Program(tmp_path, netns, "parent", PARENT, child_program, VICTIM) as parent,
    ):
        child = int(parent.hear())
        recorder.more_samples(2)
        before = datetime.now(UTC)
        parent.say()
        assert parent.hear() == "done"
        after = datetime.now(UTC)
        recorder.more_samples(1)
    (row,) = when(capture, "port", "7300", "stopped", "listening")
    assert_exact(row, (before, after))
    assert row["pid"] == child
    assert re.search(rf"\bSIGTERM\b.*\bparent\[{parent.pid}\]", row["cause"]), row["cause"]
    facts = rows(
        capture,
        "SELECT signal, by_pid, by_program FROM events "
        "WHERE kind = 'stopped listening' AND local_port = 7300",
    )
    assert facts == [{"signal": signal.SIGTERM, "by_pid": parent.pid, "by_program": "parent"}]


def test_it_is_said_in_words(netns: Namespace, tmp_path: Path) -> None:
    """The sentence that somebody reads in the middle of an incident."""
    capture = tmp_path / "cap"
    with recorded(netns, capture, interval="500ms") as recorder:
        (first,) = start(tmp_path, netns, range(7071, 7072), "fault")
        recorder.more_samples(2)
        first.say()
        first.process.wait(20)
        (second,) = start(tmp_path, netns, range(7071, 7072), "close")
        recorder.more_samples(1)
        second.end()
        first.end()
    text = sockrec("when", "-C", capture, "port", "7071", "stopped", "listening").stdout.splitlines()[0]
    pattern = (
        rf".*7071.* stopped listening at \d\d:\d\d:\d\d\.\d{{6}} \S+.*exact.*"
        rf"victim\[{first.pid}\].*SIGSEGV.*listening again .* later as victim\[{second.pid}\]"
    )
    assert re.fullmatch(pattern, text), text
    story = sockrec("port", "-C", capture, "7071").stdout
    assert "SIGSEGV" in story, story
