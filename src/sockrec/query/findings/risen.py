"""By how much the kernel's counters rose in the time asked about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sockrec.catalog.sources import literal
from sockrec.query.findings.finding import Asked

# One that began anew tells only what came after: nothing of it is counted.
_RISEN: Final = """
SELECT host, netns, name, sum(increase)::BIGINT AS rise, arg_min_null(read_before, read_at) AS not_before,
    min(read_at) AS not_after, max(per_second) AS fastest
FROM counters
WHERE name IN ({names}) AND {which} AND increase > 0 AND NOT is_reset AND {within}
GROUP BY host, netns, name
"""


@dataclass(frozen=True, slots=True)
class Risen:
    """By how much a counter rose, since when, and how fast at most (per second)."""

    rise: int
    not_before: datetime | None
    not_after: datetime
    fastest: float


def risen(asked: Asked, names: Iterable[str], which: str = "true") -> dict[tuple[str, int], dict[str, Risen]]:
    """Return by name what rose, for each host and network namespace; what did not rise is not there.

    `which` is a condition on `source` and `section`, for names that several have.
    """
    sql = _RISEN.format(
        names=", ".join(map(literal, names)), which=which, within=asked.within("read_before", "read_at")
    )
    found: dict[tuple[str, int], dict[str, Risen]] = {}
    for row in asked.rows(sql):
        one = Risen(row["rise"], row["not_before"], row["not_after"], row["fastest"] or 0.0)
        found.setdefault((row["host"], row["netns"]), {})[row["name"]] = one
    return found
