"""Bounded disk: the oldest parts of a host go, whole, when a capture is too large or they are too old.

What is about to go is written down first (`journal/host=H/removed`). Then the part's `samples` go: without
them its time is "not recorded" to every reader, and what is left of it does not look like all there was. Its
other files follow. What a crash leaves of it is removed at the next start.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from sockrec.model.tables import SAMPLES, TABLES
from sockrec.store import files, layout
from sockrec.store.parts import Inventory, Part, Told, journal_sizes, take_inventory, tell

# Below this not even a quiet host's parts fit beside the one that is being written.
LEAST_BYTES: Final = 1 << 20
_NOTE: Final = "removed"
_SHARE: Final = 16
_LEAST_PART: Final = 64 << 10
# Six files a part, each with its footer, in whole blocks.
_FOOTERS: Final = 96 << 10
_DAY_US: Final = 86_400_000_000
_LARGEST_NOTE: Final = 1 << 20


def part_bytes(max_bytes: int) -> int:
    """Return how large a journal may become so that many parts fit in a limit."""
    return max(_LEAST_PART, max_bytes // _SHARE)


def segment_bytes(journal_bytes: int) -> int:
    """Return what the segments of so many bytes of journals take at most, while they are written."""
    return journal_bytes + _FOOTERS if journal_bytes else 0


def room(journal_bytes: int) -> int:
    """Return the room to leave, for parts of so many bytes of journal, until the next of them is sealed.

    The part being written grows to its size, its segments are written beside it, and the next one
    grows meanwhile.
    """
    return 2 * journal_bytes + segment_bytes(journal_bytes)


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed of a host so far: parts and their bytes, all from before `until_us`.

    `removing` are the stems of those that went last: what is left of them is on its way out.
    """

    parts: int = 0
    bytes: int = 0
    until_us: int | None = None
    removing: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, int | None] | None:
        """What the description of a recording tells of it; None if nothing was."""
        return {"parts": self.parts, "bytes": self.bytes, "until_us": self.until_us} if self.parts else None


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found: `bytes` are there now, `journal_bytes` of them in journals.

    `parts` are those left, oldest first; the first of them is too old at `due_us` (None: no such limit).
    """

    bytes: int
    journal_bytes: int
    due_us: int | None
    parts: list[Part]


@dataclass(slots=True)
class Retention:
    """Keeps one host's parts in a capture within limits; only for whoever holds the host's `RecorderLock`.

    `recording` is the one that is being made: its parts are the newest, whatever the clock said before.
    Its methods raise `OSError` and `CaptureError`.
    """

    capture: layout.Layout
    host: str
    recording: str
    max_bytes: int | None = None
    max_age_us: int | None = None
    removed: Removed = field(default_factory=Removed)
    _told: dict[str, Told] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.removed = read_removed(self.capture, self.host)

    def finish(self) -> None:
        """Remove what is left of the parts that were being removed when the recorder died."""
        going = set(self.removed.removing)
        if going:
            inventory = take_inventory(self.capture, self.host)
            self._unlink([part for part in inventory.parts if part.stem in going])

    def check(self, inventory: Inventory, now_us: int, room: int = 0) -> Checked:
        """Remove what is older than allowed, and the oldest parts until `room` more bytes fit."""
        parts = sorted(inventory.parts, key=lambda part: (part.recording == self.recording, part.stem))
        going = self._too_old(parts, now_us)
        size = inventory.bytes - sum(part.bytes for part in going)
        if self.max_bytes is not None:
            for part in parts[len(going) :]:
                # The last one goes only for the limit itself: what happened just now is worth most.
                if size + (0 if part is parts[-1] else room) <= self.max_bytes:
                    break
                going.append(part)
                size -= part.bytes
        if going:
            self._remove(going)
            self._drop_folders(now_us)
        left = parts[len(going) :]
        if self.max_bytes is not None or self.max_age_us is not None:
            size -= self._drop_recordings(inventory, left)
        self._told = {part.stem: self._told[part.stem] for part in left if part.stem in self._told}
        due_us = None
        if self.max_age_us is not None and left:
            due_us = self.tell(left[0]).last_us + self.max_age_us
        return Checked(size, sum(inventory.journals.values()), due_us, left)

    def tell(self, part: Part) -> Told:
        """Return what is known of a part's time; its files are asked once."""
        if part.stem not in self._told:
            self._told[part.stem] = tell(part)
        return self._told[part.stem]

    def _too_old(self, parts: list[Part], now_us: int) -> list[Part]:
        """Return the first of the parts, up to the first that is young enough."""
        going: list[Part] = []
        if self.max_age_us is not None:
            for part in parts:
                if self.tell(part).last_us + self.max_age_us >= now_us:
                    break
                going.append(part)
        return going

    def _remove(self, going: list[Part]) -> None:
        last = max(self.tell(part).last_us for part in going)
        self.removed = Removed(
            self.removed.parts + len(going),
            self.removed.bytes + sum(part.bytes for part in going),
            max(last, self.removed.until_us or last),
            tuple(part.stem for part in going),
        )
        _write_removed(self.capture, self.host, self.removed)
        self._unlink(going)

    def _unlink(self, going: list[Part]) -> None:
        """Remove parts; what a crash leaves of one has no samples."""
        samples = [path for part in going for path in part.files.get(SAMPLES.name, [])]
        rest = [path for part in going for path in part.paths if path not in set(samples)]
        for paths in (samples, rest):
            for path in paths:
                path.unlink(missing_ok=True)
            for folder in {path.parent for path in paths}:
                with suppress(FileNotFoundError):
                    files.sync_folder(folder)

    def _drop_folders(self, now_us: int) -> None:
        """Remove the empty folders of days that are over."""
        # The sealer may be about to write a part of an earlier recording there.
        if len(journal_sizes(self.capture, self.host)) > 1:
            return
        yesterday = layout.date_folder(now_us - _DAY_US)
        for table in TABLES:
            for folder in self.capture.segments(table, self.host).glob("date=*"):
                if folder.name < yesterday and not folder.is_symlink():
                    with suppress(OSError):  # it is not empty
                        folder.rmdir()

    def _drop_recordings(self, inventory: Inventory, left: list[Part]) -> int:
        """Remove the descriptions of recordings of which nothing is left; return their bytes."""
        needed = {part.recording for part in left} | {self.recording}
        needed |= {named[0] for stem in inventory.journals if (named := layout.split_stem(stem))}
        freed = 0
        going = [path for name, paths in inventory.recordings.items() if name not in needed for path in paths]
        for path in going:
            with suppress(FileNotFoundError):
                size = path.stat().st_size
                path.unlink()
                freed += size
        return freed


def _note(capture: layout.Layout, host: str) -> Path:
    return capture.journals(host) / _NOTE


def read_removed(capture: layout.Layout, host: str) -> Removed:
    """Return what was removed of a host; nothing if that can't be read."""
    try:
        with _note(capture, host).open("rb") as file:
            told = json.loads(file.read(_LARGEST_NOTE))
        return _removed(told)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return Removed()


def _removed(told: Any) -> Removed:
    until, stems = told["until_us"], told["removing"]
    if not isinstance(stems, list) or not (until is None or isinstance(until, int)):
        raise ValueError("no note of sockrec's")
    found = Removed(int(told["parts"]), int(told["bytes"]), until)
    return replace(found, removing=tuple(stem for stem in stems if isinstance(stem, str)))


def _write_removed(capture: layout.Layout, host: str, removed: Removed) -> None:
    told = asdict(removed)
    files.write_atomically(_note(capture, host), json.dumps(told).encode() + b"\n")
