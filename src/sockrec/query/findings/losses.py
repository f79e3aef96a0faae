"""What the recorder itself lost, or could not see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sockrec.query.findings.finding import Asked, Finding, Kind, count

_LOST: Final = """
SELECT host, coalesce(detail, 'events') AS what, sum("count")::BIGINT AS events, count(*) AS times,
    arg_min(not_before, not_after) AS not_before, min(not_after) AS not_after
FROM base.events WHERE kind = 'lost' AND {within} GROUP BY ALL ORDER BY events DESC, host, what
"""
_PARTLY: Final = """
SELECT host, coalesce(incomplete_why, 'reason unknown') AS what, count(*) AS samples,
    min(began_at) AS not_before, min(ended_at) AS not_after
FROM samples WHERE NOT complete AND {within} GROUP BY ALL ORDER BY samples DESC, host, what
"""
_DROPPED: Final = """
SELECT host, sum(samples_dropped)::BIGINT AS samples, min(began_at) AS not_after
FROM samples WHERE samples_dropped > 0 AND {within} GROUP BY ALL ORDER BY host
"""


def find(asked: Asked) -> Iterator[Finding]:
    """Find what was lost: events that the kernel dropped, sockets not read, samples that no disk took.

    Samples go on where events are lost: moments are then as exact as the samples, and connections between
    two of them may be missing.
    """
    for row in asked.rows(_LOST.format(within=asked.within("not_before", "not_after"))):
        many = "events" if row["events"] is None else count(row["events"], "event")
        what = "" if row["what"] == "events" else f" ({row['what']})"
        yield _loss(
            row,
            f"{many} of the kernel were lost{what}, {count(row['times'], 'time')}: what no sample saw then is"
            " missing, and moments are as exact as samples.",
            {"events": row["events"], "times": row["times"], "what": row["what"]},
            "SELECT not_before, not_after, detail, \"count\" FROM events WHERE kind = 'lost'"
            " ORDER BY not_after",
        )
    for row in asked.rows(_PARTLY.format(within=asked.within("began_at", "ended_at"))):
        yield _loss(
            row,
            f"In {count(row['samples'], 'sample')} not all sockets could be read: {row['what']}.",
            {"samples": row["samples"], "what": row["what"]},
            "SELECT began_at, sockets, incomplete_why FROM samples WHERE NOT complete ORDER BY began_at",
        )
    for row in asked.rows(_DROPPED.format(within=asked.within("began_at", "ended_at"))):
        yield _loss(
            row | {"not_before": None},
            f"{count(row['samples'], 'sample')} were taken and dropped: the disk did not take them.",
            {"samples": row["samples"], "what": "disk"},
            "SELECT began_at, samples_dropped FROM samples WHERE samples_dropped > 0 ORDER BY began_at",
        )


def _loss(row: dict[str, Any], text: str, numbers: dict[str, Any], sql: str) -> Finding:
    return Finding(
        kind="losses",
        severity="notice",
        title="the recorder lost something",
        text=text,
        not_before=row["not_before"],
        not_after=row["not_after"],
        host=row["host"],
        subject="the recording",
        numbers=numbers,
        look="sockrec info; docs/reliability.md",
        sql=sql,
    )


KIND: Final = Kind("losses", find)
