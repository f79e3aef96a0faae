"""Record, replay, compare: what the recorder kept of 200 populations prints as netstat printed them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sockrec.catalog import Catalog, open_catalog
from sockrec.model.netstat_row import NetstatRow
from sockrec.render.names import Names
from sockrec.replay.moment import Moments, Sample
from tests.faults.scale import cases
from tests.support.command import CLEAN, SOCKREC, recording
from tests.support.netns import Namespace
from tests.support.netstat_judge import (
    TIMER_TOLERANCE,
    internet_only,
    judge,
    run_netstat,
    seconds,
    set_anew,
    without_seconds,
)
from tests.support.populations import Population

pytestmark = pytest.mark.moments

# Without -n netstat asks DNS for each address, which there is none of in a namespace: 20 s a run.
FLAG_SETS = (
    "-tulpn", "-antp", "-anoe", "-tuwan", "-W -ant", "-4 -an", "-6 -an", "-w --numeric-hosts", "-tuwUanpeoW",
)  # fmt: skip


class Recorded:
    """The sockets as the recorder that runs now has them, each time in a sample taken from then on."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def sample(self) -> Sample:
        """Return the first sample that begins after now."""
        now = time.time_ns() // 1000
        until = time.monotonic() + 20
        while time.monotonic() < until:
            self._catalog.refresh()
            if later := Moments(self._catalog).after(now):
                return later[0]
            time.sleep(0.02)
        raise AssertionError("the recorder takes no samples any more")

    def rows(self) -> list[NetstatRow]:
        """Return the sockets of that, with timers as in that sample."""
        return Moments(self._catalog).rows(self.sample())


@pytest.mark.parametrize("seed", range(1000, 1000 + cases(5, 100)))
def test_what_was_recorded_prints_as_netstat_printed_it(seed: int, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    with Population(seed) as population, recording(population.namespace, capture, interval="50ms"):
        catalog = open_catalog(capture)
        names = Names.from_json(catalog.recordings[0]["names"])
        judge(population.namespace, Recorded(catalog).rows, names, FLAG_SETS)
        catalog.close()


@pytest.mark.parametrize("flags", ["-tulpn", "-antp", "-anoe", "-tW --numeric-hosts", "-4an", "-6an", "-wan"])
def test_the_command_prints_it_too(flags: str, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    with Population(7) as population:
        with recording(population.namespace, capture, interval="50ms"), open_catalog(capture) as catalog:
            theirs, moment, took = _steady(population.namespace, flags, Recorded(catalog))
        done = population.namespace.run(
            SOCKREC,
            "replay",
            "-C",
            capture,
            "--at",
            moment,
            *flags.split(),
            env=CLEAN,
            errors="surrogateescape",
        )
    assert done.returncode == 0
    ours = internet_only(done.stdout.encode(errors="surrogateescape"))
    assert without_seconds(ours) == without_seconds(theirs)
    # What is left of a timer is counted down to the moment asked for.
    for real, made in zip(seconds(theirs), seconds(ours), strict=True):
        assert abs(real - made) <= TIMER_TOLERANCE + took


def _steady(namespace: Namespace, flags: str, recorded: Recorded) -> tuple[bytes, str, float]:
    """Return what netstat prints right after a sample, when that was, and how many seconds before.

    Nothing has happened since before the sample but that timers ran down.
    """
    for _ in range(20):
        before = run_netstat(namespace, flags.split())
        moment = datetime.fromtimestamp(recorded.sample().ended_us / 1e6, UTC)
        now = run_netstat(namespace, flags.split())
        took = (datetime.now(UTC) - moment).total_seconds()
        if without_seconds(before) == without_seconds(now) and not set_anew(before, now):
            return now, moment.isoformat(), took
    raise AssertionError("the sockets never held still")
