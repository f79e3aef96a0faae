"""Time: what a capture must know of it, whatever the host's clock did and whoever had its CPUs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from sockrec.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Sample:
    """A row of `samples`; microseconds."""

    number: int
    began: int
    ended: int
    boot: int
    missed: int
    step: int


def samples(catalog: Catalog, recording: str | None = None) -> list[Sample]:
    """Return the samples of a recording, of the only one by default, in the order of their numbers."""
    found = catalog.rows(
        "SELECT recording, number, epoch_us(began_at), epoch_us(ended_at), boot_us, ticks_missed,"
        " clock_step_us FROM samples ORDER BY recording, number"
    )
    names = {row[0] for row in found}
    if recording is None:
        (recording,) = names
    return [Sample(*row[1:]) for row in found if row[0] == recording]


def period_us(interval_us: int) -> int:
    """Return the time between two ticks: they come early by a tenth, at most 20 ms."""
    return interval_us - min(interval_us // 10, 20_000)


def check_time(catalog: Catalog, interval_us: int) -> list[Sample]:
    """Expect that time moves as the boot clock does, and that every tick was taken, or counted and shown.

    Returns the samples.
    """
    found = samples(catalog)
    assert [one.number for one in found] == list(range(len(found)))
    anchor = found[0].began - found[0].boot
    assert all(one.began - one.boot == anchor for one in found), "a recording has one anchor"
    assert all(one.began <= one.ended for one in found)
    assert all(one.ended <= after.began for one, after in pairwise(found)), "samples are in order"
    period = period_us(interval_us)
    shown = {
        (int(first), int(last))
        for first, last in catalog.rows(
            "SELECT epoch_us(not_before), epoch_us(not_after) FROM gaps WHERE why LIKE '%missed'"
        )
    }
    missed = {(one.ended, after.began) for one, after in pairwise(found) if after.missed}
    assert shown == missed, "what was missed is shown, and nothing else"
    for one, after in pairwise(found):
        # A sample may be late, but never later than the next tick without its being counted.
        assert after.began - one.began < (after.missed + 2) * period, f"{one} and {after}: not counted"
    # The last one is taken when the recording is stopped, between two ticks.
    ticks = len(found) - 1 + sum(one.missed for one in found)
    lasted = (found[-1].began - found[0].began) / period
    assert abs(ticks - lasted) <= 2, f"{ticks} ticks were taken or counted in the time of {lasted:.1f}"
    return found
