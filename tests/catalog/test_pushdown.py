"""Filters on ports reach the Parquet scan through windows, groups and joins: a day stays quick to ask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sockrec.catalog import open_catalog
from tests.catalog.captures import Part, began


def scans(node: Any) -> Iterator[dict[str, Any]]:
    """Give what EXPLAIN tells of every scan of Parquet below a node."""
    if isinstance(node, list):
        for child in node:
            yield from scans(child)
        return
    details = node.get("extra_info", {})
    if details.get("Function") == "READ_PARQUET":
        yield details
    yield from scans(node.get("children", []))
    # EXPLAIN ANALYZE has a summary around its operators.
    yield from scans(node.get("operator", []))


def _capture(root: Path) -> Path:
    """Write a capture with every kind of event at several times, ports and pids: no scan is skipped."""
    part = Part(root, 0, 9)
    for number, port in enumerate((7071, 80, 7071, 80)):
        here: dict[str, Any] = {
            "local_port": port,
            "local_address": f"10.0.0.{4 + port % 10}",
            "pid": 4120 + number % 3,
        }
        first = 2 * number
        part.socket(10 + number, first, first + 1, "opened", "closed", **here)
        part.socket(20 + number, first, first + 1, "opened", "closed", **here)
        part.stopped(20 + number, first + 2, cause="close", **here)
        part.connection(30 + number, first, first + 1, **here)
        part.connection(40 + number, first, first + 1, **here)
        part.exactly(ended=first + 1.5)
        part.closed(40 + number, first, first + 1.5, sampled=True, **here)
        part.connection(50 + number, first, first + 1, state="TIME_WAIT", **here)
        part.closed(60 + number, first + 0.2, first + 0.3, **here)
        part.closed(70 + number, None, first + 0.3, **here)
        part.stopped(80 + number, first + 0.3, sampled=False, opened_at=began(first + 0.2), **here)
        part.stopped(90 + number, first + 0.3, sampled=False, **here)
        part.active(30 + number, first, bytes_sent=5)
    part.write()
    return root


# The rows of `events`: stored; beginnings of unsampled connections and listeners; listeners that began, and
# ended untold; connections that began, that TIME_WAIT was seen of, and that ended untold.
_BRANCHES = 8


def _scans(root: Path, sql: str) -> list[dict[str, Any]]:
    """Return the scans of tables that a statement is about, each with its filters."""
    with open_catalog(root) as catalog:
        ((_, plan),) = catalog.rows(f"EXPLAIN (FORMAT json) {sql}")
    found = [scan for scan in scans(json.loads(plan)) if "socket_id" in str(scan.get("Projections"))]
    assert found
    return found


def _of_causes(scan: dict[str, Any]) -> bool:
    return "kind = 'stopped listening'" in str(scan.get("Filters"))


@pytest.mark.parametrize("view", ["listeners", "base.periods", "base.connection_spans"])
@pytest.mark.parametrize("condition", ["local_port = 7071", "local_address = '10.0.0.5'"])
def test_every_scan_of_sockets_is_filtered(tmp_path: Path, view: str, condition: str) -> None:
    found = _scans(_capture(tmp_path), f"FROM {view} WHERE {condition}")
    of_sockets = [scan for scan in found if "kind" not in str(scan)]
    assert of_sockets
    assert all(f"({condition})" in scan["Filters"] for scan in of_sockets)
    # Connections' events are joined by port. Listeners' are read once, whatever the port: they are few.
    if "port" in condition:
        assert all(f"({condition})" in scan["Filters"] for scan in found if not _of_causes(scan))


@pytest.mark.parametrize(
    ("condition", "filters"),
    [
        ("local_port = 7071", ["(local_port = 7071)"]),
        ("pid = 4121", ["(pid = 4121)"]),
        (
            "not_after >= '2026-11-20T10:32:02Z'",
            ["not_after >=", "first_seen >=", "ended_by >=", "opened_at >="],
        ),
        (
            "not_before <= '2026-11-20T10:32:02Z'",
            ["not_before <=", "begun_after <=", "last_seen <=", "opened_at <="],
        ),
    ],
)
def test_filters_on_events_reach_every_file(tmp_path: Path, condition: str, filters: list[str]) -> None:
    sql = f"SELECT host, kind, recording, socket_id, not_after, pid FROM events WHERE {condition}"
    found = _scans(_capture(tmp_path), sql)
    filtered = [scan for scan in found if any(each in str(scan.get("Filters")) for each in filters)]
    assert len(filtered) >= _BRANCHES
    # What is left tells who listened where, and of which listeners an event told.
    for scan in found:
        if scan not in filtered:
            assert "LISTEN" in str(scan["Filters"]) or "stopped listening" in str(scan["Filters"])


def test_causes_are_looked_for_once_and_among_the_ends_of_listeners(tmp_path: Path) -> None:
    """Each scan opens every file, and `when port ...` over a day is to take a tenth of a second."""
    found = _scans(_capture(tmp_path), "FROM listeners WHERE local_port = 7071")
    assert [_of_causes(scan) for scan in found if "kind" in str(scan)] == [True]
    assert len(found) == 2


@pytest.mark.parametrize("columns", ["*", "remote_address, bytes_sent", "role"])
def test_connections_of_a_port_read_no_others(tmp_path: Path, columns: str) -> None:
    root = _capture(tmp_path)
    with open_catalog(root) as catalog:
        sql = f"EXPLAIN (FORMAT json) SELECT {columns} FROM connections WHERE local_port = 7071"
        ((_, plan),) = catalog.rows(sql)
        found = [scan for scan in scans(json.loads(plan)) if "local_port" in str(scan)]
        found = [scan for scan in found if not _of_causes(scan)]
        assert found
        assert all("(local_port = 7071)" in scan["Filters"] for scan in found)
