"""A recorder that is killed at any moment loses the sample in flight, and says nothing that is not so."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from sockrec.catalog import open_catalog
from sockrec.model.tables import TABLES
from tests.faults import truth
from tests.faults.churn import PORT, Churn
from tests.faults.facts import beyond, describe, facts, temporary_files
from tests.faults.journals import Fact
from tests.faults.recorders import Watch, start
from tests.faults.scale import cases, figures
from tests.support.command import sockrec
from tests.support.netns import Namespace

_RUNS = 10  # in one capture: each goes on where the one before was killed
_PART_BYTES = 60_000  # of some samples
_COMPARED_EVERY = 5  # kills: with the truth, which takes as long as all else
_INTERVAL = ("--interval", "50ms")


class Killing:
    """One capture that recorder after recorder is killed in, among sockets that come and go."""

    def __init__(self, folder: Path, seed: int, *retention: str) -> None:
        self.retention = retention
        self.folder = folder
        self.capture = folder / "capture"
        self.random = random.Random(seed)
        self.removed = self.checks = 0
        self.namespace = Namespace()
        self.churn = Churn(self.namespace, seed, folder)
        self.watch = Watch(self.capture)

    def __enter__(self) -> Killing:
        self.namespace.__enter__()
        self.churn.__enter__()
        self.watch.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        for each in (self.watch, self.churn, self.namespace):
            each.__exit__(None, None, None)

    def start(self, *words: str, under: tuple[str | Path, ...] = ()) -> subprocess.Popen[str]:
        """Start another recorder."""
        log = self.folder / "stderr"
        return start(
            self.namespace,
            self.capture,
            log,
            *_INTERVAL,
            *self.retention,
            *words,
            under=under,
            part_bytes=_PART_BYTES,
        )

    def check(self) -> None:
        """Expect that everything written is there, and nothing else; now and then, that it is true."""
        self.checks += 1
        self._check(moments=0 if self.checks % _COMPARED_EVERY else 1)

    def _check(self, *, moments: int) -> None:
        """Compare with what was written; with the truth, too, and what so many moments show, if any."""
        self.watch.settle()
        recordings = self.watch.recordings
        for name, numbers in recordings.items():
            assert numbers == list(range(len(numbers))), f"{name} lacks samples: {numbers}"
        if not recordings:
            return
        with open_catalog(self.capture) as opened:
            assert opened.damages == []
            found = facts(opened)
            written = Counter(fact for part in self.watch.facts.values() for fact in part)
            invented = beyond(found, written)
            assert not invented, f"invented: {describe(invented)}"
            kept = self._check_kept(found)
            if not moments:
                return
            truth.check(opened, self.churn, events=True, removed_us=_longest_us(written))
            truth.check_moments(opened, moments, events=True)
            truth.check_gaps(opened, kept)

    def _check_kept(self, found: Counter[Fact]) -> int:
        """Expect every part whole, but for the oldest that retention removed; return how many recordings."""
        recordings: set[str] = set()
        removed = []
        for stem in sorted(self.watch.facts):
            said = Counter(self.watch.facts[stem])
            samples = [fact for fact in said if fact[0] == "samples"]
            if self.retention and samples and not any(fact in found for fact in samples):
                removed.append(stem)
                assert not recordings, f"{stem} was removed, and older ones were not"
                continue
            if self.retention and not recordings and not samples:
                continue
            lost = beyond(said, found)
            assert not lost, f"lost of {stem}: {describe(lost)}"
            if samples:
                recordings.add(stem.rpartition("-")[0])
        self.removed = len(removed)
        return len(recordings)

    def finish(self) -> int:
        """Let a last recorder end by itself, and expect a whole capture; return how many samples it has."""
        last = self.start("--for", "400ms")
        assert last.wait(60) == 0, (self.folder / "stderr").read_text()
        self._check(moments=20)
        assert not temporary_files(self.capture)
        left = {path.name for path in self.capture.glob("journal/*/*")}
        assert left <= {"lock", "removed"}, "all is sealed"
        done = sockrec("when", "-C", self.capture, "port", str(PORT), "stopped", "listening")
        assert (done.returncode, done.stdout) == (1, "")
        done = sockrec("verify", "-C", self.capture)
        assert done.returncode == 0, done.stdout + done.stderr
        return sum(map(len, self.watch.recordings.values()))


def _longest_us(written: Iterable[Fact]) -> int:
    """Return how long the longest reading took of all whose samples were ever written."""
    names = ["table", *TABLES["samples"].names]
    began, ended = (names.index(name) for name in ("began_at", "ended_at"))
    took = [fact[ended] - fact[began] for fact in written if fact[0] == "samples"]
    return max(took, default=0)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(cases(1, 100)))
def test_at_random_moments(tmp_path: Path, seed: int) -> None:
    retention = ("--max-age", "4s") if seed % 4 == 3 else ()
    with Killing(tmp_path, seed, *retention) as killing:
        runs = cases(4, _RUNS)
        for _ in range(runs):
            recorder = killing.start()
            # Some die while they begin, or recover what the one before left.
            if killing.random.random() < 0.8:
                killing.watch.wait_for_sample(recorder)
            time.sleep(killing.random.choice([0.3, 1, 2.5]) * killing.random.random())
            recorder.kill()
            recorder.wait(30)
            killing.check()
        samples = killing.finish()
    assert samples >= runs / 2, "most were killed before their first sample"
    assert bool(killing.removed) == bool(retention)
    figures("kills at random moments", kills=runs, samples=samples, parts_removed=killing.removed, lost=0)


# Each as the kernel knows it. `fchmod` follows each file that is made, `fsync` each that is whole.
_CALLS = {
    "mkdir": 12,
    "fchmod": 40,
    "pwrite64": 2,
    "pwritev2": 40,
    "fdatasync": 20,
    "write": 60,
    "fsync": 60,
    "rename": 20,
    "unlink": 6,
}
_AT_CALLS = [(call, number) for call, most in _CALLS.items() for number in range(1, most + 1)]
_IN_ONE_CAPTURE = 10


def _at_calls() -> list[list[tuple[str, int]]]:
    """Return which calls to be killed at, in groups of one capture each."""
    points = random.Random(7).sample(_AT_CALLS, cases(6, len(_AT_CALLS)))
    return [points[first : first + _IN_ONE_CAPTURE] for first in range(0, len(points), _IN_ONE_CAPTURE)]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("points", _at_calls(), ids=lambda points: f"{points[0][0]}-{points[0][1]}")
def test_at_the_nth_call_of_each_kind(tmp_path: Path, points: list[tuple[str, int]]) -> None:
    """Each thread counts its own calls: those of the sealer are met as well as the sampler's."""
    with Killing(tmp_path, len(points)) as killing:
        killed = 0
        for call, number in points:
            injected = f"inject={call}:signal=KILL:when={number}"
            under = ("strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", injected)
            recorder = killing.start("--for", "2s", under=under)
            status = recorder.wait(60)
            assert status in (0, -signal.SIGKILL), (killing.folder / "stderr").read_text()
            killed += status != 0
            killing.check()
        samples = killing.finish()
    assert killed >= len(points) / 2, "calls that never come prove nothing"
    figures("kills at the n-th call", kills=killed, samples=samples, lost=0)
