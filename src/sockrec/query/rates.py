"""How fast interfaces and protocol counters moved: in all, in each reading, or in equal steps.

They are read at a pace of their own (`record --slow-interval`). What a reading finds has happened since the
reading before: it counts as of when it was read, and a rate is over the time between the two. Between two
readings of one recording nothing is lost, whatever was missed of the samples. Of what lies before the first
reading of a recording, or between two recordings, nothing is known: that is null, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from sockrec.catalog.sources import literal
from sockrec.errors import NothingMatchedError, UsageError
from sockrec.model import timetext
from sockrec.query import rate_readings as readings
from sockrec.query.rate_readings import RATES, TOTALS

if TYPE_CHECKING:
    from datetime import tzinfo

    import duckdb

    from sockrec.catalog import Catalog
    from sockrec.query.rate_names import CounterName

COLUMNS: Final = (
    "host",
    "netns",
    "what",
    "section",
    "name",
    "trouble",
    "total",
    "per_second",
    "peak_per_second",
    "peak_at",
    "seconds",
    "resets",
)
INTERFACE_COLUMNS: Final = (
    "time",
    "host",
    "netns",
    "interface",
    "seconds",
    *(f"{name}_per_second" for name in RATES),
    *TOTALS,
    "resets",
)
COUNTER_COLUMNS: Final = (
    "time", "host", "netns", "counter", "value", "increase", "per_second", "seconds", "resets",
)  # fmt: skip
# Words in the kernel's names of what should not happen. Matched by case: `Rst` is not in `First`.
_TROUBLE: Final = (
    "Drop|drop|Err|err|Fail|Overflow|OverFlow|Retrans|Timeout|Reset|Rst|Abort|Prune|Collapsed|Lost|Loss|Discard"
    "|NoPort|NoRoute|Unreach|TimeExcd|Bad|Truncated|Reject|Invalid|Unexpected|NotFound|ZeroWindow|SpuriousRTO|Memory"
    "|Kill|PAWS|Syncookies|Challenge|QFull|OutOfWindow"
)
MOST_STEPS: Final = 1_000_000
# Time is summed in whole microseconds: a sum of fractions differs with the order in which threads add them.
_SECONDS: Final = "(sum(micros) / 1e6)"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which readings are asked for, and in how long steps they are put together.

    Readings taken in [`first_us`, `last_us`] (microseconds UTC), of `host` or of all. `every_us` is None for
    a row a reading; steps begin where a clock `offset_us` ahead of UTC shows a multiple of them.
    """

    first_us: int | None = None
    last_us: int | None = None
    host: str | None = None
    every_us: int | None = None
    offset_us: int = 0


def wanted(
    first_us: int | None = None,
    last_us: int | None = None,
    host: str | None = None,
    every_us: int | None = None,
    offset_us: int = 0,
) -> Wanted:
    """Return what is asked for; raises `UsageError` for what makes no sense."""
    if first_us is not None and last_us is not None and last_us < first_us:
        raise UsageError("--to is before --from")
    if every_us is not None and every_us < 1:
        raise UsageError("steps of --every take some time: give it as 10s or 1m")
    return Wanted(first_us, last_us, host, every_us, offset_us)


def ahead_us(time_us: int, zone: tzinfo) -> int:
    """Return by how much clocks of a zone were ahead of UTC at a moment, in microseconds."""
    offset = timetext.to_datetime(time_us, zone).utcoffset()
    return 0 if offset is None else round(offset.total_seconds() * 1_000_000)


@dataclass(frozen=True, slots=True)
class Span:
    """The readings that are there of what is asked for: how many, and when the first and the last were."""

    first_us: int
    last_us: int
    readings: int


def span(catalog: Catalog, wanted: Wanted) -> Span:
    """Return which readings there are; raises `NothingMatchedError` if no time lies between any two."""
    if not catalog.rows("SELECT 1 FROM samples WHERE network_read_at IS NOT NULL LIMIT 1"):
        raise NothingMatchedError(
            "interfaces and counters were not recorded: this capture is of a time before sockrec read them"
        )
    first, last, count, measured = catalog.rows(
        f"WITH {readings.grid(wanted)} SELECT epoch_us(min(coalesce(read_before, read_at))), "
        "epoch_us(max(read_at)), count(*), count(micros) FROM grid"
    )[0]
    if not count:
        raise NothingMatchedError("interfaces and counters were not read in that time")
    if not measured:
        raise NothingMatchedError(
            "interfaces and counters were read once only: a rate takes two readings (record --slow-interval)"
        )
    return Span(first, last, count)


def overview(catalog: Catalog, wanted: Wanted) -> duckdb.DuckDBPyRelation:
    """Return a row for each number of each interface, and for each protocol counter that rose.

    The columns are `COLUMNS`. `what` is `interface` (then `section` is its name) or `counter`; `trouble`
    tells whether it counts what should not happen; `peak_at` is the reading that ended the fastest stretch.
    Interfaces come first, in the order of their names; of the counters trouble, then what rose most. Gauges
    have no rate: they are not among them.
    """
    return catalog.relation(
        f"""WITH {readings.grid(wanted)}, {readings.links("")}, {_OVERVIEW.format(trouble=_TROUBLE)}"""
    )


def of_interfaces(catalog: Catalog, wanted: Wanted, names: list[str]) -> duckdb.DuckDBPyRelation:
    """Return a row for each reading, or step, of some interfaces, with the columns `INTERFACE_COLUMNS`.

    Errors and drops are what came in that time; `seconds` is the time that was measured, null where nothing
    is known. Raises `UsageError` for more steps than `MOST_STEPS`.
    """
    chosen = f"AND name IN ({', '.join(map(literal, names))})"
    rates = ", ".join(f"sum({name})::DOUBLE / {_SECONDS} AS {name}_per_second" for name in RATES)
    totals = ", ".join(f"try_cast(sum({name}) AS BIGINT) AS {name}" for name in TOTALS)
    return catalog.relation(
        f"""WITH {readings.grid(wanted)}, {readings.links(chosen)}, put AS (
    SELECT {_moment(wanted)} AS "time", * FROM link_readings
), told AS (
    SELECT "time", host, netns, name AS interface, {_SECONDS} AS seconds, {rates}, {totals},
        sum(is_reset::INT)::BIGINT AS resets
    FROM put GROUP BY ALL
) {_result(catalog, wanted, "interface", INTERFACE_COLUMNS)}"""
    )


def of_counters(catalog: Catalog, wanted: Wanted, counters: list[CounterName]) -> duckdb.DuckDBPyRelation:
    """Return a row for each reading that found some counters moved, or each step: `COUNTER_COLUMNS`.

    `value` is that of the last reading in the step. Gauges have no increase. Raises `UsageError` for more
    steps than `MOST_STEPS`.
    """
    moved = "" if wanted.every_us else "WHERE moved"
    return catalog.relation(
        f"""WITH {readings.grid(wanted)}, {readings.counters(counters)}, put AS (
    SELECT {_moment(wanted)} AS "time", * FROM counter_readings {moved}
), told AS (
    SELECT "time", host, netns, label AS counter, arg_max(value, read_at) AS value,
        try_cast(sum(increase) AS BIGINT) AS increase, sum(increase)::DOUBLE / {_SECONDS} AS per_second,
        {_SECONDS} AS seconds, sum(is_reset::INT)::BIGINT AS resets
    FROM put GROUP BY ALL
) {_result(catalog, wanted, "counter", COUNTER_COLUMNS)}"""
    )


def _moment(wanted: Wanted) -> str:
    """Return when a reading counts: the beginning of its step."""
    if wanted.every_us is None:
        return "read_at"
    every, ahead = wanted.every_us, wanted.offset_us
    return f"make_timestamptz((epoch_us(read_at) + {ahead}) // {every} * {every} - {ahead})"


def _result(catalog: Catalog, wanted: Wanted, thing: str, columns: tuple[str, ...]) -> str:
    """Return the SELECT of what was told, with a row for each step in which nothing was."""
    named = ", ".join(f'"{name}"' for name in columns)
    order = f'ORDER BY "time", host, {thing}, netns'
    if wanted.every_us is None:
        return f"SELECT {named} FROM told {order}"
    _check_steps(catalog, wanted)
    here = f'"time", host, netns, {thing}'
    return f""", steps AS (
    SELECT host, netns, {thing}, make_timestamptz(unnest(range(first, last + 1, {wanted.every_us}))) AS "time"
    FROM (SELECT host, netns, {thing}, epoch_us(min("time")) AS first, epoch_us(max("time")) AS last
        FROM told GROUP BY ALL)
)
SELECT {named} FROM steps LEFT JOIN told USING ({here}) {order}"""


def _check_steps(catalog: Catalog, wanted: Wanted) -> None:
    whole = replace(wanted, every_us=None)
    found = catalog.rows(
        f"WITH {readings.grid(whole)} SELECT epoch_us(max(read_at)) - epoch_us(min(read_at)) FROM grid"
    )
    length = found[0][0] or 0
    steps = length // (wanted.every_us or 1) + 1
    if steps > MOST_STEPS:
        raise UsageError(f"that would be {steps:,} steps: make --every longer, or the time shorter")


_LINK_NUMBERS: Final = ", ".join((*RATES, *TOTALS))
# A counter is known from the first reading of its recording on: zeros need no rows to be summed.
_OVERVIEW: Final = f"""told AS (
    SELECT host, netns, 'interface' AS what, name AS section, number AS name, read_at, rise, micros, is_reset
    FROM (UNPIVOT link_readings ON {_LINK_NUMBERS} INTO NAME number VALUE rise)
), runs AS (
    SELECT c.host, c.netns, sum(g.micros) / 1e6 AS seconds
    FROM (SELECT DISTINCT host, recording, netns FROM base.counters) c
    JOIN (SELECT host, recording, sum(micros) AS micros FROM grid GROUP BY ALL) g
        ON g.host = c.host AND g.recording = c.recording
    GROUP BY ALL
), rose AS (
    SELECT c.host, c.netns, c.source, c.section, c.name, try_cast(sum(c.increase) AS BIGINT) AS total,
        max(c.increase / (g.micros / 1e6)) AS peak_per_second,
        arg_max(g.read_at, (c.increase / (g.micros / 1e6), -epoch_us(g.read_at))) AS peak_at,
        count(*) FILTER (c.is_reset) AS resets
    FROM counters c ASOF JOIN grid g
        ON g.host = c.host AND g.recording = c.recording AND g.read_at >= c.read_at
    WHERE c.increase IS NOT NULL AND c.read_at > g.read_before
    GROUP BY ALL HAVING sum(c.increase) > 0
), result AS (
    SELECT host, netns, what, section, name, regexp_matches(name, 'error|dropped') AS trouble,
        try_cast(sum(rise) AS BIGINT) AS total, sum(rise)::DOUBLE / {_SECONDS} AS per_second,
        max(rise::DOUBLE / (micros / 1e6)) AS peak_per_second,
        CASE WHEN sum(rise) > 0 THEN arg_max(read_at, (rise::DOUBLE / (micros / 1e6), -epoch_us(read_at))) END
            AS peak_at,
        {_SECONDS} AS seconds, count(*) FILTER (is_reset) AS resets
    FROM told GROUP BY ALL
    UNION ALL
    SELECT r.host, r.netns, 'counter', r.section, r.name,
        regexp_matches(r.name, '{{trouble}}'), r.total, r.total / u.seconds, r.peak_per_second, r.peak_at,
        u.seconds, r.resets
    FROM rose r JOIN runs u ON u.host = r.host AND u.netns = r.netns
)
SELECT {", ".join(COLUMNS)} FROM result
ORDER BY what = 'counter', CASE what WHEN 'interface' THEN section END, host, netns,
    CASE what WHEN 'interface' THEN list_position([{", ".join(map(repr, (*RATES, *TOTALS)))}], name) END,
    NOT trouble, total DESC, section, name
"""
