"""Whenever the power is cut, what was synced is there, and nothing that was not written.

All that a recorder does to its files is logged, in order. Each beginning of that log, with what was not
synced by then dropped, torn and mixed up, is a capture that must open.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import socket
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from sockrec.catalog import open_catalog
from sockrec.errors import CaptureError
from sockrec.store import layout, segments
from sockrec.store.files import is_temporary
from sockrec.store.retention import read_removed
from tests.faults.churn import Churn
from tests.faults.crash_states import STATES, Disk
from tests.faults.facts import beyond, describe, facts, temporary_files
from tests.faults.journals import Fact, Part, frames
from tests.faults.recorders import start
from tests.faults.scale import cases, figures, is_torture
from tests.faults.syscalls import Op, operations, under_strace
from tests.support.command import CLEAN, SOCKREC
from tests.support.netns import Namespace

_RUNS = 2
_PART_BYTES = 40_000  # some parts, of some samples each
# A second, one interval, and what a busy machine adds.
_SYNC_WITHIN_US = 2_500_000


class Promised:
    """What was written to journals by some moment, and what of it was synced; as the docs define a frame."""

    def __init__(self) -> None:
        self.written: Counter[Fact] = Counter()
        self.synced: Counter[Fact] = Counter()
        self.removed: list[Counter[Fact]] = []
        """What was synced of each part that --max-age removed: all of it may be there, or no sample."""
        self.lags: list[int] = []
        """How long each frame waited to be synced, microseconds."""
        self._parts: dict[str, Part] = {}
        self._read: dict[str, int] = {}
        self._waiting: dict[str, list[tuple[int, list[Fact]]]] = {}
        self._safe: dict[str, Counter[Fact]] = {}

    def apply(self, op: Op, disk: Disk) -> None:
        """Take in an operation that was done to the disk."""
        place = Path(op.path)
        if op.kind == "unlink" and "/samples/" in op.path and place.suffix == ".parquet":
            gone = self._safe.pop(place.stem)
            self.removed.append(gone)
            self.synced -= gone
        if place.suffix != ".journal":
            return
        if op.kind == "write":
            content = disk.names[op.path].content
            begin = self._read.get(op.path, 0)
            part = self._parts.setdefault(op.path, Part())
            for frame in frames(content[begin:]):
                said = part.read(frame)
                self.written.update(said)
                self._waiting.setdefault(op.path, []).append((op.at, said))
                self._read[op.path] = begin + frame.end
        elif op.kind == "sync":
            for at, said in self._waiting.pop(op.path, []):
                self.lags.append(op.at - at)
                self.synced.update(said)
                self._safe.setdefault(place.stem, Counter()).update(said)

    def of(self, stems: Iterable[str]) -> Counter[Fact]:
        """Return what was synced of some parts that are not removed yet."""
        return sum((self._safe.get(stem, Counter()) for stem in stems), Counter())


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=20).digest()


class Machine:
    """Where a disk's contents are laid out after a cut of the power, to be opened."""

    def __init__(self, folder: Path, root: str) -> None:
        self.capture = folder / "capture"
        self.states = self.opened = self.recorded = self.finished = 0
        self._root = root
        self._contents = folder / "contents"
        self._contents.mkdir()
        self._seen: set[tuple[str, int]] = set()

    def lay_out(self, files: dict[str, bytes | None], promised: int) -> bool:
        """Make the files; return False if the very same were there before with as much promised."""
        names = {path: b"" if data is None else _digest(data) for path, data in files.items()}
        key = hashlib.blake2b(repr(sorted(names.items())).encode()).hexdigest(), promised
        self.states += 1
        if key in self._seen:
            return False
        self._seen.add(key)
        shutil.rmtree(self.capture, ignore_errors=True)
        for path, data in files.items():
            place = Path(path.replace(self._root, str(self.capture), 1))
            if data is None:
                place.mkdir(mode=0o700)
                continue
            content = self._contents / names[path].hex()
            if not content.exists():
                content.write_bytes(data)
            # All but these is replaced or removed, never changed: else what is laid out next is wrong.
            if place.name == "lock" or is_temporary(place.name):
                place.write_bytes(data)
            else:
                os.link(content, place)
        return True

    def check(self, promised: Promised, unsynced: set[str], why: str) -> None:
        """Expect everything synced and nothing that was not written; then, that a recorder can go on."""
        self.opened += 1
        before = self._read(promised, unsynced, why)
        segments.recover(layout.Layout(self.capture), socket.gethostname())
        after = self._read(promised, unsynced, why)
        assert before == after, f"{why}: sealing changed {describe((before - after) + (after - before))}"
        assert not temporary_files(self.capture), why
        assert not list(self.capture.glob("journal/*/*.journal")), why

    def _read(self, promised: Promised, unsynced: set[str], why: str) -> Counter[Fact]:
        try:
            opened = open_catalog(self.capture)
        except CaptureError:
            if promised.synced:
                raise
            return Counter()  # nothing was promised, and nothing is there
        with opened:
            found = facts(opened)
            damages = opened.damages
        for part in promised.removed:
            if any(fact[0] == "samples" and fact in found for fact in part):
                missing = beyond(part, found)
                assert not missing, f"{why}: samples without {describe(missing)}"
        lost, invented = beyond(promised.synced, found), beyond(found, promised.written)
        assert not lost, f"{why}: lost {describe(lost)}"
        assert not invented, f"{why}: invented {describe(invented)}"
        stems = {Path(path).stem for path in unsynced}
        for damage in damages:
            assert damage.path.stem in stems, f"{why}: {damage}, though all of it was synced"
        return found

    def record(self, namespace: Namespace, promised: Promised, why: str) -> None:
        """Expect that a recorder goes on here, and that what was promised is there after it, too.

        It first removes, whole, the parts that retention had noted to be removed when the power was cut.
        """
        self.recorded += 1
        noted = read_removed(layout.Layout(self.capture), socket.gethostname()).removing
        going = promised.of(noted)
        command = (SOCKREC, "record", "-C", self.capture, "--interval", "50ms", "--for", "100ms")
        done = namespace.run(*command, env=CLEAN, timeout=60)
        assert (done.returncode, done.stderr) == (0, ""), why
        with open_catalog(self.capture) as opened:
            ((added,),) = opened.rows(
                "SELECT count(*) FROM samples WHERE recording = (SELECT max(recording) FROM recordings)"
            )
            found = facts(opened)
        assert added > 1, why
        lost = beyond(promised.synced - going, found)
        assert not lost, f"{why}: recording on has lost {describe(lost)}"
        left = Counter(fact for fact in going if fact[0] == "samples" and fact in found)
        assert not left, f"{why}: recording on has not removed {describe(left)} of {noted}"
        self.finished += bool(going)


@pytest.fixture
def machine_folder() -> Iterator[Path]:
    """Give a folder in memory: ten thousand captures are laid out there."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def _record(namespace: Namespace, folder: Path, sync: str, seed: int) -> list[Op]:
    """Record twice among sockets that come and go, the first time until killed; return all that was done."""
    log = folder / "strace"
    found: list[Op] = []
    capture = folder / "capture"
    with Churn(namespace, seed, folder, pause_s=0.02):
        for run in range(_RUNS):
            seconds = ("--for", "1500ms" if run else "2s")
            words = ("--interval", "100ms", "--sync", sync, "--max-age", "1s", *seconds)
            recorder = start(
                namespace, capture, folder / "stderr", *words, under=under_strace(log), part_bytes=_PART_BYTES
            )
            assert recorder.wait(120) == 0, (folder / "stderr").read_text()
            found += operations(log, capture)
    return found


def _noted(done: list[Op]) -> Iterator[int]:
    """Give the places at which a note of what is to be removed lasts, and all of that is still there."""
    folder = None
    for place, op in enumerate(done):
        if op.kind == "rename" and Path(op.to).name == "removed":
            folder = Path(op.to).parent
        elif op.kind == "sync" and Path(op.path) == folder:
            yield place
            folder = None


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("sync", ["1s", "0s"][: cases(1, 2)])
def test_each_beginning_of_what_was_done_is_a_capture(
    netns: Namespace, tmp_path: Path, machine_folder: Path, sync: str
) -> None:
    done = _record(netns, tmp_path, sync, seed=1)
    luck = random.Random(2)
    disk = Disk(tmp_path / "capture")
    promised = Promised()
    machine = Machine(machine_folder, disk.root)
    critical = {place for place, op in enumerate(done) if op.kind in ("sync", "rename", "unlink")}
    noted = set(_noted(done))
    chosen = set(range(len(done))) if is_torture() else {*luck.sample(sorted(critical), 8), min(noted)}
    for place, op in enumerate(done):
        disk.apply(op)
        promised.apply(op, disk)
        if place not in chosen:
            continue
        for state in luck.sample(STATES, cases(2, 4 if place in critical else 1)):
            why = f"{state} after {place + 1} of {len(done)} operations, the last: {op.kind} {op.path}"
            files = disk.after_a_cut(state, luck)
            if machine.lay_out(files, promised.synced.total()):
                machine.check(promised, disk.unsynced, why)
                if promised.synced and (place in noted or machine.opened % cases(5, 100) == 0):
                    machine.record(netns, promised, why)
    assert machine.recorded > machine.finished > 0
    samples = sum(fact[0] == "samples" for fact in promised.written.elements())
    removed = sum(promised.removed, Counter())
    assert promised.synced + removed == promised.written, "a recorder that ended has synced all"
    assert promised.removed, "retention is part of this"
    if sync == "0s":
        assert promised.lags
    else:
        assert max(promised.lags) < _SYNC_WITHIN_US, "a sample waits for a second, and for the next one"
    figures(
        f"power cut, --sync {sync}",
        prefixes=len(chosen),
        states=machine.states,
        different=machine.opened,
        recorded_on=machine.recorded,
        removals_finished=machine.finished,
        samples_promised=samples,
        parts_removed=len(promised.removed),
        lost=0,
    )
