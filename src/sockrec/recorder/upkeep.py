"""What is done to sealed parts behind the recorder's back: kept, removed, thinned, in a thread of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from sockrec.errors import CaptureError
from sockrec.recorder.kept import Kept
from sockrec.recorder.options import Options
from sockrec.recorder.writer import PART_BYTES, PART_US, Writer
from sockrec.store import layout, retention, thinning
from sockrec.store.parts import Part, journal_sizes, take_inventory
from sockrec.store.retention import Checked, Retention

# A ring, or the age that is allowed, has so many parts: what is there beyond it is at most one of them.
_PARTS: Final = 5
_LEAST_PART_US: Final = 1_000_000
# A backlog of parts to thin is worked off one at a time, with room between them for the recording.
_THIN_EVERY_S: Final = 10.0
_WAIT_S: Final = 0.5
# What is recorded between two looks, at least.
_LEAST_STEP: Final = 32 << 10
_AGAIN_S: Final = 60.0


def part_us(options: Options) -> int:
    """Return how long a part may be."""
    spans = [span for span in (options.ring_us, options.max_age_us) if span is not None]
    return min([PART_US, *(max(_LEAST_PART_US, span // _PARTS) for span in spans)])


class Upkeep:
    """Keeps the sealed parts of one host as its recorder's options ask; times in recorded microseconds.

    All methods but `sealed` and `kept.signalled` are for the recorder's own thread. `tell` is called, in
    any thread, with a line for whoever watches. `halted` is why recording can't go on.
    """

    def __init__(
        self,
        paths: layout.Layout,
        host: str,
        options: Options,
        now_us: Callable[[], int],
        tell: Callable[[str], object],
    ) -> None:
        self._paths, self._host, self._options = paths, host, options
        self._now_us, self._tell = now_us, tell
        self.halted: str | None = None
        self.kept = Kept(paths, host, options.ring_us, tell)
        # Of a ring the last sample of a part and the first of the next are an interval apart.
        ring_us = None if options.ring_us is None else options.ring_us + options.interval_us
        ages = [span for span in (ring_us, options.max_age_us) if span is not None]
        self._retention = Retention(paths, host, "", options.max_bytes, min(ages, default=None))
        self._part_bytes = PART_BYTES
        if options.max_bytes is not None:
            self._part_bytes = min(PART_BYTES, retention.part_bytes(options.max_bytes))
        self._journal_bytes, self._newest, self._opening = self._part_bytes, "", 0
        self._here = 0
        self._checked: Checked | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sockrec-upkeep")
        self._passes: list[Future[None]] = []
        self._wanted = True
        self._passed_at = 0.0
        self._thinned_at = -_THIN_EVERY_S
        self._failing = False
        self._thin_due_us: int | None = None
        self._thinned: set[str] = set()

    @property
    def removed(self) -> dict[str, int | None] | None:
        """What was removed of this host so far, for the recording's description."""
        return self._retention.removed.facts

    def begin(self, recording: str) -> None:
        """Note which recording is being made, before its first sample."""
        if not self._retention.recording:
            self.kept.resume(recording)
            self._passes.append(self._thread.submit(self._careful, self._retention.finish))
        self._retention.recording = recording
        self._wanted = True

    def sealed(self, _stem: str) -> None:
        """Note that a part was sealed, in the sealer's thread: `poll` sees to it."""
        self._wanted = True

    def poll(self, writer: Writer, samples: int, *, last: bool = False) -> None:
        """Between two samples, or after the last: see to what was asked, and to what is due.

        `samples` were taken so far. No part begins after the last: it would have none.
        """
        now = self._now_us()
        if self._options.max_bytes is not None:
            self._make_room(writer, self._options.max_bytes, last=last)
        self._wanted |= self.kept.poll(writer, self._retention.recording, samples, now)
        self._collect()
        if self._passes:
            return
        since = time.monotonic() - self._passed_at
        if self._is_resting and not self.kept.waiting:
            return
        checked = self._checked
        too_old = checked is not None and checked.due_us is not None and checked.due_us < now
        thin = self._thin_due_us is not None and self._thin_due_us < now
        thin &= time.monotonic() - self._thinned_at > _THIN_EVERY_S
        if self._wanted or too_old or thin or self._failing or (self.kept.waiting and since > _WAIT_S):
            self._pass()

    def _make_room(self, writer: Writer, limit: int, *, last: bool) -> None:
        """Begin another part if this one is large for the limit; remove old ones now if room is scarce."""
        checked = self._checked
        if checked is None:
            return
        sizes = journal_sizes(self._paths, self._host)
        mine = [stem for stem in sizes if stem.startswith(self._retention.recording)]
        newest = max(mine, default="")
        size = sizes.get(newest, 0)
        if newest != self._newest:
            self._newest, self._opening = newest, size
            # A part begins with all that is alive: where that is much, small parts would be nothing else.
            self._journal_bytes = max(self._part_bytes, min(2 * size, limit // 4))
        # One that waits to be sealed is enough: cutting more does not make the sealer faster.
        full = size >= self._journal_bytes and len(mine) < 3 and not last
        journals = sum(sizes.values())
        here = max(0, journals - checked.journal_bytes + retention.segment_bytes(journals - size))
        needed = max(_LEAST_STEP, 2 * (here - self._here))
        self._here = here
        if full:
            needed += self._opening + retention.segment_bytes(size)
        if checked.bytes + here + needed > limit and not self._is_resting:
            self._pass(needed).result()
            checked = self._checked or checked
            # What is being sealed takes less when it is done.
            needed = needed if len(sizes) == 1 else 0
            if checked.bytes + needed > limit and not self._failing:
                self.halted = (
                    f"stopped: what this host has now needs {(checked.bytes + needed) >> 10} KiB of disk "
                    f"without any of its past, and --max-size allows {limit >> 10}"
                )
                return
        if full:
            writer.rotate()

    @property
    def _is_resting(self) -> bool:
        """Whether the disk failed a moment ago: it is asked again each minute."""
        return self._failing and time.monotonic() - self._passed_at < _AGAIN_S

    def close(self) -> None:
        """Do all that is due once more; what is being kept then is left to the next recorder."""
        self._pass(0)
        self._thread.shutdown(wait=True)
        self._collect()

    def _pass(self, room: int | None = None) -> Future[None]:
        """Have all done that is due; with `room` for so many bytes more, by default for parts to come."""
        if room is None and self._options.max_bytes is not None:
            room = min(retention.room(self._journal_bytes), self._options.max_bytes // 2)
        self._wanted = False
        self._passed_at = time.monotonic()
        future = self._thread.submit(self._careful, lambda: self._work(room or 0))
        self._passes.append(future)
        return future

    def _collect(self) -> None:
        """Raise here what went wrong in the thread, but for what a disk does."""
        done = [one for one in self._passes if one.done()]
        self._passes = [one for one in self._passes if one not in done]
        for one in done:
            one.result()

    def _careful(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (OSError, CaptureError) as error:
            if not self._failing:
                self._tell(f"old parts can't be seen to: {error}; it is tried again each minute")
            self._failing = True
        else:
            self._failing = False

    def _work(self, room: int) -> None:
        now = self._now_us()
        inventory = take_inventory(self._paths, self._host)
        # First kept, then removed.
        self.kept.work(inventory)
        checked = self._retention.check(inventory, now, room)
        self._checked, self._here = checked, 0
        if self._options.thin_after_us is not None:
            self._thin_one(checked.parts, now - self._options.thin_after_us)

    def _thin_one(self, parts: list[Part], before_us: int) -> None:
        """Thin the oldest part that is due, and note when the next one is."""
        after_us = self._options.thin_after_us or 0
        self._thinned &= {part.stem for part in parts}
        due_us = None
        done = time.monotonic() - self._thinned_at < _THIN_EVERY_S
        for part in parts:
            if part.stem in self._thinned:
                continue
            last_us = self._retention.tell(part).last_us
            if not done and last_us < before_us:
                if done := thinning.needs_thinning(part):
                    thinning.thin(part)
                    self._thinned_at = time.monotonic()
                self._thinned.add(part.stem)
                continue
            due_us = last_us + after_us if due_us is None else min(due_us, last_us + after_us)
        self._thin_due_us = due_us
