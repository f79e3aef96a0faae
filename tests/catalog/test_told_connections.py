"""Connections of which events tell: those that no sample saw, and the ends of those that one did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sockrec.catalog import open_catalog
from tests.catalog.captures import Part, began, ended

OPENED = ("opened_not_before", "opened_not_after", "opened_as", "opened_evidence")
CLOSED = ("closed_not_before", "closed_not_after", "closed_as", "closed_evidence")


def _connections(root: Path) -> dict[int, dict[str, Any]]:
    with open_catalog(root) as catalog:
        relation = catalog.relation("FROM connections")
        rows = [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
    found = {row["socket_id"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def _of(row: dict[str, Any], names: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)


def test_one_that_no_sample_saw_has_its_whole_life(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    counters: dict[str, Any] = {
        "bytes_sent": 1,
        "bytes_received": 2,
        "segs_out": 3,
        "segs_in": 4,
        "total_retrans": 5,
        "rtt_us": 6,
    }
    part.closed(2, 3.25, 3.5, role="client", pid=7, program="curl", owner_evidence="event", **counters)
    part.write()
    (row,) = _connections(tmp_path).values()
    assert _of(row, OPENED) == (began(3.25), began(3.25), "opened", "event")
    assert _of(row, CLOSED) == (began(3.5), began(3.5), "closed", "event")
    assert _of(row, ("role", "established", "how", "last_state", "recording", "host")) == (
        "client",
        True,
        "closed by the peer",
        None,
        part.recording,
        "web-1",
    )
    assert _of(row, ("first_pid", "first_program", "pid", "program", "holders", "owner_evidence")) == (
        7,
        "curl",
        7,
        "curl",
        [7],
        "event",
    )
    assert {name: row[name] for name in counters} == counters
    assert _of(row, ("local_address", "local_port", "remote_address", "remote_port", "netns")) == (
        "10.0.0.5",
        7071,
        "10.0.0.9",
        40002,
        part.netns,
    )


def test_its_remnant_in_time_wait_is_no_second_one(tmp_path: Path) -> None:
    """Nor where a segment's edge cuts the remnant in two."""
    one = Part(tmp_path, 0, 4)
    one.closed(2, 3.25, 3.5)
    one.connection(2, 4, 4, "opened", "carried", state="TIME_WAIT")
    one.exactly(3.5)
    one.rows["sockets"][-1] |= {"begun_evidence": "inferred"}
    one.connection(3, 4, 4, "opened", "carried", state="TIME_WAIT")  # of this no event tells
    one.write()
    two = Part(tmp_path, 5, 9, part=1)
    two.connection(2, 5, 7, "carried", "closed", state="TIME_WAIT")
    two.connection(3, 5, 7, "carried", "closed", state="TIME_WAIT")
    two.write()
    rows = _connections(tmp_path)
    assert {id_: _of(row, CLOSED) for id_, row in rows.items()} == {
        2: (began(3.5), began(3.5), "closed", "event"),
        3: (began(3), ended(4), "closed", "sample"),
    }


def test_a_sampled_one_takes_what_its_event_tells(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.connection(2, 2, 3, "opened", "changed", pid=None, program=None)
    part.exactly(1.5, 3.25)
    part.connection(2, 4, 6, "changed", "changed")
    part.exactly(3.25, 6.25)  # it went through more states before it closed, unseen
    part.active(2, 3, bytes_sent=1, bytes_received=2, segs_out=3, segs_in=4, total_retrans=0, rtt_us=9)
    part.closed(
        2,
        1.5,
        6.75,
        sampled=True,
        pid=8,
        program="worker",
        owner_evidence="sample",
        bytes_sent=100,
        segs_in=40,
    )
    part.write()
    (row,) = _connections(tmp_path).values()
    assert _of(row, OPENED) == (began(1.5), began(1.5), "opened", "event")
    assert _of(row, CLOSED) == (began(6.75), began(6.75), "closed", "event")
    assert _of(row, ("pid", "program", "owner_evidence", "role")) == (8, "worker", "sample", "server")
    assert _of(row, ("how", "last_state", "established")) == ("closed by the peer", "ESTABLISHED", True)
    # What the event lacks, the last row of activity has.
    assert _of(row, ("bytes_sent", "bytes_received", "segs_out", "segs_in", "rtt_us")) == (100, 2, 3, 40, 9)


def test_one_found_when_recording_began_stays_found(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.connection(2, 0, 3, "found", "closed")
    part.exactly(ended=3.5)
    part.closed(2, None, 3.5, sampled=True, pid=None, program=None, owner_evidence=None)
    part.write()
    (row,) = _connections(tmp_path).values()
    assert _of(row, OPENED) == (None, ended(0), "found", "sample")
    assert _of(row, ("pid", "program", "owner_evidence", "established")) == (4121, "myapp", "sample", True)


def test_where_the_beginning_was_not_seen_samples_bound_it(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.sample(5, complete=False, incomplete_why="tcp")
    part.closed(2, None, 3, 3.4, bytes_received=7)
    part.closed(3, None, 5.4, cause="refused", bytes_received=0)
    part.closed(4, None, -0.5)  # before the first sample had ended
    part.write()
    rows = _connections(tmp_path)
    assert _of(rows[2], OPENED) == (began(3), began(3.4), "opened", "inferred")
    assert _of(rows[2], CLOSED) == (began(3), began(3.4), "closed", "event")
    assert _of(rows[3], OPENED) == (began(4), began(5.4), "opened", "inferred")
    assert _of(rows[4], OPENED) == (None, began(-0.5), "found", "inferred")
    assert [rows[id_]["established"] for id_ in (2, 3, 4)] == [True, False, False]


@pytest.mark.parametrize("cause", ["refused", "unreachable", "timed out"])
def test_attempts_in_vain_are_rows(tmp_path: Path, cause: str) -> None:
    part = Part(tmp_path, 0, 9)
    part.closed(2, 3.25, 3.5, role="client", established_at=None, cause=cause)
    part.connection(3, 3, 3, state="SYN_SENT")
    part.exactly(2.5, 3.5)
    part.closed(3, 2.5, 3.5, role="client", established_at=None, cause=cause, sampled=True)
    part.write()
    rows = _connections(tmp_path)
    assert {id_: _of(row, ("established", "how", "role")) for id_, row in rows.items()} == dict.fromkeys(
        (2, 3), (False, cause, "client")
    )


def test_open_ones_have_no_how(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.connection(2, 1, 9, "opened", "stopped")
    part.exactly(0.5)
    part.write()
    (row,) = _connections(tmp_path).values()
    assert _of(row, OPENED) == (began(0.5), began(0.5), "opened", "event")
    assert _of(row, ("how", "closed_not_after", "closed_as")) == (None, None, "stopped")


def test_cookies_of_another_boot_or_host_are_other_sockets(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.connection(2, 1, 3)
    part.write()
    others: tuple[dict[str, Any], ...] = ({"boot_id": "boot-2"}, {"host": "web-2"})
    for number, other in enumerate(others):
        later = Part(tmp_path, 20, 29, recording=f"20261120T10330{number}-bbbb", **other)
        later.closed(2, 22.25, 22.5)
        later.write()
    with open_catalog(tmp_path) as catalog:
        found = catalog.rows(
            "SELECT host, closed_not_after, how FROM connections ORDER BY host, closed_not_after"
        )
    assert found == [
        ("web-1", ended(4), None),
        ("web-1", began(22.5), "closed by the peer"),
        ("web-2", began(22.5), "closed by the peer"),
    ]


def test_datagram_sockets_are_no_connections(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.closed(2, None, 3.5, protocol="udp", remote_port=0)
    part.write()
    assert _connections(tmp_path) == {}


def test_short_listeners_accept(tmp_path: Path) -> None:
    """A listener that no sample saw tells the side of a connection whose own role is not known."""
    part = Part(tmp_path, 0, 9)
    part.stopped(1, 3.75, cause="close", sampled=False, opened_at=began(3.25))
    part.closed(2, 3.5, 3.6, role=None)
    part.closed(3, 5.5, 5.6, role=None)
    part.write()
    rows = _connections(tmp_path)
    assert [rows[id_]["role"] for id_ in (2, 3)] == ["server", "client"]
