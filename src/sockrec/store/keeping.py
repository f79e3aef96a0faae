"""What is kept becomes a capture of its own: hard links to sealed parts, which cost nothing and outlive them.

A part's files are linked with `samples` last: what a crash leaves of one is time that was not recorded. Which
parts are being linked stands in the kept capture's own description (`kept.linking`) before.
"""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sockrec.errors import CaptureError
from sockrec.store import files, layout
from sockrec.store.damage import Damage
from sockrec.store.parts import Inventory, Part, take_inventory, tell
from sockrec.store.recordings import read_recording, write_recording

if TYPE_CHECKING:
    from sockrec.store.keep_requests import Wish

# What a file system says that has no hard links to give, or none to there.
_NO_LINK: Final = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES}
)


@dataclass(slots=True)
class Keeping:
    """Puts what is to be kept of one host into the capture that a wish names; raises `CaptureError`.

    What is there already stays: after a crash the same is done again.
    """

    capture: layout.Layout
    host: str
    wish: Wish

    @property
    def target(self) -> layout.Layout:
        """The capture that is being made."""
        return layout.Layout(Path(self.wish.output))

    def link(self, inventory: Inventory, *, complete: bool = False) -> int:
        """Link what is sealed and wanted, and return how many parts were new.

        `complete` tells that no more comes.
        """
        try:
            return self._link(inventory, complete)
        except OSError as error:
            raise self._failed(error) from None

    def copy_journals(self, inventory: Inventory) -> None:
        """Copy the journals that no recorder will seal; raises `CaptureError`."""
        try:
            for stem in inventory.journals:
                path = self.target.journal(self.host, stem)
                if not path.exists():
                    files.make_folder(path.parent)
                    _copy(self.capture.journal(self.host, stem), path)
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> CaptureError:
        if error.errno == errno.ENOENT and self.target.root.is_dir():
            return CaptureError(f"{self.capture.root} changed while it was being kept: ask again")
        return files.unwritable(self.target.root, error)

    def _link(self, inventory: Inventory, complete: bool) -> int:
        new = [part for part in inventory.parts if self._lacks(part)]
        wanted = {part.recording for part in inventory.parts if part in new}
        wanted |= {named[0] for stem in inventory.journals if (named := layout.split_stem(stem))}
        there = self.target.root / layout.RECORDINGS / layout.host_folder(self.host)
        if there.is_dir():
            wanted |= {path.stem for path in there.glob("[!.]*.json")}
        linking = [part.stem for part in new]
        if linking or not there.is_dir():
            self._describe(wanted, linking, complete=False)
        for part in new:
            self._link_part(part)
        if linking or complete:
            self._describe(wanted, [], complete=complete)
        return len(new)

    def _lacks(self, part: Part) -> bool:
        """Say whether a part is wanted and not, or not whole, in the target."""
        if all(self._place(path).exists() for path in part.paths):
            return False
        until_us = self.wish.until_us
        return until_us is None or tell(part).first_us <= until_us

    def _place(self, path: Path) -> Path:
        return self.target.root / path.relative_to(self.capture.root)

    def _link_part(self, part: Part) -> None:
        folders = set()
        for path in reversed(part.paths):  # `samples` is first there
            place = self._place(path)
            files.make_folder(place.parent)
            _link(path, place)
            folders.add(place.parent)
        for folder in folders:
            files.sync_folder(folder)

    def _describe(self, recordings: set[str], linking: list[str], *, complete: bool) -> None:
        """Write the descriptions of recordings, with why and for whom they are kept."""
        wish = self.wish
        kept = {
            "reason": wish.reason,
            "asked_us": wish.asked_us,
            "by": wish.by,
            "of": str(self.capture.root.absolute()),
            "until_us": wish.until_us,
            "complete": complete,
            "linking": linking,
        }
        for recording in sorted(recordings):
            facts = _facts(self.capture.recording(self.host, recording))
            if facts is None:
                facts = _facts(self.target.recording(self.host, recording))
            if facts is None:
                continue  # damaged or not there: its parts tell by themselves what they are
            if complete and wish.until_us and facts.get("ended_as") is None:
                facts |= {"ended_us": wish.until_us, "ended_as": "kept"}
            write_recording(self.target.recording(self.host, recording), {**facts, "kept": kept})


def keep_unattended(capture: layout.Layout, wish: Wish) -> None:
    """Keep what a capture holds that no recorder writes into; raises `CaptureError`."""
    hosts = {
        host
        for folder in capture.root.glob("*/host=*")
        if folder.is_dir() and (host := layout.host_of(folder.name)) is not None
    }
    for host in sorted(hosts):
        keeping = Keeping(capture, host, wish)
        try:
            inventory = take_inventory(capture, host, recording=False)
        except OSError as error:
            raise CaptureError(f"cannot read {capture.root}: {error.strerror}") from None
        keeping.copy_journals(inventory)
        keeping.link(inventory, complete=True)


def _facts(path: Path) -> dict[str, Any] | None:
    try:
        found = read_recording(path)
    except FileNotFoundError:
        return None
    return None if isinstance(found, Damage) else found


def _link(source: Path, place: Path) -> None:
    try:
        os.link(source, place, follow_symlinks=False)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        _copy(source, place)


def _copy(source: Path, place: Path) -> None:
    """Copy a file so that it is whole under its name, or not there; raises `OSError`."""
    with (
        source.open("rb") as origin,
        os.fdopen(files.create(files.temporary(place), exclusive=False), "wb") as copy,
    ):
        shutil.copyfileobj(origin, copy, 1 << 20)
        copy.flush()
        os.fsync(copy.fileno())
    files.publish(place)
