"""`sockrec.open`: the questions as a library."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import sockrec
from sockrec.errors import CaptureError, UsageError
from tests.catalog.captures import Part, began, ended


@pytest.fixture
def capture(tmp_path: Path) -> sockrec.Capture:
    """Give a capture of a crash and a restart, recorded where clocks are an hour ahead."""
    part = Part(tmp_path, 0, 30, facts={"time_zone": "Europe/Berlin"})
    part.socket(1, 0, 9, "found", "closed")
    part.socket(2, 15, 30, "opened", "stopped", pid=4377)
    part.connection(3, 2, 4)
    part.active(1, 5, recv_q=9)
    part.write()
    return sockrec.open(tmp_path)


def test_every_question_is_a_relation(capture: sockrec.Capture) -> None:
    with capture:
        assert capture.when("port 7071 stopped listening").project("not_before, not_after").fetchall() == [
            (began(9), ended(10))
        ]
        assert (
            capture.port(7071).count("*").fetchall()
            == capture.port("7071/tcp").count("*").fetchall()
            == [(4,)]
        )
        assert capture.listeners().project("pid").fetchall() == [(4121,), (4377,)]
        assert capture.connections().project("role").fetchall() == [("server",)]
        assert capture.gaps().fetchall() == []
        assert capture.samples().count("*").fetchall() == [(31,)]
        assert capture.at("start+6s").project("socket_id, recv_q").fetchall() == [(1, 9)]
        assert capture.changes("start+8s", "end").project("what").fetchall() == [("closed",), ("opened",)]
        assert capture.sentences("port 7071 started listening")[1].startswith(
            "port 7071 (tcp 10.0.0.5:7071) started"
        )
        assert capture.hosts == ["web-1"]
        assert capture.info()["samples"] == 31
        assert capture.recordings[0]["kernel"] == "6.18.0"
        assert capture.damages == []


def test_traffic_is_a_relation_in_all_and_in_steps(capture: sockrec.Capture) -> None:
    with capture:
        assert capture.traffic().columns[:2] == ["service", "port"]
        assert capture.traffic("peer", "start", "end", "1m").columns[:2] == ["time", "peer"]
        with pytest.raises(UsageError):
            capture.traffic("colour")


def test_the_largest_are_a_relation(capture: sockrec.Capture) -> None:
    with capture:
        (row,) = (
            capture.top("recv-q", most=1, first="start", last="end").project("value, local_port").fetchall()
        )
        assert row == (9, 7071)
        assert {row[0] for row in capture.top().fetchall()} == {"recv-q", "connections", "churn"}


def test_the_states_of_a_port_and_of_a_socket_are_relations(capture: sockrec.Capture) -> None:
    with capture:
        assert capture.lifecycle(port=7071).project("state, next_state").fetchall() == [
            ("ESTABLISHED", "CLOSED")
        ]
        assert [row[0] for row in capture.lifecycle(socket=3).project("state").fetchall()] == [
            "ESTABLISHED",
            "CLOSED",
        ]
        with pytest.raises(UsageError):
            capture.lifecycle()


def test_findings_are_objects(capture: sockrec.Capture) -> None:
    with capture:
        (one,) = capture.diagnose()
        assert (one.kind, one.not_before, one.not_after) == ("listener-stopped", began(9), ended(10))
        assert capture.diagnose("start+12s", settings=["gap.seconds=5"]) == []


def test_what_differs_between_two_moments_of_one_capture_or_two(capture: sockrec.Capture) -> None:
    with capture, sockrec.open(capture.path) as other:
        (restart,) = capture.diff("start+5s", "end")
        assert (restart.what, restart.details) == ("changed", ("restarted: pid 4121 -> 4377",))
        assert capture.diff("start+5s", "end", other) == [restart]
        assert capture.diff("end", "end", other, "web-1", "web-1") == []


def test_moments_are_the_captures_own_time_or_aware(capture: sockrec.Capture) -> None:
    assert capture.time("11:32:06") == capture.time("2026-11-20T10:32:06Z") == began(6)
    assert capture.time("11:32:06").isoformat() == "2026-11-20T11:32:06+01:00"
    ids = [capture.at(moment).project("socket_id").fetchall() for moment in ("11:32:20", began(20))]
    assert ids == [[(2,)], [(2,)]]
    for nonsense in ("12:00", "noonish", datetime(2026, 11, 20, 10, 32)):
        with pytest.raises(UsageError):
            capture.at(nonsense)


def test_sql_binds_and_only_reads(capture: sockrec.Capture) -> None:
    sql = "SELECT count(*) FROM listeners WHERE local_port = "
    assert capture.sql(sql + "?", [7071]).fetchall() == [(2,)]
    assert capture.sql(sql + "$port", {"port": 80}).fetchall() == [(0,)]
    for wrong in (
        "DROP VIEW sockets",
        "SELECT nope FROM sockets",
        "WITH d AS (COPY sockets TO 'x') SELECT 1",
    ):
        with pytest.raises(UsageError):
            capture.sql(wrong).fetchall()


def test_a_relation_read_halfway_blocks_nothing(capture: sockrec.Capture) -> None:
    reader = capture.sql("SELECT range AS x FROM range(100000)").to_arrow_reader(10)
    assert reader.read_next_batch().num_rows == 10
    assert len(capture.when("port 7071 stopped listening").fetchall()) == 1
    assert reader.read_next_batch().num_rows == 10


def test_which_capture_is_meant(
    capture: sockrec.Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOCKREC_CAPTURE", str(tmp_path))
    with sockrec.open() as found:
        assert found.path == tmp_path
    with pytest.raises(CaptureError):
        sockrec.open(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CaptureError):
        sockrec.open(tmp_path / "empty")


def test_a_closed_capture_says_so(capture: sockrec.Capture) -> None:
    capture.close()
    with pytest.raises(CaptureError, match="closed"):
        capture.listeners()


def test_zones_unknown_here_are_utc(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 3, facts={"time_zone": "Mars/Base"})
    part.write()
    with sockrec.open(tmp_path) as found:
        assert found.time("10:32:01") == began(1)
        assert found.zone == UTC


def test_a_baseline_is_learned_compared_and_used(capture: sockrec.Capture, tmp_path: Path) -> None:
    file = tmp_path / "host.toml"
    with capture:
        usual = capture.baseline()
        assert [(one.port, one.program) for one in usual.listens] == [(7071, "myapp")]
        assert capture.baseline_diff(usual) == []
        file.write_text('schema = 1\n[[listens]]\nprotocol = "tcp"\nport = 80\n')
        (new, gone) = capture.baseline_diff(sockrec.baseline(file), "start", "end")
        assert (new.what, new.entry.port, gone.what, gone.entry.port) == ("new", 7071, "gone", 80)
        kinds = {one.kind for one in capture.diagnose(baseline=sockrec.baseline(file))}
        assert kinds == {"listener-stopped", "new-listener"}
        with pytest.raises(UsageError):
            capture.baseline(host="nobody")
    with pytest.raises(UsageError, match="can't read"):
        sockrec.baseline(tmp_path / "none.toml")


def _found(**changed: Any) -> sockrec.Finding:
    facts: dict[str, Any] = {
        "kind": "own",
        "severity": "critical",
        "title": "ours",
        "text": "This is not allowed here.",
        "not_before": None,
        "not_after": began(5),
        "host": "web-1",
        "subject": "port 7071",
        "numbers": {},
        "look": "sockrec port 7071",
        "sql": "SELECT 1",
    }
    return sockrec.Finding(**(facts | changed))


def test_findings_of_ones_own_are_told_among_ours_by_severity(capture: sockrec.Capture) -> None:
    def own(asked: sockrec.Capture) -> list[sockrec.Finding]:
        rows = asked.listeners().fetchall()
        return [_found(severity="notice", title="last"), _found(numbers={"listeners": len(rows)})]

    with capture:
        ours = capture.diagnose()
        told = capture.diagnose(also=[own])
    assert ours
    critical = sum(one.severity == "critical" for one in ours)
    assert told[critical].numbers == {"listeners": 2}
    assert told[-1].title == "last"
    assert [one for one in told if one.kind != "own"] == ours


@pytest.mark.parametrize(
    ("asked", "told"),
    [({"first": "start+6s"}, 0), ({"last": "start+4s"}, 0), ({"first": "start+4s", "last": "start+6s"}, 1)],
)
def test_findings_of_ones_own_are_of_the_time_asked_about(
    capture: sockrec.Capture, asked: dict[str, Any], told: int
) -> None:
    with capture:
        found = capture.diagnose(**asked, also=[lambda _: [_found()]])
        elsewhere = capture.diagnose(host="web-1", also=[lambda _: [_found(host="web-2")]])
    assert sum(one.kind == "own" for one in found) == told
    assert "own" not in {one.kind for one in elsewhere}


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (_found(severity="bad"), "own: a severity is critical, warning, notice, not 'bad'"),
        (_found(not_after=datetime(2026, 11, 20)), "own: .* has no time zone"),
        ("port 7071 is down", "has to be a sockrec.Finding, not str"),
    ],
)
def test_what_is_no_finding_is_refused_in_a_line(capture: sockrec.Capture, found: Any, message: str) -> None:
    with capture, pytest.raises(UsageError, match=message):
        capture.diagnose(also=[lambda _: [found]])
