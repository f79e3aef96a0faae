"""The view `events`: everything once, in order, with what is known of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sockrec.catalog import open_catalog
from sockrec.catalog.views import EVENTS
from tests.catalog.captures import Part, began, ended


def _events(root: Path, columns: str = "*", where: str = "true") -> list[dict[str, Any]]:
    with open_catalog(root) as catalog:
        relation = catalog.relation(
            f"SELECT {columns} FROM events WHERE {where} ORDER BY not_after, not_before, kind, socket_id"
        )
        return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def _short(root: Path) -> list[tuple[Any, ...]]:
    return [
        (row["kind"], row["socket_id"], row["not_before"], row["not_after"], row["evidence"])
        for row in _events(root)
    ]


def test_samples_alone_tell_of_beginnings_and_ends_with_their_bounds(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.socket(1, 0, 7, "found", "closed")
    part.connection(2, 2, 3, "opened", "changed", state="SYN_RECV", pid=None, program=None)
    part.connection(2, 4, 5, "changed", "closed")
    part.socket(3, 8, 9, "opened", "stopped", local_port=80)
    part.write()
    assert _short(tmp_path) == [
        ("opened", 2, began(1), ended(2), "sample"),
        ("closed", 2, began(5), ended(6), "sample"),
        ("listening", 3, began(7), ended(8), "sample"),
        ("stopped listening", 1, began(7), ended(8), "sample"),
    ]
    opened, closed, *_ = _events(tmp_path)
    assert (opened["role"], opened["pid"], opened["owner_evidence"], opened["sampled"]) == (
        "server",
        None,
        None,
        True,
    )
    assert (closed["role"], closed["pid"], closed["owner_evidence"]) == ("server", 4121, "sample")
    assert closed["cause"] is closed["bytes_sent"] is closed["opened_at"] is None


def test_sampled_ones_with_events_are_told_once(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.socket(1, 1, 7)
    part.exactly(0.5, 7.25)
    part.stopped(1, 7.25, cause="signal", signal=11, opened_at=began(0.5))
    part.connection(2, 2, 5)
    part.exactly(1.5, 5.75)
    part.closed(2, 1.5, 5.75, sampled=True, bytes_sent=7, segs_in=3)
    part.write()
    assert _short(tmp_path) == [
        ("listening", 1, began(0.5), began(0.5), "event"),
        ("opened", 2, began(1.5), began(1.5), "event"),
        ("closed", 2, began(5.75), began(5.75), "event"),
        ("stopped listening", 1, began(7.25), began(7.25), "event"),
    ]
    _, opened, closed, stopped = _events(tmp_path)
    assert (opened["opened_at"], opened["cause"], opened["bytes_sent"]) == (began(1.5), None, None)
    assert (closed["cause"], closed["bytes_sent"], closed["segs_in"]) == ("closed by the peer", 7, 3)
    assert (stopped["cause"], stopped["signal"]) == ("signal", 11)


def test_what_no_sample_saw_begins_too(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.closed(5, 2.25, 2.5, role="client", pid=7, program="curl", owner_evidence="event")
    part.stopped(6, 4.5, cause="close", sampled=False, opened_at=began(4.25))
    part.closed(7, None, 6.5)
    part.write()
    assert _short(tmp_path) == [
        ("opened", 5, began(2.25), began(2.25), "event"),
        ("closed", 5, began(2.5), began(2.5), "event"),
        ("listening", 6, began(4.25), began(4.25), "event"),
        ("stopped listening", 6, began(4.5), began(4.5), "event"),
        ("closed", 7, began(6.5), began(6.5), "event"),
    ]
    opened, *_ = _events(tmp_path)
    assert (opened["role"], opened["pid"], opened["program"], opened["owner_evidence"]) == (
        "client",
        7,
        "curl",
        "event",
    )
    assert (opened["remote_address"], opened["remote_port"], opened["sampled"]) == ("10.0.0.9", 40005, False)
    assert opened["cause"] is opened["established_at"] is None


def test_remnants_in_time_wait_make_no_events(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    # One that samples saw: it closed when TIME_WAIT began.
    part.connection(1, 1, 2, "opened", "changed")
    part.connection(1, 3, 8, "changed", "closed", state="TIME_WAIT")
    # The same, told by events.
    part.connection(2, 1, 2, "opened", "changed")
    part.exactly(0.5, 2.5)
    part.connection(2, 3, 8, "changed", "closed", state="TIME_WAIT")
    part.exactly(2.5)
    part.closed(2, 0.5, 2.5, sampled=True)
    # One that no sample saw alive, told by events.
    part.closed(3, 3.25, 3.5)
    part.connection(3, 4, 8, state="TIME_WAIT")
    part.exactly(3.5)
    part.rows["sockets"][-1] |= {"begun_evidence": "inferred"}
    # The same without events.
    part.connection(4, 4, 8, state="TIME_WAIT")
    part.write()
    by_id: dict[int, list[tuple[Any, ...]]] = {}
    for row in _events(tmp_path):
        by_id.setdefault(row["socket_id"], []).append((row["kind"], row["not_before"], row["not_after"]))
    assert by_id == {
        1: [("opened", began(0), ended(1)), ("closed", began(2), ended(3))],
        2: [("opened", began(0.5), began(0.5)), ("closed", began(2.5), began(2.5))],
        3: [("opened", began(3.25), began(3.25)), ("closed", began(3.5), began(3.5))],
        4: [("closed", began(3), ended(4)), ("opened", began(3), ended(4))],
    }


def test_a_cause_without_a_moment_is_told_with_the_samples_bounds(tmp_path: Path) -> None:
    """The end of the process was seen, that of its listener was not: one row, inferred."""
    part = Part(tmp_path, 0, 9)
    part.socket(1, 0, 3, "found", "closed")
    part.stopped(1, 3, 4.01, evidence="inferred", cause="signal", signal=9)
    part.socket(2, 0, 3, "found", "closed", local_port=80)
    part.write()
    rows = _events(tmp_path)
    assert [(row["kind"], row["socket_id"], row["evidence"], row["cause"]) for row in rows] == [
        ("stopped listening", 1, "inferred", "signal"),
        ("stopped listening", 2, "sample", None),
    ]


def test_processes_and_losses_are_events(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.event("exited", 2.5, pid=7, program="curl", cause="exit", exit_code=3)
    part.event("exec", 3.5, pid=8, program="sh", detail="/bin/ls")
    part.event("lost", 4, 5, detail="state changes", count=128)
    part.write()
    rows = _events(tmp_path)
    assert [(row["kind"], row["pid"], row["exit_code"], row["detail"], row["count"]) for row in rows] == [
        ("exited", 7, 3, None, None),
        ("exec", 8, None, "/bin/ls", None),
        ("lost", None, None, "state changes", 128),
    ]


def test_the_side_is_that_of_the_listener_of_then(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 20)
    part.socket(1, 1, 9, "opened", "closed", local_address="0.0.0.0")
    part.connection(11, 5, 6)
    part.connection(12, 12, 13)  # nobody listened any more
    part.connection(13, 5, 6, local_port=33000)
    part.connection(14, 5, 6, state="SYN_SENT", local_port=33001)
    part.connection(15, 5, 6, protocol="udp", local_port=53)
    # Its beginning was not seen: that nobody listens when it changes tells nothing.
    part.connection(16, 0, 12, "found", "changed", local_port=33002)
    part.connection(16, 13, 14, "changed", "closed", state="CLOSE_WAIT", local_port=33002)
    part.write()
    roles = {(row["kind"], row["socket_id"]): row["role"] for row in _events(tmp_path)}
    assert [roles["opened", id_] for id_ in range(11, 16)] == ["server", "client", "client", "client", None]
    assert [roles["closed", id_] for id_ in (11, 12, 16)] == ["server", "client", None]


def test_cut_rows_and_changes_make_no_events(tmp_path: Path) -> None:
    one = Part(tmp_path, 0, 4)
    one.connection(2, 1, 2, "opened", "changed")
    one.connection(2, 3, 4, "changed", "carried", pid=9)
    one.socket(1, 0, 1, "found", "changed")
    one.socket(1, 2, 4, "changed", "carried", pid=9)
    one.write()
    two = Part(tmp_path, 5, 9, part=1)
    two.connection(2, 5, 6, "carried", "closed", pid=9)
    two.socket(1, 5, 9, "carried", "stopped", pid=9)
    two.write()
    assert [(row["kind"], row["socket_id"]) for row in _events(tmp_path)] == [("opened", 2), ("closed", 2)]


@pytest.mark.parametrize("stored", ["segments", "journal"])
def test_stored_rows_are_whole_whatever_they_lie_in(tmp_path: Path, stored: str) -> None:
    part = Part(tmp_path, 0, 9)
    part.closed(5, 2.25, 2.5, rtt_us=9, min_rtt_us=8, bytes_acked=7, drops=1, total_retrans=2)
    if stored == "segments":
        part.write()
    else:
        part.journal()
    (row,) = _events(tmp_path, where="kind = 'closed'")
    assert list(row) == list(EVENTS.names)
    wanted = part.rows["events"][0] | {"host": "web-1"}
    assert {name: value for name, value in row.items() if value is not None} == {
        name: value for name, value in wanted.items() if value is not None
    }


def test_the_stored_table_stays_reachable(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.closed(5, 2.25, 2.5)
    part.write()
    with open_catalog(tmp_path) as catalog:
        assert catalog.rows("SELECT kind, socket_id FROM base.events") == [("closed", 5)]
        assert catalog.rows("SELECT kind, file FROM parts.events") == [("closed", str(part.path("events")))]
