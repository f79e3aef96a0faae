"""The whole story of a port: who listened from when to when, what came between, how busy it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sockrec.catalog.sources import literal
from sockrec.query import words

if TYPE_CHECKING:
    import duckdb

    from sockrec.catalog import Catalog

COLUMNS: Final = (
    "host",
    "at_not_before",
    "at_not_after",
    "what",
    "protocol",
    "address",
    "port",
    "pid",
    "program",
    "evidence",
    "detail",
    "cause",
    "connections",
    "peak_connections",
    "peak_waiting",
    "backlog_limit",
    "again_not_before",
    "again_not_after",
    "again_pid",
    "again_program",
)


def port(catalog: Catalog, number: int, protocol: str | None = None) -> duckdb.DuckDBPyRelation:
    """Return the story of a port in order of time, with the columns `COLUMNS`; no rows if nobody listened.

    `what` is `started listening`, `was listening already` (when recording began), `stopped listening`,
    `still listening` (when last seen) or `gap`. The two kinds of row that close a period carry its
    numbers: connections accepted, the most at once, the most waiting for accept and the backlog limit,
    and the next listening on the same address, if there was one. `cause` says in words why it stopped
    (`sockrec.query.words`), null where that is not known.
    """
    where = f"local_port = {number}" + (f" AND protocol = {literal(protocol)}" if protocol else "")
    return catalog.relation(_STORY.format(where=where, port=number))


# An accepted socket has its listener's family. Connections were there at once if one sample saw them all:
# each lasts to the end of the last sample that saw it, or up to its end where an event told that. Those
# that begin, or end, together are counted before they are put in order: a sample may bring thousands.
_STORY: Final = f"""
WITH period AS (
    SELECT *, row_number() OVER (ORDER BY host, protocol, local_address, began_not_after, socket_id) AS n
    FROM listeners WHERE {{where}}
), accepted AS (
    SELECT p.n, p.host, c.opened_not_after AS opened, c.open_until AS closed, c.told
    FROM period p JOIN base.connection_spans c
        ON c.host = p.host AND c.netns = p.netns AND c.family = p.family AND c.local_port = p.local_port
    WHERE p.protocol = 'tcp' AND c.local_port = {{port}}
        AND p.local_address IN (c.local_address, '0.0.0.0', '::')
        AND c.opened_not_after >= coalesce(p.began_not_before, p.began_not_after)
        AND c.opened_not_after <= coalesce(p.ended_not_after, p.last_seen + INTERVAL 1 SECOND)
        AND NOT c.connecting
), seen AS (
    SELECT n, opened, closed FROM accepted WHERE told
    UNION ALL
    SELECT a.n, a.opened, greatest(a.closed, s.ended_at)
    FROM accepted a ASOF JOIN main.samples s ON s.host = a.host AND s.began_at <= a.closed
    WHERE NOT a.told
), moves AS (
    SELECT n, opened AS moment, 1 AS side, count(*) AS step FROM seen WHERE closed >= opened GROUP BY ALL
    UNION ALL
    SELECT n, closed, -1, -count(*) FROM seen WHERE closed >= opened GROUP BY ALL
), levels AS (
    SELECT n, sum(step) OVER (PARTITION BY n ORDER BY moment, side DESC ROWS UNBOUNDED PRECEDING) AS open
    FROM moves
), busy AS (
    SELECT n, max(open)::BIGINT AS peak FROM levels GROUP BY n
), counted AS (
    SELECT n, count(*) AS connections FROM accepted GROUP BY n
), queue AS (
    SELECT p.n, max(a.recv_q) AS waiting, max(a.backlog_limit) AS backlog
    FROM period p JOIN activity a ON a.host = p.host AND a.socket_id = p.socket_id
        AND a.read_at >= coalesce(p.began_not_before, p.began_not_after)
        AND a.read_at <= coalesce(p.ended_not_after, p.last_seen)
    WHERE p.protocol = 'tcp'
    GROUP BY p.n
), begun AS (
    SELECT host, began_not_before AS at_not_before, began_not_after AS at_not_after,
        CASE begun_as WHEN 'found' THEN 'was listening already' ELSE 'started listening' END AS what,
        protocol, local_address AS address, local_port AS port, coalesce(first_pid, pid) AS pid,
        coalesce(first_program, program) AS program, begun_evidence AS evidence,
        CASE begun_as WHEN 'gap' THEN 'in a gap of the recording'
            WHEN 'found' THEN 'when recording began' END AS detail,
        NULL::VARCHAR AS cause, n, 1 AS side
    FROM period
), ended AS (
    SELECT host, coalesce(ended_not_before, last_seen) AS at_not_before,
        CASE WHEN ended_not_after IS NULL THEN last_seen ELSE ended_not_after END AS at_not_after,
        CASE WHEN ended_not_after IS NULL THEN 'still listening' ELSE 'stopped listening' END AS what,
        protocol, local_address AS address, local_port AS port, pid, program,
        coalesce(ended_evidence, 'sample') AS evidence,
        CASE ended_as WHEN 'gap' THEN 'in a gap of the recording'
            WHEN 'stopped' THEN 'when recording stopped' END AS detail,
        {words.listener_cause()} AS cause, n, 2 AS side
    FROM period
), known AS (
    SELECT host, min(coalesce(began_not_before, began_not_after)) AS first,
        max(coalesce(ended_not_after, last_seen)) AS last
    FROM period GROUP BY host
), story AS (
    SELECT * FROM begun UNION ALL SELECT * FROM ended
    UNION ALL
    SELECT g.host, g.not_before, g.not_after, 'gap', NULL, NULL, NULL, NULL, NULL, NULL, g.why, NULL, NULL, 1
    FROM gaps g JOIN known k ON k.host = g.host AND g.not_after >= k.first AND g.not_before <= k.last
)
SELECT s.host, s.at_not_before, s.at_not_after, s.what, s.protocol, s.address, s.port, s.pid, s.program,
    s.evidence, s.detail, s.cause,
    CASE WHEN s.side = 2 AND s.protocol = 'tcp' THEN coalesce(c.connections, 0) END AS connections,
    CASE WHEN s.side = 2 AND s.protocol = 'tcp' THEN coalesce(b.peak, 0) END AS peak_connections,
    CASE WHEN s.side = 2 THEN q.waiting END AS peak_waiting,
    CASE WHEN s.side = 2 THEN q.backlog END AS backlog_limit,
    CASE WHEN s.side = 2 THEN p.again_not_before END AS again_not_before,
    CASE WHEN s.side = 2 THEN p.again_not_after END AS again_not_after,
    CASE WHEN s.side = 2 THEN p.again_pid END AS again_pid,
    CASE WHEN s.side = 2 THEN p.again_program END AS again_program
FROM story s LEFT JOIN period p ON p.n = s.n LEFT JOIN counted c ON c.n = s.n LEFT JOIN busy b ON b.n = s.n
    LEFT JOIN queue q ON q.n = s.n
ORDER BY coalesce(s.at_not_before, s.at_not_after), s.at_not_after, s.host, s.protocol, s.address,
    s.side, s.pid
"""
