"""The sockets of a capture as one sample found them, ready for netstat's format.

Times are microseconds UTC. What counts as held in a sample follows from the four time bounds of
the `sockets` table (`sockrec.catalog.moments.held`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from sockrec.catalog.moments import LONGEST_STEP_US
from sockrec.errors import NothingMatchedError, UsageError
from sockrec.replay.rows import INET, UNIX, inet_row, unix_row

if TYPE_CHECKING:
    import duckdb

    from sockrec.model.netstat_row import NetstatRow
    from sockrec.model.unix_row import UnixRow

Answer = TypeVar("Answer")


class Asked(Protocol):
    """What answers questions to a capture: a `sockrec.catalog.Catalog`."""

    def run(self, question: Callable[[duckdb.DuckDBPyConnection], Answer]) -> Answer:
        """Return `question(connection)`, over what of the capture can be read."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading of all sockets on one host; times in microseconds UTC."""

    host: str
    recording: str
    number: int
    began_us: int
    ended_us: int
    interval_us: int
    incomplete_why: str | None
    thinned_us: int | None = None


_SAMPLE: Final = """
SELECT host, recording, number, epoch_us(began_at), epoch_us(ended_at), interval_us,
    CASE WHEN complete THEN NULL ELSE coalesce(incomplete_why, 'reason unknown') END, thinned_us
FROM samples WHERE host = $host
"""


class Moments:
    """The moments of one host in a capture.

    `host` may be None if the capture holds one host only. Raises `UsageError` for a host that is
    not in it, or if several are and none is named; `NothingMatchedError` if it holds no sample at all.
    """

    def __init__(self, capture: Asked, host: str | None = None) -> None:
        self._capture = capture
        self.host = self._choose(host)

    def _ask(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        return self._capture.run(lambda connection: connection.execute(sql, values).fetchall())

    def _choose(self, host: str | None) -> str:
        hosts = [str(name) for (name,) in self._ask("SELECT DISTINCT host FROM samples ORDER BY host")]
        if not hosts:
            raise NothingMatchedError("this capture holds no sample yet")
        if host in hosts:
            return str(host)
        if host is None and len(hosts) == 1:
            return hosts[0]
        problem = "several hosts are recorded" if host is None else f"no host {host!r} is recorded"
        raise UsageError(f"{problem} here; name one with --host: {', '.join(hosts)}")

    def spans(self) -> tuple[tuple[int, int], ...]:
        """Return (begin of the first sample, end of the last) of each recording, in order of time."""
        found = self._ask(
            "SELECT epoch_us(min(began_at)) AS first, epoch_us(max(ended_at)) FROM samples"
            " WHERE host = $host GROUP BY recording ORDER BY first",
            host=self.host,
        )
        return tuple((first, last) for first, last in found)

    def at(self, moment_us: int) -> Sample:
        """Return the sample in force at a moment: the latest that had begun.

        Raises `NothingMatchedError` if there is none that early.
        """
        found = self._ask(
            f"{_SAMPLE} AND began_at <= make_timestamptz($at) ORDER BY began_at DESC LIMIT 1",
            host=self.host,
            at=moment_us,
        )
        if not found:
            raise NothingMatchedError("nothing was recorded at or before that moment")
        return Sample(*found[0])

    def after(self, began_us: int, until_us: int | None = None) -> list[Sample]:
        """Return the samples that began after one moment and not after another, in order."""
        until = "" if until_us is None else "AND began_at <= make_timestamptz($until)"
        values = {"host": self.host, "began": began_us} | ({} if until_us is None else {"until": until_us})
        found = self._ask(
            f"{_SAMPLE} AND began_at > make_timestamptz($began) {until} ORDER BY began_at", **values
        )
        return [Sample(*row) for row in found]

    def between(self, first_us: int, last_us: int) -> Iterator[Sample]:
        """Yield the sample in force at the first moment, then all that began until the last."""
        first = self.at(first_us)
        yield first
        yield from self.after(first.began_us, last_us)

    def rows(self, sample: Sample, at_us: int | None = None) -> list[NetstatRow]:
        """Return the internet sockets of a sample in the kernel's order.

        Queues and timers are as last read by then, or, where they were thinned, as last read in that minute;
        what is left of a timer is counted from `at_us` (default: the end of the sample), and is never less
        than 0.
        """
        at = sample.ended_us if at_us is None else at_us
        return [inet_row(values) for values in self._ask(INET, at=at, **found_by(sample))]

    def unix_rows(self, sample: Sample) -> list[UnixRow]:
        """Return the UNIX sockets of a sample in the kernel's order; queues as in `rows`."""
        return [unix_row(values) for values in self._ask(UNIX, **found_by(sample))]

    def silence(self, sample: Sample, moment_us: int) -> tuple[int, int | None] | None:
        """Return the stretch without samples that a moment lies in, if samples were due in it.

        (end of the sample before, begin of the next or None): what is shown for the moment is
        then as of the former. None if the moment is within two intervals of its sample.
        """
        if moment_us <= sample.ended_us + 2 * sample.interval_us:
            return None
        following = self._ask(
            "SELECT epoch_us(min(began_at)) FROM samples"
            " WHERE host = $host AND began_at > make_timestamptz($at)",
            host=self.host,
            at=moment_us,
        )
        return sample.ended_us, following[0][0]


def found_by(sample: Sample) -> dict[str, Any]:
    """Return the values that the rows of a sample are asked for with (`sockrec.replay.rows`)."""
    until = sample.ended_us
    if sample.thinned_us is not None and 0 < sample.thinned_us <= LONGEST_STEP_US:
        # The row that is left of each minute stands for all of it, from its beginning on.
        until += sample.thinned_us - 1 - until % sample.thinned_us
    return {
        "host": sample.host,
        "recording": sample.recording,
        "began": sample.began_us,
        "ended": sample.ended_us,
        "until": until,
    }
