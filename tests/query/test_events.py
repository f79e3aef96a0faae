"""`sockrec events`: what is asked for, in every format, and why nothing is printed if nothing is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import sockrec
from sockrec.errors import UsageError
from sockrec.query.events import COLUMNS, wanted
from tests.catalog.captures import Part, began
from tests.support import command


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a crash, a restart, clients of both kinds, a process's end, and a loss."""
    root = tmp_path_factory.mktemp("capture")
    part = Part(root, 0, 30)
    part.socket(1, 0, 9, "found", "closed")
    part.exactly(ended=9.5)
    part.stopped(1, 9.5, cause="signal", signal=11)
    part.socket(2, 29, 30, "opened", "stopped", pid=4377)
    part.connection(11, 2, 4)
    part.closed(12, 3.25, 3.5)
    client: dict[str, Any] = {
        "role": "client",
        "pid": 99,
        "program": "psql",
        "local_port": 43310,
        "remote_port": 7071,
    }
    part.closed(13, 5.25, 5.5, remote_address="::ffff:10.0.0.7", family="inet6", **client)
    part.event("exited", 9.4, 9.6, pid=4121, program="myapp", cause="signal", signal=11)
    part.event("lost", 20, 21, detail="state changes", count=128)
    part.write()
    return root


def _events(capture: Path, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = command.answer("events", "-C", capture, *words)
    return found


def _kinds(capture: Path, *words: str) -> list[tuple[str, int | None]]:
    return [(row["kind"], row["socket_id"]) for row in _events(capture, *words)]


def test_everything_in_order(capture: Path) -> None:
    rows = _events(capture)
    assert list(rows[0]) == list(COLUMNS)
    assert [(row["kind"], row["socket_id"]) for row in rows] == [
        ("opened", 11),
        ("opened", 12),
        ("closed", 12),
        ("closed", 11),
        ("opened", 13),
        ("closed", 13),
        ("stopped listening", 1),
        ("exited", None),
        ("lost", None),
        ("listening", 2),
    ]
    assert rows[1]["not_before"] == rows[1]["not_after"] == "2026-11-20T10:32:03.250000Z"


def test_a_port_is_that_of_either_end(capture: Path) -> None:
    ids = [id_ for _, id_ in _kinds(capture, "--port", "7071")]
    assert ids == [11, 12, 12, 11, 13, 13, 1, None, 2]
    assert _kinds(capture, "--port", "43310/tcp", "--kind", "closed") == [("closed", 13)]


def test_pids_and_peers(capture: Path) -> None:
    lost = ("lost", None)
    assert _kinds(capture, "--pid", "99") == [("opened", 13), ("closed", 13), lost]
    assert _kinds(capture, "--pid", "4121", "--kind", "exited") == [("exited", None)]
    assert _kinds(capture, "--peer", "10.0.0.7") == [("opened", 13), ("closed", 13), lost]
    assert _kinds(capture, "--peer", "10.0.0.7:7071", "--port", "43310") == [
        ("opened", 13),
        ("closed", 13),
        lost,
    ]
    assert _kinds(capture, "--peer", "10.0.0.9:40012", "--kind", "opened") == [("opened", 12)]


def test_kinds_by_any_of_their_names(capture: Path) -> None:
    for name in ("stopped", "stopped listening", "Stopped-Listening"):
        assert _kinds(capture, "--kind", name) == [("stopped listening", 1)]
    assert _kinds(capture, "-k", "listening", "-k", "lost") == [("lost", None), ("listening", 2)]


def test_what_may_have_happened_in_the_time_counts(capture: Path) -> None:
    assert _kinds(capture, "--from", "10:32:03.3", "--to", "10:32:04.5") == [("closed", 12), ("closed", 11)]
    assert _kinds(capture, "--from", "10:32:05.010", "--to", "10:32:05.010") == [("closed", 11)]
    assert _kinds(capture, "--from", "start+20.5s", "--to", "start+20.6s") == [("lost", None)]
    # Times outside of what was recorded are no mistake here.
    assert len(_events(capture, "--from", "2000-01-01T00:00:00Z", "--to", "2100-01-01T00:00:00Z")) == 10


def test_lines_for_people(capture: Path) -> None:
    done = command.sockrec("events", "-C", capture, "--from", "10:32:05.2", "--to", "10:32:10")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "2026-11-20 (times in UTC)\n"
        "10:32:05.250000  opened             tcp 10.0.0.5:43310 -> [::ffff:10.0.0.7]:7071  psql[99]"
        " (inferred)\n"
        "10:32:05.500000  closed             tcp 10.0.0.5:43310 -> [::ffff:10.0.0.7]:7071  psql[99]"
        " (inferred)  closed by the peer after 250 ms\n"
        "10:32:09.500000  stopped listening  tcp 10.0.0.5:7071  myapp[4121] was killed by SIGSEGV\n"
        "10:32:09.4-09.6  exited             myapp[4121] was killed by SIGSEGV\n"
    )
    done = command.sockrec("events", "-C", capture, "--tz", "Asia/Kolkata", "-k", "stopped")
    assert done.stdout.startswith("2026-11-20 (times in +05:30)\n16:02:09.500000  stopped listening")


@pytest.mark.parametrize("name", ["jsonl", "csv", "table", "markdown"])
def test_other_formats_have_a_line_for_each_event(capture: Path, name: str) -> None:
    done = command.sockrec("events", "-C", capture, "-f", name)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 10 + {"jsonl": 0, "markdown": 2}.get(name, 1)


def _failed(status: int, *words: str | Path) -> str:
    done = command.sockrec("events", *words)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith("sockrec: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_nothing_matched(capture: Path, tmp_path: Path) -> None:
    said = _failed(1, "-C", capture, "--port", "9", "--kind", "closed")
    assert "no event matches; recorded: 2026-11-20 10:32:00.000 to 10:32:30.010+00:00" in said
    assert "no event source" not in said
    # What was lost may have matched: it is printed, and still nothing matched.
    done = command.sockrec("events", "-C", capture, "--port", "9")
    assert done.returncode == 1
    assert done.stdout.endswith("10:32:20.0-21.0  lost               128 state changes\n")
    assert "no event matches" in done.stderr
    Part(tmp_path, 0, 3).write()
    assert "no event source told anything" in _failed(1, "-C", tmp_path)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--port", "0"), "there is no port 0"),
        (("--port", "7071/quic"), "is not a protocol"),
        (("--pid", "x"), "is not a process id"),
        (("--peer", "nowhere"), "nowhere"),
        (("--kind", "sneezed"), "there is no kind of event 'sneezed': give one of listening"),
        (("--from", "10:32:09", "--to", "10:32:08"), "--to is before --from"),
        (("--follow", "--to", "10:32:08"), "leave out --to"),
        (("--format", "yaml"), "there is no format 'yaml'"),
        (("--from", "noonish"), "is not a time"),
    ],
)
def test_nonsense_is_refused(capture: Path, words: tuple[str, ...], why: str) -> None:
    assert why in _failed(2, "-C", capture, *words)


def test_all_of_many_rows_are_printed(tmp_path: Path) -> None:
    """They go out in pieces of fewer rows than these."""
    part = Part(tmp_path, 0, 9)
    for number in range(5000):
        part.closed(number, 1 + number / 1e4, 1 + number / 1e4)
    part.write()
    done = command.sockrec("events", "-C", tmp_path, "-f", "json")
    assert len(json.loads(done.stdout)) == 10_000
    done = command.sockrec("events", "-C", tmp_path)
    assert len(done.stdout.splitlines()) == 10_001


def test_as_a_library(capture: Path) -> None:
    with sockrec.open(capture) as opened:
        assert opened.events().columns == list(COLUMNS)
        found = opened.events(port=43310, kinds=["closed"]).project("socket_id, not_after, cause").fetchall()
        assert found == [(13, began(5.5), "closed by the peer")]
        assert opened.events(pid=99, peer="10.0.0.7:7071").count("*").fetchall() == [(3,)]
        with pytest.raises(UsageError):
            opened.events(port="99999")


def test_losses_are_told_whatever_is_asked_for_unless_other_kinds_are() -> None:
    assert not wanted().is_of_some
    assert wanted(port=1).is_of_some
    assert wanted(pid=1).is_of_some
    assert wanted(peer="::1").is_of_some
