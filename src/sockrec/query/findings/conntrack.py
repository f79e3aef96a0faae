"""The firewall's table of connections is full: what is new is dropped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sockrec.query.findings.finding import Asked, Finding, Kind, Threshold

_SHARE: Final = Threshold(
    "share", 90, "percent", "of the most that it takes: a burst, or an hour of growth, takes the rest"
)
_MAX: Final = "net.netfilter.nf_conntrack_max"
# A setting stands from its first reading on; what was counted before that had the same.
_FULL: Final = """
WITH most AS (
    SELECT host, netns, TRY_CAST(value AS BIGINT) AS most, CASE WHEN row_number() OVER (
            PARTITION BY host, netns ORDER BY first_seen) = 1
        THEN TIMESTAMPTZ '-infinity' ELSE first_seen END AS since
    FROM limits WHERE name = '{max}' AND TRY_CAST(value AS BIGINT) > 0
), readings AS (
    SELECT c.host, c.netns, c.read_before, c.read_at, c.value, m.most,
        c.value * 100 >= {share} * m.most AS is_near, lag(c.read_at) OVER (
            PARTITION BY c.host, c.netns ORDER BY c.read_at) AS before
    FROM base.counters c
    ASOF JOIN most m ON m.host = c.host AND m.netns = c.netns AND m.since <= c.read_at
    WHERE c.source = 'conntrack' AND c.name = 'count' AND {within}
)
SELECT host, netns, max(value) AS value, arg_max(most, value / most) AS most, max(value / most) AS share,
    min(read_at) AS not_after, arg_min_null(coalesce(read_before, before), read_at) AS not_before
FROM readings WHERE is_near GROUP BY host, netns ORDER BY share DESC
"""


def find(asked: Asked) -> Iterator[Finding]:
    """Find each host whose table of tracked connections had at least `share` of the most it takes.

    The kernel tracks connections for its firewall and for NAT, up to net.netfilter.nf_conntrack_max. When
    the table is full it drops the first packet of each new connection ("nf_conntrack: table full, dropping
    packet"): clients wait, and no program on this host learns of it.
    """
    sql = _FULL.format(
        max=_MAX,
        share=asked.threshold("conntrack-full", _SHARE),
        within=asked.within("c.read_at", "c.read_at", "c.host"),
    )
    for row in asked.rows(sql):
        is_full = row["share"] >= 1
        yield Finding(
            kind="conntrack-full",
            severity="critical" if is_full else "warning",
            title=f"the table of tracked connections is {'full' if is_full else 'nearly full'}",
            text=(
                f"{row['value']:,} connections were tracked, of {row['most']:,} at most ({row['share']:.0%}):"
                f" {'' if is_full else 'when it is full, '}the kernel drops what belongs to none of them"
                f" ({_MAX})."
            ),
            not_before=row["not_before"],
            not_after=row["not_after"],
            host=row["host"],
            subject="nf_conntrack",
            numbers={"tracked": row["value"], "most": row["most"]},
            look="sockrec rates --counter conntrack.count",
            sql="SELECT read_at, value FROM counters WHERE source = 'conntrack' ORDER BY read_at",
        )


KIND: Final = Kind("conntrack-full", find, (_SHARE,))
