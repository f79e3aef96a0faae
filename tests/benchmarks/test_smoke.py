"""Every subject of the benchmarks runs through on small populations, and fails loudly where it can't."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import questions, timing
from benchmarks.inside import in_namespaces
from benchmarks.populations import Population
from benchmarks.scale import Scale
from benchmarks.timing import BenchmarkError, TookTooLongError

SMALL = Scale(
    name="small",
    sizes=(400,),
    rounds=2,
    rival_rounds=1,
    disk_sockets=400,
    disk_samples=3,
    text_samples=2,
    hours=0.02,
    day_sockets=200,
    question_rounds=1,
    startup_rounds=1,
    kept_seconds=14,
    event_rounds=1,
    event_seconds=1,
    loss_seconds=2,
    steady_interval_ms=250,
    network_seconds=2,
)


def population_counts() -> dict[str, list[int]]:
    """Return how many TCP sockets the kernel has, how many of them with unread bytes, step by step."""
    counts: dict[str, list[int]] = {"all": [], "unread": [], "made": []}
    local: list[set[bytes]] = []
    with Population(400) as population:
        counts["made"] = [population.sockets]
        for step in (lambda: None, lambda: population.replace(0.1), lambda: population.send(0.2)):
            step()
            rows = [line.split() for line in Path("/proc/net/tcp").read_bytes().splitlines()[1:]]
            listen, established = b"0A", b"01"
            assert {row[3] for row in rows} == {listen, established}
            counts["all"].append(len(rows))
            counts["unread"].append(sum(not row[4].endswith(b":00000000") for row in rows))
            local.append({row[9] for row in rows})
    counts["new"] = [len(after - before) for before, after in itertools.pairwise(local)]
    return counts


def test_population_holds_replaces_and_leaves_unread_what_it_says() -> None:
    counts = in_namespaces("tests.benchmarks.test_smoke:population_counts", 60)
    connections = (400 - 20 * 6) // 2
    assert counts["made"] == [400]
    assert counts["all"] == [400, 400, 400]
    assert counts["new"] == [2 * connections // 10, 0]
    assert counts["unread"] == [0, 0, connections // 5]


def test_every_subject_runs_and_reports_its_budgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "CACHE", tmp_path)
    text = benchmarks.measure(list(benchmarks.SUBJECTS), SMALL)
    budgets = text.partition("## Budgets")[2].partition("\n## ")[0]
    for what in (
        "| bare C loop | ≤ 1.5 |",
        "| `netstat -antp` | ≤ 0.1 |",
        "| `netstat -antp` | ≤ 1/3 |",
        "| Python recv loop | ≤ 3 |",
        "rows in `events` | the load's count | equal, 0 lost |",
        "netstat -antp text | ≤ 1/100",
        "zstd -9 | ≤ 1/2",
        "in a warm process",
        "as a cold command",
        "`sockrec --help`",
    ):
        assert what in budgets
    assert "`when port 7071 stopped listening` |" in text
    assert len(list(tmp_path.glob("day-*/recordings/host=web-1/*.json"))) == 2


def fail() -> None:
    """Die as a measurement might."""
    raise RuntimeError("the reason it died")


def test_a_measurement_that_dies_ends_the_run_with_its_last_words(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BenchmarkError, match="ended with 1"):
        in_namespaces("tests.benchmarks.test_smoke:fail", 30)
    assert "the reason it died" in capfd.readouterr().err


def test_a_command_that_hangs_is_stopped() -> None:
    with pytest.raises(TookTooLongError):
        timing.command([sys.executable, "-c", "import time; time.sleep(60)"], seconds=0.2)
