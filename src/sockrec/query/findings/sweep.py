"""How many there were at once: a running sum over beginnings and ends, without a join by time."""

from __future__ import annotations

from typing import Final

# What ends and what begins in the same step cancel each other: a socket that only changed is one all the
# time. Moments are microseconds; those of a step stand at its last one, when all of it had happened.
_SWEEP: Final = """
steps AS (
    SELECT {key}, began AS moment, 1 AS step, after FROM {rows}
    UNION ALL SELECT {key}, ended, -1, NULL FROM {rows} WHERE ended IS NOT NULL
), moments AS (
    SELECT {key}, max(moment) AS moment, sum(step) AS step, min(after) AS after
    FROM steps GROUP BY {key}, moment // {grain}
), swept AS (
    SELECT {key}, moment, (sum(step) OVER run)::BIGINT AS at_once,
        coalesce(lag(moment) OVER run, after) AS before
    FROM moments WINDOW run AS (PARTITION BY {key} ORDER BY moment)
)"""
BEGAN: Final = "epoch_us(first_seen)"
AFTER: Final = "epoch_us(begun_after)"
ENDED: Final = "epoch_us(CASE WHEN ended_as IN ('carried', 'closed', 'changed') THEN ended_by END)"
"""The bounds of a row of `sockets`; what was there at the end of a recording has no end."""


def at_once(rows: str, key: str, grain_us: int = 1) -> str:
    """Return the CTE `swept`: for each of a key how many there were from `moment` on.

    `rows` is the name of a CTE with the columns of `key` (which must have `recording` among them), `began`,
    `after` (when it had not begun yet) and `ended`, microseconds; `before` is the last moment at which that
    was not so yet. `grain_us` is the least time between two moments.
    """
    return _SWEEP.format(rows=rows, key=key, grain=grain_us)
