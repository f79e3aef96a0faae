"""Wishes to keep what was recorded, from `sockrec keep` and SIGUSR1, until each is fulfilled."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sockrec.errors import CaptureError, UsageError
from sockrec.model import durations
from sockrec.recorder.writer import Writer
from sockrec.store import keep_requests, layout
from sockrec.store.keep_requests import FAILED, GOING, Wish
from sockrec.store.keeping import Keeping
from sockrec.store.parts import Inventory, journal_sizes


@dataclass(slots=True)
class _Job:
    """A wish that is being fulfilled: its file, and the last part that it waits for.

    `closing` says that no part after that one belongs to it; `told` that who asked knows.
    """

    path: Path
    wish: Wish
    stem: str
    closing: bool = False
    told: bool = False


class Kept:
    """All that is to be kept of one host's recording, and of what earlier recorders had begun to keep.

    `for_us` is how much of what follows is kept where nobody said. `poll` is for the recorder's own thread,
    `work` for the one that does the work; `tell` is called, in either, with a line for whoever watches.
    """

    def __init__(
        self, paths: layout.Layout, host: str, for_us: int | None, tell: Callable[[str], object]
    ) -> None:
        self._paths, self._host, self._tell = paths, host, tell
        self._for_us = for_us or 0
        self._jobs: dict[Path, _Job] = {}
        self._ignored: set[Path] = set()
        self._signals = self._signals_seen = 0
        self._ended = ""
        self._rotated_at = 0
        self._troubled = False

    @property
    def waiting(self) -> bool:
        """Whether something waits for a part to be sealed."""
        return any(job.stem and (job.closing or not job.told) for job in list(self._jobs.values()))

    def signalled(self) -> None:
        """Note that a signal asks for it: all that a handler does."""
        self._signals += 1

    def resume(self, recording: str) -> None:
        """Take up what earlier recorders left, now that a recording begins: their last parts belong to it."""
        sizes = journal_sizes(self._paths, self._host)
        earlier = max((stem for stem in sizes if not stem.startswith(recording)), default="")
        for path, wish in self._new():
            if wish.state == GOING:
                self._jobs[path] = _Job(path, wish, earlier, told=True)
            elif wish.state == FAILED:
                self._ignored.add(path)
                with suppress(OSError):
                    path.unlink()

    def poll(self, writer: Writer, recording: str, samples: int, now_us: int) -> bool:
        """Take up new wishes, and end those whose time is over; say whether there is work to do.

        `samples` are those that the recording has so far: a part without any is not ended.
        """
        if self._signals > self._signals_seen:
            self._signals_seen = self._signals
            self._wish_for_signal(now_us)
        new = []
        for path, wish in self._new():
            if wish.state == FAILED:
                self._ignored.add(path)  # its asker is gone, or about to read it
                continue
            for_us = self._for_us if wish.for_us is None else wish.for_us
            wish.until_us = wish.until_us or now_us + for_us
            job = _Job(path, wish, "", told=wish.state == GOING)
            new.append(job)
        over = [
            job for job in list(self._jobs.values()) if not job.closing and (job.wish.until_us or 0) <= now_us
        ]
        over += [job for job in new if (job.wish.until_us or 0) <= now_us]
        if new or over:
            ended = self._end_part(writer, recording, samples)
            for job in (*new, *over):
                job.stem = ended or job.stem
            for job in over:
                job.closing = True
            self._jobs |= {job.path: job for job in new}
        return bool(new or over)

    def work(self, inventory: Inventory) -> None:
        """Keep what is sealed of all that is wanted; what can't be is told."""
        troubled = False
        for job in list(self._jobs.values()):
            try:
                self._work(job, inventory)
            except CaptureError as error:
                troubled = True
                if not self._troubled:
                    self._tell(f"{error}; it is tried again")
        self._troubled = troubled

    def _work(self, job: _Job, inventory: Inventory) -> None:
        waits = job.stem in inventory.journals
        complete = job.closing and not waits
        if not Path(job.wish.output).is_dir():
            self._drop(job, f"{job.wish.output} is gone: nothing more is kept there")
            return
        try:
            Keeping(self._paths, self._host, job.wish).link(inventory, complete=complete)
            if not job.told and not waits:
                job.wish.state = GOING
                keep_requests.write(job.path, job.wish)
                job.told = True
        except CaptureError as error:
            if job.told:
                raise
            job.wish.state, job.wish.error = FAILED, str(error)
            self._ignored.add(job.path)
            del self._jobs[job.path]
            keep_requests.write(job.path, job.wish)
            return
        if complete:
            self._drop(job, None)

    def _drop(self, job: _Job, why: str | None) -> None:
        if why is not None:
            self._tell(why)
        self._ignored.add(job.path)  # if it can't be removed, it is done all the same
        del self._jobs[job.path]
        job.path.unlink(missing_ok=True)

    def _new(self) -> list[tuple[Path, Wish]]:
        """Return the wishes not known yet; what is none is told once."""
        found = []
        for path in keep_requests.waiting(self._paths, self._host):
            if path in self._jobs or path in self._ignored:
                continue
            try:
                found.append((path, keep_requests.read(path)))
            except FileNotFoundError:
                continue  # done, or withdrawn, just now
            except CaptureError as error:
                self._ignored.add(path)
                self._tell(str(error))
        return found

    def _wish_for_signal(self, now_us: int) -> None:
        try:
            output = keep_requests.make_output(self._paths.root, None, now_us)
            wish = Wish("SIGUSR1", str(output), now_us, by={"signal": "SIGUSR1"})
            keep_requests.ask(self._paths, self._host, wish)
        except (CaptureError, UsageError) as error:
            self._tell(f"SIGUSR1 asked to keep what is there: {error}")
            return
        follows = f", and what follows for {durations.show(self._for_us)}" if self._for_us else ""
        self._tell(f"keeping what is there{follows}, in {output}")

    def _end_part(self, writer: Writer, recording: str, samples: int) -> str:
        """End the part that is being written, and return its stem; '' if the disk does not let it."""
        if samples == self._rotated_at:
            return self._ended
        mine = [stem for stem in journal_sizes(self._paths, self._host) if stem.startswith(recording)]
        if not writer.rotate():
            return ""
        self._rotated_at, self._ended = samples, max(mine, default="")
        return self._ended
