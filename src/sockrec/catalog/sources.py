"""The stored tables as views: sealed segments read where they lie, journals copied into memory."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sockrec.catalog.views import RECORDINGS, VIEWS
from sockrec.model.tables import TABLES, Table
from sockrec.store.layout import split_stem
from sockrec.store.survey import survey

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import duckdb
    import pyarrow as pa

    from sockrec.model.tables import Type
    from sockrec.store.survey import JournalFile, SegmentFile, Survey

_SQL_TYPES: Final[Mapping[Type, str]] = {
    "int": "BIGINT",
    "float": "DOUBLE",
    "bool": "BOOLEAN",
    "text": "VARCHAR",
    "time": "TIMESTAMPTZ",
    "ints": "BIGINT[]",
    "texts": "VARCHAR[]",
}
FILES: Final = (
    'CREATE TABLE base.files ("table" VARCHAR, host VARCHAR, recording VARCHAR, part BIGINT, file VARCHAR)'
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Sources:
    """What a capture is read from: its survey, and each journal with its final tables."""

    survey: Survey
    journals: list[tuple[JournalFile, dict[str, pa.Table]]] = field(default_factory=list)


def find(root: Path) -> Sources:
    """List a capture and read its journals; raises `CaptureError` if there is nothing to read."""
    found = survey(root)
    if not found.journals:
        return Sources(found)
    # Arrow takes longer to import than a sealed capture to be read.
    from sockrec.store.snapshot import take_snapshot

    snapshot = take_snapshot(root)
    return Sources(snapshot.survey, snapshot.journals)


def literal(value: str | int) -> str:
    """Return a value as SQL."""
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


def quoted(names: Iterable[str]) -> str:
    """Return column names as SQL: some, like `at`, are words of the language."""
    return ", ".join(f'"{name}"' for name in names)


def sql_type(kind: Type) -> str:
    """Return DuckDB's name of a column type."""
    return _SQL_TYPES[kind]


def attach(connection: duckdb.DuckDBPyConnection, sources: Sources) -> None:
    """Make the stored tables' views and the journals' tables; raises `duckdb.Error` on damaged files.

    Each table is there twice: as `parts.<table>`, which tells in `file` where a row comes from, and
    without that. What is asked of one `file` opens no other. `base.files` lists them.
    """
    for table in TABLES.values():
        parts = list(_segments(table, sources.survey.segments.get(table.name, [])))
        if _copy_journals(connection, table, sources.journals):
            parts.append(f"SELECT * FROM journal.{table.name}")
        rows = " UNION ALL ".join(parts or [_nothing(table)])
        connection.execute(f"CREATE VIEW parts.{table.name} AS {rows}")
        connection.execute(f"CREATE VIEW {table.name} AS SELECT * EXCLUDE (file) FROM parts.{table.name}")
    _files(connection, sources)
    _recordings(connection, sources.survey.recordings)


def _segments(table: Table, segments: Iterable[SegmentFile]) -> Iterable[str]:
    """Give a SELECT for each group of files.

    The host comes from the folder names, but a folder above the capture that looks like one of
    Hive's would stand for a column too: then each host is named outright. All files of one format
    version have the same columns, so they need not be united by name, which would read every footer
    before each question.
    """
    groups: dict[str | None, list[str]] = {}
    for segment in segments:
        above = segment.path.parents[3].as_posix()
        groups.setdefault(segment.host if "=" in above else None, []).append(literal(str(segment.path)))
    for host, files in groups.items():
        hive = "true, hive_types = {'host': VARCHAR, 'date': VARCHAR}" if host is None else "false"
        yield (
            f"SELECT {'host' if host is None else literal(host) + ' AS host'}, {quoted(table.names)}, "
            f"filename AS file FROM read_parquet([{', '.join(files)}], hive_partitioning = {hive})"
        )


def _copy_journals(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    journals: Iterable[tuple[JournalFile, dict[str, pa.Table]]],
) -> bool:
    """Copy the journals' rows of a table into memory; tell whether there were any journals."""
    made = False
    for journal, tables in journals:
        if not made:
            columns = f"{_definition(table.name)}, file VARCHAR"
            connection.execute(f"CREATE TABLE journal.{table.name} ({columns})")
            made = True
        connection.register("batch", tables[table.name])
        connection.execute(
            f"INSERT INTO journal.{table.name} SELECT ?, {quoted(table.names)}, ? FROM batch",
            [journal.host, str(journal.path)],
        )
        connection.unregister("batch")
    return made


def _files(connection: duckdb.DuckDBPyConnection, sources: Sources) -> None:
    """List every file with its table, recording and part; a name that is not ours has no part."""
    found = [
        (table, one.host, one.stem, one.path)
        for table, segments in sources.survey.segments.items()
        for one in segments
    ]
    found += [(table, one.host, one.stem, one.path) for one, _ in sources.journals for table in TABLES]
    rows = []
    for table, host, stem, path in found:
        recording, part = split_stem(stem) or (None, None)
        place = "NULL, NULL" if recording is None else f"{literal(recording)}, {part}"
        rows.append(f"({literal(table)}, {literal(host)}, {place}, {literal(str(path))})")
    connection.execute(FILES)
    if rows:
        connection.execute(f"INSERT INTO base.files VALUES {', '.join(rows)}")


def _definition(view: str) -> str:
    return ", ".join(f'"{column.name}" {sql_type(column.type)}' for column in VIEWS[view].columns)


def _nothing(table: Table) -> str:
    columns = (f'NULL::{sql_type(column.type)} AS "{column.name}"' for column in VIEWS[table.name].columns)
    return f"SELECT {', '.join(columns)}, NULL::VARCHAR AS file WHERE false"


def _recordings(connection: duckdb.DuckDBPyConnection, recordings: Iterable[dict[str, Any]]) -> None:
    connection.execute(f"CREATE TABLE recordings ({_definition('recordings')})")
    places = ", ".join("?" for _ in RECORDINGS.columns)
    for facts in recordings:
        known = {
            **facts,
            "started_at": _time(facts.get("started_us")),
            "ended_at": _time(facts.get("ended_us")),
        }
        row = [_fitting(known.get(column.name), column.type) for column in RECORDINGS.columns]
        connection.execute(f"INSERT INTO recordings VALUES ({places})", row)


def _time(us: object) -> datetime | None:
    """Return microseconds UTC as a moment; None for what is no time."""
    try:
        return _EPOCH + timedelta(microseconds=us) if isinstance(us, int) else None
    except OverflowError:
        return None


def _fitting(value: object, kind: Type) -> object:
    """Return a value from somebody's JSON as its column takes it; null where it can't be that."""
    if kind == "texts":
        return [str(item) for item in value] if isinstance(value, list) else None
    if kind == "int":
        return value if isinstance(value, int) and abs(value) < 1 << 63 else None
    if kind == "text" and value is not None and not isinstance(value, str):
        return json.dumps(value)
    return value
