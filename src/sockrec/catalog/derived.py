"""The derived views, each made when a question first needs it: all take longer than most questions."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Final

from sockrec.catalog import connections, events, moments, periods, rates, unsampled

if TYPE_CHECKING:
    import duckdb

# Each from the stored tables and those before it.
_STATEMENTS: Final = (
    periods.RUNS,
    unsampled.UNSAMPLED,
    periods.PERIODS,
    periods.LISTENING,
    periods.LISTENERS,
    periods.PROCESSES,
    connections.SPANS,
    connections.LISTENED,
    connections.CONNECTIONS,
    events.EVENTS,
    moments.GAPS,
    moments.WITHIN_REACH,
    moments.SOCKETS_AT,
    moments.CHANGES_BETWEEN,
    rates.COUNTERS,
    rates.LINK_COUNTERS,
)
_NAME: Final = re.compile(r"\bCREATE (?:VIEW|TABLE|MACRO) ([\w.]+)")
_MISSING: Final = re.compile(r"with name \"?([\w.]+)\"? does not exist")
# What a statement that asks for the views themselves holds.
_LISTING: Final = re.compile(
    r"\b(?:show|describe|summarize|query_table|information_schema|pragma_\w+|duckdb_\w+|pg_\w+)\b", re.I
)


def _needs() -> dict[str, tuple[str, ...]]:
    """Return for each name those before its statement that this reads."""
    needs: dict[str, tuple[str, ...]] = {}
    for statement in _STATEMENTS:
        read = (name for name in needs if re.search(rf"(?:FROM|JOIN)\s+{re.escape(name)}\b", statement))
        needs |= dict.fromkeys(_NAME.findall(statement), tuple(read))
    return needs


_MAKING: Final = {name: statement for statement in _STATEMENTS for name in _NAME.findall(statement)}
_NEEDS: Final = _needs()


class Derived:
    """Makes the derived views of one connection; from several threads, each once."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._made: set[str] = set()
        self._lock = threading.Lock()

    def make_runs(self) -> None:
        """Make those that are tables, which reads all samples. Raises `duckdb.Error` on unfit files."""
        with self._lock:
            self._make("base.runs")

    def make_all(self) -> None:
        """Make all that are not there yet; raises `duckdb.Error` on unfit files."""
        with self._lock:
            for name in _MAKING:
                self._make(name)

    @property
    def state(self) -> tuple[Derived, int]:
        """What is the same as long as nothing more was made."""
        return self, len(self._made)

    def make_missing(self, error: duckdb.CatalogException) -> None:
        """Make what a statement did not find; all, if that is none of them: the error names what is like it.

        Raises `duckdb.Error` on unfit files.
        """
        found = _MISSING.search(str(error))
        name = "" if found is None else found[1].removeprefix("main.")
        with self._lock:
            for one in {name, f"base.{name}"} & _MAKING.keys() - self._made or _MAKING:
                self._make(one)

    def make_for(self, sql: str) -> None:
        """Make all if a statement may list them."""
        if _LISTING.search(sql):
            self.make_all()

    def _make(self, name: str) -> None:
        if name in self._made:
            return
        for needed in _NEEDS[name]:
            self._make(needed)
        self._connection.execute(_MAKING[name])
        self._made.update(_NAME.findall(_MAKING[name]))
