"""Filters on ports reach the Parquet scan through windows, groups and joins: a day stays quick to ask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sockrec.catalog import open_catalog
from tests.catalog.captures import Part


def _scans(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give what EXPLAIN tells of every scan of `sockets` below a node."""
    details = node.get("extra_info", {})
    if details.get("Function") == "READ_PARQUET" and "socket_id" in str(details.get("Projections")):
        yield details
    for child in node.get("children", []):
        yield from _scans(child)


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
        scans = [scan for node in json.loads(plan) for scan in _scans(node)]
        assert len(scans) == 1
        assert f"({condition})" in scans[0]["Filters"]
