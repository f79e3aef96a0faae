"""From the ledger to the disk: one journal part at a time, sealed behind the recorder's back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from sockrec.model.tables import EVENTS
from sockrec.recorder.events.happened import Happened
from sockrec.recorder.events.rows import EventRows
from sockrec.recorder.ledger import Changes, Ledger
from sockrec.recorder.rows import RowMaker
from sockrec.store import layout, segments
from sockrec.store.journal import JournalWriter

# A reader takes a part of this size in well below a second, and a day has few of them.
PART_BYTES: Final = 8 << 20
PART_US: Final = 3_600_000_000


class Writer:
    """Writes the samples of one recording.

    A part is `part_us` long at most; `after_seal` is called with its stem, in the sealer's thread, when its
    segments are whole. Raises `CaptureError` where the capture can't be written; what was written before
    stays whole.
    """

    def __init__(
        self,
        paths: layout.Layout,
        host: str,
        facts: Mapping[str, Any],
        ledger: Ledger,
        sync_seconds: float,
        *,
        part_us: int = PART_US,
        after_seal: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._part_us, self._after_seal = part_us, after_seal
        self._paths, self._host, self._facts, self._ledger = paths, host, facts, ledger
        self._sync_seconds = sync_seconds
        self._rows = RowMaker(ledger, facts["recording"], facts["netns"])
        self._event_rows = EventRows(facts["recording"], facts["netns"], ledger.anchor_us)
        self._sealer = ThreadPoolExecutor(1, thread_name_prefix="sockrec-seal")
        self._sealing: list[Future[int]] = []
        self._sealed_bytes = 0
        self._part = 0
        self._last_began = 0
        segments.recover(paths, host)
        self._journal, self._part_began = self._open(), 0

    @property
    def bytes(self) -> int:
        """Bytes of this recording on disk."""
        self._collect()
        return self._sealed_bytes + self._journal.size

    def write(self, changes: Changes, sample: Mapping[str, Any] | None = None) -> None:
        """Append one sample to the journal, whole; without a sample row, the changes of a partial reading."""
        if sample is None and changes.nothing:
            return
        self._journal.append(self._rows.batches(changes, sample))
        if sample is not None:
            self._last_began = changes.times.began
            self._part_began = self._part_began or self._last_began

    def write_events(self, happened: Happened) -> int:
        """Append what happened between two samples; return how many rows that were."""
        if happened.nothing:
            return 0
        batch = self._event_rows.batch(happened)
        self._journal.append({EVENTS.name: batch})
        rows: int = batch.num_rows
        return rows

    def rotate_if_due(self) -> None:
        """Between two samples: when the part is full, old, or of the day before, begin another."""
        aged = self._last_began - self._part_began >= self._part_us
        dated = layout.date_folder(self._last_began) != layout.date_folder(self._part_began)
        if aged or dated or self._journal.size >= PART_BYTES:
            self.rotate()

    def rotate(self) -> None:
        """Between two samples: end this part, have it sealed, and begin another."""
        old, old_stem = self._journal, self._stem
        self._part += 1
        # The next part exists before this one says that it is carried on.
        self._journal, self._part_began = self._open(), self._last_began
        self._journal.append(self._rows.batches(self._ledger.carry(self._last_began)))
        self._end(old, old_stem, "carried")

    def close(self) -> None:
        """End the last part and wait until all is sealed."""
        self._end(self._journal, self._stem, "stopped")
        self._sealer.shutdown(wait=True)
        self._collect()

    def _open(self) -> JournalWriter:
        header = {"recording": self._facts["recording"], "host": self._host, "part": self._part}
        header["started"] = self._last_began or self._facts["started_us"]
        return JournalWriter(self._paths.journal(self._host, self._stem), header, self._sync_seconds)

    @property
    def _stem(self) -> str:
        return layout.stem(self._facts["recording"], self._part)

    def _end(self, journal: JournalWriter, stem: str, ended_as: str) -> None:
        journal.end(ended_as)
        journal.close()
        self._sealing.append(self._sealer.submit(self._seal, stem))

    def _seal(self, stem: str) -> int:
        """Seal a part, in the sealer's thread."""
        written = segments.seal(self._paths, self._host, stem)
        self._after_seal(stem)
        return written

    def _collect(self) -> None:
        """Add up what was sealed; an error in the sealer's thread is raised here."""
        for future in [future for future in self._sealing if future.done()]:
            self._sealing.remove(future)
            self._sealed_bytes += future.result()
