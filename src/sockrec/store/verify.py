"""Whether a capture is whole: everything in it read and compared, and what is lost named."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sockrec.model import timetext
from sockrec.model.tables import TABLES
from sockrec.store import check_block, files, layout
from sockrec.store.damage import Damage
from sockrec.store.journal_reader import JournalVanishedError, read_journal
from sockrec.store.recordings import is_in_its_place
from sockrec.store.retention import read_removed
from sockrec.store.salvage import salvage
from sockrec.store.survey import Survey, survey
from sockrec.store.whole import check_data

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sockrec.store.journal_reader import Journal
    from sockrec.store.survey import SegmentFile

MISSING: Final = "is missing"
# A hostile number must not make a list of its length.
_MOST_MISSING: Final = 10_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One damage, and what is lost by it, as text."""

    damage: Damage
    lost: str


@dataclass(slots=True)
class Verified:
    """What was read, and what was found.

    `losses` are known from repairs made before, `remarks` are no damage. `recording` are the hosts that
    a recorder on this machine is recording into the capture now.
    """

    root: Path
    files: int = 0
    bytes: int = 0
    findings: list[Finding] = field(default_factory=list)
    losses: list[Damage] = field(default_factory=list)
    remarks: list[Damage] = field(default_factory=list)
    recording: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is damaged; what was lost before a repair is not counted again."""
        return not self.findings


def verify(root: Path) -> Verified:
    """Read a whole capture; raises `CaptureError` if there is none, or a newer sockrec wrote it."""
    found = survey(root)
    verified = Verified(root)
    parts = _Parts(found)
    verified.recording = sorted({journal.host for journal in found.journals if journal.running})
    verified.losses = [damage for damage in found.damages if damage.known]
    for damage in found.damages:
        if not damage.known:
            _count(verified, damage.path)
            verified.findings.append(Finding(damage, parts.lost(damage.path)))
    for segment in parts.segments:
        _count(verified, segment.path)
        damage_found = _segment(segment)
        # Retention may have dropped it meanwhile.
        if damage_found is not None and segment.path.exists():
            verified.findings.append(Finding(damage_found, parts.lost(segment.path)))
    for journal in found.journals:
        _count(verified, journal.path)
        try:
            content = read_journal(journal.path, journal.size)
        except JournalVanishedError:
            continue  # sealed meanwhile
        lost = _lost_of_journal(content)
        verified.findings += [Finding(damage, lost) for damage in content.damages]
    _descriptions(verified, found, parts)
    _missing(verified, found, parts)
    verified.remarks += _leftovers(root)
    return verified


def _count(verified: Verified, path: Path) -> None:
    try:
        verified.bytes += path.lstat().st_size
        verified.files += 1
    except OSError:
        return


def _lost_of_journal(journal: Journal) -> str:
    """Say what the damaged frames of a journal held, all of them together."""
    text = f"of the part {journal.path.stem}"
    if not journal.header:
        return f"all rows {text}"
    counts: dict[str, int] = defaultdict(int)
    for loss in journal.losses:
        for name, rows in loss.lost.items():
            counts[name.partition(".")[0]] += max(rows, 0)
        if loss.last_sample is not None:
            text += f", after the sample of {timetext.full(loss.last_sample, UTC)}"
    told = ", ".join(f"{rows} of {name}" for name, rows in counts.items() if rows)
    # Where no whole frame follows, nothing tells.
    unknown = any(rows < 0 for loss in journal.losses for rows in loss.lost.values())
    return f"{told or 'rows'}{' and more' if told and unknown else ''} {text}"


def _segment(segment: SegmentFile) -> Damage | None:
    """Read a segment whole."""
    if segment.check is None and not _fits_its_name(segment):
        return Damage(segment.path, check_block.MISPLACED)
    return check_data(segment.path, check_block.End(dict(segment.metadata), segment.check))


def _fits_its_name(segment: SegmentFile) -> bool:
    """Tell whether a segment without a check block says that it is the part that its path names."""
    told = segment.metadata
    host = told.get("sockrec.host")
    if host is not None and layout.host_folder(host) != segment.path.parents[1].name:
        return False
    named = layout.split_stem(segment.stem)
    return named is None or (told.get("sockrec.recording"), told.get("sockrec.part")) in (
        (named[0], str(named[1])),
        (None, None),
    )


class _Parts:
    """The sealed parts of a capture, and what their files tell of each other."""

    def __init__(self, found: Survey) -> None:
        self.root = found.root
        self.segments = [one for segments in found.segments.values() for one in segments]
        self.journaled = {(layout.host_folder(one.host), one.stem) for one in found.journals}
        self.told: dict[tuple[str, str], dict[str, str]] = {}
        self.rows: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        self.present: dict[tuple[str, str], dict[str, Path]] = defaultdict(dict)
        for segment in self.segments:
            part = segment.path.parents[1].name, segment.stem
            self.present[part][segment.table] = segment.path
            self.told.setdefault(part, dict(segment.metadata))
            self.rows[part] |= rows_told(segment.metadata)
        for damage in found.damages:
            if not damage.known and damage.path.suffix == layout.SEGMENT_SUFFIX:
                self.present[_part(damage.path)][damage.path.parents[2].name] = damage.path

    def lost(self, path: Path) -> str:
        """Say what is lost by damage to a file."""
        if path.suffix == layout.SEGMENT_SUFFIX:
            return self._lost_of(path)
        if path.suffix == ".json":
            return "how the recording was made: kernel, boot, time zone, options, privileges; no row"
        return "what it holds, if it is of the capture"

    def _lost_of(self, path: Path) -> str:
        part, table = _part(path), path.parents[2].name
        rows = self.rows.get(part, {}).get(table)
        number = "all" if rows is None else f"all {rows}"
        text = f"{number} rows of {table} of the part {part[1]}{self.when(part)}"
        left = salvage(path) if path.is_file() and not path.is_symlink() else None
        if left is not None and (left.healed is not None or (left.rows is not None and left.rows.num_rows)):
            saved = (
                "all" if left.healed is not None else f"{left.rows.num_rows}" if left.rows is not None else ""
            )
            text += f"; --repair saves {saved} of them"
        return text

    def when(self, part: tuple[str, str]) -> str:
        """Return the time of a part as text; nothing if no file tells."""
        told = self.told.get(part, {})
        try:
            first, last = (
                timetext.full(int(told[f"sockrec.{which}_sample_at"]), UTC) for which in ("first", "last")
            )
        except (KeyError, ValueError, OverflowError):
            return ""
        return f", {first} to {last}"


def _part(path: Path) -> tuple[str, str]:
    return path.parents[1].name, path.stem


def rows_told(metadata: Mapping[str, str]) -> dict[str, int]:
    """Return how many rows each table of a part had, as one of its files tells it."""
    try:
        told = json.loads(metadata.get("sockrec.tables", "{}"))
        return {name: int(told[name]) for name in TABLES if name in told}
    except (ValueError, TypeError, RecursionError):
        return {}


def _descriptions(verified: Verified, found: Survey, parts: _Parts) -> None:
    """Find recordings whose description is missing, or in another's place."""
    described = set()
    for path in _recording_files(found.root):
        described.add((path.parent.name, path.stem))
        _count(verified, path)
    for facts in found.recordings:
        path = layout.Layout(found.root).recording(str(facts.get("host")), str(facts.get("recording")))
        if not is_in_its_place(path, facts) or not path.exists():
            what = f"{check_block.MISPLACED}: it tells of {facts.get('recording')}"
            verified.findings.append(Finding(Damage(path, what), parts.lost(path)))
    for host, stem in sorted(parts.present.keys() | parts.journaled):
        named = layout.split_stem(stem)
        if named is not None and (host, named[0]) not in described:
            described.add((host, named[0]))
            path = found.root / layout.RECORDINGS / host / f"{named[0]}.json"
            verified.findings.append(Finding(Damage(path, MISSING), parts.lost(path)))


def _recording_files(root: Path) -> Iterator[Path]:
    for path in sorted((root / layout.RECORDINGS).glob("host=*/*.json")):
        if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
            yield path


def _missing(verified: Verified, found: Survey, parts: _Parts) -> None:
    """Find files that other files of the part tell of, and parts between others."""
    coming = set(_coming(found))
    numbers: dict[tuple[str, str], set[int]] = defaultdict(set)
    for host, stem in parts.present.keys() | parts.journaled:
        named = layout.split_stem(stem)
        if named is not None:
            numbers[host, named[0]].add(named[1])
    for part in sorted(parts.present):
        if _is_going(verified.root, part) or part in coming:
            path = next(iter(parts.present[part].values()))
            what = "being kept" if part in coming else "being removed"
            verified.remarks.append(Damage(path, f"is of a part that was {what}: no damage"))
            continue
        for table, rows in parts.rows.get(part, {}).items():
            if table not in parts.present[part] and rows:
                path = _sibling(parts, part, table)
                lost = f"all {rows} rows of {table} of the part {part[1]}{parts.when(part)}"
                verified.findings.append(Finding(Damage(path, MISSING), lost))
    for (host, recording), known in sorted(numbers.items()):
        holes = (number for number in range(min(known), max(known)) if number not in known)
        for _, number in zip(range(_MOST_MISSING), holes, strict=False):
            stem = layout.stem(recording, number)
            before = max(one for one in known if one < number)
            beside = parts.present.get((host, layout.stem(recording, before)), {})
            day = next(iter(beside.values())).parent.name if beside else layout.date_folder(0)
            path = verified.root / "samples" / host / day / f"{stem}{layout.SEGMENT_SUFFIX}"
            lost = f"all rows of the part {stem}, between two that are there"
            verified.findings.append(Finding(Damage(path, MISSING), lost))


def _coming(found: Survey) -> Iterator[tuple[str, str]]:
    """Give the parts, by host's folder and stem, that `keep` was linking when it was killed."""
    for facts in found.recordings:
        kept = facts.get("kept")
        linking = kept.get("linking") if isinstance(kept, dict) else None
        for stem in linking if isinstance(linking, list) else ():
            yield layout.host_folder(str(facts.get("host"))), str(stem)


def _is_going(root: Path, part: tuple[str, str]) -> bool:
    host = layout.host_of(part[0])
    return host is not None and part[1] in read_removed(layout.Layout(root), host).removing


def _sibling(parts: _Parts, part: tuple[str, str], table: str) -> Path:
    """Return where the file of another table of a part has to be."""
    beside = next(iter(parts.present[part].values()))
    return parts.root / table / part[0] / beside.parent.name / f"{part[1]}{layout.SEGMENT_SUFFIX}"


def _leftovers(root: Path) -> Iterator[Damage]:
    """Give what is in a capture and is no part of it, but nothing is wrong with."""
    for folder, _, names in os.walk(root):
        for name in sorted(names):
            path = Path(folder, name)
            if files.is_temporary(name):
                yield Damage(
                    path, "is what a crash left of a write: no damage; the next recording removes it"
                )
            elif name.endswith(layout.DAMAGED_SUFFIX):
                yield Damage(path, f"is kept as evidence of damage: to remove it, rm {path}")
