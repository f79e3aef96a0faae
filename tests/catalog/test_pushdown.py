"""Filters on ports reach the Parquet scan through windows, groups and joins: a day stays quick to ask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sockrec.catalog import open_catalog
from tests.catalog.captures import Part


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


@pytest.mark.parametrize("view", ["listeners", "base.periods", "base.connection_spans"])
@pytest.mark.parametrize("condition", ["local_port = 7071", "local_address = '10.0.0.5'"])
def test_every_scan_of_sockets_is_filtered(tmp_path: Path, view: str, condition: str) -> None:
    part = Part(tmp_path, 0, 5)
    part.socket(1, 0, 5, "found", "stopped")
    part.socket(2, 0, 5, "found", "stopped", local_address="10.0.0.7", local_port=80)
    part.connection(3, 1, 2)
    part.connection(4, 1, 2, local_port=80, local_address="10.0.0.7")
    part.write()
    with open_catalog(tmp_path) as catalog:
        ((_, plan),) = catalog.rows(f"EXPLAIN (FORMAT json) FROM {view} WHERE {condition}")
        found = [scan for scan in scans(json.loads(plan)) if "socket_id" in str(scan.get("Projections"))]
        assert len(found) == 1
        assert f"({condition})" in found[0]["Filters"]


@pytest.mark.parametrize("columns", ["*", "remote_address, bytes_sent", "role"])
def test_connections_of_a_port_read_no_others(tmp_path: Path, columns: str) -> None:
    part = Part(tmp_path, 0, 5)
    part.socket(1, 0, 5, "found", "stopped")
    part.socket(2, 0, 5, "found", "stopped", local_port=80)
    part.connection(3, 1, 2)
    part.connection(4, 1, 2, local_port=80)
    part.active(3, 2, bytes_sent=5)
    part.write()
    with open_catalog(tmp_path) as catalog:
        sql = f"EXPLAIN (FORMAT json) SELECT {columns} FROM connections WHERE local_port = 7071"
        ((_, plan),) = catalog.rows(sql)
        found = [scan for scan in scans(json.loads(plan)) if "local_port" in str(scan)]
        assert found
        assert all("(local_port = 7071)" in scan["Filters"] for scan in found)
