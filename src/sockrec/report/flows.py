"""What happened in each step of time: connections, retransmissions, round trips, bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from typing import Any, Final

import numpy as np

from sockrec.model import timetext
from sockrec.plots import counts
from sockrec.query import rates, traffic
from sockrec.report.figure import INSTANT, MOST_POINTS, Figure, Series, Values
from sockrec.report.scope import Scope

_COLOURS: Final = ("blue", "red", "green", "gold", "violet", "brown")
_MOST_SERVICES: Final = 5
_MOST_INTERFACES: Final = 3
_READ: Final = """
    SELECT recording, socket_id, read_at AS at_, total_retrans, rtt_us FROM activity
    WHERE host = $host AND total_retrans IS NOT NULL AND {0}
    UNION ALL
    SELECT recording, coalesce(socket_id, 0), not_after, total_retrans, rtt_us FROM events
    WHERE host = $host AND kind = 'closed' AND total_retrans IS NOT NULL AND {0}
"""
_PLACED: Final = "(epoch_us(at_) - $grid) // $step AS place"
_IN_TIME: Final = "at_ BETWEEN make_timestamptz($first) AND make_timestamptz($last)"
# Counters of a connection only rise. What one that was found open had sent again before is not counted.
# Most connections never sent anything again, and need not be put in order.
_AGAIN: Final = f"""
WITH again AS MATERIALIZED (
    SELECT DISTINCT recording, socket_id FROM ({_READ.format("total_retrans > 0")})
), known AS (
    SELECT recording, socket_id, bool_or(begun_as = 'found') AS found
    FROM sockets SEMI JOIN again USING (recording, socket_id) WHERE host = $host GROUP BY ALL
), moved AS (
    SELECT r.at_, r.total_retrans - lag(r.total_retrans, 1, if(k.found, r.total_retrans, 0)) OVER (
        PARTITION BY r.recording, r.socket_id ORDER BY r.at_, r.total_retrans) AS again
    FROM ({_READ.format("true")}) r SEMI JOIN again USING (recording, socket_id)
    LEFT JOIN known k ON k.recording = r.recording AND k.socket_id = r.socket_id
)
SELECT {_PLACED}, sum(greatest(again, 0))::BIGINT AS again FROM moved WHERE {_IN_TIME} GROUP BY ALL
"""
_ROUND_TRIPS: Final = f"""
SELECT {_PLACED}, quantile_cont(rtt_us, [0.5, 0.95]) AS us
FROM ({_READ.format("rtt_us > 0")}) WHERE {_IN_TIME} GROUP BY ALL
"""
_FAILED: Final = """
SELECT (epoch_us(not_after) - $grid) // $step AS place, cause, count(*) AS n FROM events
WHERE host = $host AND kind = 'closed' AND protocol = 'tcp' AND cause IN $causes GROUP BY ALL
"""
_FAILURES: Final = {
    "refused": "red",
    "timed out": "gold",
    "reset by the peer": "violet",
    "reset by us": "brown",
}
_BUSIEST: Final = """
SELECT name FROM link_counters WHERE host = $host GROUP BY name
HAVING max(rx_bytes + tx_bytes) > min(rx_bytes + tx_bytes)
ORDER BY max(rx_bytes + tx_bytes) - min(rx_bytes + tx_bytes) DESC, name
"""


def connections(scope: Scope) -> Figure:
    """Return how many TCP connections opened (up) and closed (down) a second."""
    seconds = scope.step_us / 1e6
    series = []
    sql = counts.EVENTS.format(source="base.connection_spans", where="host = $host")
    found = scope.rows(sql, first=scope.grid_us, step=scope.step_us)
    for name, sign, colours in (("opened", 1, ("blue", "pale-blue")), ("closed", -1, ("red", "pale-red"))):
        for in_gap, colour in zip((False, True), colours, strict=True):
            bars = [
                (place, sign * count / seconds)
                for way, place, *gap, count in found
                if (way, *gap) == (name, in_gap)
            ]
            values = _placed(scope, bars, 0)
            if np.any(values):
                series.append(Series(f"{name} in a gap" if in_gap else name, colour, values))
    return Figure(
        "connections",
        "Connections opened and closed",
        "/s",
        "steps",
        "TCP connections a second: opened upwards, closed downwards. One within the host counts at both "
        "ends; each counts when it was first known. What was tried and refused is in it, too.",
        "No TCP connection opened or closed.",
        series,
        look="bars",
    )


def failures(scope: Scope) -> Figure:
    """Return how many TCP connections a second ended otherwise than by being closed."""
    seconds = scope.step_us / 1e6
    found = scope.rows(_FAILED, grid=scope.grid_us, step=scope.step_us, causes=list(_FAILURES))
    series = []
    for cause, colour in _FAILURES.items():
        values = _placed(scope, ((place, n / seconds) for place, of, n in found if of == cause), 0)
        if np.any(values):
            series.append(Series(cause, colour, values, dashed=cause == "reset by us"))
    return Figure(
        "failures",
        "Connections that failed",
        "/s",
        "steps",
        "TCP connections a second that nobody took (refused), that nobody answered any more (timed out), or "
        "that were broken off (reset). Of one within the host both ends count.",
        "No TCP connection was refused, timed out or was reset, as far as it is known how they ended.",
        series,
    )


def trouble(scope: Scope) -> list[Figure]:
    """Return the figures of retransmissions and of round-trip times."""
    time = {"grid": scope.grid_us, "step": scope.step_us, "first": scope.first_us, "last": scope.last_us}
    again = _placed(scope, scope.rows(_AGAIN, **time), 0)
    found = scope.rows(_ROUND_TRIPS, **time)
    half = _placed(scope, ((place, us) for place, (us, _) in found), np.nan)
    most = _placed(scope, ((place, us) for place, (_, us) in found), np.nan)
    return [
        Figure(
            "retransmissions",
            "Retransmissions",
            "count",
            "steps",
            "TCP segments sent again, of all connections; counted when their counters were read.",
            "No connection sent anything again, as far as counters were recorded.",
            [Series("segments sent again", "red", again)] if np.any(again) else [],
            look="bars",
        ),
        Figure(
            "rtt",
            "Round-trip time",
            "us",
            "steps",
            "The kernel's smoothed round-trip times of those TCP connections whose counters were read then.",
            "No round-trip time was recorded.",
            [Series("95 of 100 below", "red", most), Series("median", "blue", half)]
            if np.any(np.isfinite(half))
            else [],
            look="dots",
        ),
    ]


def services(scope: Scope) -> Figure:
    """Return bytes a second by service."""
    wanted = traffic.Wanted(
        "service", scope.first_us, scope.last_us, scope.step_us, scope.offset_us, scope.host
    )
    answer = traffic.traffic(scope.catalog, wanted)
    rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.fetchall()]
    kept, others = traffic.largest(rows, wanted, _MOST_SERVICES)
    named: dict[str, list[Any]] = {}
    for row in kept:
        label = (
            str(row["port"])
            if row["service"] in (None, str(row["port"]))
            else f"{row['service']} ({row['port']})"
        )
        named.setdefault(label, []).append(row)
    if others:
        shown = {id(row) for row in kept}
        named["others"] = [row for row in rows if id(row) not in shown]
    series = [
        Series(name, "grey" if name == "others" else _COLOURS[place], _per_second(scope, mine, "bytes"))
        for place, (name, mine) in enumerate(named.items())
    ]
    return Figure(
        "traffic",
        "Traffic by service",
        "bytes/s",
        "steps",
        "Bytes of TCP connections, both ways, by the port that was connected to. Counted when counters were "
        "read, once a minute and at each end: a peak may be of the minute before it.",
        "No bytes of TCP connections were counted.",
        series,
    )


def interfaces(scope: Scope) -> Figure:
    """Return bytes a second through the busiest interfaces."""
    names = [name for (name,) in scope.rows(_BUSIEST)]
    shown = names[:_MOST_INTERFACES]
    series: list[Series] = []
    axis = np.array([])
    if shown:
        wanted = rates.wanted(scope.first_us, scope.last_us, scope.host, None, scope.offset_us)
        if rates.span(scope.catalog, wanted).readings > MOST_POINTS:
            wanted = replace(wanted, every_us=scope.step_us)
        answer = rates.of_interfaces(scope.catalog, wanted, shown)
        rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.fetchall()]
        axis, places = _stretches(scope, rows)
        for (number, name), (way, word) in product(enumerate(shown), (("rx", "received"), ("tx", "sent"))):
            values = np.full(len(axis), np.nan)
            for row in rows:
                rate = row[f"{way}_bytes_per_second"]
                if row["interface"] == name and rate is not None:
                    values[list(places[row["time"]])] = rate
            series.append(Series(f"{name} {word}", _COLOURS[number], values, dashed=way == "tx"))
    return Figure(
        "interfaces",
        "Interfaces",
        "bytes/s",
        axis,
        "Bytes a second through the network interfaces, between each two readings of their counters.",
        "No interface moved a byte, or their counters were not recorded.",
        [one for one in series if np.any(np.isfinite(one.values))],
        thinned=f"the {len(shown)} busiest of {len(names)} interfaces are shown"
        if len(names) > len(shown)
        else "",
    )


def _stretches(scope: Scope, rows: list[Any]) -> tuple[Values, dict[Any, tuple[int, int]]]:
    """Return the axis on which each reading has the time since the one before, and its two places there."""
    axis: list[float] = []
    places = {}
    for moment, seconds in sorted({(row["time"], row["seconds"]) for row in rows if row["seconds"]}):
        end = (timetext.from_datetime(moment) - scope.first_us) / 1e6
        if not axis or end - seconds > axis[-1] + INSTANT:
            # Nothing is known of what lies between: a place of nothing ends the line.
            axis += [axis[-1] + INSTANT, end - seconds] if axis else [end - seconds]
        places[moment] = (len(axis) - 1, len(axis))
        axis.append(end)
    return np.array(axis), places


def _placed(scope: Scope, found: Iterable[tuple[int, float]], nothing: float) -> Values:
    values = np.full(scope.steps, float(nothing))
    for place, value in found:
        if 0 <= place < scope.steps:
            values[place] = value
    return values


def _place(scope: Scope, moment: Any) -> int:
    return (timetext.from_datetime(moment) - scope.grid_us) // scope.step_us


def _per_second(scope: Scope, rows: list[Any], column: str) -> Values:
    values = np.zeros(scope.steps)
    for row in rows:
        place = _place(scope, row["time"])
        if 0 <= place < scope.steps:
            values[place] += row[column] / (scope.step_us / 1e6)
    return values
