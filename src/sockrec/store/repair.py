"""Making a damaged capture whole again: what can be read is kept, what is lost is written down.

Nothing is thrown away. What stood in the place of a repaired file is kept beside it as `.damaged`, which no
reader reads. Each step leaves a capture that the next run finishes, so that it may be interrupted anywhere.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sockrec.errors import CaptureError
from sockrec.model.tables import FORMAT_VERSION, SAMPLES, TABLES
from sockrec.store import files, framing, layout, parquet, segments
from sockrec.store.check_block import PARQUET
from sockrec.store.damage import Damage
from sockrec.store.journal_reader import read_journal
from sockrec.store.lock import RecorderLock
from sockrec.store.recordings import read_recording, write_recording
from sockrec.store.salvage import salvage
from sockrec.store.schema import arrow_schema
from sockrec.store.survey import check_end
from sockrec.store.verify import MISSING, Verified, rows_told, verify
from sockrec.store.whole import check_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa

_EVIDENCE: Final = 100
_ROUNDS: Final = 3
# What each file of a part tells of all of them.
_OF_THE_PART: Final = {
    f"sockrec.{name}"
    for name in (
        "format_version",
        "recording",
        "host",
        "part",
        "first_sample_at",
        "last_sample_at",
        "tables",
    )
}


@dataclass(slots=True)
class Repaired:
    """What a repair did, a line for each file, and how the capture is after it."""

    done: list[Damage]
    after: Verified


def repair(root: Path, found: Verified) -> Repaired:
    """Repair what `verify` found.

    Raises `CaptureError` if a recorder is recording a host concerned, or the capture can't be written.
    """
    done: list[Damage] = []
    after = found
    # What was brought back to its place may be damaged too.
    for _ in range(_ROUNDS):
        before = len(done)
        _round(root, after, done)
        after = verify(root)
        if after.is_whole or len(done) == before:
            break
    return Repaired(done, after)


def _round(root: Path, found: Verified, done: list[Damage]) -> None:
    paths = (finding.damage.path for finding in found.findings)
    hosts = sorted({host for path in paths if (host := _host(root, path)) is not None})
    with ExitStack() as locks:
        for host in hosts:
            # Recorders run on Linux only: elsewhere the capture is a copy.
            if sys.platform == "linux":
                locks.enter_context(RecorderLock(layout.Layout(root), host))
        try:
            _Repair(root, found, done).run()
        except OSError as error:
            raise files.unwritable(Path(error.filename or root), error) from None


def _host(root: Path, path: Path) -> str | None:
    """Return the host whose files a path in a capture is among."""
    words = path.relative_to(root).parts
    return layout.host_of(words[1]) if len(words) > 1 else None


class _Repair:
    def __init__(self, root: Path, found: Verified, done: list[Damage]) -> None:
        self.root = root
        self.paths = layout.Layout(root)
        self.found = found
        self.done = done
        # What the whole files of each part tell of it, by host folder and stem.
        self.told: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)

    def run(self) -> None:
        wrong = {
            finding.damage.path: finding.damage.what
            for finding in reversed(self.found.findings)
            if self._is_inside(finding.damage.path)
        }
        for path in wrong:
            home = home_of(path)
            if home is not None and home != path:
                self._note(path, "was another's: moved away", self._keep(path))
        self._bring_home()
        self._listen()
        for path in wrong:
            if path.suffix == layout.JOURNAL_SUFFIX:
                self._journal(path)
        self._listen()
        for path, what in wrong.items():
            if path.suffix == layout.SEGMENT_SUFFIX:
                self._segment(path, what)
        for path in wrong:
            if path.suffix == ".json" and not _is_good(path):
                self._description(path)

    def _is_inside(self, path: Path) -> bool:
        """Tell whether no symbolic link leads to a path: nothing outside the capture is ever touched."""
        above = [path, *path.parents]
        return not any(one.is_symlink() for one in above[: above.index(self.root)])

    def _note(self, path: Path, what: str, kept: Path | None = None) -> None:
        evidence = "" if kept is None else f"; what stood there is kept as {kept.name}"
        self.done.append(Damage(path, what + evidence))

    def _keep(self, path: Path) -> Path:
        """Move a file out of readers' sight."""
        kept = self._evidence(path)
        os.replace(path, kept)  # noqa: PTH105 - as in files.publish
        files.sync_folder(path.parent)
        return kept

    def _evidence(self, path: Path) -> Path:
        """Return a free name for what stood at a path."""
        for number in range(_EVIDENCE):
            kept = path.with_name(f"{path.stem}{f'-{number}' if number else ''}{layout.DAMAGED_SUFFIX}")
            if not kept.exists():
                return kept
            if path.exists() and kept.samefile(path):
                return kept  # from a repair that was interrupted
        raise CaptureError(f"{path.parent} has {_EVIDENCE} damaged files of one name: remove some")

    def _bring_home(self) -> None:
        """Put whole files that stood in others' places into their own, where nothing whole stands."""
        for kept in sorted(self.root.glob(f"*/host=*/**/*{layout.DAMAGED_SUFFIX}")):
            if not self._is_inside(kept) or not kept.is_file():
                continue
            home = home_of(kept)
            if home is None or home == kept or not self._is_inside(home) or _is_good(home):
                continue
            if home.suffix == layout.JOURNAL_SUFFIX and self._is_sealed(home, kept):
                continue
            files.make_folder(home.parent)
            if home.exists():
                self._keep(home)
            with suppress(FileNotFoundError):
                files.temporary(home).unlink()
            os.link(kept, files.temporary(home))
            files.publish(home)
            kept.unlink()
            self._note(home, f"was found at {kept.relative_to(self.root)} and brought back")

    def _listen(self) -> None:
        """Hear what whole segments tell of their parts."""
        for path in self._segments():
            metadata = _metadata(path)
            if metadata:
                self.told[path.parents[1].name, path.stem] |= metadata

    def _segments(self) -> Iterator[Path]:
        for table in TABLES:
            for path in sorted((self.root / table).glob(f"host=*/date=*/*{layout.SEGMENT_SUFFIX}")):
                if self._is_inside(path):
                    yield path

    def _is_sealed(self, journal: Path, kept: Path | None = None) -> bool:
        """Tell whether a part has its segments: all of them, if its journal was `kept` as another's."""
        found = list(self.root.glob(f"*/{journal.parent.name}/*/{journal.stem}{layout.SEGMENT_SUFFIX}"))
        if kept is None or kept.name.startswith(journal.stem):
            return bool(found)
        whole = {path.parents[2].name: rows_told(_metadata(path)) for path in found if _is_good(path)}
        return any(told.keys() <= whole.keys() for told in whole.values() if told)

    def _journal(self, path: Path) -> None:
        host = layout.host_of(path.parent.name)
        if host is None or not path.is_file() or _is_good(path):
            return
        what = "; ".join(damage.what for damage in read_journal(path).damages)
        sealed = path.with_suffix(layout.DAMAGED_SUFFIX)
        if sealed.exists():
            os.replace(sealed, self._evidence(path))  # noqa: PTH105
        segments.seal(self.paths, host, path.stem)
        if not self._is_sealed(path):
            # So that the loss stays known when the evidence is gone.
            day = layout.date_folder(segments.start_in_name(path.stem))
            bare = self.root / SAMPLES.name / path.parent.name / day / f"{path.stem}{layout.SEGMENT_SUFFIX}"
            self._write(bare, None, {}, what)
        self._note(path, "was sealed without its damaged frames", sealed)

    def _segment(self, path: Path, what: str) -> None:
        told = self.told.get((path.parents[1].name, path.stem), {})
        table = path.parents[2].name
        rows = rows_told(told).get(table)
        if not path.exists():
            elsewhere = self.root.glob(f"{table}/{path.parents[1].name}/*/{path.name}")
            if what == MISSING or (rows and not any(elsewhere)):
                lost = f"all{'' if rows is None else f' {rows}'} rows of {table} are lost"
                self._write(path, None, {}, f"its file was missing: {lost}")
                self._note(path, f"was missing: {lost}")
            return
        if not path.is_file() or _is_good(path):
            return
        left = salvage(path)
        if left.healed is not None and left.belongs == path:
            files.write_atomically(path, left.healed)
            self._note(path, "was put right: nothing is lost")
            return
        kept = self._evidence(path)
        if not kept.exists():
            os.link(path, kept)
            files.sync_folder(path.parent)
        if left.rows is None:
            lost = f"all{'' if rows is None else f' {rows}'} rows of {table} are lost"
        elif left.total is not None and left.total > left.rows.num_rows:
            lost = f"{left.total - left.rows.num_rows} of {left.total} rows of {table} are lost"
        else:
            lost = ""
        self._write(path, left.rows, left.metadata, lost and f"{what}: {lost}")
        self._note(path, f"was written anew: {lost or 'nothing is lost'}", kept)

    def _write(self, path: Path, rows: pa.Table | None, own: Mapping[str, str], damage: str) -> None:
        """Write a segment of what is left, None being no rows; `own` is what the file told before."""
        folder, stem = path.parents[1].name, path.stem
        table = TABLES[path.parents[2].name]
        recording, part = layout.split_stem(stem) or (stem, 0)
        first = _start_of(path.parent.name)
        told = {
            "sockrec.format_version": str(FORMAT_VERSION),
            "sockrec.recording": recording,
            "sockrec.host": layout.host_of(folder) or "",
            "sockrec.part": str(part),
            "sockrec.first_sample_at": str(first),
            "sockrec.last_sample_at": str(first),
        }
        told |= {key: one for key, one in self.told[folder, stem].items() if key in _OF_THE_PART}
        told |= own
        if damage:
            earlier = own.get("sockrec.damage")
            told["sockrec.damage"] = f"{earlier}; {damage}" if earlier else damage
        if rows is None:
            rows = arrow_schema(table).empty_table()
        parquet.write(path, table, rows, told)

    def _description(self, path: Path) -> None:
        """Write what the folders, the segments and the journals tell of a recording."""
        what = "how it was made is lost"
        facts: dict[str, Any] = {
            "recording": path.stem,
            "host": layout.host_of(path.parent.name) or "",
            "unavailable": [],
            "damage": what,
        }
        for (folder, stem), told in self.told.items():
            if folder == path.parent.name and stem.startswith(f"{path.stem}-"):
                facts["host"] = told.get("sockrec.host", facts["host"])
                # Readers take from here which columns the segments have.
                version = told.get("sockrec.format_version", "")
                if version.isdecimal():
                    facts["format_version"] = min(int(version), facts.get("format_version", FORMAT_VERSION))
        with suppress(CaptureError):
            facts["started_us"] = segments.start_in_name(path.stem)
        kept = None
        if path.is_file():
            kept = self._evidence(path)
            if not kept.exists():
                os.link(path, kept)
        write_recording(path, facts)
        self._note(path, f"was written anew: {what}", kept)


def _is_good(path: Path) -> bool:
    """Tell whether a file is there and whole."""
    if not path.is_file() or path.is_symlink():
        return False
    if path.suffix == ".json":
        return not isinstance(read_recording(path), Damage)
    if path.suffix == layout.JOURNAL_SUFFIX:
        return not read_journal(path).damages
    return check_whole(path) is None


def _metadata(path: Path) -> Mapping[str, str]:
    """Return what a segment tells, where its footer is whole."""
    end = check_end(path)
    return end[1].metadata if isinstance(end, tuple) else {}


def _start_of(day: str) -> int:
    """Return when a day's folder begins, microseconds UTC; 0 if it is none's."""
    try:
        return int(datetime.fromisoformat(f"{layout.date_of(day)}T00:00:00+00:00").timestamp()) * 1_000_000
    except ValueError:
        return 0


def home_of(path: Path) -> Path | None:
    """Return where a file was written as, if it is whole; None if that can't be told."""
    try:
        if path.is_symlink() or not path.is_file():
            return None
        with path.open("rb") as file:
            begin = file.read(4)
        if begin == framing.MAGIC:
            header = read_journal(path, anywhere=True).header
            return _home(path, header)
        if begin == PARQUET:
            found = salvage(path)
            return None if found.healed is None else found.belongs
        facts = read_recording(path, anywhere=True)
        return None if isinstance(facts, Damage) else _home(path, facts)
    except OSError:
        return None


def _home(path: Path, facts: Mapping[str, Any]) -> Path | None:
    """Return the path of a journal, or a description, by what it says of itself."""
    host, recording, part = facts.get("host"), facts.get("recording"), facts.get("part")
    if not isinstance(host, str) or not isinstance(recording, str) or "/" in recording or "\0" in recording:
        return None
    paths = layout.Layout(path.parents[2])
    if path.parents[1].name == layout.JOURNAL:
        return paths.journal(host, layout.stem(recording, part)) if isinstance(part, int) else None
    return paths.recording(host, recording)
