"""SQL from people reads the capture, and nothing else; and writes nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from sockrec.catalog import Catalog, open_catalog
from sockrec.errors import UsageError
from tests.catalog.captures import Part


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    """Give a capture of a segment and a journal, beside a file that it must not reach."""
    yield from _capture(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    """Give the same to all statements that are only looked at."""
    yield from _capture(tmp_path_factory.mktemp("shared"))


def _capture(tmp_path: Path) -> Iterator[Catalog]:
    (tmp_path / "secret.csv").write_text("a\nsecret\n")
    part = Part(tmp_path / "capture", 0, 4)
    part.socket(1, 0, 4, "found", "carried")
    part.write()
    two = Part(tmp_path / "capture", 5, 9, part=1)
    two.socket(1, 5, 9, "carried", None)
    two.socket(2, 6, 7, "opened", "closed", local_port=80)
    two.journal()
    with open_catalog(tmp_path / "capture") as opened:
        yield opened


def _files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


READING = [
    "SELECT count(*) FROM sockets",
    "FROM listeners",
    "  -- a comment\n FROM sockets; ",
    "WITH a AS (SELECT 1 AS x) SELECT * FROM a UNION ALL SELECT 2",
    "WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM r WHERE x < 3) FROM r",
    "VALUES (1)",
    "DESCRIBE sockets",
    "SUMMARIZE sockets",
    "SHOW TABLES",
    "EXPLAIN SELECT 1",
    "explain /* why */ analyze FROM sockets",
    "FROM sockets_at('2026-11-20T10:32:01Z')",
    "FROM changes_between('2026-11-20T10:32:01Z', '2026-11-20T10:32:09Z')",
    "SELECT * FROM range(3)",
    "PIVOT sockets ON state IN ('LISTEN') USING count(*)",
    "SELECT unnest(holders) FROM sockets",
    "SELECT 'COPY x TO y; DELETE'",
]


@pytest.mark.parametrize("sql", READING)
def test_reading_is_allowed(shared: Catalog, sql: str) -> None:
    shared.check(sql)
    assert shared.connection.execute(sql).fetchall()


REFUSED = [
    "COPY (SELECT 1) TO '{file}'",
    "COPY sockets TO '{segment}'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{segment}'",
    "EXPLAIN /* x */ ANALYZE\nCOPY (SELECT 1) TO '{segment}'",
    "EXPLAIN (FORMAT json) COPY (SELECT 1) TO '{segment}'",
    "WITH d AS (COPY (SELECT 1) TO '{segment}') SELECT 1",
    "SELECT * FROM (WITH d AS (COPY (SELECT 1) TO '{segment}') SELECT 1)",
    "EXPLAIN ANALYZE WITH d AS (COPY (SELECT 1) TO '{segment}') SELECT 1",
    "WITH d AS (DELETE FROM journal.sockets RETURNING *) SELECT * FROM d",
    "WITH d AS (INSERT INTO recordings DEFAULT VALUES RETURNING *) SELECT * FROM d",
    "WITH d AS (UPDATE recordings SET host = 'x' RETURNING *) SELECT * FROM d",
    "DELETE FROM recordings",
    "INSERT INTO recordings DEFAULT VALUES",
    "UPDATE recordings SET host = 'x'",
    "CREATE TABLE t (a INT)",
    "CREATE OR REPLACE VIEW sockets AS SELECT 1",
    "CREATE MACRO sockets_at(t) AS TABLE SELECT 1",
    "DROP VIEW sockets",
    "ALTER TABLE recordings DROP COLUMN host",
    "ATTACH '{file}' AS other",
    "DETACH memory",
    "USE memory",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '{file}'",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "RESET lock_configuration",
    "SET VARIABLE x = 1",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "CHECKPOINT",
    "VACUUM",
    "BEGIN",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "EXPORT DATABASE '{file}'",
    "IMPORT DATABASE '{file}'",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP VIEW sockets",
    "",
    "-- nothing",
    ";",
    "SELEC 1",
    "SELECT (",
    "SELECT * FROM read_text('{secret}')",
    "SELECT * FROM read_csv('{secret}')",
    "SELECT * FROM READ_CSV_AUTO('{secret}')",
    "SELECT * FROM read_parquet('{segment}')",
    "SELECT (SELECT content FROM read_text('{secret}'))",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM json_execute_serialized_sql('x')",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELECT * FROM pandas_scan(1)",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM checkpoint()",
    "SELECT * FROM sqlite_scan('{file}', 'x')",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_anything_else_is_refused_before_it_runs(shared: Catalog, sql: str) -> None:
    tmp_path = shared.root.parent
    before = _files(tmp_path)
    segment = shared.survey.segments["sockets"][0].path
    text = sql.format(file=tmp_path / "new", segment=segment, secret=tmp_path / "secret.csv")
    with pytest.raises(UsageError) as caught:
        shared.check(text)
    assert "\n" not in str(caught.value)
    assert _files(tmp_path) == before


REACHING = [
    "SELECT * FROM '{secret}'",
    "SELECT * FROM '{folder}/*.csv'",
    "SELECT getenv('HOME')",
    "SELECT * FROM hidden",
    "SELECT * FROM query_table('{secret}')",
]


@pytest.mark.parametrize("sql", REACHING)
def test_duckdb_itself_is_confined_to_the_capture(catalog: Catalog, tmp_path: Path, sql: str) -> None:
    hidden = [1]  # a Python variable is no table
    text = sql.format(secret=tmp_path / "secret.csv", folder=tmp_path)
    for connection in (catalog.connection, catalog.connection.cursor()):
        with pytest.raises(duckdb.Error):
            connection.execute(text).fetchall()
    assert hidden == [1]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('{secret}')",
        "SELECT * FROM read_text('{folder}/capture/sockets/../../secret.csv')",
        "COPY (SELECT 1) TO '{folder}/new'",
        "ATTACH '{folder}/new.db'",
        "SET enable_external_access = true",
        "SET allowed_paths = ['{secret}']",
        "INSTALL httpfs",
        "LOAD httpfs",
    ],
)
def test_even_unchecked_statements_stay_inside(catalog: Catalog, tmp_path: Path, sql: str) -> None:
    before = _files(tmp_path)
    with pytest.raises(duckdb.Error):
        catalog.connection.execute(sql.format(secret=tmp_path / "secret.csv", folder=tmp_path))
    assert _files(tmp_path) == before


def test_cursors_have_the_same_settings(catalog: Catalog) -> None:
    sql = "SELECT current_setting('TimeZone'), current_setting('python_enable_replacements')"
    assert catalog.connection.execute(sql).fetchall() == catalog.connection.cursor().execute(sql).fetchall()
    assert catalog.connection.cursor().execute(sql).fetchall() == [("UTC", False)]


def test_a_sealed_capture_is_opened_without_arrow_and_leaves_nothing_behind(tmp_path: Path) -> None:
    part = Part(tmp_path / "capture", 0, 4)
    part.socket(1, 0, 3, "found", "closed")
    part.write()
    here = tmp_path / "here"
    here.mkdir()
    program = (
        "import sys\nfrom sockrec.catalog import open_catalog\nfrom sockrec.query.when import when\n"
        "with open_catalog(sys.argv[1]) as catalog:\n"
        "    assert len(when(catalog, 'port 7071 stopped listening').fetchall()) == 1\n"
        "assert 'pyarrow' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    before = _files(tmp_path)
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "capture")], check=True, cwd=here)
    assert _files(tmp_path) == before
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    "sql",
    [
        "FROM duckdb_logs",
        "FROM system.main.duckdb_logs",
        "FROM duckdb_logs()",
        "FROM duckdb_logs_parsed('FileSystem')",
        "FROM DuckDB_Log_Contexts",
        "FROM query_table('duckdb_logs')",
        "FROM query_table(['samples', 'duckdb_logs'])",
        "SELECT write_log('x', log_type := 'FileSystem')",
        "CALL truncate_duckdb_logs()",
        "CALL disable_logging()",
        "SET enable_logging = false",
    ],
)
def test_the_log_of_what_was_read_is_the_catalogs_own(tmp_path: Path, sql: str) -> None:
    """It tells which files have to be compared with their checksums."""
    Part(tmp_path, 0, 1).write()
    with open_catalog(tmp_path) as catalog, pytest.raises(UsageError, match="not allowed"):
        catalog.check(sql)


def test_text_that_names_the_log_is_text(tmp_path: Path) -> None:
    Part(tmp_path, 0, 1).write()
    with open_catalog(tmp_path) as catalog:
        catalog.check("SELECT * FROM sockets WHERE program = 'duckdb_logs'")


def test_nothing_is_drawn_while_a_question_takes_long(catalog: Catalog) -> None:
    """DuckDB draws how far it is on stdout where Python has no file to run, as in a notebook."""
    program = (
        "import sys; from sockrec.catalog import open_catalog\n"
        "with open_catalog(sys.argv[1]) as opened:\n"
        "    for one in (opened.connection, opened.connection.cursor()):\n"
        "        drawn = one.execute(\"SELECT current_setting('enable_progress_bar')\").fetchall()\n"
        "        assert drawn == [(False,)]\n"
    )
    subprocess.run([sys.executable, "-c", program, str(catalog.root)], check=True)
