"""What a capture holds, from its folders alone: cheap, and true while it is being recorded.

No table is read and nothing is followed out of the capture. Whatever can't be used is listed with its
reason.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sockrec.errors import CaptureError
from sockrec.model.tables import TABLES
from sockrec.store import layout
from sockrec.store.check_block import Check, End, read_end
from sockrec.store.damage import Damage
from sockrec.store.lock import holder
from sockrec.store.recordings import read_recording

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MAGIC: Final = b"PAR1"
_ENCRYPTED: Final = b"PARE"
_SMALLEST: Final = 12  # both magics and the footer's length
_TRIES: Final = 20
REPAIRED: Final = "is what was left of a damaged one: "
# DuckDB would read all files that such a name stands for; no recorder gives one.
_GLOB: Final = re.compile(r"[*?\[\\]")
_OPEN = (
    os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
)


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """A sealed Parquet file. `date` is the UTC day of its first sample, `stem` its recording and part.

    `check` are its checksums, which its data is not compared with yet; None in formats that have none.
    `metadata` is its key-value metadata.
    """

    path: Path
    table: str
    host: str
    date: str
    stem: str
    size: int
    check: Check | None = None
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class JournalFile:
    """A journal not sealed yet, with its size when it was listed.

    `running` is true where a recorder on this machine is still writing that recording.
    """

    path: Path
    host: str
    stem: str
    size: int
    running: bool


@dataclass(slots=True)
class Survey:
    """The usable files of a capture, oldest first, and what is wrong with the others.

    What is `known` among the damages is what was lost before a file was repaired. `segments` has every
    table of the model. Each row of the capture is in exactly one of these files: segments of a part whose
    journal is still there are left out.
    """

    root: Path
    hosts: list[str] = field(default_factory=list)
    segments: dict[str, list[SegmentFile]] = field(default_factory=dict)
    journals: list[JournalFile] = field(default_factory=list)
    recordings: list[dict[str, Any]] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)


def survey(root: Path) -> Survey:
    """List a capture.

    Raises `CaptureError` if `root` is missing, is no folder, holds no recording, is not a capture,
    can't be read, or was written by a newer sockrec.
    """
    _check_root(root)
    try:
        # A part may be sealed, or a new one begun, between two looks: take a quiet moment.
        for _ in range(_TRIES):
            found = Survey(root)
            _journals(found)
            _segments(found)
            _recordings(found)
            if _names(root) == {(journal.host, journal.stem) for journal in found.journals}:
                break
    except PermissionError as error:
        raise CaptureError(
            f"cannot read {error.filename or root}: permission denied; run as the user who recorded it"
        ) from None
    except OSError as error:
        raise CaptureError(f"cannot read {error.filename or root}: {error.strerror}") from None
    if not found.recordings and not found.journals and not any(found.segments.values()) and not found.damages:
        raise CaptureError(f"{root} holds no recording: make one with 'sockrec record -C {root}'")
    found.hosts = sorted(
        {journal.host for journal in found.journals}
        | {segment.host for segments in found.segments.values() for segment in segments}
        | {str(recording["host"]) for recording in found.recordings if "host" in recording}
    )
    return found


def _check_root(root: Path) -> None:
    try:
        entries = {entry.name for entry in os.scandir(root)}
    except FileNotFoundError:
        raise CaptureError(f"there is no capture at {root}: name one with --capture") from None
    except NotADirectoryError:
        raise CaptureError(f"{root} is not a folder: a capture is one; name it with --capture") from None
    except PermissionError:
        raise CaptureError(
            f"cannot read {root}: permission denied; run as the user who recorded it"
        ) from None
    except OSError as error:
        raise CaptureError(f"cannot read {root}: {error.strerror}") from None
    if not entries:
        raise CaptureError(
            f"{root} is empty and holds no recording: make one with 'sockrec record -C {root}'"
        )
    if not entries & {layout.RECORDINGS, layout.JOURNAL, *TABLES}:
        raise CaptureError(f"{root} is not a capture: it has none of its folders; name one with --capture")


def _entries(found: Survey, folder: Path | str, *, folders: bool) -> Iterator[os.DirEntry[str]]:
    """Give the subfolders, or regular files, of a folder in order; anything that is neither is damage."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return  # dropped by retention meanwhile, or never there
    except NotADirectoryError:
        found.damages.append(Damage(Path(folder), "is not a folder: not read"))
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            if folders:
                yield entry
        elif not entry.is_file(follow_symlinks=False):
            kind = "a symbolic link" if entry.is_symlink() else "no regular file"
            found.damages.append(Damage(Path(entry.path), f"is {kind}: not followed"))
        elif not folders:
            yield entry


def _hosts(found: Survey, name: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    folder = found.root / name
    if folder.is_symlink():
        found.damages.append(Damage(folder, "is a symbolic link: not followed"))
        return
    for entry in _entries(found, folder, folders=True):
        host = layout.host_of(entry.name)
        if host is not None:
            yield host, entry


def _names(root: Path) -> set[tuple[str, str]]:
    """Return host and stem of every journal there now."""
    scratch = Survey(root)
    return {
        (host, entry.name.removesuffix(layout.JOURNAL_SUFFIX))
        for host, folder in _hosts(scratch, layout.JOURNAL)
        for entry in _entries(scratch, folder.path, folders=False)
        if entry.name.endswith(layout.JOURNAL_SUFFIX)
    }


def _journals(found: Survey) -> None:
    for host, folder in _hosts(found, layout.JOURNAL):
        # Before the sizes: a recorder that stops in between is then still taken to run, and its last
        # words are beyond the size. The other way round its open rows would look like a crash.
        held = holder(Path(folder.path, layout.LOCK))
        for entry in _entries(found, folder.path, folders=False):
            stem, _, suffix = entry.name.rpartition(".")
            if f".{suffix}" == layout.DAMAGED_SUFFIX:
                what = "is a journal with damaged frames, sealed without them"
                found.damages.append(Damage(Path(entry.path), what, known=True))
            elif f".{suffix}" == layout.JOURNAL_SUFFIX:
                try:
                    size = entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue  # sealed just now: the second look notices
                name = layout.split_stem(stem)
                running = held is not None and name is not None and held.recording == name[0]
                found.journals.append(JournalFile(Path(entry.path), host, stem, size, running))
    found.journals.sort(key=lambda journal: (journal.stem, journal.host))


def _segments(found: Survey) -> None:
    journaled = {(journal.host, journal.stem) for journal in found.journals}
    for table in TABLES:
        segments = []
        for host, host_folder in _hosts(found, table):
            for folder in _entries(found, host_folder.path, folders=True):
                date = layout.date_of(folder.name)
                if date is None:
                    continue
                for entry in _entries(found, folder.path, folders=False):
                    stem, _, suffix = entry.name.rpartition(".")
                    if f".{suffix}" != layout.SEGMENT_SUFFIX or (host, stem) in journaled:
                        continue
                    path = Path(entry.path)
                    if _GLOB.search("/".join(path.parts[-3:])):
                        found.damages.append(Damage(path, "has a name that stands for several: not read"))
                        continue
                    end = check_end(path)
                    if isinstance(end, Damage):
                        found.damages.append(end)
                    elif end is not None:
                        size, told = end
                        segments.append(
                            SegmentFile(path, table, host, date, stem, size, told.check, told.metadata)
                        )
        segments.sort(key=lambda segment: (segment.date, segment.stem, segment.host))
        found.segments[table] = segments
    _losses(found)


def _losses(found: Survey) -> None:
    """Note what was lost of parts that were repaired, once where several of their files tell it."""
    kept = {
        (damage.path.parent.name, damage.path.stem)
        for damage in found.damages
        if damage.path.suffix == layout.DAMAGED_SUFFIX
    }
    told = set()
    for segments in found.segments.values():
        for segment in segments:
            what = segment.metadata.get("sockrec.damage")
            host = segment.path.parents[1].name
            if what and (host, segment.stem) not in kept and (host, segment.stem, what) not in told:
                told.add((host, segment.stem, what))
                found.damages.append(Damage(segment.path, REPAIRED + what, known=True))


def check_end(path: Path) -> tuple[int, End] | Damage | None:
    """Return the size of a segment and what its end says, or what is wrong with either.

    None if it is not there.
    """
    try:
        fd = os.open(path, _OPEN)
    except FileNotFoundError:
        return None  # dropped by retention meanwhile
    except OSError as error:
        return Damage(path, f"can't be read: {error.strerror}")
    try:
        facts = os.fstat(fd)
        size = facts.st_size
        if not stat.S_ISREG(facts.st_mode):
            return Damage(path, "is no regular file: not read")
        if size < _SMALLEST:
            return Damage(path, "is empty" if not size else "is cut short")
        head = os.pread(fd, 4, 0)
        if _ENCRYPTED in (head, os.pread(fd, 4, size - 4)):
            return Damage(path, "is encrypted")
        if head != _MAGIC:
            return Damage(path, "is not a Parquet file")
        end = read_end(fd, size, path)
    except OSError as error:
        return Damage(path, f"can't be read: {error.strerror}")
    finally:
        os.close(fd)
    return Damage(path, end) if isinstance(end, str) else (size, end)


def _recordings(found: Survey) -> None:
    for _, folder in _hosts(found, layout.RECORDINGS):
        for entry in _entries(found, folder.path, folders=False):
            if not entry.name.endswith(".json"):
                continue
            try:
                recording = read_recording(Path(entry.path))
            except FileNotFoundError:
                continue  # dropped by retention meanwhile
            if isinstance(recording, Damage):
                found.damages.append(recording)
            else:
                found.recordings.append(recording)
                if isinstance(recording.get("damage"), str):
                    what = REPAIRED + recording["damage"]
                    found.damages.append(Damage(Path(entry.path), what, known=True))
    found.recordings.sort(key=_age)


def _age(recording: dict[str, Any]) -> tuple[str, int, str, str]:
    """Return what sorts recordings by their beginning: ids tell it to the second."""
    name, host, started = (
        str(recording.get("recording")),
        str(recording.get("host")),
        recording.get("started_us"),
    )
    return name[:15], started if isinstance(started, int) else 0, name, host
