"""Start-up: how long people wait for help, for an answer from a small capture, and for the first sample."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks import timing
from benchmarks.inside import in_namespaces
from benchmarks.populations import Population
from benchmarks.report import Budget, Findings, Table
from benchmarks.scale import Scale
from benchmarks.timing import BenchmarkError, Series, say

SOCKREC: Final = str(Path(sys.executable).with_name("sockrec"))
_MOST_HELP: Final = 0.2
_SOCKETS: Final = 1_000
_HELP: Final = "`sockrec --help`"
_FIRST: Final = f"`sockrec record` until its first sample of {_SOCKETS:,} sockets is on disk"
_LISTENER: Final = """
import socket, time
listener = socket.create_server(("127.0.0.1", 7071))
time.sleep(0.3)
listener.close()
time.sleep(0.2)
"""


def run(scale: Scale) -> Findings:
    """Measure in a population of a thousand sockets."""
    say("start-up")
    if shutil.which(SOCKREC) is None:
        raise BenchmarkError(f"there is no {SOCKREC}: run `make setup`")
    measured: dict[str, list[float]] = in_namespaces(
        "benchmarks.startup:measure", 180, sockrec=SOCKREC, rounds=scale.startup_rounds
    )
    series = {name: Series(tuple(values)) for name, values in measured.items()}
    wait = series[_HELP]
    budget = Budget(_HELP, "the clock", "≤ 0.2 s", f"{wait.text()} s", wait.median <= _MOST_HELP)
    rows = [(name, values.ms()) for name, values in series.items()]
    return Findings([budget], [Table("Start-up: milliseconds on the clock", ("what", "ms"), rows)])


def measure(sockrec: str, rounds: int) -> dict[str, list[float]]:
    """Return seconds on the clock of each round."""
    taken: dict[str, list[float]] = {}
    with Population(_SOCKETS), tempfile.TemporaryDirectory(prefix="sockrec-bench-") as folder:
        small = Path(folder) / "small"
        recorded = [sockrec, "record", "-C", str(small), "--interval", "50ms", "--"]
        timing.command([*recorded, sys.executable, "-c", _LISTENER])
        commands = {
            "`python -c pass`, which all of it stands on": [sys.executable, "-c", "pass"],
            _HELP: [sockrec, "--help"],
            "`sockrec when port 7071 stopped listening`, half a second recorded": [
                *(sockrec, "when", "-C", str(small)),
                *("port", "7071", "stopped", "listening"),
            ],
            "`netstat -antp`": ["netstat", "-antp"] if shutil.which("netstat") else [],
        }
        for number in range(rounds + 1):
            for name, words in commands.items():
                if words:
                    taken.setdefault(name, []).append(timing.command(words).wall)
            seconds = _until_first_sample(sockrec, Path(folder) / f"first-{number}")
            taken.setdefault(_FIRST, []).append(seconds)
    # The first round only warms the page cache.
    return {name: values[1:] for name, values in taken.items()}


def _until_first_sample(sockrec: str, capture: Path) -> float:
    """Record while a command runs; it is started when the first sample is safe, and tells the time."""
    began = time.time()
    words: list[Any] = [sockrec, "record", "-C", capture, "--", "date", "+%s.%N"]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    return float(done.stdout) - began
