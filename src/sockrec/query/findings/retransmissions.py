"""A path that loses what is sent over it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sockrec.catalog.connections import ESTABLISHED
from sockrec.catalog.sources import literal
from sockrec.query.findings.finding import Asked, Finding, Kind, Threshold, count

Row = dict[str, Any]
_SEGMENTS: Final = Threshold(
    "segments", 50, "segments sent again", "single losses are how TCP finds out how fast a path is"
)
_SHARE: Final = Threshold(
    "share", 2, "percent", "of the segments sent; from there on throughput falls to a fraction"
)
_PEERS: Final = 3
_MOST_PLACES: Final = 100
# Most sockets never send anything again: only networks, and IPv6 peers, to which enough was are looked at.
_HURT: Final = """
WITH again AS (
    SELECT host, recording, socket_id, max(total_retrans) AS again
    FROM activity WHERE total_retrans > 0 AND {read} GROUP BY ALL
), peers AS (
    SELECT host, remote_address, again FROM again JOIN (
        SELECT host, recording, socket_id, any_value(remote_address) AS remote_address
        FROM sockets SEMI JOIN again USING (host, recording, socket_id)
        WHERE protocol = 'tcp' AND remote_port <> 0 GROUP BY ALL
    ) USING (host, recording, socket_id)
    UNION ALL
    SELECT host, remote_address, total_retrans FROM base.events
    WHERE kind = 'closed' AND protocol = 'tcp' AND total_retrans > 0 AND {ended}
)
SELECT coalesce(nullif(regexp_extract(remote_address,
    '^(?:::ffff:)?(\\d+\\.\\d+\\.\\d+\\.)\\d+$', 1), ''), remote_address) AS place
FROM peers GROUP BY host, place HAVING sum(again) >= {least}
"""
# Counters of a socket only rise: of one that began in the time asked about all of them count, of others what
# they rose by. The end of a connection has its last ones. Requests that nobody answers are told elsewhere.
_AGAIN: Final = """
WITH who AS (
    SELECT host, recording, socket_id, any_value(remote_address) AS peer,
        min(first_seen) FILTER (begun_as = 'opened') AS opened
    FROM sockets
    WHERE protocol = 'tcp' AND remote_port <> 0 AND state NOT IN ('SYN_SENT', 'SYN_RECV', 'TIME_WAIT')
        AND ({there})
    GROUP BY ALL
), readings AS (
    SELECT host, recording, socket_id, segs_out, total_retrans, read_at, NULL::VARCHAR AS peer,
        NULL::TIMESTAMPTZ AS opened
    FROM activity SEMI JOIN who USING (host, recording, socket_id)
    WHERE segs_out IS NOT NULL AND total_retrans IS NOT NULL AND {read}
    UNION ALL
    SELECT host, recording, socket_id, segs_out, total_retrans, not_after, remote_address, opened_at
    FROM base.events e
    WHERE kind = 'closed' AND protocol = 'tcp' AND segs_out > 0 AND {established} AND {ended} AND ({there})
), counted AS (
    SELECT host, recording, socket_id, max(segs_out) AS segments, max(total_retrans) AS again,
        min(segs_out) AS segments_before, min(total_retrans) AS again_before, any_value(peer) AS peer,
        min(opened) AS opened,
        CASE WHEN min(total_retrans) = 0 THEN min(read_at) FILTER (total_retrans > 0)
            ELSE arg_max(read_at, total_retrans) END AS since,
        CASE WHEN min(total_retrans) = 0 THEN max(read_at) FILTER (total_retrans = 0)
            ELSE arg_min(read_at, total_retrans) END AS clean
    FROM readings GROUP BY ALL
), rises AS (
    SELECT host, replace(coalesce(c.peer, w.peer), '::ffff:', '') AS peer, c.since,
        coalesce(c.clean, c.opened, w.opened) AS clean,
        coalesce(c.opened, w.opened) >= {first} AS whole,
        c.segments - CASE WHEN whole THEN 0 ELSE c.segments_before END AS segments,
        c.again - CASE WHEN whole THEN 0 ELSE c.again_before END AS again
    FROM counted c LEFT JOIN who w USING (host, recording, socket_id)
    WHERE c.peer IS NOT NULL OR w.peer IS NOT NULL
), peers AS (
    SELECT host, peer, nullif(regexp_extract(peer, '^(\\d+\\.\\d+\\.\\d+)\\.\\d+$', 1), '') AS net,
        sum(segments) AS segments, sum(again) AS again, count(*) AS connections,
        count(*) FILTER (again > 0) AS hurt, min(since) FILTER (again > 0) AS not_after,
        arg_min_null(clean, since) FILTER (again > 0) AS not_before
    FROM rises GROUP BY host, peer
), losing AS (
    SELECT * FROM peers WHERE again > 0 AND again * 100 >= {share} * segments
), networks AS (
    SELECT host, net, sum(segments) AS segments, sum(again) AS again,
        sum(connections)::BIGINT AS connections, sum(hurt)::BIGINT AS hurt,
        arg_min_null(not_before, not_after) AS not_before, min(not_after) AS not_after, count(*) AS peers
    FROM losing WHERE net IS NOT NULL GROUP BY host, net HAVING count(*) >= {peers} AND sum(again) >= {least}
)
SELECT host, net || '.0/24' AS place, net, segments, again, connections, hurt, not_before, not_after, peers
FROM networks
UNION ALL BY NAME
SELECT * EXCLUDE (peer), peer AS place, 1 AS peers FROM losing ANTI JOIN networks USING (host, net)
WHERE again >= {least}
ORDER BY again DESC, host, place
"""


def find(asked: Asked) -> Iterator[Finding]:
    """Find each peer to which at least `segments`, and `share` of all sent to it, had to be sent again.

    The path loses packets: a bad link, a full queue on the way, or one that drops what is too large. Where
    three peers of one IPv4 network (/24) or more lose that share, the network is told instead of them.
    """
    read = asked.within("read_at", "read_at")
    if not asked.any(f"activity WHERE total_retrans > 0 AND {read}", "base.events WHERE total_retrans > 0"):
        return
    hurt = asked.rows(
        _HURT.format(
            read=read,
            ended=asked.within("not_before", "not_after"),
            least=asked.threshold("retransmissions", _SEGMENTS),
        )
    )
    if not hurt:
        return
    sql = _AGAIN.format(
        there=" OR ".join(_there(row["place"]) for row in hurt) if len(hurt) <= _MOST_PLACES else "true",
        read=read,
        ended=asked.within("not_before", "not_after"),
        established=ESTABLISHED.format("e"),
        first=asked.first,
        share=asked.threshold("retransmissions", _SHARE),
        least=asked.threshold("retransmissions", _SEGMENTS),
        peers=_PEERS,
    )
    for row in asked.rows(sql):
        yield _finding(row)


def _there(place: str) -> str:
    """Return the condition that an event's or a socket's peer is in a network, or is that one."""
    if ":" in place:
        return f"remote_address = {literal(place)}"
    return " OR ".join(f"starts_with(remote_address, {literal(each)})" for each in (place, f"::ffff:{place}"))


def _finding(row: Row) -> Finding:
    place = row["place"]
    share = row["again"] / max(1, row["segments"])
    several = f" ({row['peers']} peers)" if row["peers"] > 1 else ""
    which = (
        f"replace(remote_address, '::ffff:', '') LIKE {literal(row['net'] + '.%')}"
        if row["peers"] > 1
        else f"replace(remote_address, '::ffff:', '') = {literal(place)}"
    )
    return Finding(
        kind="retransmissions",
        severity="warning",
        title=f"the path to {place} loses packets",
        text=(
            f"{row['again']:,} of {row['segments']:,} segments to {place}{several} had to be sent again"
            f" ({share:.1%}), on {row['hurt']:,} of {count(row['connections'], 'connection')}."
        ),
        not_before=row["not_before"],
        not_after=row["not_after"],
        host=row["host"],
        subject=place,
        numbers={
            "sent_again": row["again"],
            "segments": row["segments"],
            "share": round(share, 4),
            "connections": row["connections"],
            "peers": row["peers"],
        },
        look="sockrec top --by retrans; sockrec rates --counter Tcp.RetransSegs",
        sql=(
            "SELECT total_retrans, segs_out, remote_address, remote_port, local_port, opened_not_after,"
            f" last_seen, how, program FROM connections WHERE total_retrans > 0 AND {which}"
            " ORDER BY total_retrans DESC"
        ),
    )


KIND: Final = Kind("retransmissions", find, (_SEGMENTS, _SHARE))
