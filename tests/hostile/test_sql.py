"""SQL that tries to get out of a capture, or to use up the machine."""

from __future__ import annotations

import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import sockrec
from sockrec.api import Capture
from sockrec.errors import SockrecError, UsageError
from tests.catalog.captures import Part
from tests.faults.scale import cases
from tests.hostile.console import many
from tests.support.command import CLEAN, SOCKREC

TOLD_NOBODY = "5f1c-5f1c"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a capture, and beside it what must not be reached, with links to that in the capture."""
    root = tmp_path_factory.mktemp("sql")
    (root / "secret.csv").write_text(f"a\n{TOLD_NOBODY}\n")
    (root / "secret.json").write_text(f'{{"a": "{TOLD_NOBODY}"}}')
    part = Part(root / "capture", 0, 4)
    part.socket(1, 0, 4, "found", "carried", program=TOLD_NOBODY[:4])
    part.write()
    two = Part(root / "capture", 5, 9, part=1)
    two.socket(1, 5, 9, "carried", None)
    two.journal()
    outside = Part(root / "other", 0, 4)
    outside.socket(1, 0, 4, "found", "closed", program=TOLD_NOBODY)
    outside.write()
    outside.path("sockets").rename(root / "secret.parquet")
    (root / "capture" / "link.csv").symlink_to(root / "secret.csv")
    (root / "capture" / "link.parquet").symlink_to(root / "secret.parquet")
    return root


@pytest.fixture
def capture(place: Path) -> Iterator[Capture]:
    """Give that capture, open."""
    with sockrec.open(place / "capture") as opened:
        yield opened


# {at} is the folder of the secrets, {in} the capture, {segment} one of its own files.
REFUSED = [
    # files as tables
    "FROM '{at}/secret.csv'",
    'FROM "{at}/secret.csv"',
    "FROM '{at}/secret.parquet'",
    "FROM '{at}/*.csv'",
    "FROM '{in}/link.csv'",
    "FROM '{in}/link.parquet'",
    "FROM '{in}/sockets/../../secret.csv'",
    "FROM '{segment}/../../../../../secret.csv'",
    "FROM 'file://{at}/secret.csv'",
    "FROM '{in}/**/*.csv'",
    "FROM query_table('{at}/secret.csv')",
    "FROM query_table(['sockets', '{at}/secret.csv'])",
    "FROM query_table(['{at}/secret.parquet'], true)",
    "FROM query_table('read_text(''{at}/secret.csv'')')",
    "WITH t AS MATERIALIZED (FROM '{at}/secret.csv') FROM t",
    "SELECT (SELECT a FROM '{at}/secret.csv')",
    "SELECT * FROM sockets WHERE EXISTS (FROM '{at}/secret.csv')",
    "SELECT [x.a FOR x IN (SELECT list(s) FROM '{at}/secret.csv' s)]",
    "DESCRIBE '{at}/secret.csv'",
    "SUMMARIZE '{at}/secret.csv'",
    "SUMMARIZE FROM read_text('{at}/secret.csv')",
    "EXPLAIN ANALYZE FROM '{at}/secret.csv'",
    "PIVOT (FROM '{at}/secret.csv') ON a IN ('x')",
    "FROM (VALUES ('{at}/secret.csv')) t(f), LATERAL (FROM read_text(f))",
    "SELECT * FROM read_csv(getvariable('x'))",
    *(
        f"SELECT * FROM {function}('{{at}}/secret.{kind}')"
        for function, kind in (
            ("read_text", "csv"), ("read_blob", "csv"), ("read_csv", "csv"), ("read_csv_auto", "csv"),
            ("sniff_csv", "csv"), ("read_json", "json"), ("read_json_auto", "json"), ("read_ndjson", "json"),
            ("read_json_objects", "json"), ("read_ndjson_objects", "json"), ("read_parquet", "parquet"),
            ("parquet_scan", "parquet"), ("parquet_metadata", "parquet"), ("parquet_schema", "parquet"),
            ("parquet_file_metadata", "parquet"), ("parquet_kv_metadata", "parquet"), ("glob", "csv"),
            ("parquet_full_metadata", "parquet"), ("read_duckdb", "csv"), ("which_secret", "csv"),
            ("read_single_csv_file", "csv"), ("main.read_text", "csv"), ("system.main.read_text", "csv"),
            ('"Read_Text"', "csv"), ("query", "csv"), ("delta_scan", "parquet"), ("iceberg_scan", "parquet"),
            ("sqlite_scan", "csv"), ("st_read", "csv"), ("read_xlsx", "csv"), ("postgres_scan", "csv"),
        )
    ),
    # statements inside of text
    "SELECT * FROM query('FROM ''{at}/secret.csv''')",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('FROM read_text(''{at}/secret.csv'')'))",
    "PRAGMA json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "EXECUTE IMMEDIATE 'SELECT 1'",
    # writing
    "COPY sockets TO '{at}/out.csv'",
    "COPY (SELECT 1) TO '{segment}'",
    "COPY sockets FROM '{at}/secret.csv'",
    "COPY (SELECT 1) TO PROGRAM 'touch {at}/out'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{segment}'",
    "EXPLAIN ANALYZE (WITH d AS (COPY (SELECT 1) TO '{segment}') SELECT 1)",
    "WITH d AS (COPY (SELECT 1) TO '{segment}' (RETURN_FILES)) FROM d",
    "FROM (COPY (SELECT 1) TO '{segment}')",
    "WITH d AS (DELETE FROM journal.sockets RETURNING *) SELECT count(*) FROM d",
    "WITH d AS (CREATE TABLE x AS SELECT 1) SELECT 1",
    "WITH d AS (ATTACH '{at}/new.db') SELECT 1",
    "EXPORT DATABASE '{at}/out'",
    "IMPORT DATABASE '{at}'",
    "CREATE TABLE t AS SELECT 1",
    "CREATE TEMP TABLE t AS FROM '{at}/secret.csv'",
    "CREATE OR REPLACE VIEW sockets AS SELECT 1",
    "CREATE OR REPLACE MACRO sockets_at(t) AS TABLE FROM read_text('{at}/secret.csv')",
    "CREATE SECRET (TYPE http, BEARER_TOKEN 'x')",
    "CREATE PERSISTENT SECRET s (TYPE http)",
    "CREATE SEQUENCE s",
    "CREATE TYPE t AS ENUM (FROM '{at}/secret.csv')",
    "COMMENT ON VIEW sockets IS 'x'",
    "INSERT INTO recordings DEFAULT VALUES",
    "MERGE INTO recordings USING recordings r ON true WHEN MATCHED THEN DELETE",
    "TRUNCATE recordings",
    "DROP VIEW sockets",
    "ALTER VIEW sockets RENAME TO s",
    "ATTACH '{at}/new.db'",
    "ATTACH ':memory:' AS m",
    "ATTACH OR REPLACE '{at}/new.db' AS memory",
    "CHECKPOINT",
    "ANALYZE",
    # the network, extensions, settings
    "FROM 'http://127.0.0.1:{port}/x.csv'",
    "FROM 'https://127.0.0.1:{port}/x.parquet'",
    "FROM 's3://127.0.0.1:{port}/x.parquet'",
    "FROM 'hf://datasets/x/y.csv'",
    "SELECT * FROM read_csv('http://127.0.0.1:{port}/x.csv')",
    "ATTACH 'http://127.0.0.1:{port}/x.db'",
    "INSTALL httpfs",
    "INSTALL '{at}/x.duckdb_extension'",
    "INSTALL h3 FROM community",
    "INSTALL httpfs FROM 'http://127.0.0.1:{port}'",
    "FORCE INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '{at}/x.duckdb_extension'",
    "SET enable_external_access = true",
    "SET GLOBAL allowed_directories = ['/']",
    "SET SESSION allowed_paths = ['/']",
    "SET lock_configuration = false",
    "RESET enable_external_access",
    "SET VARIABLE x = (SELECT 1)",
    "SET log_query_path = '{at}/out'",
    "SET temp_directory = '{at}'",
    "SET memory_limit = '1TB'",
    "PRAGMA enable_profiling = 'json'",
    "PRAGMA profiling_output = '{at}/out'",
    "PRAGMA database_list",
    "PRAGMA import_database('{at}')",
    "CALL enable_logging(storage = 'file', storage_config = {{'path': '{at}/out'}})",
    "CALL duckdb_settings()",
    "FROM enable_logging(storage := 'file', storage_config := {{'path': '{at}/out'}})",
    "FROM enable_profiling(save_location := '{at}/out')",
    "FROM disable_logging()",
    "FROM truncate_duckdb_logs()",
    "FROM duckdb_logs()",
    "FROM duckdb_logs",
    "FROM duckdb_secrets()",
    "FROM duckdb_settings()",
    "FROM duckdb_external_file_cache()",
    "FROM duckdb_temporary_files()",
    "FROM duckdb_variables()",
    "FROM register_external_resource('x', 'y')",
    "FROM python_map_function(1)",
    "FROM pandas_scan(1)",
    "FROM python_arrow_scan(1, 2, 3)",
    "FROM arrow_scan(1, 2, 3)",
    "FROM seq_scan('sockets')",
    "FROM force_checkpoint()",
    "SELECT getenv('HOME')",
    "SELECT * FROM hidden",
    "FROM catalog",
    # more than one, or none
    "SELECT 1; COPY (SELECT 1) TO '{at}/out'",
    "SELECT 1;;;SET lock_configuration = false",
    "BEGIN; SELECT 1",
    "/* SELECT 1 */ COPY (SELECT 1) TO '{at}/out'",
    "SELECT 1 -- \n; DROP VIEW sockets",
    "\ufeffSELECT 1; SELECT 2",
    "SELECT 1\0; DROP VIEW sockets",
    "SELECT " + "(" * 50_000 + "1" + ")" * 50_000,
    "SELECT " + "-" * 1 + "+ " * 20_000 + "1 FROM '{at}/secret.csv'",
    "SELECT 1" + " UNION ALL SELECT 1" * 20_000 + " FROM '{at}/secret.csv'",
]  # fmt: skip

# What these tell is of DuckDB and of the capture.
HARMLESS = [
    "SELECT current_setting('home_directory'), current_setting('secret_directory')",
    "SELECT current_database(), current_schema(), version(), current_query()",
    "FROM duckdb_functions() LIMIT 1",
    "FROM duckdb_views() LIMIT 1",
    "SELECT getvariable('x')",
    "SELECT json_serialize_sql('FROM read_text(''{at}/secret.csv'')')",
    "SELECT json_deserialize_sql(json_serialize_sql('FROM read_text(''{at}/secret.csv'')'))",
    "SELECT parse_filename('{at}/secret.csv')",
    "SELECT '{at}/secret.csv'",
    "FROM '{segment}'",
    "SELECT sql FROM duckdb_views() WHERE view_name = 'sockets'",
]


def _fill(text: str, place: Path, port: int = 1) -> str:
    segment = next(iter((place / "capture" / "sockets").glob("host=*/*/*.parquet")))
    names = {"at": place, "in": place / "capture", "segment": segment, "port": port}
    try:
        return text.format(**names)
    except (ValueError, KeyError, IndexError):
        return text


def _state(folder: Path) -> dict[Path, tuple[int, int, int]]:
    found = {path: path.lstat() for path in folder.rglob("*")}
    return {path: (facts.st_ino, facts.st_size, facts.st_mtime_ns) for path, facts in found.items()}


def test_a_statement_that_duckdb_for_python_has_no_name_for(capture: Capture) -> None:
    with pytest.raises(UsageError):
        capture.sql("UPDATE EXTENSIONS")


def test_the_installed_command_refuses_all_of_it(place: Path) -> None:
    before = _state(place)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        texts = [_fill(text, place, port) for text in REFUSED[:: cases(9, 1)]]
        commands = [("sql", "-C", str(place / "capture"), "-") for _ in texts]
        shown = many(commands, stdin=texts)
        with pytest.raises(BlockingIOError):
            listener.accept()
    for text, one in zip(texts, shown, strict=True):
        assert one.status == 2, (text[:200], one)
        assert TOLD_NOBODY.encode() not in one.out + one.err, text[:200]
        assert one.out == b"", text[:200]
        assert one.err.startswith(b"sockrec: "), (text[:200], one.err[:500])
    assert _state(place) == before


def test_the_python_api_refuses_all_of_it(capture: Capture, place: Path) -> None:
    before = _state(place)
    hidden = [TOLD_NOBODY]  # a Python variable is no table
    for text in REFUSED:
        with pytest.raises(SockrecError):
            capture.sql(_fill(text, place)).fetchall()
    assert hidden
    assert _state(place) == before
    assert capture.sql("SELECT count(*) FROM sockets").fetchall() == [(2,)]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_passes_tells_nothing_of_the_machines_files(capture: Capture, place: Path, text: str) -> None:
    before = _state(place)
    try:
        rows = capture.sql(_fill(text, place)).fetchall()
    except UsageError:
        rows = []
    assert TOLD_NOBODY not in str(rows)
    assert _state(place) == before


@pytest.mark.parametrize("param", ["{at}/secret.csv", "file://{at}/secret.csv"])
def test_values_are_no_files_either(capture: Capture, place: Path, param: str) -> None:
    for text in ("FROM read_text(?)", "FROM query_table(?)", "FROM glob($1)"):
        with pytest.raises(SockrecError):
            capture.sql(text, [_fill(param, place)]).fetchall()


# Using up the machine

ENDLESS = [
    "SELECT count(*) FROM range(1000000000000) a, range(1000000000000) b",
    "SELECT count(DISTINCT hash(a.range, b.range)) FROM range(1000000) a, range(1000000) b",
    "WITH RECURSIVE r AS (SELECT 1 x UNION ALL SELECT x + 1 FROM r) SELECT max(x) FROM r",
    "SELECT sleep_ms(600000)",
]


def _start(place: Path, text: str, *words: str, tmp: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [SOCKREC, "sql", "-C", str(place / "capture"), text, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**CLEAN, "TMPDIR": str(tmp)},
        # A shell's background jobs ignore it, and so would theirs.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.mark.parametrize("text", ENDLESS)
@pytest.mark.parametrize("format_", ["table", "parquet"])
def test_ctrl_c_ends_a_statement_at_once(place: Path, tmp_path: Path, text: str, format_: str) -> None:
    process = _start(place, text, "-f", format_, tmp=tmp_path)
    try:
        time.sleep(1.5)
        assert process.poll() is None
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        # A second on a machine of its own.
        assert time.monotonic() - sent < 5
        assert (process.returncode, out, err) == (130, b"", b"")
    finally:
        process.kill()
        process.wait()
    assert list(tmp_path.iterdir()) == []


# (The first two are enough in the short form.)
GREEDY = [
    "SELECT list(a.range) FROM range(10000000000) a",
    "SELECT a.range, string_agg(repeat('y', 1000), '') OVER (ORDER BY a.range) AS t FROM range(10000000) a "
    "ORDER BY t DESC LIMIT 1",
    "SELECT median(a.range * 1.0) FROM range(2000000000) a",
    "SELECT a.range FROM range(2000000000) a ORDER BY hash(a.range)",
]


@pytest.mark.parametrize("text", GREEDY[: cases(2, 4)])
def test_a_statement_has_bounded_memory(place: Path, tmp_path: Path, text: str) -> None:
    """It is refused for want of memory, or works within it until it is stopped; what it spilled is gone."""
    process = _start(place, text, tmp=tmp_path)
    peak = 0
    spilled: dict[str, int] = {}
    try:
        until = time.monotonic() + 5
        while process.poll() is None and time.monotonic() < until:
            peak = max(peak, _peak(process.pid))
            spilled |= _modes(tmp_path)
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert peak < 3 << 30
    # Ctrl-C may also come when it was refused already and the interpreter ends.
    assert out == b""
    assert process.returncode == 130 or (process.returncode in (2, -signal.SIGINT) and b"memory" in err), err
    assert {mode & 0o077 for mode in spilled.values()} <= {0}, spilled
    assert list(tmp_path.iterdir()) == []


def _peak(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    return 0


def _modes(folder: Path) -> dict[str, int]:
    """Return the modes of what holds spilled rows: what is below a closed folder is closed."""
    found = {}
    for path in folder.iterdir():
        try:
            found[str(path)] = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue
    return found
