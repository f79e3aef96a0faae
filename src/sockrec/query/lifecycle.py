"""The states that TCP connections went through, with times: of one socket, or of all on a port put together.

A connection's beginning, its handshake and its end are told by events where there are any; the states in
between are those that samples found. A state in which no sample fell is there only where an event told when
it began, as the state before it was left. It is named where RFC 9293 leaves no choice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sockrec.catalog.connections import role
from sockrec.catalog.sources import literal

if TYPE_CHECKING:
    import duckdb

    from sockrec.catalog import Catalog

STEP_COLUMNS: Final = (
    "host",
    "socket_id",
    "protocol",
    "local_address",
    "local_port",
    "remote_address",
    "remote_port",
    "role",
    "pid",
    "program",
    "state",
    "not_before",
    "not_after",
    "evidence",
    "how",
)
TRANSITION_COLUMNS: Final = (
    "role",
    "state",
    "next_state",
    "how",
    "connections",
    "shortest_us",
    "median_us",
    "longest_us",
)
CLOSED: Final = "CLOSED"
"""What stands for the end of a connection: the kernel's CLOSE, of which nothing is left to be read."""

# In the order in which RFC 9293 (3.3.2) has them, for states that one reading found together.
_ORDER: Final = (
    "['SYN_SENT', 'SYN_RECV', 'ESTABLISHED', 'FIN_WAIT1', 'FIN_WAIT2', 'CLOSE_WAIT', 'CLOSING', 'LAST_ACK',"
    f" '{CLOSED}', 'TIME_WAIT']"
)
# A connection is in each state once. Where samples and events know of the same one, events know better.
_STEPS: Final = f"""chosen AS (
    SELECT c.*, {role("c")} AS role FROM base.connection_spans c
    LEFT JOIN base.listened l ON l.host = c.host AND l.netns = c.netns AND l.local_port = c.local_port
    WHERE {{where}}
), seen AS (
    SELECT c.life, s.*
    FROM chosen c JOIN base.runs r ON r.host = c.host AND r.life = c.life
    JOIN main.sockets s ON s.host = c.host AND s.recording = r.recording AND s.socket_id = c.socket_id
        AND s.local_port = c.local_port AND s.remote_port <> 0
    WHERE s.state <> 'CLOSE'
), sampled AS (
    SELECT host, life, socket_id, local_port, state,
        CASE WHEN arg_min(begun_as, first_seen) NOT IN ('found', 'carried')
            THEN arg_min(begun_after, first_seen) END AS not_before,
        min(first_seen) AS not_after, arg_min(begun_evidence, first_seen) AS evidence
    FROM seen GROUP BY ALL
), departed AS (
    SELECT DISTINCT host, life, socket_id, local_port, ended_by AS moment
    FROM seen WHERE state <> 'TIME_WAIT' AND ended_evidence = 'event' AND last_seen = ended_by
), told AS (
    SELECT c.host, c.life, c.socket_id, c.local_port, e.role, e.opened_at, e.established_at
    FROM chosen c JOIN base.runs r ON r.host = c.host AND r.life = c.life
    JOIN base.events e ON e.host = c.host AND e.recording = r.recording AND e.socket_id = c.socket_id
        AND e.local_port = c.local_port
    WHERE e.kind = 'closed' AND e.protocol = 'tcp'
), exact AS (
    SELECT host, life, socket_id, local_port, if(role = 'client', 'SYN_SENT', 'SYN_RECV') AS state,
        opened_at AS moment
    FROM told WHERE opened_at IS NOT NULL AND role IS NOT NULL
    UNION ALL
    SELECT host, life, socket_id, local_port, 'ESTABLISHED', established_at
    FROM told WHERE established_at IS NOT NULL
), step AS (
    SELECT host, life, socket_id, local_port, state, coalesce(e.moment, s.not_before) AS not_before,
        coalesce(e.moment, s.not_after) AS not_after, if(e.moment IS NULL, s.evidence, 'event') AS evidence
    FROM sampled s FULL JOIN exact e USING (host, life, socket_id, local_port, state)
    UNION ALL BY NAME
    SELECT host, life, socket_id, local_port, '{CLOSED}' AS state, closed_not_before AS not_before,
        closed_not_after AS not_after, closed_evidence AS evidence
    FROM chosen WHERE closed_not_after IS NOT NULL
), named AS (
    FROM step
    UNION ALL BY NAME
    SELECT l.host, l.life, l.socket_id, l.local_port, NULL AS state, l.moment AS not_before,
        l.moment AS not_after, 'event' AS evidence
    FROM departed l ANTI JOIN step t ON t.host = l.host AND t.life = l.life AND t.socket_id = l.socket_id
        AND t.local_port = l.local_port
        AND l.moment BETWEEN coalesce(t.not_before, t.not_after) AND t.not_after
), placed AS (
    SELECT c.host, c.life, c.socket_id, c.protocol, c.local_address, c.local_port, c.remote_address,
        c.remote_port, c.role, c.pid, c.program, t.state, t.not_before, t.not_after, t.evidence,
        if(t.state = '{CLOSED}', c.how, NULL) AS how
    FROM named t JOIN chosen c USING (host, life, socket_id, local_port)
    -- What waits in TIME_WAIT is closed: the kernel keeps its place for a minute.
    WHERE t.state IS DISTINCT FROM 'TIME_WAIT'
), steps AS (
    SELECT * REPLACE (CASE WHEN state IS NOT NULL THEN state
            WHEN lag(state) OVER life_ = 'CLOSE_WAIT' THEN 'LAST_ACK'
            WHEN lead(state) OVER life_ = 'LAST_ACK' THEN 'CLOSE_WAIT'
            WHEN lead(state) OVER life_ IN ('FIN_WAIT2', 'CLOSING') THEN 'FIN_WAIT1' END AS state),
        lead(not_after) OVER life_ AS left_by, row_number() OVER life_ AS number
    FROM placed
    WINDOW life_ AS (PARTITION BY host, life, socket_id, local_port
        ORDER BY coalesce(not_before, not_after), not_after, list_position({_ORDER}, state))
)"""


def of_socket(catalog: Catalog, socket_id: int, host: str | None = None) -> duckdb.DuckDBPyRelation:
    """Return the steps of a socket's life, oldest first, with the columns `STEP_COLUMNS`.

    Each state was entered between `not_before` (null: it was found so) and `not_after`. A null `state` is
    one, or several, in which no sample fell. `CLOSED` is the end, and says `how`. No rows if no TCP
    connection has that socket_id; those of several boots may have it.
    """
    steps = _STEPS.format(where=f"c.socket_id = {socket_id} AND {_on(host)}")
    return catalog.relation(
        f"WITH {steps} SELECT {', '.join(STEP_COLUMNS)} FROM steps ORDER BY host, life, local_port, number"
    )


def of_port(catalog: Catalog, port: int, host: str | None = None) -> duckdb.DuckDBPyRelation:
    """Return how connections of a port went from state to state, with the columns `TRANSITION_COLUMNS`.

    `next_state` is null for those that were in `state` to the end of what was recorded. How long they were in
    it is told by the moments at which states were first found, or left; null where that is not known.
    """
    steps = _STEPS.format(where=f"{port} IN (c.local_port, c.remote_port) AND {_on(host)}")
    return catalog.relation(
        f"""WITH {steps}, followed AS (
    SELECT *, lead(state) OVER life_ AS next_state, lead(how) OVER life_ AS ended
    FROM steps WHERE state IS NOT NULL
    WINDOW life_ AS (PARTITION BY host, life, socket_id, local_port ORDER BY number)
), timed AS (
    SELECT role, state, next_state, ended AS how, list_position({_ORDER}, state) AS place,
        if(not_before IS NULL, NULL, epoch_us(left_by) - epoch_us(not_after)) AS took
    FROM followed WHERE state <> '{CLOSED}'
)
SELECT role, state, next_state, how, count(*) AS connections, min(took)::BIGINT AS shortest_us,
    median(took)::BIGINT AS median_us, max(took)::BIGINT AS longest_us
FROM timed GROUP BY role, state, next_state, how, place
ORDER BY role NULLS LAST, place, connections DESC, next_state NULLS LAST, how"""
    )


def _on(host: str | None) -> str:
    return "true" if host is None else f"c.host = {literal(host)}"
