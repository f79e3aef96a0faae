"""The journal: the crash-safe tail of a recording, one file for each part of it.

A journal is a file of frames (`sockrec.store.framing`). The first two are the same header, twice, so
that no single damaged block makes the rest unreadable; then one frame for each sample, all or nothing;
then, if the part was ended on purpose, an end frame. docs/capture-format.md gives every byte.
"""

from __future__ import annotations

import os
import secrets
import time
from typing import TYPE_CHECKING, Any

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


class JournalWriter:
    """Appends samples to a new journal.

    `header` tells at least `recording`, `host`, `part` and `started` (UTC microseconds); the format
    version and the schema of every journal table are added to it. What was appended survives the
    death of the recorder at once, and of the host after at most `sync_seconds` (0 syncs every time),
    counted between appends.

    Every method that writes raises `CaptureError` when the disk does not take it. The file then ends
    with the last whole frame, counts stand as before, and the same call may be made again.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], sync_seconds: float = 1.0) -> None:
        self.path = path
        self.size = 0
        self._sync_seconds = sync_seconds
        self._schemas = journal_schemas()
        self._index = {name: index for index, name in enumerate(self._schemas)}
        self._counts = [0] * len(self._schemas)
        self._count_struct = counts_struct(len(self._schemas))
        self._id = secrets.token_bytes(framing.ID_BYTES)
        self._sequence = 0
        self._overhang = False
        self._ended = False
        self._synced_at = time.monotonic()
        self._fd = -1
        payload = pack_header({**header, "format_version": FORMAT_VERSION}, self._schemas)
        try:
            self._fd = create(path)
        except OSError as error:
            raise unwritable(path, error) from None
        try:
            self._write(framing.HEADER_KIND, payload, sync=False)
            self._write(framing.HEADER_KIND, payload, sync=True)
            sync_folder(path.parent)
        except (OSError, CaptureError) as error:
            self._discard()
            raise unwritable(path, error) if isinstance(error, OSError) else error from None

    def rows(self, table: str) -> int:
        """Return how many rows of a journal table were appended: the number that its next row gets."""
        return self._counts[self._index[table]]

    def append(self, batches: Mapping[str, pa.RecordBatch]) -> int:
        """Append one sample, all or nothing, and return the bytes it took on disk.

        `batches` maps journal tables (`sockets.begun`, `sockets.ended`, ..., `activity`, `samples`) to
        their rows; empty batches take no room. Row numbers in `<table>.ended` count the rows of
        `<table>.begun` of this journal from 0, those of this very sample included. Raises `ValueError`
        for an unknown table or another schema than `journal_schemas()`.
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
        due = time.monotonic() - self._synced_at >= self._sync_seconds
        written = self._write(framing.SAMPLE_KIND, payload, sync=due)
        self._counts = counts
        return written

    def end(self, ended_as: str) -> None:
        """Say that the part ends here, whole: `carried` into the next one, or `stopped`; then sync."""
        if ended_as not in ENDED_AS:
            raise ValueError(f"a part ends as one of {ENDED_AS}, not {ended_as!r}")
        self._write(framing.END_KIND, [self._count_struct.pack(*self._counts), pack_end(ended_as)], sync=True)
        self._ended = True

    def sync(self) -> None:
        """Make everything appended so far last through a power cut."""
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise unwritable(self.path, error) from None
        self._synced_at = time.monotonic()

    def close(self) -> None:
        """Sync and close; a journal closed without `end` reads as one whose recorder died."""
        if self._fd < 0:
            return
        try:
            self.sync()
        finally:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, kind: int, payload: Sequence[bytes | pa.Buffer], *, sync: bool) -> int:
        if self._ended or (self._fd < 0):
            raise ValueError(f"{self.path} was ended or closed")
        try:
            pieces = framing.pack(self._id, self._sequence, kind, payload)
        except OverflowError as error:
            raise CaptureError(f"one sample is too large for {self.path}: {error}") from None
        length = sum(map(len, pieces))
        try:
            if self._overhang:
                self._cut_back()
            # At a position, not at the end: even a frame torn by a signal handler is written over.
            self._write_at(pieces, self.size)
            if sync:
                self.sync()
        except BaseException as error:
            self._overhang = True
            self._try_to_cut_back()
            if isinstance(error, OSError):
                raise unwritable(self.path, error) from None
            raise
        self.size += length
        self._sequence += 1
        return length

    def _write_at(self, pieces: Sequence[bytes], offset: int) -> None:
        left = [memoryview(piece) for piece in pieces]
        while left:
            written = os.pwritev(self._fd, left, offset)
            offset += written
            while left and written >= len(left[0]):
                written -= len(left.pop(0))
            if left:
                left[0] = left[0][written:]

    def _cut_back(self) -> None:
        os.ftruncate(self._fd, self.size)
        self._overhang = False

    def _try_to_cut_back(self) -> None:
        try:
            self._cut_back()
        except OSError:
            # The next write tries again first; until then readers see a torn tail, which they know.
            self._overhang = True

    def _discard(self) -> None:
        os.close(self._fd)
        self._fd = -1
        self.path.unlink(missing_ok=True)
