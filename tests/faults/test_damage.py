"""Damage anywhere in a capture: what is whole is read, nothing is invented, all is found and repaired."""

from __future__ import annotations

import shutil
import signal
import struct
import time
from collections import Counter
from pathlib import Path

import pytest

from sockrec.store import framing
from sockrec.store.repair import repair
from sockrec.store.verify import verify
from tests.faults import scale
from tests.faults.churn import Churn
from tests.faults.damage import SWAPPED, WAYS, Original, Trial
from tests.faults.damaged_answers import Reader, Rows, ask, ask_or_refuse, invented, missing
from tests.faults.recorders import start
from tests.support import command
from tests.support.memory import Peak
from tests.support.netns import Namespace

HOSTS = ("web-1", "web-2")
_PART_BYTES = 32_000
_BATCHES = scale.cases(1, 8)
_CASES = scale.cases(64, 10_000)
# CPU time that a trial may take at most: a reader that goes by the square takes longer. One that hangs meets
# the test's own time limit.
_SECONDS = 30.0
# What the trials add at their peak to what the process holds before them.
_MEMORY_KB = 1 << 20
_FRAME_HEADER = 32


def record(folder: Path) -> Path:
    """Record two hosts into one capture, in short parts; the second recorder of each is killed."""
    capture = folder / "capture"
    with Namespace() as namespace, Churn(namespace, 1, folder, pause_s=0.01):
        for host in HOSTS:
            for ending, samples in ((signal.SIGINT, 25), (signal.SIGKILL, 8)):
                before = command.count_samples(capture)
                under = ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', host)
                words = ("--interval", "50ms", *command.UNBUDGETED)
                log = folder / "log"
                recorder = start(namespace, capture, log, *words, under=under, part_bytes=_PART_BYTES)
                try:
                    command.wait_for_samples(capture, before + samples, 90)
                finally:
                    recorder.send_signal(ending)
                    recorder.wait(30)
    return capture


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    return Original(record(tmp_path_factory.mktemp("recorded")))


@pytest.fixture(scope="module")
def rows(original: Original) -> Rows:
    found, left_out, known = ask(original.root)
    assert (left_out, known) == ([], [])
    assert Reader().read(original.root) == (found, [], [])
    return found


def test_what_is_damaged_is_all_that_a_capture_has(original: Original, rows: Rows) -> None:
    """Several parts of both hosts, sealed and not, with rows in every table: else the cases show little."""
    assert verify(original.root).is_whole
    for host in HOSTS:
        assert len(list(original.root.glob(f"journal/host={host}/*.journal"))) >= 1
        assert len(list(original.root.glob(f"samples/host={host}/*/*.parquet"))) >= 2
        assert len(list(original.root.glob(f"recordings/host={host}/*.json"))) == 2
    assert all(rows[name] for name in rows)


def looks_like_a_crash(trial: Trial, original: Original, name: str) -> bool:
    """Tell whether a damaged journal may be what a recorder that died leaves.

    That is whole frames, and behind them nothing, zeros, or the beginning of a frame that is longer than
    the file. A journal without an end frame is cut somewhere; nothing tells where it was before.
    """
    if not name.endswith(".journal") or trial.ways[name] == SWAPPED:
        return False
    content, whole = trial.files[name], original.content(name)
    pairs = zip(content, whole, strict=False)
    same = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(content), len(whole)))
    with (original.root / name).open("rb") as file:
        ends = [found.end for found in framing.scan(file, len(whole)) if isinstance(found, framing.Frame)]
    rest = content[max((end for end in ends if end <= same), default=0) :]
    if not rest.strip(b"\0"):
        return True
    if len(rest) < _FRAME_HEADER:
        return whole.startswith(rest[:12])
    (stored,) = struct.unpack_from("<I", rest, 20)
    return rest[:12] == whole[:12] and _FRAME_HEADER + int(stored) > len(rest)


class Tally:
    """Tries damages, and counts."""

    def __init__(self, original: Original, rows: Rows) -> None:
        self.original = original
        self.rows = rows
        self.tried: Counter[str] = Counter()
        self.found = self.changed = self.like_a_crash = self.lost = self.saved = 0
        self.slowest = 0.0
        self._reader = Reader()

    def attempt(self, trial: Trial, folder: Path) -> None:
        """Damage a copy; read, verify, repair and read it."""
        where = f"seeds {trial.seeds}: {trial.ways}"
        began = time.process_time()
        root = self.original.copy(folder, trial)
        before, left_out, _ = ask_or_refuse(root)
        assert invented(before, self.rows) == [], where
        missed = missing(before, self.rows)
        verified = verify(root)
        found = {finding.damage.path.relative_to(root).as_posix() for finding in verified.findings}
        torn = 0
        for name, way in trial.ways.items():
            self.tried[way] += 1
            if name in found:
                self.found += 1
                # Whoever reads all meets what verify finds.
                assert any(name in damage for damage in left_out), (where, name, left_out)
            else:
                assert looks_like_a_crash(trial, self.original, name), (where, name)
                torn += 1
        self.like_a_crash += torn
        self.changed += bool(missed)
        repaired = repair(root, verified)
        assert repaired.after.is_whole, (where, repaired.after.findings)
        after, still_out, known = self._reader.read(root)
        assert still_out == [], where
        assert invented(after, self.rows) == [], where
        for name in self.rows:
            assert not before[name] - after[name], (where, name)
        left = missing(after, self.rows)
        assert known or not left or torn, where
        self.lost += left
        self.saved += missed - left
        self.slowest = max(self.slowest, time.process_time() - began)
        assert self.slowest < _SECONDS, where


@pytest.mark.timeout(3600 if scale.is_torture() else 300)
@pytest.mark.parametrize("batch", range(_BATCHES))
def test_damage(original: Original, rows: Rows, tmp_path: Path, batch: int) -> None:
    """Up to twelve files are damaged at once, each by a case of its own.

    Only rows that were there come back; what is missing is told, by every reader and by verify, file by
    file; after a repair the capture is whole, and every row is there that could be read before.
    """
    tally = Tally(original, rows)
    memory = Peak()
    trials = original.trials(range(_CASES))
    for number, trial in enumerate(trials):
        if number % _BATCHES == batch:
            folder = tmp_path / "damaged"
            tally.attempt(trial, folder)
            shutil.rmtree(folder)
    assert set(tally.tried) == {*WAYS, SWAPPED}
    assert memory.added_kib() < _MEMORY_KB
    scale.figures(
        "damage",
        tried=tally.tried.total(),
        found=tally.found,
        repaired=tally.found,
        like_a_crash=tally.like_a_crash,
        trials_with_rows_missing=tally.changed,
        rows_lost_that_could_be_read=0,
        rows_lost=tally.lost,
        rows_saved_by_repair=tally.saved,
        slowest_cpu_s=round(tally.slowest, 2),
    )


@pytest.mark.timeout(3600 if scale.is_torture() else 300)
def test_damage_through_the_command(original: Original, rows: Rows, tmp_path: Path) -> None:
    """Answers end with 0 and what was left out on stderr, verify with 3 and a line for it, then with 0."""
    for trial in original.trials(range(100_000, 100_000 + scale.cases(6, 200))):
        root = original.copy(tmp_path / "damaged", trial)
        expected, left_out, _ = ask(root)
        done = command.sockrec("sql", "-C", root, "SELECT count(*) FROM sockets", "--format", "csv")
        assert done.returncode == 0, done
        assert done.stdout.split() == ["count_star()", str(expected["sockets"].total())], trial
        assert "Traceback" not in done.stderr
        for words in (["replay", "--at", "end", "-tan"], ["info"], ["when", "port", "7001", "stopped"]):
            done = command.sockrec(*words, "-C", root)
            assert done.returncode in (0, 1, 2), done
            assert "Traceback" not in done.stderr, done
        verified = command.sockrec("verify", "-C", root)
        assert verified.returncode == (3 if left_out else 0), verified
        for line in left_out:
            assert line.removeprefix(f"{root}/").split(":")[0].split(" at byte")[0] in verified.stdout
        assert command.sockrec("verify", "--repair", "-C", root).returncode == 0
        assert command.sockrec("verify", "-C", root).returncode == 0
        shutil.rmtree(root)
