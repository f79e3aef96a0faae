"""The parts of one host in a capture: the files of each, what they take, and of which time they are."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from sockrec.model.tables import SAMPLES, TABLES
from sockrec.store import layout, parquet

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a file, or a folder, takes on most file systems: whole blocks.
_BLOCK: Final = 4096
# A stem, or a recording; a number behind it tells several damaged ones apart.
_NAME: Final = re.compile(r"(?P<recording>\d{8}T\d{6}-[0-9a-f]{4})(?P<part>-\d{6,})?(?P<again>-\d{1,5})?")


@dataclass(slots=True)
class Part:
    """A sealed part: its Parquet files by table, and what was damaged of it and is kept as evidence.

    `bytes` is what they take on disk.
    """

    stem: str
    files: dict[str, list[Path]] = field(default_factory=dict)
    damaged: list[Path] = field(default_factory=list)
    bytes: int = 0

    @property
    def recording(self) -> str:
        """The recording that it belongs to."""
        return _named(self.stem)[0]

    @property
    def number(self) -> int:
        """Its place in the recording."""
        return _named(self.stem)[1]

    @property
    def paths(self) -> list[Path]:
        """All its files, those of `samples` first."""
        tables = sorted(self.files, key=lambda table: table != SAMPLES.name)
        return [*(path for table in tables for path in self.files[table]), *self.damaged]


@dataclass(slots=True)
class Inventory:
    """What a capture has of one host.

    `parts` are in the order of their stems, `journals` maps the stems of those not sealed yet to their bytes;
    `recordings` are the descriptions there, with what was damaged of them. `bytes` is what everything takes
    on disk, the journals included; files that are not known to sockrec too.
    """

    parts: list[Part] = field(default_factory=list)
    journals: dict[str, int] = field(default_factory=dict)
    recordings: dict[str, list[Path]] = field(default_factory=dict)
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Told:
    """What a part's metadata tell: microseconds UTC; `thinned_us` as in the table `samples`."""

    first_us: int
    last_us: int
    format_version: int
    thinned_us: int | None


def take_inventory(capture: layout.Layout, host: str, *, recording: bool = True) -> Inventory:
    """List what a capture has of a host; a part that is being sealed is not among the parts.

    `recording` says that a recorder may be at work there. Nothing is followed out of the capture, and what
    vanishes meanwhile is left out. Raises `OSError`.
    """
    found = Inventory()
    journals = journal_sizes(capture, host)
    last = _last_unsealed(journals) if recording else {}
    parts: dict[str, Part] = {}
    for table in _folders(capture.root):
        found.bytes += _BLOCK
        for entry, above in _walk(capture.root / table.name / layout.host_folder(host)):
            size = _taken(entry)
            found.bytes += size
            _place(found, parts, table.name, Path(entry.path), above, size)
    found.journals = journals
    for stem in sorted(parts):
        part = parts[stem]
        if stem not in journals and part.number <= last.get(part.recording, part.number):
            found.parts.append(part)
    return found


def journal_sizes(capture: layout.Layout, host: str) -> dict[str, int]:
    """Return the bytes of each of a host's journals by its stem, oldest first; raises `OSError`."""
    sizes = {}
    for entry in _entries(capture.journals(host)):
        stem, _, suffix = entry.name.rpartition(".")
        if f".{suffix}" == layout.JOURNAL_SUFFIX and layout.split_stem(stem) and _is_file(entry):
            sizes[stem] = _taken(entry)
    return dict(sorted(sizes.items()))


def tell(part: Part) -> Told:
    """Return what is known of a part's time; where its metadata can't be read, from its name and its age."""
    for path in [path for paths in part.files.values() for path in paths]:
        try:
            facts = parquet.read_metadata(path)
            thinned = facts.get("sockrec.thinned_us")
            return Told(
                int(facts["sockrec.first_sample_at"]),
                int(facts["sockrec.last_sample_at"]),
                int(facts["sockrec.format_version"]),
                None if thinned is None else int(thinned),
            )
        except (OSError, pa.ArrowException, KeyError, ValueError):
            continue  # damaged, or gone: another file of the part tells the same
    written = 0
    for path in part.paths:
        try:
            written = max(written, path.stat(follow_symlinks=False).st_mtime_ns // 1000)
        except OSError:
            continue
    return Told(written, written, 0, None)


def _named(stem: str) -> tuple[str, int]:
    return layout.split_stem(stem) or (stem, 0)


def _last_unsealed(journals: dict[str, int]) -> dict[str, int]:
    """Return the number of the last part of each recording that is not sealed.

    A later one began just now: it may be in the middle of being sealed, and its journal not listed.
    """
    last: dict[str, int] = {}
    for stem in journals:
        recording, number = _named(stem)
        last[recording] = max(number, last.get(recording, number))
    return last


def _place(
    found: Inventory, parts: dict[str, Part], table: str, path: Path, above: tuple[str, ...], size: int
) -> None:
    """Put a file where it belongs; one that sockrec did not name belongs nowhere."""
    named = _NAME.fullmatch(path.stem)
    is_evidence = path.suffix == layout.DAMAGED_SUFFIX
    if named is None or (named["again"] and not is_evidence):
        return
    if table == layout.RECORDINGS:
        if (is_evidence or path.suffix == ".json") and not above and not named["part"]:
            found.recordings.setdefault(named["recording"], []).append(path)
        return
    in_its_day = table in TABLES and len(above) == 1 and layout.date_of(above[0]) is not None
    if not named["part"] or not (in_its_day or (table == layout.JOURNAL and not above)):
        return
    stem = named["recording"] + named["part"]
    if is_evidence:
        part = parts.setdefault(stem, Part(stem))
        part.damaged.append(path)
        part.bytes += size
    elif in_its_day and path.suffix == layout.SEGMENT_SUFFIX:
        part = parts.setdefault(stem, Part(stem))
        part.files.setdefault(table, []).append(path)
        part.bytes += size


def _folders(root: Path) -> list[os.DirEntry[str]]:
    return [entry for entry in _entries(root) if entry.is_dir(follow_symlinks=False)]


def _walk(folder: Path, above: tuple[str, ...] = ()) -> Iterator[tuple[os.DirEntry[str], tuple[str, ...]]]:
    """Give every file below a folder, with the names of the folders between."""
    if folder.is_symlink():
        return
    for entry in _entries(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), (*above, entry.name))
        elif _is_file(entry):
            yield entry, above


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_file(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False)


def _taken(entry: os.DirEntry[str]) -> int:
    """Return what a file takes on disk once it is written there; 0 if it vanished."""
    try:
        size = entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0
    return -(-size // _BLOCK) * _BLOCK
