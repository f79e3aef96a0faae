"""What a page is about: one host, a stretch of time, and the samples taken in it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta, tzinfo
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sockrec.catalog import Catalog
from sockrec.catalog.sources import bounds
from sockrec.errors import NothingMatchedError, UsageError
from sockrec.model import timetext
from sockrec.replay.moment import Moments

# More bars than this are no bars any more, even on a wide screen.
_MOST_STEPS: Final = 900
_STEPS_S: Final = (
    0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400,
)  # fmt: skip
MOST_SAMPLES: Final = 2_000_000
"""Of more no page is made: a day of 50 ms has fewer."""
_COUNTED: Final = """
SELECT count(*) FILTER (began_at BETWEEN {0} AND {1}), epoch_us(max(ended_at))
FROM samples WHERE host = $host
"""
# The sample in force at the first moment tells what was open then.
_SAMPLES: Final = """
SELECT recording, epoch_us(began_at) AS began, epoch_us(ended_at) AS ended, interval_us,
    coalesce(thinned_us, 0) AS thinned
FROM samples WHERE host = $host AND began_at <= {1} AND began_at >= coalesce(
    (SELECT max(began_at) FROM samples WHERE host = $host AND began_at <= {0}), TIMESTAMPTZ '-infinity')
ORDER BY began_at
"""
MOST_ROWS: Final = 60_000_000
"""Of more rows no page is made: a day of ten thousand sockets has fewer."""
_ROWS: Final = """
SELECT (SELECT count(*) FROM sockets WHERE host = $host AND last_seen >= make_timestamptz($first)
        AND first_seen <= make_timestamptz($last))
    + (SELECT count(*) FROM activity WHERE host = $host
        AND read_at BETWEEN make_timestamptz($first) AND make_timestamptz($last))
    + (SELECT count(*) FROM base.events WHERE host = $host
        AND not_after BETWEEN make_timestamptz($first) AND make_timestamptz($last))
"""
_GAPS: Final = """
SELECT epoch_us(not_before), epoch_us(not_after), why FROM gaps WHERE host = $host ORDER BY not_after
"""


@dataclass(frozen=True)
class Scope:
    """One host from `first_us` to `last_us`, microseconds UTC, both recorded; and its samples.

    `offset_us` is how far the clocks shown are ahead of UTC: one number for all of the page. `began` and
    `ended` are of each sample, `recording` the name of its recording, `interval_us` what was in
    force, `thinned_us` how far apart activity was kept of it (0: all of it).
    """

    catalog: Catalog
    host: str
    first_us: int
    last_us: int
    zone: tzinfo
    offset_us: int
    began: npt.NDArray[np.int64]
    ended: npt.NDArray[np.int64]
    interval_us: npt.NDArray[np.int64]
    thinned_us: npt.NDArray[np.int64]
    recording: npt.NDArray[Any]

    @property
    def step_us(self) -> int:
        """Return the shortest round length that is no shorter than an interval and gives few enough steps."""
        least = max((self.last_us - self.first_us) / _MOST_STEPS, float(np.median(self.interval_us)))
        steps = (round(seconds * 1e6) for seconds in _STEPS_S)
        return next(
            (step for step in steps if step >= least), -(-int(least) // 86_400_000_000) * 86_400_000_000
        )

    @property
    def grid_us(self) -> int:
        """Return when the first step begins: where the clocks shown have a multiple of `step_us`."""
        return (self.first_us + self.offset_us) // self.step_us * self.step_us - self.offset_us

    @property
    def steps(self) -> int:
        """Return how many steps there are."""
        return (self.last_us - self.grid_us) // self.step_us + 1

    @property
    def sampled(self) -> dict[str, int]:
        """Return when the first sample `began` and the last `ended`, microseconds UTC."""
        return {"began": int(self.began[0]), "ended": int(self.ended[-1])}

    @property
    def begins_run(self) -> list[int]:
        """Return the places of the samples with which a recording begins."""
        return [0, *(np.flatnonzero(self.recording[1:] != self.recording[:-1]) + 1).tolist()]

    @property
    def recordings(self) -> list[dict[str, Any]]:
        """Return what is known of the recordings it is about, oldest first."""
        names = {str(self.recording[place]) for place in self.begins_run}
        return [told for told in self.catalog.recordings if told.get("recording") in names]

    def gaps(self) -> list[tuple[int, int, str]]:
        """Return the gaps of the recording that touch the time: from, to (microseconds UTC), and why."""
        return [
            (first, last, why)
            for first, last, why in self.rows(_GAPS)
            if last >= self.first_us and first <= self.last_us
        ]

    def rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a statement that is given `$host`, and what else it asks for."""
        given = {"host": self.host} | values
        return self.catalog.run(lambda connection: connection.execute(sql, given).fetchall())

    def arrays(self, sql: str, **values: Any) -> dict[str, Any]:
        """Return the columns of a statement as arrays, likewise."""
        given = {"host": self.host} | values
        return self.catalog.run(lambda connection: connection.execute(sql, given).fetchnumpy())


def choose(
    catalog: Catalog, host: str | None, first_us: int | None, last_us: int | None, zone: tzinfo
) -> Scope:
    """Return what a page of a host from one moment to another is about; None is all that was recorded.

    Raises `UsageError` for a host that is not recorded, or if several are and none is named, if `last_us`
    is before `first_us`, and if there is too much for a page; `NothingMatchedError` if no sample is
    of that time.
    """
    if first_us is not None and last_us is not None and last_us < first_us:
        raise UsageError("--to is before --from")
    name = Moments(catalog, host).host
    time = bounds(first_us, last_us)
    ((count, latest),) = catalog.run(
        lambda connection: connection.execute(_COUNTED.format(*time), {"host": name}).fetchall()
    )
    _check(count, MOST_SAMPLES, "samples")
    found = catalog.run(
        lambda connection: connection.execute(_SAMPLES.format(*time), {"host": name}).fetchnumpy()
    )
    began, ended = found["began"], found["ended"]
    if not len(began) or (first_us is not None and first_us > latest):
        raise NothingMatchedError("nothing was recorded in that time")
    first = int(began[0]) if first_us is None else max(first_us, int(began[0]))
    last = int(ended[-1]) if last_us is None else min(last_us, latest)
    offset = timetext.to_datetime(first, zone).utcoffset() or timedelta(0)
    scope = Scope(
        catalog,
        name,
        first,
        max(last, first + 1),
        zone,
        offset // timedelta(microseconds=1),
        began,
        ended,
        found["interval_us"],
        found["thinned"],
        found["recording"],
    )
    ((rows,),) = scope.rows(_ROWS, first=scope.first_us, last=scope.last_us)
    _check(rows, MOST_ROWS, "rows of sockets, activity and events")
    return scope


def _check(count: int, most: int, what: str) -> None:
    if count > most:
        raise UsageError(
            f"{count:,} {what} are too many for a page, which can be made of {most:,}:"
            " name less time (--from, --to)"
        )
