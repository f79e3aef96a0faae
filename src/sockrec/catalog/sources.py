"""The stored tables as views: sealed segments read where they lie, journals copied into memory."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sockrec.catalog.views import HOST, RECORDINGS
from sockrec.model.columns import Table
from sockrec.model.network_tables import COUNTERS, LINK_COUNTERS
from sockrec.model.tables import EVENTS, SAMPLES, TABLES
from sockrec.store.damage import Damage
from sockrec.store.layout import host_folder, host_of, split_stem
from sockrec.store.survey import survey

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    import duckdb
    import pyarrow as pa

    from sockrec.model.columns import Column, Type
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
# Their views have more than is stored.
_DERIVED: Final = (EVENTS, COUNTERS, LINK_COUNTERS)
# Of other names DuckDB makes other columns, or none, and then reads none of the files.
_DATE: Final = re.compile(r"date=[\w-]+", re.ASCII)
# What has no such times is no sample: nothing can be told of it.
_SAMPLES: Final = (
    " WHERE began_at <= ended_at AND began_at >= TIMESTAMPTZ '1970-01-01 00:00:00Z'"
    " AND ended_at < TIMESTAMPTZ '9000-01-01 00:00:00Z'"
)
# Which of the journals a row is from; no table has such a column.
_JOURNAL: Final = "journal_number"
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


def bounds(first_us: int | None, last_us: int | None) -> tuple[str, str]:
    """Return a stretch of time, microseconds UTC, as SQL; None is the beginning, or the end, of all time."""
    return (
        "TIMESTAMPTZ '-infinity'" if first_us is None else f"make_timestamptz({first_us})",
        "TIMESTAMPTZ 'infinity'" if last_us is None else f"make_timestamptz({last_us})",
    )


def quoted(names: Iterable[str]) -> str:
    """Return column names as SQL: some, like `at`, are words of the language."""
    return ", ".join(f'"{name}"' for name in names)


def sql_type(kind: Type) -> str:
    """Return DuckDB's name of a column type."""
    return _SQL_TYPES[kind]


def attach(connection: duckdb.DuckDBPyConnection, sources: Sources) -> None:
    """Make the stored tables' views and the journals' tables; raises `duckdb.Error` on damaged files.

    Each table is there twice: as `parts.<table>`, which tells in `file` where a row comes from, and
    without that. What is asked of one `file` opens no other. `base.files` lists them. The stored events,
    which the view `events` has more of, are `base.events`; likewise the counters.
    """
    versions = _versions(sources.survey.recordings)
    for table in TABLES.values():
        segments = sources.survey.segments.get(table.name, [])
        parts = list(_segments(table, segments, _missing(connection, table, segments, versions)))
        if _copy_journals(connection, table, sources.journals):
            parts.append(f"SELECT * FROM journal.{table.name}")
        rows = " UNION ALL ".join(parts or [_nothing(table)])
        connection.execute(f"CREATE VIEW parts.{table.name} AS {rows}")
        name = f"base.{table.name}" if table in _DERIVED else table.name
        where = _SAMPLES if table is SAMPLES else ""
        connection.execute(f"CREATE VIEW {name} AS SELECT * EXCLUDE (file) FROM parts.{table.name}{where}")
    _files(connection, sources)
    _recordings(connection, sources.survey.recordings)


def _versions(recordings: Iterable[dict[str, Any]]) -> dict[tuple[str | None, str], int]:
    """Return the format version of each recording, by host (as its folder's name tells it) and name."""
    return {
        (host_of(host_folder(str(facts.get("host")))), str(facts.get("recording"))): facts["format_version"]
        for facts in recordings
    }


def _missing(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    segments: Iterable[SegmentFile],
    versions: Mapping[tuple[str | None, str], int],
) -> dict[Path, frozenset[str]]:
    """Return which columns of the table the files of older formats lack; whole files are left out.

    The version stands in the recording's description. Where that is missing the file itself is asked.
    """
    later = [column for column in table.columns if column.since > 1]
    lacking: dict[Path, frozenset[str]] = {}
    unknown = []
    for segment in segments if later else ():
        recording, _ = split_stem(segment.stem) or ("", 0)
        version = versions.get((segment.host, recording))
        if version is None:
            unknown.append(segment.path)
        elif missing := frozenset(column.name for column in later if column.since > version):
            lacking[segment.path] = missing
    for path, names in _columns(connection, unknown).items():
        if missing := frozenset(column.name for column in later) - names:
            lacking[path] = missing
    return lacking


def unfit(sources: Sources) -> dict[Path, Damage]:
    """Return the files that lack columns that their table has always had, or have them as another type."""
    # Arrow takes longer to import than most questions need.
    from sockrec.store.whole import columns_misfit

    paths = (one.path for segments in sources.survey.segments.values() for one in segments)
    told = ((path, columns_misfit(path)) for path in paths)
    return {path: Damage(path, what) for path, what in told if what is not None}


def _columns(connection: duckdb.DuckDBPyConnection, paths: Collection[Path]) -> dict[Path, set[str]]:
    """Return the names of the columns of each file."""
    if not paths:
        return {}
    files = ", ".join(literal(str(path)) for path in paths)
    told = connection.execute(
        f"SELECT file_name, list(name) FROM parquet_schema([{files}]) GROUP BY file_name"
    ).fetchall()
    return {Path(path): set(names) for path, names in told}


def _segments(
    table: Table, segments: Iterable[SegmentFile], missing: Mapping[Path, frozenset[str]]
) -> Iterable[str]:
    """Give a SELECT for each group of files.

    The host comes from the folder names, but a folder above the capture that looks like one of
    Hive's would stand for a column too: then each host is named outright. All files of a group have the
    same columns (`missing` tells which they lack), so they need not be united by name, which would read
    every footer before each question.
    """
    groups: dict[tuple[str | None, frozenset[str]], list[str]] = {}
    for segment in segments:
        above = segment.path.parents[3].as_posix()
        host_is, date_is = segment.path.parts[-3:-1]
        # Of a name that no recorder gives DuckDB may fail to make a text.
        is_hive = "=" not in above and host_is == host_folder(segment.host) and _DATE.fullmatch(date_is)
        group = None if is_hive else segment.host, missing.get(segment.path, frozenset())
        groups.setdefault(group, []).append(literal(str(segment.path)))
    for (host, lacking), files in groups.items():
        hive = "true, hive_types = {'host': VARCHAR, 'date': VARCHAR}" if host is None else "false"
        # Of a file that has another type the rows are of the right one all the same, or none are: what DuckDB
        # hands to Python has to be what the tables say. Where the types are the same it drops the casts.
        columns = ", ".join(
            null(column)
            if column.name in lacking
            else f'"{column.name}"::{sql_type(column.type)} AS "{column.name}"'
            for column in table.columns
        )
        yield (
            f"SELECT {'host' if host is None else literal(host) + ' AS host'}, {columns}, "
            f"filename AS file FROM read_parquet([{', '.join(files)}], hive_partitioning = {hive})"
        )


def null(column: Column) -> str:
    """Return a column that has no values, as SQL."""
    return f'NULL::{sql_type(column.type)} AS "{column.name}"'


def _copy_journals(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    journals: Collection[tuple[JournalFile, dict[str, pa.Table]]],
) -> bool:
    """Move the journals' rows of a table into DuckDB's memory; tell whether there were any journals.

    They are taken out of `journals`: there may be millions.
    """
    if not journals:
        return False
    from pyarrow import concat_tables, int32, repeat, scalar

    columns = f"{_definition((HOST, *table.columns))}, file VARCHAR"
    connection.execute(f"CREATE TABLE journal.{table.name} ({columns})")
    # One statement for all of them: each costs milliseconds, and journals may be many.
    batches, hosts, files = [], [], []
    for journal, tables in journals:
        rows = tables.pop(table.name)
        if rows.num_rows:
            hosts.append(literal(journal.host))
            files.append(literal(str(journal.path)))
            number = repeat(scalar(len(files), int32()), rows.num_rows)
            batches.append(rows.select(table.names).append_column(_JOURNAL, number))
    if batches:
        connection.register("batch", concat_tables(batches))
        host, file = (f"([{', '.join(each)}])[{_JOURNAL}]" for each in (hosts, files))
        connection.execute(
            f"INSERT INTO journal.{table.name} SELECT {host}, {quoted(table.names)}, {file} FROM batch"
        )
        connection.unregister("batch")
    return True


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


def _definition(columns: Iterable[Column]) -> str:
    return ", ".join(f'"{column.name}" {sql_type(column.type)}' for column in columns)


def _nothing(table: Table) -> str:
    columns = ", ".join(map(null, (HOST, *table.columns)))
    return f"SELECT {columns}, NULL::VARCHAR AS file WHERE false"


def _recordings(connection: duckdb.DuckDBPyConnection, recordings: Iterable[dict[str, Any]]) -> None:
    connection.execute(f"CREATE TABLE recordings ({_definition(RECORDINGS.columns)})")
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
