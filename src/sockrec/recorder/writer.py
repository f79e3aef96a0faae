"""From the ledger to the disk: one journal part at a time, whatever the disk does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from sockrec.errors import CaptureError
from sockrec.model import timetext
from sockrec.model.tables import EVENTS
from sockrec.recorder.events.happened import Happened
from sockrec.recorder.events.rows import EventRows
from sockrec.recorder.ledger import Changes, Ledger
from sockrec.recorder.network import NetworkLedger
from sockrec.recorder.rows import RowMaker
from sockrec.recorder.sealer import Sealer
from sockrec.store import layout
from sockrec.store.journal import JournalWriter

# A reader takes a part of this size in well below a second, and a day has few of them.
PART_BYTES: Final = 8 << 20
# A part begins with all that is alive. Where that alone is so much, a part is so many times as large: else a
# host of 100,000 sockets would do little but begin parts.
PART_TIMES: Final = 2
PART_US: Final = 3_600_000_000
# Hours of a quiet host, ten minutes of one with 100,000 sockets.
BUFFER_BYTES: Final = 64 << 20


class Writer:
    """Writes the samples of one recording.

    A part is `part_us` long at most; `after_seal` is called with its stem, in the sealer's thread, when its
    segments are whole. Raises `CaptureError` if the capture can't be written when this is made. Later, what
    the disk does not take waits in memory, up to `buffer_bytes`; beyond that samples are dropped and
    counted (`dropping`, `dropped`), and once the disk has taken what waited, the writer is `over`: what
    comes then is for another, of a recording of its own. `tell` is called with a line when such a time
    begins and ends, in whatever thread.
    """

    def __init__(
        self,
        paths: layout.Layout,
        host: str,
        facts: Mapping[str, Any],
        ledger: Ledger,
        network: NetworkLedger,
        sync_seconds: float,
        *,
        part_us: int = PART_US,
        buffer_bytes: int = BUFFER_BYTES,
        after_seal: Callable[[str], object] = lambda _: None,
        tell: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._paths, self._host, self._facts = paths, host, facts
        self._ledger, self._network = ledger, network
        self._sync_seconds, self._part_us, self._buffer_bytes = sync_seconds, part_us, buffer_bytes
        self._tell = tell
        self._rows = RowMaker(ledger, facts["recording"], facts["netns"])
        self._constant = {"recording": facts["recording"], "netns": facts["netns"]}
        self._event_rows = EventRows(facts["recording"], facts["netns"], ledger.anchor_us)
        self._part = 0
        self._last_began = 0
        self._failure: CaptureError | None = None
        self._troubled_at = 0
        self.dropping = self.over = self._stuck = False
        self.dropped = self._dropped_events = 0
        self._ended: list[tuple[JournalWriter, str]] = []
        self._sealer = Sealer(paths, host, tell, after_seal)
        self._journal, self._part_began, self._begun_with = self._open(0), 0, 0

    @property
    def bytes(self) -> int:
        """Bytes of this recording on disk."""
        return self._sealer.bytes + self._journal.size + sum(journal.size for journal, _ in self._ended)

    @property
    def trouble(self) -> str | None:
        """What to show while the disk does not take what is recorded; None if it does."""
        if self.dropping:
            return f"the disk takes nothing: {self.dropped} samples dropped"
        if self._failure is not None:
            return f"the disk takes nothing: {self._journal.unwritten >> 10} KiB in memory"
        return None

    @property
    def lost(self) -> str:
        """What was dropped, in words."""
        return f"{self.dropped} samples since {timetext.iso(self._troubled_at)} were dropped"

    def write(self, changes: Changes, sample: Mapping[str, Any] | None = None) -> None:
        """Append one sample to the journal, whole; without a sample row, the changes of a partial reading.

        What the network's ledger has to tell goes with it.
        """
        network = self._network.take(self._constant)
        if sample is not None:
            self._last_began = changes.times.began
            self._part_began = self._part_began or self._last_began
        if self.dropping:
            self.dropped += sample is not None
        elif sample is not None or network or not changes.nothing:
            self._append(self._rows.batches(changes, sample) | network)
            if sample is not None:
                self._begun_with = self._begun_with or self._journal.size

    def write_network(self) -> None:
        """Append what the network's ledger has to tell between two samples."""
        network = self._network.take(self._constant)
        if network and not self.dropping:
            self._append(network)

    def write_events(self, happened: Happened) -> int:
        """Append what happened between two samples; return how many rows that were."""
        if happened.nothing:
            return 0
        batch = self._event_rows.batch(happened)
        rows: int = batch.num_rows
        if self.dropping:
            self._dropped_events += rows
        else:
            self._append({EVENTS.name: batch})
        return rows

    def take_dropped_events(self) -> int:
        """Return how many rows of events were dropped since this was last asked."""
        dropped, self._dropped_events = self._dropped_events, 0
        return dropped

    def sync_if_due(self) -> None:
        """Between samples: let nothing wait longer for its sync than was promised."""
        self._journal.sync_if_due()

    def rotate_if_due(self) -> None:
        """Between two samples: when the part is full, old, or of the day before, begin another.

        What the disk did not take before is tried again.
        """
        self._hand_over()
        self._sealer.retry_if_due()
        if self.dropping:
            self._give_up()
            return
        aged = self._last_began - self._part_began >= self._part_us
        dated = layout.date_folder(self._last_began) != layout.date_folder(self._part_began)
        if aged or dated or self._journal.size >= max(PART_BYTES, PART_TIMES * self._begun_with):
            self.rotate()

    def rotate(self) -> bool:
        """Between two samples: end this part, have it sealed, and begin another; tell whether it was done.

        It is not while the disk does not take what is recorded.
        """
        if self._failure is not None or not self._begin_part():
            return False
        self._hand_over()
        return True

    def close(self) -> None:
        """End the last part and wait until all is sealed that the disk takes.

        Raises `CaptureError` if what was recorded is not all on disk.
        """
        if self.over:
            raise CaptureError(f"{self.lost}: {self._failure}")
        if not self.dropping:
            self._journal.end("stopped")
        self._ended.append((self._journal, self._stem))
        self._hand_over(now=True)
        self._sealer.close()
        for journal, _ in self._ended:
            with suppress(CaptureError):  # it says what `failure` does
                journal.close()
        if self._ended or self.dropped:
            since = timetext.iso(self._troubled_at)
            lost = self.lost if self.dropped else f"what was recorded since {since} could not be kept"
            raise CaptureError(f"{lost}: {self._failure}")

    def _give_up(self) -> None:
        """Once the disk has taken what waited, be over: what was dropped since is a gap."""
        if not self.over and self._journal.flush(sync=True):
            self.over = True
            self._ended.append((self._journal, self._stem))
            self._hand_over(now=True)
            self._sealer.close()

    def _open(self, part: int) -> JournalWriter:
        stem = layout.stem(self._facts["recording"], part)
        header = {"recording": self._facts["recording"], "host": self._host, "part": part}
        header["started"] = self._last_began or self._facts["started_us"]
        return JournalWriter(self._paths.journal(self._host, stem), header, self._sync_seconds)

    @property
    def _stem(self) -> str:
        return layout.stem(self._facts["recording"], self._part)

    def _append(self, batches: Mapping[str, Any]) -> None:
        self._journal.append(batches)
        failure = self._journal.failure
        if failure is None:
            if self._failure is not None:
                self._tell("the disk takes what is recorded again: nothing was lost")
        elif self._failure is None:
            self._troubled_at = self._last_began
            self._tell(f"{failure}; recording goes on in memory, up to {self._buffer_bytes >> 10} KiB")
        self._failure = failure
        if self._journal.unwritten > self._buffer_bytes:
            self.dropping, self._troubled_at = True, self._last_began
            self._tell("the memory for what the disk does not take is full: samples are dropped from now on")

    def _begin_part(self) -> bool:
        """Begin another part with everything that is alive; tell whether the disk let it."""
        try:
            journal = self._open(self._part + 1)
        except CaptureError as error:
            if not self._stuck:
                self._tell(f"{error}; the part before goes on")
            self._stuck = True
            return False
        self._stuck = False
        # The next part exists before this one says that it is carried on.
        self._ended.append((self._journal, self._stem))
        ending, self._journal = self._journal, journal
        self._part, self._part_began = self._part + 1, self._last_began
        self._network.carry(self._last_began)
        carried = self._rows.batches(self._ledger.carry(self._last_began))
        self._append(carried | self._network.take(self._constant))
        self._begun_with = journal.size
        ending.end("carried")
        return True

    def _hand_over(self, *, now: bool = False) -> None:
        """Have the parts sealed that ended and that the disk holds whole."""
        for journal, stem in list(self._ended):
            if journal.flush(sync=True, now=now):
                journal.close()
                self._ended.remove((journal, stem))
                self._sealer.seal(stem)
