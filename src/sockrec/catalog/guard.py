"""Lets only statements through that read.

DuckDB can confine a connection to some paths, but not to reading: `COPY ... TO` writes inside the
allowed ones, also under `EXPLAIN ANALYZE` and, since 2.0, inside a SELECT (`WITH d AS (COPY ...)`).
So the parser's own tree is walked, and what it may hold is listed here; the rest is refused.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import duckdb

from sockrec.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_READING_NODES: Final = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
# None of these reaches a file, a pointer of this process, or a statement given as text.
_TABLE_FUNCTIONS: Final = frozenset(
    {
        "changes_between",
        "duckdb_columns",
        "duckdb_functions",
        "duckdb_keywords",
        "duckdb_tables",
        "duckdb_types",
        "duckdb_views",
        "generate_series",
        "histogram",
        "histogram_values",
        "json_each",
        "json_tree",
        "pg_timezone_names",
        "pragma_table_info",
        "pragma_version",
        "query_table",
        "range",
        "repeat",
        "repeat_row",
        "sockets_at",
        "summary",
        "unnest",
    }
)
# DuckDB's log tells the catalog what a question has read; it is not for whoever asks.
_OWN: Final = re.compile(r"duckdb_log|(write|parse_duckdb)_log", re.IGNORECASE)
_EXPLAIN: Final = {"explain", "analyze"}
_ADVICE: Final = (
    "only one statement that reads (SELECT, FROM, DESCRIBE, SUMMARIZE, EXPLAIN) can be run on a capture"
)
_KIND: Final = re.compile(r"^(?:Parser|Binder|Catalog|Invalid Input|Conversion|Out of Range) Error: ")


def one_line(error: Exception | str) -> str:
    """Return what DuckDB says in one line: without the kind of error and the excerpt of the statement."""
    lines = [line.strip() for line in str(error).splitlines()]
    hint = [line for line in lines[1:] if line.startswith("Did you mean")]
    return _KIND.sub("", " ".join([*lines[:1], *hint]))


def check(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Return if `sql` is one statement that only reads; raises `UsageError` for all others."""
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise UsageError(f"the SQL does not parse: {one_line(error)}") from None
    if not statements:
        raise UsageError("the SQL is empty: 'sockrec sql --schema' shows what can be asked for")
    if len(statements) > 1:
        raise UsageError(f"{len(statements)} statements given: {_ADVICE}")
    try:
        kind = statements[0].type
    except ValueError:  # one that DuckDB's Python has no name for: UPDATE EXTENSIONS
        raise UsageError(f"this statement is not allowed here: {_ADVICE}") from None
    if kind not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
        if kind == duckdb.StatementType.MULTI:
            raise UsageError("PIVOT needs its values here: PIVOT ... ON column IN (value, ...) USING ...")
        raise UsageError(f"{kind.name} is not allowed here: {_ADVICE}")
    if kind == duckdb.StatementType.EXPLAIN:
        sql = _explained(sql)
    tree = _tree(connection, sql)
    for what in _refused(tree):
        raise UsageError(f"{what} is not allowed here: {_ADVICE}")


def _explained(sql: str) -> str:
    """Return the statement after EXPLAIN [ANALYZE]."""
    tokens = [offset for offset, kind in duckdb.tokenize(sql) if kind != duckdb.token_type.comment]
    for place, offset in enumerate(tokens):
        end = tokens[place + 1] if place + 1 < len(tokens) else len(sql.encode())
        word = sql.encode()[offset:end].decode(errors="replace").split(maxsplit=1)
        if not word or word[0].lower() not in _EXPLAIN:
            return sql.encode()[offset:].decode(errors="replace")
    return ""


def _tree(connection: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Any]:
    try:
        rows = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()
    except duckdb.Error as error:
        raise UsageError(f"the SQL does not parse: {one_line(error)}") from None
    tree: dict[str, Any] = json.loads(rows[0][0])
    if tree["error"]:
        raise UsageError(f"this statement is not allowed: {_ADVICE}")
    return tree


def _refused(tree: Any) -> Iterator[str]:
    """Give the name of every part of a statement's tree that is not known to read only."""
    pending = [tree]
    while pending:
        part = pending.pop()
        if isinstance(part, list):
            pending += part
        elif isinstance(part, dict):
            pending += part.values()
            kind = part.get("type")
            if ("cte_map" in part or str(kind).endswith("_NODE")) and kind not in _READING_NODES:
                yield str(kind).removesuffix("_NODE").removesuffix("_QUERY")
            for name in (part.get("table_name"), part.get("function_name")):
                if _OWN.match(str(name)):
                    yield repr(name)
            if kind == "TABLE_FUNCTION":
                function = part.get("function") or {}
                if function.get("function_name", "").lower() not in _TABLE_FUNCTIONS:
                    yield f"the table function {function.get('function_name')!r}"
                elif _OWN.search(json.dumps(function.get("arguments"))):
                    yield "DuckDB's log"
