"""What makes answers uncertain: times of which nothing is known, and clocks that were set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sockrec.model import durations
from sockrec.query.findings.finding import Asked, Finding, Kind, Threshold, count

_GAP: Final = Threshold("seconds", 2, "seconds", "one late sample hides little")
_STEP: Final = Threshold("seconds", 1, "seconds", "less is a clock that is kept right")
_GAPS: Final = """
SELECT host, why, not_before, not_after, epoch_us(not_after) - epoch_us(not_before) AS took
FROM gaps
WHERE {within} AND why NOT LIKE '%lost' AND epoch_us(not_after) - epoch_us(not_before) >= {seconds} * 1000000
ORDER BY took DESC
"""
_STEPS: Final = """
WITH steps AS (
    SELECT host, began_at, lag(ended_at) OVER runs AS not_before,
        clock_step_us - coalesce(lag(clock_step_us) OVER runs, 0) AS stepped
    FROM samples WHERE clock_step_us IS NOT NULL
    WINDOW runs AS (PARTITION BY host, recording ORDER BY began_at)
)
SELECT host, not_before, began_at AS not_after, stepped
FROM steps WHERE abs(stepped) >= {seconds} * 1000000 AND {within} ORDER BY began_at
"""


def find_gaps(asked: Asked) -> Iterator[Finding]:
    """Find the times of which nothing, or not everything, is known, at least `seconds` long.

    Nothing that began or ended in them is known better than by their bounds. Of each reason one is told,
    the longest.
    """
    sql = _GAPS.format(within=asked.within("not_before", "not_after"), seconds=asked.threshold("gap", _GAP))
    by_reason: dict[tuple[str, str], list[dict[str, object]]] = {}
    for row in asked.rows(sql):
        reason = str(row["why"]).lstrip("0123456789 ")
        by_reason.setdefault((row["host"], reason), []).append(row)
    for (host, reason), rows in by_reason.items():
        longest = rows[0]
        took = int(str(longest["took"]))
        more = f", the longest of {count(len(rows), 'such time')}" if len(rows) > 1 else ""
        yield Finding(
            kind="gap",
            severity="notice",
            title="not everything was recorded",
            text=f"For {durations.show(took)} not everything is known ({longest['why']}){more}.",
            not_before=longest["not_before"],  # type: ignore[arg-type]
            not_after=longest["not_after"],  # type: ignore[arg-type]
            host=host,
            subject="the recording",
            numbers={"gaps": len(rows), "longest_us": took, "why": reason},
            look="sockrec info",
            sql="SELECT * FROM gaps ORDER BY not_after",
        )


def find_steps(asked: Asked) -> Iterator[Finding]:
    """Find each step of the host's wall clock by at least `seconds`.

    The recording's own times go on evenly: other logs of this host jump there, and these do not.
    """
    sql = _STEPS.format(
        within=asked.within("not_before", "began_at"), seconds=asked.threshold("clock-step", _STEP)
    )
    for row in asked.rows(sql):
        way = "forward" if row["stepped"] > 0 else "back"
        yield Finding(
            kind="clock-step",
            severity="notice",
            title="the clock was set",
            text=(
                f"The host's clock was set {way} by {durations.show(abs(row['stepped']))}: its other logs"
                " jump there, the times here do not."
            ),
            not_before=row["not_before"],
            not_after=row["not_after"],
            host=row["host"],
            subject="the host's clock",
            numbers={"stepped_us": row["stepped"]},
            look="the host's log of its time service",
            sql="SELECT began_at, clock_step_us FROM samples ORDER BY began_at",
        )


GAP: Final = Kind("gap", find_gaps, (_GAP,))
STEP: Final = Kind("clock-step", find_steps, (_STEP,))
