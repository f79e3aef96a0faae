"""A capture opened for questions: a DuckDB connection that can read it, and nothing else."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import duckdb

from sockrec.catalog import connections, events, guard, moments, periods, sources, unsampled
from sockrec.errors import CaptureError, SockrecError, UsageError
from sockrec.store.damage import Damage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from sockrec.store.survey import Survey

Answer = TypeVar("Answer")

_DERIVED: Final = (
    *periods.RUNS,
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
)
# Given at connecting they hold for cursors too, which a plain `SET` would leave as they were.
_SETTINGS: Final = {
    "python_enable_replacements": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
}
# What a statement can be wrong about by itself, whatever the files hold.
_OF_THE_STATEMENT: Final = (
    duckdb.ParserException,
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.ConversionException,
    duckdb.OutOfRangeException,
    duckdb.TypeMismatchException,
    duckdb.PermissionException,
    duckdb.NotImplementedException,
    duckdb.SyntaxException,
    duckdb.OutOfMemoryException,
)


class Catalog:
    """A capture and the views over it (`sockrec.catalog.views`); made by `open_catalog`.

    `connection` may be used for reading directly, but only `run` notices a file that is damaged
    inside, leaves it out and goes on. `damages` lists what is left out, and why.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.damages: list[Damage] = []
        self._bad: dict[Path, Damage] = {}
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._open()

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The locked-down connection; another one after damage was found, or after `refresh`."""
        if self._connection is None:
            raise CaptureError(f"{self.root} was closed")
        return self._connection

    @property
    def survey(self) -> Survey:
        """The files that make up the capture, as they were when it was opened or refreshed."""
        return self._sources.survey

    @property
    def recordings(self) -> list[dict[str, Any]]:
        """What is known of each recording, oldest first, as its JSON tells."""
        return self.survey.recordings

    def refresh(self) -> None:
        """Read again what a recorder has written meanwhile."""
        self._open()

    def run(self, question: Callable[[duckdb.DuckDBPyConnection], Answer]) -> Answer:
        """Return `question(cursor)`; damaged files are left out, recorded, and it is asked again.

        Raises `UsageError` for a statement that is wrong, `CaptureError` if nothing can be read.
        """
        while True:
            try:
                # A cursor of its own: a result that its asker has not read to the end blocks nobody else.
                return question(self.connection.cursor())
            except duckdb.Error as error:
                self.leave_out_damaged(error)

    def relation(self, sql: str) -> duckdb.DuckDBPyRelation:
        """Return the rows of a trusted statement, held in memory, as a relation."""
        return self.run(lambda connection: connection.sql(sql).materialize())

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a trusted statement."""
        return self.run(lambda connection: connection.execute(sql).fetchall())

    def check(self, sql: str) -> None:
        """Return if `sql` is one statement that only reads; raises `UsageError` otherwise."""
        guard.check(self.connection, sql)

    def check_files(self) -> None:
        """Read every segment whole now, and leave those out that are damaged."""
        self._leave_out(_damaged(self._files()))

    def _files(self) -> list[Path]:
        return [segment.path for segments in self.survey.segments.values() for segment in segments]

    def _leave_out(self, found: dict[Path, Damage]) -> None:
        self._bad |= {path: damage for path, damage in found.items() if path.exists()}
        if found:
            self._open()

    def leave_out_damaged(self, error: duckdb.Error) -> None:
        """Find the files that a failed statement tripped over and open the capture anew without them.

        Raises what the error means if it was not for a file, and `KeyboardInterrupt` if that was why.
        """
        if isinstance(error, duckdb.InterruptException):
            raise KeyboardInterrupt from None
        files = self._files()
        if not all(path.exists() for path in files):
            # Dropped by retention, or sealed anew: that is no damage.
            self._open()
            return
        if isinstance(error, _OF_THE_STATEMENT):
            raise meaning(error) from None
        named = [path for path in files if str(path) in str(error)]
        found = _damaged(named) or _damaged(path for path in files if path not in named)
        if not found:
            raise meaning(error) from None
        self._leave_out(found)

    def _open(self) -> None:
        self.close()
        self._sources = sources.find(self.root)
        files = self.survey.segments
        for table, segments in files.items():
            files[table] = [segment for segment in segments if segment.path not in self._bad]
        self.damages = [*self.survey.damages, *self._bad.values()]
        if self.damages and not any(files.values()) and not self._sources.journals:
            raise CaptureError(f"nothing in {self.root} can be read: {self.damages[0]}")
        self._connection = duckdb.connect(":memory:", config=dict(_SETTINGS))
        try:
            _prepare(self._connection, self._sources)
        except duckdb.Error as error:
            self.leave_out_damaged(error)

    def close(self) -> None:
        """Let the connection go; relations made from it can't be read any more."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Catalog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_catalog(path: str | Path) -> Catalog:
    """Open the capture at `path`; use it in a `with` statement, or close it.

    Raises `CaptureError` if there is none, or nothing of it can be read.
    """
    return Catalog(Path(path).absolute())


def meaning(error: duckdb.Error) -> SockrecError:
    """Return a failed statement's error as one of ours, in one line."""
    if isinstance(error, duckdb.OutOfMemoryException):
        return UsageError(f"the query needs more memory than there is: {guard.one_line(error)}")
    if isinstance(error, (duckdb.IOException, duckdb.InternalException, duckdb.FatalException)):
        return CaptureError(guard.one_line(error))
    return UsageError(guard.one_line(error))


def _prepare(connection: duckdb.DuckDBPyConnection, found: sources.Sources) -> None:
    # Spilled rows go where the user's temporary files go, not into the folder they stand in.
    spill = Path(tempfile.gettempdir()) / f"sockrec-{uuid.uuid4().hex}"
    paths = [segment.path for segments in found.survey.segments.values() for segment in segments]
    for setting in (
        "SET GLOBAL TimeZone = 'UTC'",
        "SET GLOBAL parquet_metadata_cache = true",
        f"SET temp_directory = {sources.literal(str(spill))}",
        f"SET allowed_paths = [{', '.join(sources.literal(str(path)) for path in paths)}]",
        "SET enable_external_access = false",
        "SET lock_configuration = true",
        "CREATE SCHEMA base",
        "CREATE SCHEMA journal",
        "CREATE SCHEMA parts",
    ):
        connection.execute(setting)
    sources.attach(connection, found)
    for view in _DERIVED:
        connection.execute(view)


def _damaged(paths: Iterable[Path]) -> dict[Path, Damage]:
    # Arrow takes longer to import than most questions need.
    from sockrec.store.segments import deep_check

    found = {}
    for path in paths:
        what = deep_check(path)
        if what is not None:
            found[path] = Damage(path, what)
    return found
