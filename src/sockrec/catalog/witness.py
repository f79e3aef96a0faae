"""What a question has read of the segments, by DuckDB's own log, compared with the files' checksums.

DuckDB compares no checksums of Parquet pages, and a byte changed inside a compressed page often makes other
values without an error. Comparing all files before a question would read much that it does not need.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import duckdb

from sockrec.store.check_block import Check, read_end
from sockrec.store.damage import Damage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from sockrec.store.survey import SegmentFile

LOG: Final = "CALL enable_logging('FileSystem')"
_PREPARE: Final = (
    "PREPARE reads AS SELECT DISTINCT path, pos, bytes FROM duckdb_logs_parsed('FileSystem') "
    "WHERE op = 'READ' AND pos >= 0 AND bytes > 0"
)
_READS: Final = "EXECUTE reads"
_FORGET: Final = "CALL truncate_duckdb_logs()"
_ALL: Final = 1 << 62
_OPEN: Final = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class DamageMetError(duckdb.Error):
    """A question has read a segment that is damaged or gone: what it was answered can't be believed."""

    def __init__(self, found: dict[Path, Damage]) -> None:
        self.found = found
        super().__init__("; ".join(map(str, found.values())))


@dataclass(slots=True)
class _Compared:
    """Which stretches of a file, as it was then, were compared and are whole."""

    file: tuple[int, ...]
    check: Check
    whole: set[int] = field(default_factory=set)

    def missing(self, ranges: Iterable[tuple[int, int]]) -> set[int]:
        """Return which stretches these bytes lie in that were not compared yet."""
        return {number for pair in ranges for number in self.check.stretches(*pair)} - self.whole


class Witness:
    """Remembers what of each segment was compared; one for each catalog, whatever is opened anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asking = 0
        self._log: duckdb.DuckDBPyConnection | None = None
        self._segments: dict[str, SegmentFile] = {}
        self._compared: dict[Path, _Compared] = {}

    def watch(self, connection: duckdb.DuckDBPyConnection, segments: Iterable[SegmentFile]) -> None:
        """Compare what is read from now on through a connection that logs (`LOG`)."""
        with self._lock:
            self._log = connection.cursor()
            self._log.execute(_PREPARE)
            self._segments = {str(one.path): one for one in segments if one.check is not None}

    def rest(self) -> None:
        """Let the connection go."""
        with self._lock:
            self._log = None

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Hold for as long as a question is asked: the log is dropped when none is."""
        with self._lock:
            self._asking += 1
        try:
            yield
        finally:
            with self._lock:
                self._asking -= 1

    def compare_read(self) -> None:
        """Compare what was read since the last time; raises `DamageMetError`."""
        with self._lock:
            if self._log is None or not self._segments:
                return
            reads: dict[str, list[tuple[int, int]]] = {}
            for path, first, length in self._log.execute(_READS).fetchall():
                reads.setdefault(path, []).append((first, first + length))
            if self._asking <= 1:
                self._log.execute(_FORGET)
            found = {}
            for name, ranges in reads.items():
                segment = self._segments.get(name)
                if segment is not None and (what := self._compare(segment.path, ranges)) is not None:
                    found[segment.path] = what
        if found:
            raise DamageMetError(found)

    def compare_whole(self, segment: SegmentFile) -> Damage | None:
        """Compare all of a segment that has checksums; say what is wrong with it, or None."""
        with self._lock:
            return None if segment.check is None else self._compare(segment.path, [(0, _ALL)])

    def _compare(self, path: Path, ranges: Iterable[tuple[int, int]]) -> Damage | None:
        known = self._compared.get(path)
        if known is not None and known.file == identity(path) and not known.missing(ranges):
            return None
        try:
            fd = os.open(path, _OPEN)
        except FileNotFoundError:
            return Damage(path, "is gone: it was dropped, or sealed anew")
        except OSError as error:
            return Damage(path, f"can't be read: {error.strerror}")
        try:
            facts = os.fstat(fd)
            file = _identity(facts)
            if known is None or known.file != file:
                # Another file by now, as after thinning, has checksums of its own.
                end = read_end(fd, facts.st_size, path)
                if isinstance(end, str):
                    return Damage(path, end)
                if end.check is None:
                    return None
                known = self._compared[path] = _Compared(file, end.check)
            for number in sorted(known.missing(ranges)):
                if not known.check.is_whole(fd, number):
                    return Damage(path, "fails its checksum", known.check.bounds(number)[0])
                known.whole.add(number)
        except OSError as error:
            return Damage(path, f"can't be read: {error.strerror}")
        finally:
            os.close(fd)
        return None


def identity(path: Path) -> tuple[int, ...] | None:
    """Return what tells a file from another one that has taken its path since; None if it is gone."""
    try:
        return _identity(path.lstat())
    except OSError:
        return None


def _identity(facts: os.stat_result) -> tuple[int, ...]:
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns
