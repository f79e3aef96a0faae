"""What events add to a steady sample: two recorders in one process, one with events, that take turns."""

from __future__ import annotations

import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.populations import Population
from benchmarks.recorded import Script, record
from benchmarks.report import Table
from benchmarks.timing import Series, ratios

_SHARE = 0.01
_SECONDS = 120


def measure(sockets: int, rounds: int, interval_us: int) -> dict[str, list[float]]:
    """Return CPU seconds of each sample, and of the interval before it: `with` events, and `without`."""
    taken: dict[str, list[float]] = {"with": [], "without": []}
    turns = [threading.Semaphore(1), threading.Semaphore(0)]
    together = threading.Barrier(2, timeout=_SECONDS)
    with (
        Population(sockets) as population,
        tempfile.TemporaryDirectory(prefix="sockrec-bench-") as folder,
        ThreadPoolExecutor(2) as threads,
    ):
        # Both begin before the changes of the first turn.
        running = [
            threads.submit(
                record,
                Path(folder) / name,
                _script(population, rounds, together, turns[place], turns[1 - place], taken[name]),
                interval_us=interval_us,
                events=name == "with",
            )
            for place, name in enumerate(taken)
        ]
        for one in running:
            one.result(rounds * _SECONDS)
    return taken


def _script(
    population: Population,
    rounds: int,
    together: threading.Barrier,
    mine: threading.Semaphore,
    theirs: threading.Semaphore,
    taken: list[float],
) -> Script:
    """Let a recorder go on only in its turns: CPU time is the process's, the other one's with it."""
    yield
    yield
    together.wait()
    for _ in range(rounds):
        if not mine.acquire(timeout=_SECONDS):
            raise TimeoutError("the other recorder never came to its sample")
        # Half of it in each turn: between two samples of one recorder are two turns.
        population.replace(_SHARE / 2)
        tick = yield
        taken.append(tick.cpu)
        theirs.release()
    # What the ends take is not to be in the other one's last turn.
    together.wait()


def table(measured: dict[int, dict[str, Any]], interval_ms: int) -> Table:
    """Return what was measured, by the size of the population."""
    rows = []
    for size, taken in measured.items():
        ours, without = taken["with"], taken["without"]
        rows.append(
            (
                f"{size:,}",
                Series(tuple(ours)).ms(),
                Series(tuple(without)).ms(),
                ratios(ours, without).text(),
            )
        )
    return Table(
        "What events add to a steady sample: CPU milliseconds, 1 % changing",
        ("sockets", "with events", "`--no-events`", "with / without"),
        rows,
        f"Two recorders take turns, each with a sample and the {interval_ms / 1000:g} s before it, in which "
        "events are taken in every tenth of a second.",
    )
