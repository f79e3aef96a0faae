"""The CPU budget that the recorder keeps by itself, over minutes, and how exact listeners stay meanwhile."""

from __future__ import annotations

import itertools
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.inside import in_namespaces
from benchmarks.populations import Population
from benchmarks.report import Budget, Findings, Table
from benchmarks.scale import Scale
from benchmarks.startup import SOCKREC
from benchmarks.timing import BenchmarkError, say

_SHARE: Final = 0.05
_INTERVAL_S: Final = 1.0
_EVERY_S: Final = 12  # seconds, about, from one change of a listener to the next
_FIRST_PORT: Final = 20_000


def run(scale: Scale) -> Findings:
    """Record the largest population, as the command does by default."""
    sockets, seconds = max(scale.sizes), scale.kept_seconds
    say(f"budget: {seconds} s of {sockets:,} sockets")
    found = in_namespaces("benchmarks.kept:measure", seconds + 300, sockets=sockets, length=seconds)
    say(f"  {found['cpu']:.1f} s of CPU, bounds of {max(found['widths']):.3f} s, {found['wrong']} wrong")
    what = f"`record --interval 1s --max-cpu 5%`, {found['sockets']:,} sockets, {seconds} s"
    share, widest = found["cpu"] / found["elapsed"], max(found["widths"])
    late = f"{widest:.3g} s at most, {statistics.median(found['widths']):.3g} s median"
    budgets = [
        Budget(f"CPU of {what}", "one core", "≤ 5 %", f"{100 * share:.3g} %", share <= _SHARE),
        Budget(
            f"{found['changes']} listeners started and stopped meanwhile: how exactly each is known",
            "the clock",
            "≤ 1 s",
            late if not found["wrong"] else f"{found['wrong']} not as they were",
            widest <= _INTERVAL_S and not found["wrong"],
        ),
    ]
    rows = [
        ("CPU seconds, with start-up and sealing", f"{found['cpu']:.3g}"),
        ("samples of all sockets", f"{found['samples']}"),
        ("seconds between two of them: median and most", found["apart"]),
        ("readings of the listeners alone", f"{found['readings']}"),
        ("most memory, MiB", f"{found['peak_kib'] / 1024:.0f}"),
        ("MB on disk", f"{found['bytes'] / 1e6:.3g}"),
    ]
    note = "Before each change 1 % of the connections are replaced."
    return Findings(budgets, [Table(f"The budget kept: {what}", ("what", "measured"), rows, note)])


def measure(sockets: int, length: int) -> dict[str, Any]:
    """Record by the command while listeners come and go; compare its answers with what was done."""
    with Population(sockets) as population, tempfile.TemporaryDirectory(prefix="sockrec-bench-") as folder:
        capture = Path(folder) / "capture"
        words = [SOCKREC, "record", "-C", str(capture), "--interval", "1s", "--max-cpu", "5%"]
        recorder = subprocess.Popen([*words, "--for", f"{length}s"])
        began = time.monotonic()
        changes = _change_listeners(population, began + length - 3)
        _, status, used = os.wait4(recorder.pid, 0)
        if status:
            raise BenchmarkError(f"the recorder ended with status {status}")
        widths, wrong = _compare(capture, changes)
        samples = _ask(capture, "sql", "SELECT began_at, listener_readings FROM samples ORDER BY began_at")
        begun = [_moment(row["began_at"]) for row in samples]
        apart = [later - earlier for earlier, later in itertools.pairwise(begun)]
        return {
            "sockets": population.sockets,
            "cpu": used.ru_utime + used.ru_stime,
            "elapsed": float(length),
            "widths": widths,
            "wrong": wrong,
            "changes": len(changes),
            "samples": len(samples),
            "apart": f"{statistics.median(apart):.3g}, {max(apart):.3g}",
            "readings": sum(row["listener_readings"] for row in samples),
            "peak_kib": used.ru_maxrss,
            "bytes": sum(path.stat().st_size for path in capture.rglob("*") if path.is_file()),
        }


def _change_listeners(population: Population, until: float) -> list[tuple[str, int, float, float]]:
    """Open and close listeners at odd moments; return what was done to which port between which times."""
    rng = random.Random(7)  # noqa: S311 - moments
    changes = []
    port = _FIRST_PORT
    time.sleep(5)
    while time.monotonic() + _EVERY_S < until:
        population.replace(0.01)
        time.sleep(rng.uniform(2, _EVERY_S / 2 - 1))
        port += 1
        before = time.time()
        listener = socket.create_server(("127.0.0.1", port))
        changes.append(("started", port, before, time.time()))
        time.sleep(rng.uniform(2, _EVERY_S / 2 - 1))
        before = time.time()
        listener.close()
        changes.append(("stopped", port, before, time.time()))
    return changes


def _compare(capture: Path, changes: list[tuple[str, int, float, float]]) -> tuple[list[float], int]:
    """Return the width of each answer's bounds, seconds, and how many answers are wrong."""
    widths, wrong = [], 0
    for what, port, before, after in changes:
        answers = _ask(capture, "when", "port", str(port), what, "listening")
        if len(answers) != 1:
            wrong += 1
            continue
        first, last = (_moment(answers[0][key]) for key in ("not_before", "not_after"))
        widths.append(last - first)
        wrong += not (first <= after and before <= last and answers[0]["pid"] == os.getpid())
    return widths or [float("inf")], wrong


def _ask(capture: Path, verb: str, *words: str) -> list[dict[str, Any]]:
    command = [SOCKREC, verb, "-C", str(capture), "--format", "json", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    if done.returncode > 1:
        sys.exit(done.returncode)
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return found


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
