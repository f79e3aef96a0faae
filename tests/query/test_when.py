"""Answers of `when`: who, what, and above all between which moments."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sockrec.catalog import Catalog, open_catalog
from sockrec.errors import UsageError
from sockrec.query import grammar
from sockrec.query.when import COLUMNS, when
from tests.catalog.captures import Part, began, ended


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Give a small incident: a service that crashes, a restart, clients, a resolver."""
    root = tmp_path_factory.mktemp("capture")
    part = Part(root, 0, 30)
    part.socket(1, 0, 9, "found", "closed")
    part.socket(2, 15, 30, "opened", "stopped", pid=4377, holders=[4377, 4378])
    part.socket(
        3, 0, 30, "found", "stopped", protocol="udp", state="UNCONN", local_port=53, pid=9, program="/x: y"
    )
    part.socket(4, 5, 6, local_port=22, program="sshd: /usr/sbin/sshd [listener]", pid=10)
    part.connection(11, 2, 4, "opened", "changed")
    part.connection(11, 5, 9, "changed", "closed", state="CLOSE_WAIT")
    part.connection(
        12, 8, 9, family="inet6", local_address="::ffff:10.0.0.5", remote_address="::ffff:10.0.0.9"
    )
    part.connection(
        13, 20, 20, state="SYN_SENT", local_port=40000, pid=5, program="nginx", remote_address="10.0.0.8"
    )
    part.process(4121, 1, 9, "found", "closed", start_time=began(-100))
    part.process(4377, 15, 20, "opened", "changed", argv=["/bin/sh"], exe="/bin/sh", comm="sh")
    part.process(4377, 21, 30, "changed", "stopped", start_time=began(14.5))
    part.write()
    return open_catalog(root)


def _ask(catalog: Catalog, text: str) -> list[dict[str, Any]]:
    relation = when(catalog, text)
    assert relation.columns == list(COLUMNS)
    return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def test_stopped_listening_with_its_restart(catalog: Catalog) -> None:
    assert _ask(catalog, "port 7071 stopped listening") == [
        {
            "protocol": "tcp",
            "local_address": "10.0.0.5",
            "local_port": 7071,
            "remote_address": "0.0.0.0",
            "remote_port": 0,
            "pid": 4121,
            "program": "myapp",
            "state": "LISTEN",
            "not_before": began(9),
            "not_after": ended(10),
            "exact": False,
            "evidence": "sample",
            "cause": None,
            "host": "web-1",
            "again_not_before": began(14),
            "again_not_after": ended(15),
            "again_pid": 4377,
            "again_program": "myapp",
        }
    ]


def test_started_listening_in_order_of_time(catalog: Catalog) -> None:
    first, second = _ask(catalog, "port 7071 started listening")
    assert (first["not_before"], first["not_after"], first["again_pid"]) == (None, ended(0), None)
    assert (second["not_before"], second["not_after"], second["pid"]) == (began(14), ended(15), 4377)


def test_protocols_are_told_apart(catalog: Catalog) -> None:
    assert [row["protocol"] for row in _ask(catalog, "port 53/udp started listening")] == ["udp"]
    assert _ask(catalog, "port 53/tcp started listening") == []
    assert _ask(catalog, "port 53 stopped listening") == []


def test_connections_begin_and_end(catalog: Catalog) -> None:
    rows = _ask(catalog, "port 7071 connected")
    assert [(row["remote_port"], row["not_after"], row["state"]) for row in rows] == [
        (40011, ended(2), "ESTABLISHED"),
        (40012, ended(8), "ESTABLISHED"),
    ]
    rows = _ask(catalog, "port 7071 closed")
    assert [(row["remote_port"], row["not_after"], row["state"]) for row in rows] == [
        (40011, ended(10), "CLOSE_WAIT"),
        (40012, ended(10), "ESTABLISHED"),
    ]


def test_an_attempt_is_no_connection(catalog: Catalog) -> None:
    assert _ask(catalog, "peer 10.0.0.8 connected") == []
    assert len(_ask(catalog, "peer 10.0.0.8 entered SYN_SENT")) == 1


def test_peers_by_either_family_and_port(catalog: Catalog) -> None:
    assert len(_ask(catalog, "peer 10.0.0.9 connected")) == 2
    assert len(_ask(catalog, "peer ::ffff:10.0.0.9 connected")) == 1
    assert [row["remote_port"] for row in _ask(catalog, "peer 10.0.0.9:40011 connected")] == [40011]


def test_states(catalog: Catalog) -> None:
    (row,) = _ask(catalog, "port 7071 entered CLOSE_WAIT")
    assert (row["not_before"], row["not_after"], row["state"]) == (began(4), ended(5), "CLOSE_WAIT")
    (row,) = _ask(catalog, "peer 10.0.0.9:40011 left ESTABLISHED")
    assert (row["not_before"], row["not_after"], row["state"]) == (began(4), ended(5), "ESTABLISHED")


def test_any_holder_is_found(catalog: Catalog) -> None:
    for pid in (4377, 4378):
        assert [row["not_after"] for row in _ask(catalog, f"pid {pid} started listening")] == [ended(15)]
    assert _ask(catalog, "pid 437 started listening") == []


@pytest.mark.parametrize(
    ("name", "port"), [("myapp", 7071), ("sshd", 22), ("sshd: /usr/sbin/sshd [listener]", 22), ("x", 53)]
)
def test_programs_by_the_name_people_know(catalog: Catalog, name: str, port: int) -> None:
    rows = _ask(catalog, f'program "{name}" started listening')
    assert {row["local_port"] for row in rows} == {port}
    assert _ask(catalog, "program my started listening") == []


def test_processes_start_within_a_hundredth_of_a_second(catalog: Catalog) -> None:
    (row,) = _ask(catalog, "pid 4377 started")
    assert (row["not_before"], row["not_after"]) == (began(14.5), began(14.5) + timedelta(milliseconds=10))
    assert (row["protocol"], row["local_port"], row["program"]) == (None, None, "myapp")


def test_processes_end_once_whatever_they_ran(catalog: Catalog) -> None:
    (row,) = _ask(catalog, "pid 4121 stopped")
    assert (row["not_before"], row["not_after"]) == (began(9), ended(10))
    assert _ask(catalog, "pid 4377 stopped") == []
    assert [row["pid"] for row in _ask(catalog, "program myapp started")] == [4121, 4377]


def test_bounds_that_meet_are_exact(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.socket(1, 0, 3, "found", "closed")
    row = part.rows["sockets"][0]
    row["last_seen"] = row["ended_by"] = began(3.25)
    row["ended_evidence"] = "event"
    part.write()
    with open_catalog(tmp_path) as catalog:
        (answer,) = _ask(catalog, "port 7071 stopped listening")
        assert (answer["exact"], answer["evidence"]) == (True, "event")
        assert answer["not_before"] == answer["not_after"] == began(3.25)


def test_an_end_in_a_gap_says_so(tmp_path: Path) -> None:
    one = Part(tmp_path, 0, 5)
    one.socket(1, 0, 5, "found", "stopped")
    one.process(4121, 1, 5, "found", "stopped")
    one.write()
    Part(tmp_path, 60, 65, recording="20261120T103300-bbbb").write()
    with open_catalog(tmp_path) as catalog:
        for text in ("port 7071 stopped listening", "pid 4121 stopped"):
            (answer,) = _ask(catalog, text)
            assert (answer["not_before"], answer["not_after"]) == (began(5), ended(60))
            assert (answer["evidence"], answer["cause"]) == (
                "inferred",
                "not seen after a gap in the recording",
            )


_VALUES = st.text(max_size=12).map(lambda text: "'" + text.replace("'", "") + "'")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_VALUES, st.sampled_from(["started", "stopped listening", "connected", "entered ESTAB"]))
def test_names_are_never_sql(catalog: Catalog, name: str, predicate: str) -> None:
    try:
        question = grammar.parse(f"program {name} {predicate}")
    except UsageError:
        return
    assert when(catalog, question).columns == list(COLUMNS)


def test_a_quote_in_a_name_is_data(catalog: Catalog) -> None:
    assert _ask(catalog, 'program "x\' OR 1=1 --" started') == []
