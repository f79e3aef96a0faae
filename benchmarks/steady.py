"""The steady sample: CPU of the whole recorder, against the least it can cost and against other tools."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks import rivals, with_events
from benchmarks.inside import in_namespaces
from benchmarks.populations import Population
from benchmarks.recorded import Script, record
from benchmarks.report import Budget, Findings, Table
from benchmarks.scale import Scale
from benchmarks.timing import Series, ratios, say

SHARES: Final = (0.0, 0.01, 0.1)
_COMMON: Final = 0.01  # the share in whose rounds the tools take part: they do not care what changed
_SOCKREC: Final = "sockrec"
_MOST_PAIRED: Final = 1.5
_MOST_NETSTAT: Final = 0.1

Rounds = dict[str, list[float]]


def run(scale: Scale) -> Findings:
    """Measure at each size and share of changes."""
    rivals.install()
    measured: dict[int, dict[str, Any]] = {}
    compared: dict[int, dict[str, Any]] = {}
    interval_us = 1000 * scale.steady_interval_ms
    for size in scale.sizes:
        say(f"steady: {size:,} sockets")
        measured[size] = in_namespaces(
            "benchmarks.steady:measure",
            420,
            sockets=size,
            rounds=scale.rounds,
            rival_rounds=scale.rival_rounds,
            interval_us=interval_us,
        )
        compared[size] = in_namespaces(
            "benchmarks.with_events:measure",
            240,
            sockets=size,
            rounds=scale.rounds,
            interval_us=interval_us,
        )
    tables = [_against_loops(measured), with_events.table(compared, scale.steady_interval_ms)]
    return Findings(_budgets(measured), [*tables, _against_tools(measured), _growth(measured)])


def measure(sockets: int, rounds: int, rival_rounds: int, interval_us: int) -> dict[str, Any]:
    """Measure one population; return CPU seconds by share of changes and contestant, a value each round."""
    shares: dict[str, Rounds] = {str(share): {} for share in SHARES}
    loop = rivals.CLoop()
    with Population(sockets) as population, tempfile.TemporaryDirectory(prefix="sockrec-bench-") as folder:
        script = _script(population, loop, shares, rounds, rival_rounds)
        record(Path(folder) / "capture", script, interval_us=interval_us)
        return {"sockets": population.sockets, "bytes": loop.bytes(), "shares": shares}


def _script(
    population: Population, loop: rivals.CLoop, shares: dict[str, Rounds], rounds: int, rival_rounds: int
) -> Script:
    python = rivals.PythonLoop()
    # A dump of few sockets is over before the clock can tell much.
    dumps = max(1, min(50, 200_000 // population.sockets))
    yield  # the first sample, which finds all owners, and one more, in which arrays have their final size
    yield
    for share in SHARES:
        taken = shares[str(share)]
        for number in range(rounds):
            population.replace(share)
            _note(taken, rivals.C_LOOP, loop.measure(dumps))
            tick = yield
            _note(taken, _SOCKREC, tick.cpu)
            _note(taken, rivals.PYTHON_LOOP, python.measure(dumps))
            if share == _COMMON and number < rival_rounds:
                for name, measure_tool in rivals.tools().items():
                    if measure_tool is not None:
                        _note(taken, name, measure_tool())
        say(f"  {share:.0%} changing: {Series(tuple(taken[_SOCKREC])).ms()} ms")


def _note(taken: Rounds, name: str, seconds: float) -> None:
    taken.setdefault(name, []).append(seconds)


def _budgets(measured: dict[int, dict[str, Any]]) -> list[Budget]:
    size = max(measured)
    taken: Rounds = measured[size]["shares"][str(_COMMON)]
    against_c = ratios(taken[_SOCKREC], taken[rivals.C_LOOP])
    what = f"CPU of a steady sample, {size:,} sockets, 1 % changed"
    budgets = [
        Budget(what, "bare C loop", "≤ 1.5", against_c.text(), against_c.median <= _MOST_PAIRED),
    ]
    if rivals.NETSTAT in taken:
        netstat = taken[rivals.NETSTAT]
        against_netstat = ratios(taken[_SOCKREC][: len(netstat)], netstat)
        met = against_netstat.median <= _MOST_NETSTAT
        budgets.append(Budget(what, "`netstat -antp`", "≤ 0.1", against_netstat.text(), met))
    return budgets


def _against_loops(measured: dict[int, dict[str, Any]]) -> Table:
    rows = []
    for size, result in measured.items():
        for share, taken in result["shares"].items():
            ours, least = taken[_SOCKREC], taken[rivals.C_LOOP]
            python = taken[rivals.PYTHON_LOOP]
            rows.append(
                (
                    f"{size:,}",
                    f"{float(share):.0%}",
                    Series(tuple(ours)).ms(),
                    Series(tuple(least)).ms(),
                    Series(tuple(python)).ms(),
                    ratios(ours, least).text(),
                    ratios(ours, python).text(),
                )
            )
    return Table(
        "Steady sample: CPU milliseconds",
        ("sockets", "changing", "sockrec", "C loop", "Python recv loop", "sockrec / C", "sockrec / Python"),
        rows,
        "sockrec: one whole sample of the recorder (dump, decode, match, owners, journal, counts), owners "
        "known, with the events of the interval before it, which are taken in every tenth of a second. "
        "Changing: that share of the connections was closed and replaced since the sample before. The loops "
        "ask for the same TCP dump and throw it away.",
    )


def _against_tools(measured: dict[int, dict[str, Any]]) -> Table:
    names = [rivals.C_LOOP, rivals.PYTHON_LOOP, *rivals.tools()]
    rows = []
    for name in names:
        row = [name]
        for result in measured.values():
            taken = result["shares"][str(_COMMON)]
            if name not in taken:
                row += ["absent", "absent"]
                continue
            theirs = taken[name]
            row += [Series(tuple(theirs)).ms(), ratios(taken[_SOCKREC][: len(theirs)], theirs).text()]
        rows.append(row)
    columns = ["compared with"]
    for size in measured:
        columns += [f"ms, {size:,} sockets", "sockrec / it"]
    return Table(
        "Steady sample against other tools: CPU milliseconds, 1 % changing",
        columns,
        rows,
        "Whole commands, their output thrown away; of psutil the call alone.",
    )


def _growth(measured: dict[int, dict[str, Any]]) -> Table:
    rows = []
    for name in (_SOCKREC, rivals.C_LOOP, rivals.NETSTAT):
        row = [name]
        for result in measured.values():
            taken = result["shares"][str(_COMMON)].get(name)
            row.append(Series(tuple(taken)).text(1e6 / result["sockets"]) if taken else "absent")
        rows.append(row)
    return Table(
        "How cost grows: CPU microseconds a socket, 1 % changing",
        ("", *(f"{size:,} sockets" for size in measured)),
        rows,
    )
