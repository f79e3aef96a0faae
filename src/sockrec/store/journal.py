"""The journal: the crash-safe tail of a recording, one file for each part of it.

A journal is a file of frames (`sockrec.store.framing`). The first two are the same header, twice, so
that no single damaged block makes the rest unreadable; then one frame for each sample, all or nothing;
then, if the part was ended on purpose, an end frame. docs/capture-format.md gives every byte.
"""

from __future__ import annotations

import os
import secrets
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sockrec.errors import CaptureError
from sockrec.model.tables import FORMAT_VERSION
from sockrec.store import framing
from sockrec.store.damage import Damage
from sockrec.store.files import create, sync_folder, unwritable
from sockrec.store.journal_reader import Journal, JournalVanishedError, Loss, read_journal
from sockrec.store.payload import ENDED_AS, counts_struct, pack_batches, pack_end, pack_header
from sockrec.store.schema import journal_schemas

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    import pyarrow as pa

__all__ = [
    "ENDED_AS",
    "Damage",
    "Journal",
    "JournalVanishedError",
    "JournalWriter",
    "Loss",
    "read_journal",
]


# A disk that refused costs one failing call in this time.
_RETRY_SECONDS: Final = 1.0


class _Frame(NamedTuple):
    """A frame's place in the file and its bytes."""

    offset: int
    end: int
    pieces: list[bytes]


class JournalWriter:
    """Appends samples to a new journal.

    `header` tells at least `recording`, `host`, `part` and `started` (UTC microseconds); the format
    version and the schema of every journal table are added to it. What was written survives the
    death of the recorder at once, and of the host after at most `sync_seconds` (0 syncs every time), as long
    as `sync_if_due` is called in between.

    What the disk does not take waits in memory, in order, and is written with what comes next: `unwritten`
    says how much, `failure` why. Frames are let go of only when they are synced: after a sync that failed the
    kernel may have dropped them, and they are written over themselves again.
    Making one raises `CaptureError` if the disk does not take the header.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], sync_seconds: float = 1.0) -> None:
        self.path = path
        self.failure: CaptureError | None = None
        self._sync_seconds = sync_seconds
        self._schemas = journal_schemas()
        self._index = {name: index for index, name in enumerate(self._schemas)}
        self._counts = [0] * len(self._schemas)
        self._count_struct = counts_struct(len(self._schemas))
        self._id = secrets.token_bytes(framing.ID_BYTES)
        self._sequence = 0
        self._waiting: deque[_Frame] = deque()
        self._unsynced: deque[_Frame] = deque()
        self._size = self._length = 0
        self._overhang = False
        self._ended = False
        self._synced_at = time.monotonic()
        self._retry_at = 0.0
        self._fd = -1
        payload = pack_header({**header, "format_version": FORMAT_VERSION}, self._schemas)
        try:
            self._fd = create(path)
        except OSError as error:
            raise unwritable(path, error) from None
        try:
            for _ in range(2):
                self._add(framing.HEADER_KIND, payload)
            self._write(sync=True)
            sync_folder(path.parent)
        except OSError as error:
            self._discard()
            raise unwritable(path, error) from None

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._size

    @property
    def unwritten(self) -> int:
        """Bytes that wait in memory for the disk to take them."""
        return self._length - self._size

    def rows(self, table: str) -> int:
        """Return how many rows of a journal table were appended: the number that its next row gets."""
        return self._counts[self._index[table]]

    def append(self, batches: Mapping[str, pa.RecordBatch]) -> int:
        """Append one sample, all or nothing, and return the bytes that it takes.

        `batches` maps journal tables (`sockets.begun`, `sockets.ended`, ..., `activity`, `samples`) to
        their rows; empty batches take no room. Row numbers in `<table>.ended` count the rows of
        `<table>.begun` of this journal from 0, those of this very sample included. Raises `ValueError`
        for an unknown table or another schema than `journal_schemas()`, and `CaptureError` for a sample
        too large for a frame.
        """
        counts = list(self._counts)
        taken = []
        for name, batch in batches.items():
            index = self._index.get(name)
            if index is None or not batch.schema.equals(self._schemas[name]):
                raise ValueError(f"{name!r} is no journal table, or its columns are not those of the model")
            if batch.num_rows:
                taken.append((index, batch))
                counts[index] += batch.num_rows
        payload = [self._count_struct.pack(*self._counts), *pack_batches(taken)]
        length = self._add(framing.SAMPLE_KIND, payload)
        self._counts = counts
        self.flush(sync=time.monotonic() - self._synced_at >= self._sync_seconds)
        return length

    def end(self, ended_as: str) -> None:
        """Say that the part ends here, whole: `carried` into the next one, or `stopped`; then sync."""
        if ended_as not in ENDED_AS:
            raise ValueError(f"a part ends as one of {ENDED_AS}, not {ended_as!r}")
        self._add(framing.END_KIND, [self._count_struct.pack(*self._counts), pack_end(ended_as)])
        self._ended = True
        self.flush(sync=True)

    def flush(self, *, sync: bool = False, now: bool = False) -> bool:
        """Write what waits, and sync if asked to; return whether all is on disk (and synced, if asked).

        A disk that refused is asked again a second later at the earliest, unless `now`. What it says stands
        in `failure`.
        """
        if self.failure is not None and not now and time.monotonic() < self._retry_at:
            return False
        try:
            # What a failed sync may have lost is made safe at once.
            self._write(sync=sync or self.failure is not None)
        except OSError as error:
            self.failure = unwritable(self.path, error)
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            return False
        self.failure = None
        return True

    def sync_if_due(self) -> None:
        """Sync what was written, once it has waited for `sync_seconds`."""
        if self._unsynced and time.monotonic() - self._synced_at >= self._sync_seconds:
            self.flush(sync=True)

    def close(self) -> None:
        """Sync and close; a journal closed without `end` reads as one whose recorder died.

        Raises `CaptureError` if the disk still does not take all of it.
        """
        if self._fd < 0:
            return
        try:
            if not self.flush(sync=True, now=True) and self.failure is not None:
                raise self.failure
        finally:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _add(self, kind: int, payload: Sequence[bytes | pa.Buffer]) -> int:
        """Put a frame behind the others and return its length."""
        if self._ended or (self._fd < 0):
            raise ValueError(f"{self.path} was ended or closed")
        try:
            pieces = framing.pack(self._id, self._sequence, kind, payload)
        except OverflowError as error:
            raise CaptureError(f"one sample is too large for {self.path}: {error}") from None
        length = sum(map(len, pieces))
        self._waiting.append(_Frame(self._length, self._length + length, pieces))
        self._length += length
        self._sequence += 1
        return length

    def _write(self, *, sync: bool) -> None:
        """Write what waits, and sync; raises `OSError`."""
        try:
            if self._overhang:
                os.ftruncate(self._fd, self._size)
                self._overhang = False
            while self._waiting:
                frame = self._waiting[0]
                # At a position, not at the end: even a frame torn by a signal handler is written over.
                self._write_at(frame.pieces, frame.offset)
                self._size = max(self._size, frame.end)
                self._unsynced.append(self._waiting.popleft())
        except BaseException:
            # Until the next write tries again, readers see a torn tail, which they know.
            self._overhang = True
            with suppress(OSError):
                os.ftruncate(self._fd, self._size)
                self._overhang = False
            raise
        if sync:
            self._sync()

    def _sync(self) -> None:
        try:
            os.fdatasync(self._fd)
        except OSError:
            self._waiting.extendleft(reversed(self._unsynced))
            self._unsynced.clear()
            raise
        self._unsynced.clear()
        self._synced_at = time.monotonic()

    def _write_at(self, pieces: Sequence[bytes], offset: int) -> None:
        left = [memoryview(piece) for piece in pieces]
        while left:
            written = os.pwritev(self._fd, left, offset)
            offset += written
            while left and written >= len(left[0]):
                written -= len(left.pop(0))
            if left:
                left[0] = left[0][written:]

    def _discard(self) -> None:
        os.close(self._fd)
        self._fd = -1
        self.path.unlink(missing_ok=True)
