"""The first sample with all owners, and the memory that a recorder takes."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks import one_recorder, rivals
from benchmarks.inside import in_namespaces
from benchmarks.populations import Population
from benchmarks.report import Budget, Findings, Table
from benchmarks.scale import Scale
from benchmarks.timing import Series, command, ratios, say

_MOST: Final = 1 / 3
_SAMPLES: Final = 20


def run(scale: Scale) -> Findings:
    """Measure at each size."""
    rivals.install()
    measured = {}
    for size in scale.sizes:
        say(f"first sample, memory: {size:,} sockets")
        measured[size] = in_namespaces(
            "benchmarks.first_sample:measure", 240, sockets=size, rounds=scale.rival_rounds + 1
        )
    return Findings(_budgets(measured), [_first(measured), _memory(measured)])


def measure(sockets: int, rounds: int) -> dict[str, Any]:
    """Measure one population: CPU seconds of each round, and peaks in KiB."""
    has_netstat = shutil.which("netstat") is not None
    result: dict[str, Any] = {"sample": [], "process": [], "netstat": [], "floor": [], "peaks": []}
    loops = [rivals.CLoop(source) for source in (rivals.DUMP_LOOP, rivals.LINKS_LOOP)]
    with Population(sockets), tempfile.TemporaryDirectory(prefix="sockrec-bench-") as folder:
        for number in range(rounds):
            if has_netstat:
                result["netstat"].append(command(["netstat", "-antp"]).cpu)
            result["floor"].append(sum(loop.measure(1) for loop in loops))
            first = one_recorder.samples(Path(folder) / f"first-{number}", 1)[0]
            result["sample"].append(first["cpu"])
            result["process"].append(first["process_cpu"])
        result["peaks"] = [told["peak_kib"] for told in one_recorder.samples(Path(folder) / "more", _SAMPLES)]
    return result


def _budgets(measured: dict[int, dict[str, Any]]) -> list[Budget]:
    size = max(measured)
    result = measured[size]
    if not result["netstat"]:
        return []
    against = ratios(result["sample"], result["netstat"])
    what = f"CPU of the first sample with all owners, {size:,} sockets"
    return [Budget(what, "`netstat -antp`", "≤ 1/3", against.text(), against.median <= _MOST)]


def _first(measured: dict[int, dict[str, Any]]) -> Table:
    rows = []
    for size, result in measured.items():
        theirs = result["netstat"]
        rows.append(
            (
                f"{size:,}",
                Series(tuple(result["sample"])).ms(),
                Series(tuple(result["process"])).ms(),
                Series(tuple(result["floor"])).ms(),
                ratios(result["sample"], result["floor"]).text(),
                Series(tuple(theirs)).ms() if theirs else "absent",
                ratios(result["floor"], theirs).text() if theirs else "absent",
                ratios(result["sample"], theirs).text() if theirs else "absent",
                ratios(result["process"], theirs).text() if theirs else "absent",
            )
        )
    columns = (
        *("sockets", "the sample", "the process until then", "C loops", "sample / them"),
        *("`netstat -antp`", "C loops / it", "sample / it", "process / it"),
    )
    return Table(
        "First sample with all owners: CPU milliseconds",
        columns,
        rows,
        "A fresh recorder each time. The process until then: with the interpreter's start and all imports. "
        "C loops: the least that the kernel takes for it, one that asks for the dump and one that lists and "
        "reads the link of every descriptor, both thrown away.",
    )


def _memory(measured: dict[int, dict[str, Any]]) -> Table:
    rows = [
        (f"{size:,}", f"{result['peaks'][0] / 1024:,.0f}", f"{result['peaks'][-1] / 1024:,.0f}")
        for size, result in measured.items()
    ]
    columns = ("sockets", "after the first sample", f"after {_SAMPLES} samples")
    return Table(
        "Memory: most resident ever, MiB", columns, rows, "The whole recorder in a process of its own."
    )
