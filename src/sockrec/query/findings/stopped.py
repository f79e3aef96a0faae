"""A port that was served is not served any more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sockrec.model import durations
from sockrec.model.addresses import endpoint
from sockrec.model.programs import known_as_sql
from sockrec.query import words
from sockrec.query.findings.finding import Asked, Finding, Kind, Threshold, process

Row = dict[str, Any]
_RESTARTS: Final = Threshold("restarts", 3, "times", "twice may be a deploy and its correction")

# Two sockets that took turns without a moment between them served all the time.
_STOPS: Final = """
SELECT l.*, {known} AS named, {again} AS again_named, {cause} AS why,
    epoch_us(coalesce(again_not_before, again_not_after)) - epoch_us(ended_not_after) AS least_us,
    epoch_us(again_not_after) - epoch_us(ended_not_before) AS most_us,
    count(*) OVER place AS stops, sum((again_not_after IS NOT NULL)::INT) OVER place AS restarts,
    row_number() OVER (PARTITION BY host, netns, protocol, local_address, local_port
        ORDER BY ended_not_after DESC, socket_id DESC) = 1 AS is_last,
    min(ended_not_before) OVER place AS first_not_before, min(ended_not_after) OVER place AS first_not_after,
    (SELECT arg_min({{'address': o.local_address, 'pid': o.pid, 'program': {other}}}, o.began_not_after)
        FROM listeners o WHERE o.host = l.host AND o.netns = l.netns AND o.protocol = 'tcp'
            AND o.local_port = l.local_port AND o.local_address <> l.local_address
            AND (o.ended_not_after IS NULL OR o.ended_not_after > l.ended_not_after)
            AND (o.began_not_after >= l.ended_not_before OR o.local_address IN ('0.0.0.0', '::'))) AS instead
FROM listeners l
WHERE protocol = 'tcp' AND ended_as = 'closed' AND {within}
    AND NOT EXISTS (FROM listeners o WHERE o.host = l.host AND o.netns = l.netns AND o.protocol = 'tcp'
        AND o.local_address = l.local_address AND o.local_port = l.local_port AND o.socket_id <> l.socket_id
        AND o.began_not_after <= l.ended_not_before
        AND coalesce(o.ended_not_before, TIMESTAMPTZ 'infinity') >= l.ended_not_after)
WINDOW place AS (PARTITION BY host, netns, protocol, local_address, local_port)
ORDER BY ended_not_after, local_port
"""


def find(asked: Asked) -> Iterator[Finding]:
    """Find each TCP port on which nobody listens any more, and each that comes and goes again and again.

    What ended it is named where the kernel told (by whom it was killed, with which status it exited). A
    listener that took over before the other one ended is no stop. An address that stopped and was served
    again at least `restarts` times is one finding, a loop. A stop alone is critical; a restart is a warning;
    where the port is served on another address from then on, it is a notice.
    """
    sql = _STOPS.format(
        known=known_as_sql("program"),
        again=known_as_sql("again_program"),
        other=known_as_sql("o.program"),
        cause=words.listener_cause(),
        within=asked.within("ended_not_before", "ended_not_after"),
    )
    most = asked.threshold("listener-stopped", _RESTARTS)
    for row in asked.rows(sql):
        if row["restarts"] < most:
            yield _stopped(row)
        elif row["is_last"]:
            yield _loop(row)


def _shown(row: Row) -> str:
    return (
        "SELECT ended_not_before, ended_not_after, pid, program, cause, exit_code, signal, by_program,"
        " again_not_after, again_pid FROM listeners WHERE protocol = 'tcp'"
        f" AND local_port = {row['local_port']} AND ended_as = 'closed' ORDER BY ended_not_after"
    )


def _stopped(row: Row) -> Finding:
    place = endpoint(row["local_address"], row["local_port"])
    who = process(row["pid"], row["named"])
    why = f": {row['why']}" if row["why"] else f". It was {who}"
    severity, after, text = "critical", "", f"Nobody listens on tcp {place} any more{why}."
    least, most = row["least_us"], row["most_us"]
    if most is not None and least is not None:
        severity, after = "warning", " and came back"
        again = process(row["again_pid"], row["again_named"])
        text = f"Nobody listened on tcp {place} for {_down(max(0, least), most)}{why}. Then {again} did."
    elif instead := row["instead"]:
        severity, after = "notice", " on one address"
        other = endpoint(instead["address"], row["local_port"])
        text += f" {process(instead['pid'], instead['program'])} listens on {other}."
    return Finding(
        kind="listener-stopped",
        severity=severity,
        title=f"port {row['local_port']} stopped listening{after}",
        text=text,
        not_before=row["ended_not_before"],
        not_after=row["ended_not_after"],
        host=row["host"],
        subject=f"{who} on tcp {place}",
        numbers={"port": row["local_port"], "pid": row["pid"], "down_us": most, "down_at_least_us": least},
        look=f"sockrec port {row['local_port']}",
        sql=_shown(row),
    )


def _down(least_us: int, most_us: int) -> str:
    """Return how long nobody listened: one number where its bounds leave no doubt of it."""
    if most_us - least_us <= most_us / 20:
        return durations.show((least_us + most_us) / 2)
    return f"{durations.show(least_us)} to {durations.show(most_us)}"


def _loop(row: Row) -> Finding:
    place = endpoint(row["local_address"], row["local_port"])
    last = f" The last time: {row['why']}." if row["why"] else ""
    return Finding(
        kind="restart-loop",
        severity="critical",
        title=f"port {row['local_port']} restarts again and again",
        text=f"tcp {place} stopped {row['stops']} times and was served again {row['restarts']} times.{last}",
        not_before=row["first_not_before"],
        not_after=row["first_not_after"],
        host=row["host"],
        subject=f"{row['named'] or 'a program not known'} on tcp {place}",
        numbers={"port": row["local_port"], "stops": row["stops"], "restarts": row["restarts"]},
        look=f"sockrec port {row['local_port']}",
        sql=_shown(row),
    )


KIND: Final = Kind("listener-stopped", find, (_RESTARTS,))
