"""The largest of each measure, in the time asked for, with the moment and the holder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sockrec.catalog import open_catalog
from sockrec.errors import UsageError
from sockrec.query.top import COLUMNS, ORDERS, Wanted, top
from tests.catalog.captures import Part, us
from tests.catalog.captures import began as at


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    part = Part(tmp_path, 0, 30)
    part.socket(1, 0, 30, "found", "stopped", program="myapp: master")
    for second, waiting in ((5, 3), (9, 8), (12, 8), (20, 1)):
        part.active(1, second, recv_q=waiting, backlog_limit=128)
    part.connection(11, 0, 30, "found", "stopped", program="myapp: worker")
    part.active(11, 3, recv_q=500, send_q=0, total_retrans=7, rtt_us=900)
    part.active(11, 15, recv_q=100, send_q=40, total_retrans=9, rtt_us=1_500)
    part.connection(12, 4, 20, remote_port=40_001, pid=5000, program="other")
    part.active(12, 6, send_q=700, total_retrans=3, rtt_us=200)
    part.active(12, 18, send_q=10, total_retrans=3, rtt_us=2_500)
    part.write()
    return tmp_path


def asked(capture: Path, by: str, *names: str, **wanted: Any) -> list[tuple[Any, ...]]:
    with open_catalog(capture) as catalog:
        answer = top(catalog, Wanted((by,), **wanted))
        assert answer.columns == list(COLUMNS)
        return answer.project(", ".join(names)).fetchall()


def test_queues_with_the_moment_of_their_peak(capture: Path) -> None:
    assert asked(capture, "recv-q", "value", "backlog_limit", "peak_at", "socket_id", "state", "program") == [
        (500, None, at(3), 11, "ESTABLISHED", "myapp"),
        (8, 128, at(9), 1, "LISTEN", "myapp"),
    ]
    assert asked(capture, "send-q", "value", "socket_id", "pid", most=1) == [(700, 12, 5000)]
    assert asked(capture, "recv-q", "value", "socket_id", first_us=us(at(10))) == [(100, 11), (8, 1)]
    assert asked(capture, "send-q", "value", first_us=us(at(16)), last_us=us(at(17))) == []


def test_retransmissions_are_those_of_that_time(capture: Path) -> None:
    assert asked(capture, "retrans", "value", "socket_id") == [(3, 12), (2, 11)], (
        "7 were before the recording"
    )
    assert asked(capture, "retrans", "value", "socket_id", first_us=us(at(10))) == [(2, 11)]
    assert asked(capture, "retrans", "value", "socket_id", last_us=us(at(10))) == [(3, 12)]


def test_round_trips(capture: Path) -> None:
    assert asked(capture, "rtt", "value", "peak_at", "socket_id") == [
        (2_500, at(18), 12),
        (1_500, at(15), 11),
    ]


def test_connections_of_processes_and_the_churn_of_programs(capture: Path) -> None:
    told = ("value", "opened", "closed", "pid", "program")
    assert asked(capture, "connections", *told) == [(1, 0, 0, 4121, "myapp"), (1, 1, 1, 5000, "other")]
    assert asked(capture, "churn", *told) == [(2, 1, 1, None, "other")]
    assert asked(capture, "connections", *told, last_us=us(at(2))) == [(1, 0, 0, 4121, "myapp")]


def test_all_at_once_come_in_the_order_asked_for(capture: Path) -> None:
    with open_catalog(capture) as catalog:
        rows = top(catalog, Wanted(tuple(reversed(ORDERS)), most=1)).project("measure").fetchall()
    assert [row[0] for row in rows] == list(reversed(ORDERS))


@pytest.mark.parametrize("wanted", [Wanted(("colour",)), Wanted(("rtt",), first_us=2, last_us=1)])
def test_what_makes_no_sense_is_refused(capture: Path, wanted: Wanted) -> None:
    with open_catalog(capture) as catalog, pytest.raises(UsageError):
        top(catalog, wanted)
