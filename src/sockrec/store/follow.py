"""What recorders append to a capture from now on: every journal read on, each row once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockrec.errors import CaptureError
from sockrec.store import layout
from sockrec.store.journal_tail import Added, JournalTail
from sockrec.store.lock import is_held

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sockrec.store.survey import Survey


class Follower:
    """Reads on in all journals of a capture, from where a survey of it left off.

    `missed` counts the parts that were sealed before all of them was read.
    """

    def __init__(self, survey: Survey) -> None:
        self._root = survey.root
        self._tails: dict[tuple[str, str], JournalTail] = {}
        self._latest: dict[tuple[str, str], int] = {}
        self.missed = 0
        self._known = {(journal.host, journal.stem): journal.size for journal in survey.journals}
        for segments in survey.segments.values():
            for segment in segments:
                self._note(segment.host, segment.stem)
        self._find()
        # Sealed since they were surveyed: what was appended in between is not known.
        self.missed += len(self._known)
        self._known.clear()

    @property
    def is_recording(self) -> bool:
        """Whether a recorder on this machine writes into the capture."""
        return any(is_held(folder / layout.LOCK) for _, folder in self._folders())

    def read(self) -> list[tuple[str, Added]]:
        """Return what was appended since the last call, with the host; raises `CaptureError`."""
        self._find()
        added = []
        for (host, stem), tail in sorted(self._tails.items(), key=lambda item: item[0][1]):
            # Asked before reading: what is appended in between is found next time.
            over = tail.is_dropped
            added.append((host, tail.read()))
            if over or tail.ended_as is not None:
                tail.close()
                del self._tails[host, stem]
        return added

    def close(self) -> None:
        """Let all files go."""
        for tail in self._tails.values():
            tail.close()
        self._tails.clear()

    def _folders(self) -> Iterator[tuple[str, Path]]:
        folder = self._root / layout.JOURNAL
        if folder.is_dir() and not folder.is_symlink():
            for entry in sorted(folder.iterdir()):
                host = layout.host_of(entry.name)
                if host is not None and entry.is_dir() and not entry.is_symlink():
                    yield host, entry

    def _find(self) -> None:
        """Open the journals that are new."""
        for host, folder in self._folders():
            for path in sorted(folder.glob(f"*{layout.JOURNAL_SUFFIX}")):
                stem = path.stem
                if (host, stem) in self._tails or path.is_symlink() or not path.is_file():
                    continue
                known = self._known.pop((host, stem), None)
                if known is None and not self._is_new(host, stem):
                    continue
                try:
                    self._tails[host, stem] = JournalTail(path, known or 0)
                except CaptureError:
                    continue  # sealed just now: the part after it tells that it was missed
                self._note(host, stem)

    def _is_new(self, host: str, stem: str) -> bool:
        recording, part = layout.split_stem(stem) or (stem, 0)
        before = self._latest.get((host, recording), -1)
        self.missed += max(0, part - before - 1)
        return part > before

    def _note(self, host: str, stem: str) -> None:
        recording, part = layout.split_stem(stem) or (stem, 0)
        self._latest[host, recording] = max(part, self._latest.get((host, recording), -1))
