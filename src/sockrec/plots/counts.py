"""SQL of what is counted over time: changes of a level at a moment, and events in an interval."""

from __future__ import annotations

from typing import Final

from sockrec.model.programs import known_as_sql

_EXACT: Final = "coalesce(s.ended_evidence = 'event' AND s.last_seen = s.ended_by, false)"
# Sockets are counted in samples: a row counts from the first sample that holds it on, until the
# first that does not (`sockrec.catalog.moments.held`): one that ended exactly is gone from the sample that it
# ended in. A row cut by a segment's edge begins in the sample after the cut.
_LEVELS: Final = """
WITH moved AS (
    SELECT s.host, s.recording, {of} AS {name}, b.began_at AS moment, 1 AS step
    FROM sockets s ASOF JOIN samples b
        ON b.host = s.host AND b.recording = s.recording AND s.first_seen <= b.ended_at
    WHERE s.begun_as IS DISTINCT FROM 'carried' AND {where}
    UNION ALL
    SELECT s.host, s.recording, {of}, b.began_at, 1
    FROM sockets s ASOF JOIN samples b
        ON b.host = s.host AND b.recording = s.recording AND s.first_seen < b.began_at
    WHERE s.begun_as = 'carried' AND {where}
    UNION ALL
    SELECT s.host, s.recording, {of}, e.began_at, -1
    FROM sockets s ASOF JOIN samples e
        ON e.host = s.host AND e.recording = s.recording AND s.last_seen < e.began_at
    WHERE NOT ({exact}) AND {where}
    UNION ALL
    SELECT s.host, s.recording, {of}, e.began_at, -1
    FROM sockets s ASOF JOIN samples e
        ON e.host = s.host AND e.recording = s.recording AND s.ended_by <= e.ended_at
    WHERE {exact} AND {where}
)
SELECT host, recording, {name}, moment, sum(step) AS step FROM moved GROUP BY ALL HAVING sum(step) <> 0
ORDER BY {name}, host, moment
"""

STATES: Final = _LEVELS.format(of="s.state", name="state", where="{where}", exact=_EXACT)
"""`where` chooses the rows of `sockets`, as `s`."""

# Only of those that are held: what TIME_WAIT leaves behind belongs to no program any more.
PROGRAMS: Final = _LEVELS.format(
    of=f"coalesce({known_as_sql('s.program')}, '?')", name="program", where="s.owner = 'held'", exact=_EXACT
)


def _end(end: str) -> str:
    told = f"{end}_not_after IS NOT NULL AND {end}_as NOT IN ('found', 'stopped')"
    return (
        f"CASE WHEN {told} THEN (epoch_us({end}_not_after) - $first) // $step END AS {end}, "
        f"{told} AND {end}_as = 'gap' AS {end}_in_gap"
    )


# Connections are dear to put together: both their ends are counted as they come.
EVENTS: Final = f"""
WITH ends AS (SELECT {_end("opened")}, {_end("closed")} FROM {{source}} WHERE {{where}})
SELECT CASE WHEN GROUPING(opened) = 0 THEN 'opened' ELSE 'closed' END AS way,
    coalesce(opened, closed) AS place, coalesce(opened_in_gap, closed_in_gap) AS in_gap, count(*) AS n
FROM ends GROUP BY GROUPING SETS ((opened, opened_in_gap), (closed, closed_in_gap))
HAVING coalesce(opened, closed) IS NOT NULL ORDER BY way DESC, place
"""

QUEUES: Final = """
WITH lives AS (
    SELECT host, recording, socket_id, bool_or(state = 'LISTEN') AS accepts, max(last_seen) AS last_seen
    FROM sockets WHERE {where} GROUP BY ALL
), read AS (
    SELECT l.host, l.recording, l.socket_id, l.accepts, l.last_seen, a.read_at, a.backlog_limit,
        coalesce(a.recv_q, 0) AS recv_q, coalesce(a.send_q, 0) AS send_q
    FROM lives l JOIN activity a USING (host, recording, socket_id)
), moved AS (
    SELECT host, recording, accepts, read_at AS moment, recv_q - lag(recv_q, 1, 0) OVER w AS recv_q,
        send_q - lag(send_q, 1, 0) OVER w AS send_q
    FROM read WINDOW w AS (PARTITION BY host, recording, socket_id ORDER BY read_at)
    UNION ALL
    SELECT r.host, r.recording, r.accepts, e.ended_at, -r.recv_q, -r.send_q
    FROM (SELECT host, recording, accepts, any_value(last_seen) AS last_seen,
            arg_max(recv_q, read_at) AS recv_q, arg_max(send_q, read_at) AS send_q
        FROM read GROUP BY host, recording, socket_id, accepts) r
    ASOF JOIN samples e ON e.host = r.host AND e.recording = r.recording AND r.last_seen < e.began_at
)
SELECT host, recording, accepts, moment, sum(recv_q) AS recv_q, sum(send_q) AS send_q,
    (SELECT max(backlog_limit) FROM read WHERE accepts) AS backlog
FROM moved GROUP BY ALL ORDER BY host, moment
"""
