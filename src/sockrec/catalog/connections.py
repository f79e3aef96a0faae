"""SQL of the connections: a TCP socket's rows put together, with its role and last counters."""

from __future__ import annotations

from typing import Final

from sockrec.catalog.periods import began, first_of, last_of

# A TCP connection keeps its cookie from SYN_RECV through TIME_WAIT, and its identity with it: one
# group, no windows. It is closed from TIME_WAIT on, which lasts a minute more and belongs to no one.
_CLOSED = """
    CASE WHEN c.waiting IS NOT NULL THEN c.waiting.begun_after
        WHEN c.last.ended_as IN ('closed', 'changed') OR c.last.after_whole IS NOT NULL THEN c.last.last_seen
        END AS closed_not_before,
    CASE WHEN c.waiting IS NOT NULL THEN c.waiting.first_seen
        WHEN c.last.ended_as IN ('closed', 'changed') THEN c.last.ended_by ELSE c.last.after_whole
        END AS closed_not_after,
    CASE WHEN c.waiting IS NOT NULL OR c.last.ended_as = 'closed' THEN 'closed'
        WHEN c.last.ended_as = 'changed' THEN 'changed'
        WHEN c.last.after_whole IS NOT NULL THEN 'gap'
        WHEN c.last.ended_as IN ('stopped', 'gap') THEN 'stopped' END AS closed_as,
    CASE WHEN c.waiting IS NOT NULL THEN c.waiting.begun_evidence
        WHEN c.last.ended_as IN ('closed', 'changed') THEN c.last.ended_evidence
        WHEN c.last.after_whole IS NOT NULL THEN 'inferred' END AS closed_evidence"""
_ORDER = "(s.first_seen, s.last_seen, s.begun_as = 'carried')"

# The structs are dear: what most questions need (opened_not_after, last_seen, open_until) does without
# them, and DuckDB makes only those aggregates that are read.
SPANS: Final = f"""
CREATE VIEW base.connection_spans AS
WITH seen AS (
    SELECT s.host, runs.life, s.netns, s.family, s.local_address, s.local_port,
        s.remote_address, s.remote_port, s.socket_id,
        arg_min({first_of("s", "runs")}, {_ORDER}) AS first,
        arg_max({last_of("s", "runs")}, {_ORDER}) AS last,
        arg_min({first_of("s")}, {_ORDER}) FILTER (s.state = 'TIME_WAIT') AS waiting,
        arg_min_null(s.begun_after, {_ORDER}) FILTER (s.state = 'TIME_WAIT') AS waiting_after,
        arg_max(s.pid, s.first_seen) AS pid,
        arg_max(s.program, s.first_seen) FILTER (s.pid IS NOT NULL) AS program,
        arg_min(s.pid, s.first_seen) AS first_pid,
        arg_min(s.program, s.first_seen) FILTER (s.pid IS NOT NULL) AS first_program,
        arg_max_null(s.holders, {_ORDER}) AS holders,
        min(s.first_seen) AS first_seen, max(s.last_seen) AS last_seen,
        bool_or(s.state = 'SYN_RECV') AS accepting, bool_or(s.state = 'SYN_SENT') AS connecting,
        bool_or(s.state NOT IN ('SYN_SENT', 'SYN_RECV', 'CLOSE')) AS established
    FROM main.sockets s JOIN base.runs runs ON runs.host = s.host AND runs.recording = s.recording
    WHERE s.protocol = 'tcp' AND s.state <> 'LISTEN' AND s.remote_port <> 0
    GROUP BY s.host, runs.life, s.netns, s.family, s.local_address, s.local_port,
        s.remote_address, s.remote_port, s.socket_id
)
SELECT c.host, c.life, c.netns, c.socket_id, 'tcp' AS protocol, c.family, c.local_address, c.local_port,
    c.remote_address, c.remote_port, c.accepting, c.connecting, c.established, c.first_pid, c.first_program,
    c.pid, c.program, c.holders,{began("c.first", "c.first", "opened", "opened", "c.first_seen")}
    c.last_seen, coalesce(c.waiting_after, c.last_seen) AS open_until,{_CLOSED},
    c.first.state AS first_state, c.last.state AS last_state, c.last.recording AS recording
FROM seen c
"""

# `[::]` takes IPv4 peers too, unless told otherwise; an IPv4 peer of an IPv6 socket is v4-mapped.
_PLAIN = "replace({0}.local_address, '::ffff:', '')"

# For each port, by address: when listening began, the latest first, and the latest end of all begun by
# then. Whether anybody listened is then one look into two lists, without a join by time. No lambda and no
# sum of a time and an interval either: both can fail, and DuckDB lets no filter pass what can.
LISTENED: Final = f"""
CREATE VIEW base.listened AS
WITH period AS (
    SELECT p.host, p.netns, p.local_port, {_PLAIN.format("p")} AS address,
        coalesce(p.began_not_before, p.began_not_after) AS began,
        coalesce(p.ended_not_after, TIMESTAMPTZ 'infinity') AS ended
    FROM base.periods p WHERE p.protocol = 'tcp' AND p.state = 'LISTEN'
), ordered AS (
    SELECT *, max(ended) OVER (
        PARTITION BY host, netns, local_port, address ORDER BY began ROWS UNBOUNDED PRECEDING
    ) AS latest_end
    FROM period
), listed AS (
    SELECT host, netns, local_port, address,
        {{'began': list(began ORDER BY began DESC),
            'latest_end': list(latest_end ORDER BY latest_end DESC)}} AS times
    FROM ordered GROUP BY host, netns, local_port, address
)
SELECT host, netns, local_port, map_from_entries(list((address, times))) AS times
FROM listed GROUP BY host, netns, local_port
"""


def _listened(address: str) -> str:
    """Return the condition that somebody listened on an address of the port when it was opened."""
    began, ended = f"l.times[{address}].began", f"l.times[{address}].latest_end"
    return f"""{ended}[list_position(
                list_reverse_sort(list_append({began}, c.opened_not_after)), c.opened_not_after
            )] >= coalesce(c.opened_not_before, c.opened_not_after)"""


# Counters are asked for each socket (LATERAL), so that only those of the connections asked for are put
# together. Where they were not written they are null, which arg_max passes over.
CONNECTIONS: Final = f"""
CREATE VIEW connections AS
SELECT c.host, c.netns, c.socket_id, c.protocol, c.family, c.local_address, c.local_port, c.remote_address,
    c.remote_port,
    CASE WHEN c.accepting THEN 'server' WHEN c.connecting THEN 'client'
        WHEN {_listened("'::'")}
            OR {_listened(_PLAIN.format("c"))}
            OR ({_PLAIN.format("c")} NOT LIKE '%:%' AND {_listened("'0.0.0.0'")}) THEN 'server'
        WHEN c.opened_as <> 'found' THEN 'client' END AS role,
    c.established, c.first_pid, c.first_program, c.pid, c.program, c.holders,
    c.opened_not_before, c.opened_not_after, c.opened_as, c.opened_evidence, c.last_seen,
    c.closed_not_before, c.closed_not_after, c.closed_as, c.closed_evidence, c.last_state,
    a.bytes_sent, a.bytes_received, a.total_retrans, a.rtt_us, c.recording
FROM base.connection_spans c
LEFT JOIN base.listened l ON l.host = c.host AND l.netns = c.netns AND l.local_port = c.local_port
LEFT JOIN LATERAL (
    SELECT arg_max(a.bytes_sent, a.read_at) AS bytes_sent,
        arg_max(a.bytes_received, a.read_at) AS bytes_received,
        arg_max(a.total_retrans, a.read_at) AS total_retrans,
        arg_max(a.rtt_us, a.read_at) AS rtt_us
    FROM main.activity a JOIN base.runs runs ON runs.host = a.host AND runs.recording = a.recording
    WHERE runs.life = c.life AND a.socket_id = c.socket_id
) a ON true
"""
