"""Captures of older formats: read for ever, alone and beside those of today."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, cast

import pyarrow.parquet as pq
import pytest

from sockrec.catalog import open_catalog, sources
from sockrec.model.tables import FORMAT_VERSION, TABLES
from sockrec.store import segments
from sockrec.store.layout import Layout
from tests.catalog.captures import Part, ended
from tests.support import console

CAPTURES = Path(__file__).parents[1] / "captures"
SECOND = "20261120T103300-bbbb"


@pytest.mark.parametrize("page", sorted(CAPTURES.glob("*/README.md")), ids=lambda page: page.parent.name)
def test_frozen_captures_give_the_answers_they_gave(page: Path) -> None:
    assert page.read_text() == console.fresh(page)


def test_every_older_format_is_kept_frozen() -> None:
    kept = {path.parent.name for path in CAPTURES.glob("*/README.md")}
    assert kept == {f"v{version}" for version in range(1, FORMAT_VERSION)}
    for path in CAPTURES.rglob("recordings/*/*.json"):
        folder = path.relative_to(CAPTURES).parts[0]
        assert f"v{json.loads(path.read_text())['format_version']}" == folder


def test_what_a_format_lacked_is_null_and_its_tables_empty() -> None:
    for name in ("sealed", "journaled"):
        with open_catalog(CAPTURES / "v1" / name) as catalog:
            assert catalog.damages == []
            assert catalog.rows("SELECT DISTINCT events_lost FROM samples") == [(None,)]
            assert catalog.rows("FROM base.events") == []
            assert catalog.rows("SELECT DISTINCT evidence FROM events") == [("sample",)]


def test_a_journal_of_an_older_format_is_sealed_as_it_is(tmp_path: Path) -> None:
    """The recorder that comes after seals what the one before left, which its description still tells."""
    capture = tmp_path / "capture"
    shutil.copytree(CAPTURES / "v1" / "journaled", capture)

    def facts() -> list[list[tuple[object, ...]]]:
        with open_catalog(capture) as catalog:
            return [
                catalog.rows(f"FROM {view} ORDER BY ALL") for view in ("samples", "listeners", "connections")
            ]

    before = facts()
    assert segments.recover(Layout(capture), "web-1") == ["20261120T103200-aaaa-000000"]
    assert facts() == before
    assert len(before[0]) == 10


def _old_and_new(root: Path, *, described: bool) -> None:
    old = Part(root, 0, 4, version=1)
    old.socket(1, 0, 4, "found", "stopped")
    old.write()
    new = Part(root, 5, 9, recording=SECOND)
    new.socket(1, 5, 7, "found", "closed")
    new.exactly(ended=7.5)
    new.stopped(1, 7.5, cause="close")
    new.sample(8, events_lost=3)
    new.write()
    if not described:
        for path in (root / "recordings").rglob("*.json"):
            path.unlink()


@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("folder", ["plain", "host=else"])
def test_recordings_of_two_formats_in_one_capture(tmp_path: Path, described: bool, folder: str) -> None:
    root = tmp_path / folder / "capture"
    _old_and_new(root, described=described)
    with open_catalog(root) as catalog:
        assert catalog.rows("SELECT number, events_lost FROM samples WHERE events_lost IS NOT NULL") == [
            (8, 3)
        ]
        assert catalog.rows("SELECT count(*) FROM samples") == [(10,)]
        assert catalog.rows("SELECT cause FROM listeners WHERE ended_evidence = 'event'") == [("close",)]
        assert catalog.damages == []
        catalog.check_files()
        assert catalog.damages == []


def test_two_hosts_of_two_formats_may_have_recordings_of_one_name(tmp_path: Path) -> None:
    for host, version in (("a", 1), ("b", FORMAT_VERSION)):
        part = Part(tmp_path, 0, 4, host=host, version=version)
        part.sample(2, **({"events_lost": 7} if version > 1 else {}))
        part.write()
    with open_catalog(tmp_path) as catalog:
        found = catalog.rows(
            "SELECT host, max(events_lost), count(*) FROM samples GROUP BY host ORDER BY host"
        )
    assert found == [("a", None, 5), ("b", 7, 5)]


def test_a_file_without_a_description_that_is_damaged_is_left_out(tmp_path: Path) -> None:
    _old_and_new(tmp_path, described=False)
    old = Part(tmp_path, 0, 4).path("samples")
    content = bytearray(old.read_bytes())
    content[-40:-8] = b"\xff" * 32
    old.write_bytes(content)
    with open_catalog(tmp_path) as catalog:
        assert catalog.rows("SELECT min(ended_at) FROM samples") == [(ended(5),)]
        assert [damage.path for damage in catalog.damages] == [old]


@pytest.fixture
def footers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the statements that opening a capture runs."""
    said: list[str] = []
    real = sources.attach

    class Noting:
        def __init__(self, connection: object) -> None:
            self._connection = connection

        def __getattr__(self, name: str) -> object:
            return getattr(self._connection, name)

        def execute(self, sql: str, *values: object) -> object:
            said.append(sql)
            return self._connection.execute(sql, *values)  # type: ignore[attr-defined]

    monkeypatch.setattr(
        sources, "attach", lambda connection, found: real(cast("Any", Noting(connection)), found)
    )
    return said


def test_described_files_are_not_looked_into_for_their_columns(tmp_path: Path, footers: list[str]) -> None:
    _old_and_new(tmp_path / "described", described=True)
    _old_and_new(tmp_path / "bare", described=False)
    open_catalog(tmp_path / "described").close()
    assert footers
    assert not any("parquet_schema" in sql or "union_by_name" in sql for sql in footers)
    open_catalog(tmp_path / "bare").close()
    later = [table for table in TABLES.values() if any(column.since > 1 for column in table.columns)]
    asked = sum("parquet_schema" in sql for sql in footers)
    assert 1 <= asked <= len(later), "once for each table that has had columns added"


def test_segments_have_the_columns_of_the_model(tmp_path: Path) -> None:
    for version in range(1, FORMAT_VERSION + 1):
        part = Part(tmp_path / str(version), 0, 2, version=version).write()
        for table in TABLES.values():
            if not part.path(table.name).exists():
                assert version == 1
                continue
            assert pq.read_schema(part.path(table.name)).names == [
                column.name for column in table.columns if column.since <= version
            ]
