"""A port that was served is not served any more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sockrec.model.addresses import endpoint
from sockrec.query.findings.finding import Asked, Finding, Kind, process
from sockrec.query.findings.stops import RESTARTS, Row, down, elsewhere, shown, stops


def find(asked: Asked) -> Iterator[Finding]:
    """Find each TCP port on which nobody listens any more, and each that comes and goes again and again.

    What ended it is named where the kernel told (by whom it was killed, with which status it exited). A
    listener that took over before the other one ended is no stop. An address that stopped and was served
    again at least `restarts` times is one finding, a loop. A stop alone is critical, a restart is a warning;
    what is served again otherwise than before is `came-back-elsewhere`, or `listens-wider`.
    """
    most = asked.threshold("listener-stopped", RESTARTS)
    for row in stops(asked):
        if row["restarts"] >= most:
            if row["is_last"]:
                yield _loop(row)
        elif elsewhere(row) is None:
            yield _stopped(row)


def _stopped(row: Row) -> Finding:
    place = endpoint(row["local_address"], row["local_port"])
    who = process(row["pid"], row["named"])
    why = f": {row['why']}" if row["why"] else f". It was {who}"
    severity, after, text = "critical", "", f"Nobody listens on tcp {place} any more{why}."
    least, most = row["least_us"], row["most_us"]
    if most is not None and least is not None:
        severity, after = "warning", " and came back"
        again = process(row["again_pid"], row["again_named"])
        text = f"Nobody listened on tcp {place} for {down(max(0, least), most)}{why}. Then {again} did."
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
        sql=shown(row),
    )


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
        sql=shown(row),
    )


KIND: Final = Kind("listener-stopped", find, (RESTARTS,))
