"""Why a listener or a process ended, in words: by `when`, by `port`, as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import sockrec
from sockrec.model.signals import NAMES
from tests.catalog.captures import Part, began, ended
from tests.support import command

CAUSES: dict[str, dict[str, Any]] = {
    "myapp[4121] closed it": {"cause": "close"},
    "myapp[4121] exited with status 3": {"cause": "exit", "exit_code": 3},
    "myapp[4121] exited with status 0": {"cause": "exit", "exit_code": 0},
    "myapp[4121] exited": {"cause": "exit"},
    "myapp[4121] was killed by SIGSEGV": {"cause": "signal", "signal": 11},
    "myapp[4121] was killed by SIGKILL, sent by bash[99]": {
        "cause": "signal",
        "signal": 9,
        "by_pid": 99,
        "by_program": "bash",
    },
    "myapp[4121] was killed by signal 34": {"cause": "signal", "signal": 34},
    "myapp[4121] was killed by a signal": {"cause": "signal"},
    "myapp[4121] was killed by the OOM killer": {"cause": "oom", "signal": 9},
    "myapp[4121] was replaced by /usr/bin/other (exec)": {"cause": "exec", "detail": "/usr/bin/other"},
    "helper[77] closed it": {"cause": "other process", "by_pid": 77, "by_program": "helper"},
    "another process closed it": {"cause": "other process"},
    "its holder was killed by SIGTERM": {"cause": "signal", "signal": 15, "pid": None, "program": None},
    "?[5] closed it": {"cause": "close", "pid": 5, "program": None},
}


def _capture(root: Path, at: float = 9.118207, **cause: Any) -> Path:
    part = Part(root, 0, 30)
    known = {name: cause[name] for name in ("pid", "program") if name in cause}
    part.socket(1, 0, 9, "found", "closed", **known)
    part.exactly(ended=at)
    part.stopped(1, at, **cause)
    part.socket(2, 29, 30, "opened", "stopped", pid=4377)
    part.exactly(begun=29.418207)
    part.write()
    return root


def _when(root: Path, *words: str) -> str:
    done = command.sockrec("when", "-C", root, *words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("words", CAUSES)
def test_the_cause_of_a_listeners_end(tmp_path: Path, words: str) -> None:
    root = _capture(tmp_path, **CAUSES[words])
    with sockrec.open(root) as capture:
        (sentence,) = capture.sentences("port 7071 stopped listening")
        assert capture.when("port 7071 stopped listening").project("cause").fetchall() == [(words,)]
        told = capture.port(7071).filter("what = 'stopped listening'").project("cause, at_not_after")
        assert told.fetchall() == [(words, began(9.118207))]
    assert sentence == (
        "port 7071 (tcp 10.0.0.5:7071) stopped listening at 10:32:09.118207 UTC on 2026-11-20 (exact): "
        f"{words}; listening again 20.3 s later as myapp[4377]"
    )


def test_through_the_command(tmp_path: Path) -> None:
    root = _capture(tmp_path, cause="signal", signal=11)
    assert _when(root, "port 7071 stopped listening") == (
        "port 7071 (tcp 10.0.0.5:7071) stopped listening at 10:32:09.118207 UTC on 2026-11-20 (exact): "
        "myapp[4121] was killed by SIGSEGV; listening again 20.3 s later as myapp[4377]\n"
    )
    assert _when(root, "port 7071 started listening").splitlines()[1] == (
        "port 7071 (tcp 10.0.0.5:7071) started listening at 10:32:29.418207 UTC on 2026-11-20 (exact): "
        "myapp[4377]"
    )
    (answer,) = json.loads(_when(root, "port 7071 stopped listening", "--format", "json"))
    assert (answer["cause"], answer["exact"], answer["evidence"], answer["pid"]) == (
        "myapp[4121] was killed by SIGSEGV",
        True,
        "event",
        4121,
    )
    assert answer["not_before"] == answer["not_after"] == "2026-11-20T10:32:09.118207Z"
    done = command.sockrec("port", "-C", root, "7071")
    assert done.stdout == (
        "port 7071 on web-1, 2026-11-20 (times in UTC)\n"
        "  10:32:00.010                 tcp 10.0.0.5:7071  was listening already, when recording began: "
        "myapp[4121]\n"
        "  10:32:09.118207              tcp 10.0.0.5:7071  stopped listening: "
        "myapp[4121] was killed by SIGSEGV\n"
        "                               0 connections\n"
        "                               listening again 20.3 s later as myapp[4377]\n"
        "  10:32:29.418207              tcp 10.0.0.5:7071  started listening: myapp[4377]\n"
        "  10:32:30.000                 tcp 10.0.0.5:7071  still listening, when recording stopped: "
        "myapp[4377]\n"
        "                               0 connections\n"
    )


def test_an_unknown_cause_leaves_the_holder(tmp_path: Path) -> None:
    root = _capture(tmp_path, cause=None)
    assert "(exact): myapp[4121]; listening again" in _when(root, "port 7071 stopped listening")
    (answer,) = json.loads(_when(root, "port 7071 stopped listening", "-f", "json"))
    assert answer["cause"] is None


def test_an_inferred_cause_has_the_samples_bounds(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.socket(1, 0, 3, "found", "closed")
    part.stopped(1, 3, 4.01, evidence="inferred", cause="exit", exit_code=3)
    part.write()
    assert _when(tmp_path, "port 7071 stopped listening") == (
        "port 7071 (tcp 10.0.0.5:7071) stopped listening between 10:32:03.000 and 10:32:04.010 UTC "
        "on 2026-11-20 (1.01 s; by sample): myapp[4121] exited with status 3\n"
    )


def test_an_end_in_a_gap_is_still_told_as_such(tmp_path: Path) -> None:
    one = Part(tmp_path, 0, 5)
    one.socket(1, 0, 5, "found", "stopped")
    one.write()
    Part(tmp_path, 60, 65, recording="20261120T103300-bbbb").write()
    assert "inferred: not seen after a gap in the recording): myapp[4121]\n" in _when(
        tmp_path, "port 7071 stopped listening"
    )


def test_hostile_names_in_causes_steer_nothing(tmp_path: Path) -> None:
    root = _capture(tmp_path, cause="other process", by_pid=7, by_program="\x1b[31m\nx")
    for verb in (("when", "port 7071 stopped listening"), ("port", "7071")):
        done = command.sockrec(verb[0], "-C", root, verb[1])
        assert "\\x1b[31m\\x0ax[7] closed it" in done.stdout
        assert "\x1b" not in done.stdout


def test_processes_end_exactly_and_for_a_reason(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 30)
    part.process(4121, 1, 9, "found", "closed", start_time=began(-100))
    part.event("exited", 9.25, pid=4121, program="myapp", cause="signal", signal=11)
    # The same pid again, and once more, which was not told; and before all of them.
    part.process(4121, 12, 13, start_time=began(11.5))
    part.event("exited", 13.25, 13.75, pid=4121, program="myapp", cause="exit", exit_code=3)
    part.process(4121, 20, 21, start_time=began(19.5))
    part.event("exited", -200, pid=4121, program="older", cause="exit")
    # One that no sample saw.
    part.event("exited", 15.5, pid=99, program="curl", cause="exit", exit_code=0)
    part.write()
    assert _when(tmp_path, "pid 4121 stopped").splitlines() == [
        "older[4121] exited at 10:28:40.000000 UTC on 2026-11-20 (exact)",
        "myapp[4121] was killed by SIGSEGV at 10:32:09.250000 UTC on 2026-11-20 (exact)",
        "myapp[4121] exited with status 3 between 10:32:13.250 and 10:32:13.750 UTC on 2026-11-20 "
        "(500 ms; by event)",
        "myapp[4121] ended between 10:32:21.000 and 10:32:22.010 UTC on 2026-11-20 (1.01 s; by sample)",
    ]
    with sockrec.open(tmp_path) as capture:
        answers = capture.when("program curl stopped").project("pid, not_before, not_after, cause").fetchall()
        assert answers == [(99, began(15.5), began(15.5), "curl[99] exited with status 0")]
        assert capture.when("program curl started").fetchall() == []
        started = capture.when("pid 4121 started").project("not_before").fetchall()
        assert started == [(began(-100),), (began(11.5),), (began(19.5),)]


def test_a_process_that_exited_after_its_last_socket_closed(tmp_path: Path) -> None:
    """Its row ends when it holds no socket any more; it itself went on for a while."""
    part = Part(tmp_path, 0, 30)
    part.process(4121, 1, 9, "found", "stopped", start_time=began(-100))
    part.event("exited", 19.25, pid=4121, program="myapp", cause="exit", exit_code=0)
    part.write()
    assert _when(tmp_path, "pid 4121 stopped") == (
        "myapp[4121] exited with status 0 at 10:32:19.250000 UTC on 2026-11-20 (exact)\n"
    )


def test_unsampled_connections_are_answers_and_chapters(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.socket(1, 0, 9, "found", "stopped")
    part.closed(2, 3.25, 3.5)
    part.closed(3, 3.3, 3.4)
    part.closed(4, 3.45, 3.6)
    part.closed(5, 4.5, 4.6, established_at=None, cause="refused")
    part.connection(6, 3, 3)
    part.exactly(2.5, 3.31)
    part.closed(6, 2.5, 3.31, sampled=True)
    part.write()
    with sockrec.open(tmp_path) as capture:
        answers = capture.when("port 7071 closed").project("remote_port, not_after, exact").fetchall()
        assert answers == [
            (40006, began(3.31), True),
            (40003, began(3.4), True),
            (40002, began(3.5), True),
            (40004, began(3.6), True),
        ]
        ((count, peak),) = (
            capture.port(7071)
            .filter("what = 'still listening'")
            .project("connections, peak_connections")
            .fetchall()
        )
    # 2, 3 and 6 were open at once for 10 ms; that a sample saw 6 makes it no longer.
    assert (count, peak) == (5, 3)


def test_a_port_that_only_events_saw(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.stopped(1, 3.5, cause="close", sampled=False, opened_at=began(3.25), local_port=9000)
    part.write()
    assert _when(tmp_path, "port 9000 stopped listening").endswith("(exact): myapp[4121] closed it\n")
    done = command.sockrec("port", "-C", tmp_path, "9000")
    assert [line.split()[0] for line in done.stdout.splitlines()[1:3]] == [
        "10:32:03.250000",
        "10:32:03.500000",
    ]


def test_samples_bound_what_events_do_not(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.socket(1, 0, 3, "found", "closed")
    part.rows["sockets"][-1] |= {"ended_evidence": "event"}
    part.write()
    with sockrec.open(tmp_path) as capture:
        answers = capture.when("port 7071 stopped listening").project(
            "not_before, not_after, exact, evidence"
        )
        assert answers.fetchall() == [(began(3), ended(4), False, "event")]


def test_signals_have_linux_s_names() -> None:
    assert [NAMES[number] for number in (1, 6, 9, 11, 15, 17, 29, 31)] == [
        "SIGHUP",
        "SIGABRT",
        "SIGKILL",
        "SIGSEGV",
        "SIGTERM",
        "SIGCHLD",
        "SIGIO",
        "SIGSYS",
    ]
    assert sorted(NAMES) == list(range(1, 32))
