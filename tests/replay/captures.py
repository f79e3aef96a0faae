"""Captures made by hand: rows in tables of a DuckDB connection, as the catalog's views have them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from sockrec.catalog.moments import WITHIN_REACH
from sockrec.catalog.sources import FILES, sql_type
from sockrec.model.columns import Type
from sockrec.model.tables import TABLES
from sockrec.store.damage import Damage

Answer = TypeVar("Answer")

# Far from 0 and from any whole second: 2026-11-20T09:32:05.250999Z.
T0 = 1_795_167_125_250_999
SECOND = 1_000_000


class HandMade:
    """A stand-in for a catalog: `run` and what a command asks of it besides."""

    def __init__(self) -> None:
        self.connection = duckdb.connect()
        self.connection.execute("SET TimeZone = 'UTC'")
        self.damages: list[Damage] = []
        self.root = Path("/nowhere")
        self.recordings: list[dict[str, Any]] = [
            {
                "host": "web-1",
                "recording": "r1",
                "time_zone": "Europe/Berlin",
                "names": {"users": {"33": "www-data"}},
            }
        ]
        for statement in ("CREATE SCHEMA base", "CREATE SCHEMA parts", FILES, WITHIN_REACH):
            self.connection.execute(statement)
        self._columns: dict[str, dict[str, Type]] = {}
        for table in TABLES.values():
            columns_of: dict[str, Type] = {"host": "text"}
            columns_of.update({column.name: column.type for column in table.columns})
            self._columns[table.name] = columns_of
            columns = ", ".join(
                f'"{name}" {sql_type(kind)}' for name, kind in self._columns[table.name].items()
            )
            # Every host's rows lie in a file of its own that no part gave its name.
            self.connection.execute(f"CREATE TABLE {table.name} ({columns})")
            rows = f"SELECT *, '{table.name}-' || host AS file FROM main.{table.name}"
            self.connection.execute(f"CREATE VIEW parts.{table.name} AS {rows}")

    def run(self, question: Callable[[duckdb.DuckDBPyConnection], Answer]) -> Answer:
        return question(self.connection)

    def refresh(self) -> None:
        """There is nothing to read anew."""

    def __enter__(self) -> HandMade:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def add(self, table: str, **values: Any) -> None:
        """Insert a row; times are microseconds UTC; what is not given is null."""
        values = {"host": "web-1", "recording": "r1"} | values
        kinds = self._columns[table]
        self.connection.execute(
            "INSERT INTO base.files SELECT $table, $host, NULL, NULL, $table || '-' || $host "
            'WHERE NOT EXISTS (FROM base.files WHERE "table" = $table AND host = $host)',
            {"table": table, "host": values["host"]},
        )
        marks = ", ".join("make_timestamptz(?)" if kinds[name] == "time" else "?" for name in values)
        names = ", ".join(f'"{name}"' for name in values)
        self.connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(values.values()))

    def sample(self, number: int, began: int | None = None, **values: Any) -> tuple[int, int]:
        """Insert sample `number`, one a second and 10 ms long; return (began, ended)."""
        began = T0 + number * SECOND if began is None else began
        ended = began + 10_000
        defaults = {"number": number, "complete": True, "interval_us": SECOND}
        self.add("samples", began_at=began, ended_at=ended, **(defaults | values))
        return began, ended

    def socket(self, socket_id: int, first_seen: int, last_seen: int, **values: Any) -> None:
        """Insert a TCP listener's row, or what `values` make of it."""
        defaults = {
            "protocol": "tcp", "family": "inet", "local_address": "0.0.0.0", "local_port": 7071,
            "remote_address": "0.0.0.0", "remote_port": 0, "state": "LISTEN",
            "uid": 33, "inode": 900 + socket_id, "pid": 100,
            "program": "myapp", "owner": "held", "begun_as": "opened", "rank": float(socket_id),
        }  # fmt: skip
        self.add(
            "sockets", socket_id=socket_id, first_seen=first_seen, last_seen=last_seen, **(defaults | values)
        )
