"""What it costs to record interfaces, routes, groups and counters beside the sockets."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.inside import in_namespaces
from benchmarks.populations import Population
from benchmarks.report import Budget, Findings, Table
from benchmarks.scale import Scale
from benchmarks.startup import SOCKREC
from benchmarks.timing import BenchmarkError, say

_MOST: Final = 1.1
_SLOW_S: Final = 10  # `--slow-interval`, by default
_INTERVAL_S: Final = 1
_LINKS: Final = 10
_ROUTES: Final = 50


def run(scale: Scale) -> Findings:
    """Record by turns sockets alone, and all of it at each sample: ten times as often as it is read."""
    sockets = min(scale.sizes)
    rounds, seconds = scale.rival_rounds, scale.network_seconds
    say(f"network: {rounds} rounds of {2 * seconds} s")
    found = in_namespaces(
        "benchmarks.network:measure", rounds * (2 * seconds + 30) + 60, sockets=sockets, rounds=rounds,
        length=seconds,
    )  # fmt: skip
    alone, beside = found["alone"], found["beside"]
    each = [more - less for less, more in zip(alone, beside, strict=True)]
    share = [1 + one / (less * _SLOW_S / _INTERVAL_S) for one, less in zip(each, alone, strict=True)]
    say(f"  {median(each):.2f} ms a reading, {median(share):.3f} of sockets alone")
    what = f"CPU of recording interfaces, routes, groups and counters too, every {_SLOW_S} s"
    measured = f"{median(share):.3f} ({min(share):.3f} to {max(share):.3f})"
    rows = [
        ("CPU milliseconds of a sample, sockets alone", _range(alone)),
        ("CPU milliseconds of a sample with a reading of the rest", _range(beside)),
        ("CPU milliseconds of a reading of the rest", _range(each)),
    ]
    note = (
        f"{sockets:,} sockets, 1 % of their connections replaced each second; {2 * _LINKS} interfaces, "
        f"{_ROUTES} routes. The share is that of one reading in {_SLOW_S} s."
    )
    return Findings(
        [
            Budget(
                f"{what}, {sockets:,} sockets",
                "recording sockets alone",
                "≤ 1.1",
                measured,
                median(share) <= _MOST,
            )
        ],
        [Table("The rest of the network", ("what", "measured"), rows, note)],
    )


def measure(sockets: int, rounds: int, length: int) -> dict[str, list[float]]:
    """Return the CPU milliseconds of a sample in recordings of both kinds, a pair a round."""
    for number in range(_LINKS):
        _ip("link", "add", f"a{number}", "type", "veth", "peer", "name", f"b{number}")
        _ip("address", "add", f"10.9.{number}.1/24", "dev", f"a{number}")
        _ip("link", "set", f"a{number}", "up")
        _ip("link", "set", f"b{number}", "up")
    for number in range(_ROUTES):
        _ip("route", "add", f"10.{100 + number}.0.0/16", "via", "10.9.0.2")
    found: dict[str, list[float]] = {"alone": [], "beside": []}
    with Population(sockets) as population:
        for _ in range(rounds):
            for name, slow in (("alone", "1h"), ("beside", f"{_INTERVAL_S}s")):
                found[name].append(_record(population, length, slow))
    return found


def _record(population: Population, seconds: int, slow: str) -> float:
    with tempfile.TemporaryDirectory(prefix="sockrec-bench-") as folder:
        words = [SOCKREC, "record", "-C", str(Path(folder) / "capture"), "--max-cpu", "off"]
        words += ["--interval", f"{_INTERVAL_S}s", "--slow-interval", slow, "--for", f"{seconds}s"]
        told = Path(folder) / "stderr"
        with told.open("wb") as stderr:
            recorder = subprocess.Popen(words, stderr=stderr)
            while recorder.poll() is None:
                population.replace(0.01)
                time.sleep(_INTERVAL_S)
        if recorder.returncode:
            raise BenchmarkError(f"the recorder ended with {recorder.returncode}: {told.read_text()}")
        # The first takes its start-up with it.
        sql = "SELECT median(cpu_us) / 1e3 AS ms FROM samples WHERE number > 0"
        command = [SOCKREC, "sql", "-C", words[3], sql, "--format", "json"]
        done = subprocess.run(command, capture_output=True, check=True)
    return float(json.loads(done.stdout)[0]["ms"])


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _range(values: list[float]) -> str:
    return f"{median(values):.3g} ({min(values):.3g} to {max(values):.3g})"
