"""A capture opened for questions: a DuckDB connection that can read it, and nothing else."""

from __future__ import annotations

import os
import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import duckdb

from sockrec.catalog import guard, sources
from sockrec.catalog.derived import Derived
from sockrec.catalog.witness import LOG, DamageMetError, Witness, identity
from sockrec.errors import CaptureError, SockrecError, UsageError
from sockrec.store.damage import Damage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from sockrec.store.survey import SegmentFile, Survey

Answer = TypeVar("Answer")
Row = TypeVar("Row")

# Given at connecting they hold for cursors too, which a plain `SET` would leave as they were.
_SETTINGS: Final = {
    "python_enable_replacements": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
}
# Bytes of all segments.
_SMALL: Final = 1 << 20
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


# What a question may take; more is spilled to disk, and refused beyond that.
_MOST_MEMORY: Final = 2 << 30
_MOST_SPILLED: Final = "8GiB"


class Catalog:
    """A capture and the views over it (`sockrec.catalog.views`); made by `open_catalog`.

    `connection` may be used for reading directly, but only `run` compares what was read with the files'
    checksums, leaves a damaged file out and asks again. `damages` lists what is left out, and why.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.damages: list[Damage] = []
        self._untold: list[Damage] = []
        self._bad: dict[Path, tuple[Damage, tuple[int, ...]]] = {}
        self._all_fit = False
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._running: duckdb.DuckDBPyConnection | None = None
        self._witness = Witness()
        self._asked = threading.local()
        self._open()

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The locked-down connection, with every view; another one after damage was found, or `refresh`."""
        self._derive(Derived.make_all)
        return self._open_connection

    @property
    def _open_connection(self) -> duckdb.DuckDBPyConnection:
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

    def run(self, question: Callable[[duckdb.DuckDBPyConnection], Answer], *, trusted: bool = True) -> Answer:
        """Return `question(cursor)`; damaged files are left out, recorded, and it is asked again.

        Where a `trusted` statement is wrong, files may be why: they are looked at, which takes a while if
        they are many. Raises `UsageError` for a statement that is wrong, `CaptureError` if nothing can be
        read.
        """
        while True:
            before = self._derived.state
            try:
                with self._witness.asking():
                    self._asked.connection = self._open_connection
                    # A cursor of its own: a result that its asker has not read to the end blocks nobody else.
                    self._running = self._open_connection.cursor()
                    answer = question(self._running)
                    if isinstance(answer, duckdb.DuckDBPyRelation):
                        # Its rows are read later, where nobody can compare them any more.
                        self._compare_files()
                    else:
                        self.compare_read()
                    return answer
            except duckdb.CatalogException as error:
                self._derive(partial(Derived.make_missing, error=error))
                if self._derived.state == before:
                    raise meaning(error) from None
            except duckdb.Error as error:
                self.leave_out_damaged(error, trusted=trusted)

    def interrupt(self) -> None:
        """End what is being asked now, from another thread: its question raises `KeyboardInterrupt`."""
        if self._running is not None:
            self._running.interrupt()

    def compare_read(self) -> None:
        """Compare what was read until now with the files' checksums; raises `DamageMetError`.

        For questions whose answer leaves before all of it is there.
        """
        if getattr(self._asked, "connection", self._connection) is not self._connection:
            # Another thread has left files out meanwhile, which this question may have read.
            raise DamageMetError({})
        self._witness.compare_read()

    def relation(self, sql: str) -> duckdb.DuckDBPyRelation:
        """Return the rows of a trusted statement, held in memory, as a relation."""
        return self.run(lambda connection: (connection.sql(sql).materialize(),))[0]

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a trusted statement."""
        return self.run(lambda connection: connection.execute(sql).fetchall())

    def check(self, sql: str) -> None:
        """Return if `sql` is one statement that only reads; raises `UsageError` otherwise."""
        guard.check(self._open_connection, sql)
        self._derive(partial(Derived.make_for, sql=sql))

    def check_files(self) -> None:
        """Read every segment whole now, and leave those out that are damaged."""
        self._leave_out(self._damaged(self._files()))

    def _files(self) -> list[SegmentFile]:
        return [segment for segments in self.survey.segments.values() for segment in segments]

    def _compare_files(self) -> None:
        """Compare every segment that has checksums; raises `DamageMetError`."""
        compared = ((segment.path, self._witness.compare_whole(segment)) for segment in self._files())
        if found := {path: damage for path, damage in compared if damage is not None}:
            raise DamageMetError(found)

    def _tripped_over(self) -> dict[Path, Damage]:
        """Return which of the files that a failed statement read fail their checksums."""
        try:
            self._witness.compare_read()
        except DamageMetError as error:
            return error.found
        except duckdb.Error:
            return {}  # so bad that the database is gone, and its log
        return {}

    def _damaged(self, segments: Iterable[SegmentFile], *, deeply: bool = False) -> dict[Path, Damage]:
        """Read segments whole and return what is wrong; `deeply` those too whose checksums are right."""
        found = {}
        for segment in segments:
            damage = self._witness.compare_whole(segment)
            if damage is None and (deeply or segment.check is None):
                # Arrow takes longer to import than most questions need.
                from sockrec.store.whole import deep_check

                what = deep_check(segment.path)
                damage = None if what is None else Damage(segment.path, what)
            if damage is not None:
                found[segment.path] = damage
        return found

    def _leave_out(self, found: dict[Path, Damage]) -> None:
        for path, damage in found.items():
            if (file := identity(path)) is not None:
                self._bad[path] = damage, file
        if found:
            self._open()

    def leave_out(self, what: str) -> None:
        """Tell among the damages what an answer is without, as the capture does not let it be told."""
        damage = Damage(self.root, what)
        if damage not in self._untold:
            self._untold.append(damage)
            self.damages.append(damage)

    def told_or_left_out(self, what: str, question: Callable[[], Iterable[Row]]) -> list[Row]:
        """Return what a question tells; nothing, and `what` among the damages, where it cannot be reckoned.

        Captures made to harm have numbers too large for that, or more rows than there is memory for.
        """
        try:
            return list(question())
        except (UsageError, duckdb.Error, OverflowError) as error:
            self.leave_out(f"{what}: {guard.one_line(error)}")
            return []

    def leave_out_damaged(self, error: duckdb.Error, *, trusted: bool = True) -> None:
        """Find the files that a failed statement tripped over and open the capture anew without them.

        Raises what the error means if it was not for a file, and `KeyboardInterrupt` if that was why.
        """
        if isinstance(error, duckdb.InterruptException):
            raise KeyboardInterrupt from None
        if isinstance(error, DamageMetError):
            self._leave_out(error.found)
            return
        files = self._files()
        if not all(segment.path.exists() for segment in files):
            # Dropped by retention, or sealed anew: that is no damage.
            self._open()
            return
        if found := self._tripped_over():
            self._leave_out(found)
            return
        if isinstance(error, _OF_THE_STATEMENT):
            found = self._unfit() if trusted else {}
            if not found:
                raise meaning(error) from None
            self._leave_out(found)
            return
        named = [segment for segment in files if str(segment.path) in str(error)]
        found = self._damaged(named, deeply=True)
        found = found or self._damaged((segment for segment in files if segment not in named), deeply=True)
        found = found or self._unfit()
        if not found:
            raise meaning(error) from None
        self._leave_out(found)

    def _unfit(self) -> dict[Path, Damage]:
        """Return the files that have not the columns of their tables; looked for once."""
        if self._all_fit:
            return {}
        found = sources.unfit(self._sources)
        self._all_fit = not found
        return found

    def _open(self) -> None:
        self.close()
        self._sources = sources.find(self.root)
        self._all_fit = False
        files = self.survey.segments
        # Another file at its path, as after a repair, may be whole.
        self._bad = {path: bad for path, bad in self._bad.items() if identity(path) == bad[1]}
        for table, segments in files.items():
            files[table] = [segment for segment in segments if segment.path not in self._bad]
        known = {damage.path for damage in self.survey.damages if not damage.known}
        left_out = [damage for path, (damage, _) in self._bad.items() if path not in known]
        self.damages = [*self.survey.damages, *left_out]
        if self.damages and not any(files.values()) and not self._sources.journals:
            raise CaptureError(f"nothing in {self.root} can be read: {self.damages[0]}")
        self.damages += self._untold
        # DuckDB would let everybody read it.
        self._spill = tempfile.TemporaryDirectory(prefix="sockrec-", ignore_cleanup_errors=True)
        self._connection = duckdb.connect(":memory:", config=dict(_SETTINGS))
        self._derived = Derived(self._connection)
        try:
            _prepare(self._connection, self._sources, self._spill.name)
            self._derived.make_runs()
            self._witness.watch(self._connection, self._files())
        except duckdb.Error as error:
            self.leave_out_damaged(error)

    def _derive(self, make: Callable[[Derived], None]) -> None:
        """Make views; files that they can't be made of are left out."""
        while True:
            try:
                make(self._derived)
            except duckdb.Error as error:
                self.leave_out_damaged(error)
            else:
                return

    def close(self) -> None:
        """Let the connection go; relations made from it can't be read any more."""
        self._witness.rest()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._spill.cleanup()

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


def _prepare(connection: duckdb.DuckDBPyConnection, found: sources.Sources, spill: str) -> None:
    segments = [segment for segments in found.survey.segments.values() for segment in segments]
    # Where Python is interactive DuckDB draws one, on stdout. In a notebook without ipywidgets it draws none,
    # and refuses to be told so.
    if connection.execute("SELECT current_setting('enable_progress_bar')").fetchone() == (True,):
        connection.execute("SET enable_progress_bar = false")
    if not found.journals and sum(one.size for one in segments) < _SMALL:
        # Sharing the work out would take longer than the work.
        connection.execute("SET threads = 1")
    for setting in (
        "SET GLOBAL TimeZone = 'UTC'",
        "SET GLOBAL parquet_metadata_cache = true",
        LOG,
        f"SET temp_directory = {sources.literal(spill)}",
        f"SET max_temp_directory_size = '{_MOST_SPILLED}'",
        f"SET memory_limit = '{_most_memory()}B'",
        f"SET allowed_paths = [{', '.join(sources.literal(str(one.path)) for one in segments)}]",
        "SET enable_external_access = false",
        "SET lock_configuration = true",
        "CREATE SCHEMA base",
        "CREATE SCHEMA journal",
        "CREATE SCHEMA parts",
    ):
        connection.execute(setting)
    sources.attach(connection, found)


def _most_memory() -> int:
    if not hasattr(os, "sysconf"):  # Windows
        return _MOST_MEMORY
    return min(_MOST_MEMORY, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
