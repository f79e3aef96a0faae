"""How many there were at once: a running sum over beginnings and ends, without a join by time."""

from __future__ import annotations

from typing import Final

# What ends and what begins in the same step cancel each other: a socket that only changed is one all the
# time. Moments are microseconds; those of a step stand at its last one, when all of it had happened.
_SWEEP: Final = """
steps AS (
    SELECT {key}, began AS moment, 1 AS step FROM {rows}
    UNION ALL SELECT {key}, ended, -1 FROM {rows} WHERE ended IS NOT NULL
), moments AS (
    SELECT {key}, max(moment) AS moment, sum(step) AS step FROM steps GROUP BY {key}, moment // {grain}
), swept AS (
    SELECT {key}, moment, (sum(step) OVER run)::BIGINT AS at_once, lag(moment) OVER run AS before
    FROM moments WINDOW run AS (PARTITION BY {key} ORDER BY moment)
)"""
BEGAN: Final = "epoch_us(first_seen)"
ENDED: Final = "epoch_us(CASE WHEN ended_as IN ('carried', 'closed', 'changed') THEN ended_by END)"
"""The bounds of a row of `sockets`; what was there at the end of a recording has no end."""


def at_once(rows: str, key: str, grain_us: int = 1) -> str:
    """Return the CTE `swept`: for each of a key how many there were from `moment` on.

    `rows` is the name of a CTE with the columns of `key` (which must have `recording` among them), `began`
    and `ended`, microseconds; `before` is the moment before. `grain_us` is the least time between two.
    """
    return _SWEEP.format(rows=rows, key=key, grain=grain_us)
