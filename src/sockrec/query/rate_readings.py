"""SQL of what each reading of a recording found of interfaces and counters, zeros and what is unknown too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sockrec.catalog.rates import GAUGES, link_increases
from sockrec.catalog.sources import literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sockrec.query.rate_names import CounterName
    from sockrec.query.rates import Wanted

# What of an interface is told: these per second, and how many there were of those.
RATES: Final = ("rx_bytes", "tx_bytes", "rx_packets", "tx_packets")
TOTALS: Final = ("rx_errors", "tx_errors", "rx_dropped", "tx_dropped")
_LINK_NUMBERS: Final = (*RATES, *TOTALS)

# Samples tell when a reading began, rows when it ended. The first time that any row has, from the beginning
# on, is that end; where no row has one, nothing moved, and the beginning will do. The time before is that of
# the reading before in the same recording.
_GRID: Final = """
readings AS (
    SELECT host, recording, network_read_at AS began FROM samples
    WHERE network_read_at IS NOT NULL {host} GROUP BY ALL
), moments AS (
    SELECT host, recording, read_at AS moment FROM base.counters
    UNION SELECT host, recording, read_before FROM base.counters
    UNION SELECT host, recording, read_at FROM base.link_counters
    UNION SELECT host, recording, read_before FROM base.link_counters
), ends AS (
    SELECT m.host, m.recording, r.began, min(m.moment) AS ended
    FROM moments m ASOF JOIN readings r
        ON r.host = m.host AND r.recording = m.recording AND r.began <= m.moment
    GROUP BY ALL
), every_reading AS (
    SELECT r.host, r.recording, coalesce(e.ended, r.began) AS read_at,
        lag(coalesce(e.ended, r.began)) OVER (PARTITION BY r.host, r.recording ORDER BY r.began)
            AS read_before
    FROM readings r LEFT JOIN ends e
        ON e.host = r.host AND e.recording = r.recording AND e.began = r.began
), grid AS MATERIALIZED (
    SELECT *, nullif(epoch_us(read_at) - epoch_us(read_before), 0) AS micros
    FROM every_reading WHERE true {times}
)"""


def grid(wanted: Wanted) -> str:
    """Return the CTE `grid`: the readings asked for, with when the one before was, and the time between."""
    times = ""
    if wanted.first_us is not None:
        times += f" AND read_at >= make_timestamptz({wanted.first_us})"
    if wanted.last_us is not None:
        times += f" AND read_at <= make_timestamptz({wanted.last_us})"
    host = "" if wanted.host is None else f"AND host = {literal(wanted.host)}"
    return _GRID.format(host=host, times=times)


# An announced change is read in between: what such a reading found counts at the next one of the grid, so
# that a rate is never that of a moment. What an interface counted is known since the last row that says not
# how much it rose. Of readings inside of a row's own time the interface was not read, and of those after it
# was gone it has none.
_LINKS: Final = """
link_rows AS MATERIALIZED (
    SELECT host, recording, netns, ifindex, name, read_before, read_at, is_reset, {increases}
    FROM ({rows}) WHERE true {chosen}
), link_series AS (
    SELECT host, recording, netns, ifindex, name, min(read_at) AS since FROM link_rows GROUP BY ALL
), link_found AS (
    SELECT w.host, w.recording, w.netns, w.ifindex, w.name, g.read_at AS at_reading,
        min(w.read_before) AS since, max(w.read_at) FILTER (w.rx_bytes IS NULL) AS anew, {sums},
        bool_or(w.is_reset) AS is_reset
    FROM link_rows w ASOF JOIN grid g
        ON g.host = w.host AND g.recording = w.recording AND g.read_at >= w.read_at
    WHERE g.read_before IS NULL OR w.read_at > g.read_before
    GROUP BY ALL
), link_grid AS (
    SELECT s.host, s.recording, s.netns, s.ifindex, s.name, s.since AS known_since, g.read_at, g.read_before
    FROM link_series s JOIN grid g ON g.host = s.host AND g.recording = s.recording AND g.read_at >= s.since
), link_there AS (
    SELECT l.* FROM link_grid l ASOF LEFT JOIN interfaces i
        ON i.host = l.host AND i.recording = l.recording AND i.ifindex = l.ifindex AND i.name = l.name
        AND i.first_seen <= l.read_at
    WHERE i.ended_by IS NULL OR i.ended_by > l.read_at OR i.ended_as IN ('carried', 'stopped')
), link_read AS (
    SELECT l.*, n.read_before AS next_before
    FROM link_there l ASOF LEFT JOIN link_rows n
        ON n.host = l.host AND n.recording = l.recording AND n.netns = l.netns AND n.ifindex = l.ifindex
        AND n.name = l.name AND n.read_at > l.read_at
), link_known AS (
    SELECT l.*, f.since, {found}, coalesce(f.is_reset, false) AS is_reset,
        CASE WHEN l.read_before IS NULL THEN NULL
            ELSE coalesce(f.anew, greatest(least(l.read_before, f.since), l.known_since))
            END AS measured_since
    FROM link_read l LEFT JOIN link_found f
        ON f.host = l.host AND f.recording = l.recording AND f.netns = l.netns AND f.ifindex = l.ifindex
        AND f.name = l.name AND f.at_reading = l.read_at
    WHERE coalesce(l.next_before, l.read_at) >= l.read_at
), link_measured AS (
    SELECT *, nullif(epoch_us(read_at) - epoch_us(measured_since), 0) AS micros FROM link_known
), link_readings AS MATERIALIZED (
    SELECT host, recording, netns, name, read_at, micros, is_reset, {known} FROM link_measured
)"""


def links(chosen: str) -> str:
    """Return the CTE `link_readings`: what each reading of `grid` found of the interfaces chosen.

    `chosen` is a condition that begins with AND, on `name`. A reading of which nothing is known is there with
    nulls, one in which nothing moved with zeros.
    """
    return _LINKS.format(
        chosen=chosen,
        rows=link_increases(_LINK_NUMBERS),
        increases=", ".join(f"{name}_increase AS {name}" for name in _LINK_NUMBERS),
        sums=", ".join(f"sum(w.{name}) AS {name}" for name in _LINK_NUMBERS),
        found=", ".join(
            f"CASE WHEN f.at_reading IS NULL THEN 0 ELSE f.{name} END AS {name}" for name in _LINK_NUMBERS
        ),
        known=", ".join(f"CASE WHEN micros IS NOT NULL THEN {name} END AS {name}" for name in _LINK_NUMBERS),
    )


# Gauges go up and down: they have a value, and no increase.
_COUNTERS: Final = """
named(source, section, name, label) AS (VALUES {chosen}),
counter_rows AS MATERIALIZED (
    SELECT c.host, c.recording, c.netns, n.label, c.read_at, c.value, c.increase, c.is_reset,
        c.is_gauge
    FROM (SELECT *, {gauges} AS is_gauge FROM counters WHERE name IN ({names})) c
    JOIN named n ON n.source = c.source AND n.section = c.section AND n.name = c.name
), counter_series AS (
    SELECT host, recording, netns, label, any_value(is_gauge) AS is_gauge, min(read_at) AS since
    FROM counter_rows GROUP BY ALL
), counter_found AS (
    SELECT c.host, c.recording, c.netns, c.label, g.read_at AS at_reading, sum(c.increase) AS increase,
        max(c.read_at) FILTER (c.increase IS NULL AND NOT c.is_gauge) AS anew,
        bool_or(c.is_reset) AS is_reset,
        bool_or(c.is_gauge OR coalesce(c.increase > 0, false) OR c.is_reset) AS moved
    FROM counter_rows c ASOF JOIN grid g
        ON g.host = c.host AND g.recording = c.recording AND g.read_at >= c.read_at
    WHERE g.read_before IS NULL OR c.read_at > g.read_before
    GROUP BY ALL
), counter_grid AS (
    SELECT s.*, g.read_at, g.read_before FROM counter_series s
    JOIN grid g ON g.host = s.host AND g.recording = s.recording AND g.read_at >= s.since
), counter_values AS (
    SELECT c.*, r.value FROM counter_grid c ASOF JOIN counter_rows r
        ON r.host = c.host AND r.recording = c.recording AND r.netns = c.netns AND r.label = c.label
        AND r.read_at <= c.read_at
), counter_known AS (
    SELECT c.*, CASE WHEN c.is_gauge THEN NULL WHEN f.at_reading IS NULL THEN 0 ELSE f.increase END
            AS increase,
        coalesce(f.is_reset, false) AS is_reset, coalesce(f.moved, false) AS moved,
        nullif(epoch_us(c.read_at) - epoch_us(coalesce(f.anew, c.read_before)), 0) AS micros
    FROM counter_values c LEFT JOIN counter_found f
        ON f.host = c.host AND f.recording = c.recording AND f.netns = c.netns AND f.label = c.label
        AND f.at_reading = c.read_at
), counter_readings AS (
    SELECT host, netns, label, read_at, value, CASE WHEN read_before IS NOT NULL THEN micros END AS micros,
        CASE WHEN read_before IS NOT NULL AND micros IS NOT NULL THEN increase END AS increase, is_reset,
        moved AND (is_gauge OR read_before IS NOT NULL) AS moved
    FROM counter_known
)"""


def counters(chosen: Iterable[CounterName]) -> str:
    """Return the CTE `counter_readings`: what each reading of `grid` found of the counters chosen.

    A reading in which one did not move is there with zeros, the first of a recording with nulls.
    """
    chosen = list(chosen)
    return _COUNTERS.format(
        chosen=", ".join(
            f"({literal(one.source)}, {literal(one.section)}, {literal(one.name)}, {literal(one.label)})"
            for one in chosen
        ),
        names=", ".join(sorted({literal(one.name) for one in chosen})),
        gauges=GAUGES,
    )
