"""The documentation of the views is the views."""

from __future__ import annotations

from pathlib import Path

import pytest

from sockrec.catalog import Catalog, open_catalog
from sockrec.catalog.sources import sql_type
from sockrec.catalog.views import VIEWS, View, schema_text
from sockrec.errors import UsageError
from sockrec.model.tables import TABLES
from tests.catalog.captures import Part

_ARGUMENTS = {
    "t": "TIMESTAMPTZ '2026-11-20T10:32:01Z'",
    "t1": "'2026-11-20T10:32:01Z'",
    "t2": "'2026-11-20T10:32:02Z'",
}


def _call(view: View) -> str:
    return (
        f"{view.name}({', '.join(_ARGUMENTS[name] for name in view.parameters)})"
        if view.parameters
        else view.name
    )


@pytest.fixture(params=["segments", "journal", "nothing yet"])
def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> Catalog:
    """Give a catalog of each kind of source: all have the same views."""
    part = Part(tmp_path, 0, 2)
    part.socket(1, 0, 2, "found", "stopped")
    if request.param == "segments":
        part.write()
    elif request.param == "journal":
        part.journal()
    else:
        part.describe()
    return open_catalog(tmp_path)


@pytest.mark.parametrize("view", VIEWS.values(), ids=list(VIEWS))
def test_real_columns_are_the_documented_ones(catalog: Catalog, view: View) -> None:
    relation = catalog.connection.sql(f"FROM {_call(view)}")
    assert relation.columns == list(view.names)
    wanted = [
        sql_type(column.type).replace("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE") for column in view.columns
    ]
    assert [str(kind) for kind in relation.types] == wanted


@pytest.mark.parametrize("view", VIEWS.values(), ids=list(VIEWS))
def test_each_can_be_asked_first(catalog: Catalog, view: View) -> None:
    """Views are made as they are asked for, each with what it needs."""
    columns = ", ".join(f'"{name}"' for name in view.names)
    assert catalog.rows(f"SELECT count(*) FROM (SELECT {columns} FROM {_call(view)})")[0][0] >= 0


def test_what_lists_views_lists_all_and_an_error_suggests_any(catalog: Catalog) -> None:
    for sql in ("SHOW TABLES", "SELECT table_name FROM information_schema.tables"):
        catalog.refresh()
        catalog.check(sql)
        tables = {name for name, view in VIEWS.items() if not view.parameters}
        assert tables <= {name for (name,) in catalog.rows(sql)}
    catalog.refresh()
    with pytest.raises(UsageError, match=r"connectoins does not exist! Did you mean \"connections\""):
        catalog.rows("FROM connectoins")
    with pytest.raises(UsageError, match="listening does not exist"):
        catalog.rows("FROM listening")


def test_no_view_is_left_undocumented(catalog: Catalog) -> None:
    catalog.check("SHOW TABLES")
    found = catalog.rows("SELECT view_name FROM duckdb_views() WHERE NOT internal AND schema_name = 'main'")
    found += catalog.rows("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main'")
    found += catalog.rows("SELECT function_name FROM duckdb_functions() WHERE NOT internal")
    assert {name for (name,) in found} == set(VIEWS)


def test_schema_text_has_a_line_for_each_column_in_the_words_of_the_model() -> None:
    text = schema_text()
    for view in VIEWS.values():
        assert f"{view.signature}: {view.row}\n" in text
    lines = text.splitlines()
    for table in TABLES.values():
        for column in table.columns:
            assert any(
                line.split()[:2] == [column.name, column.type] and line.endswith(column.meaning)
                for line in lines
            )


@pytest.mark.parametrize("folder", ["pid=3", "host=other", "date=x/recording=7", "o'clock"])
def test_the_folders_above_a_capture_stand_for_no_columns(tmp_path: Path, folder: str) -> None:
    root = tmp_path / folder / "capture"
    part = Part(root, 0, 2, host="web 1")
    part.socket(1, 0, 2, "found", "stopped")
    part.write()
    with open_catalog(root) as catalog:
        assert catalog.rows("SELECT host, pid, recording FROM sockets") == [("web 1", 4121, part.recording)]
