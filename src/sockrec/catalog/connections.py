"""SQL of the connections: a TCP socket's rows put together, with its role and last counters."""

from __future__ import annotations

from typing import Final

from sockrec.catalog.periods import began, first_of, last_of

# A TCP connection keeps its cookie from SYN_RECV through TIME_WAIT, and its identity with it: one
# group, no windows. It is closed from TIME_WAIT on, which lasts a minute more and belongs to no one.
_CLOSED = """
    CASE WHEN c.waiting IS NOT NULL THEN c.waiting.begun_after
        WHEN c.last.ended_as IN ('closed', 'changed') OR l.after_whole IS NOT NULL THEN c.last.last_seen
        END AS closed_not_before,
    CASE WHEN c.waiting IS NOT NULL THEN c.waiting.first_seen
        WHEN c.last.ended_as IN ('closed', 'changed') THEN c.last.ended_by ELSE l.after_whole
        END AS closed_not_after,
    CASE WHEN c.waiting IS NOT NULL OR c.last.ended_as = 'closed' THEN 'closed'
        WHEN c.last.ended_as = 'changed' THEN 'changed'
        WHEN l.after_whole IS NOT NULL THEN 'gap'
        WHEN c.last.ended_as IN ('stopped', 'gap') THEN 'stopped' END AS closed_as,
    CASE WHEN c.waiting IS NOT NULL THEN c.waiting.begun_evidence
        WHEN c.last.ended_as IN ('closed', 'changed') THEN c.last.ended_evidence
        WHEN l.after_whole IS NOT NULL THEN 'inferred' END AS closed_evidence"""

SPANS: Final = f"""
CREATE VIEW base.connection_spans AS
WITH seen AS (
    SELECT s.host, runs.boot, s.netns, s.family, s.local_address, s.local_port,
        s.remote_address, s.remote_port, s.socket_id,
        arg_min({first_of("s")}, (s.first_seen, s.last_seen, s.begun_as = 'carried')) AS first,
        arg_max({last_of("s")}, (s.first_seen, s.last_seen, s.begun_as = 'carried')) AS last,
        arg_min({first_of("s")}, (s.first_seen, s.last_seen, s.begun_as = 'carried'))
            FILTER (s.state = 'TIME_WAIT') AS waiting,
        arg_max(s.pid, s.first_seen) AS pid,
        arg_max(s.program, s.first_seen) FILTER (s.pid IS NOT NULL) AS program,
        arg_min(s.pid, s.first_seen) AS first_pid,
        arg_min(s.program, s.first_seen) FILTER (s.pid IS NOT NULL) AS first_program,
        arg_max_null(s.holders, (s.first_seen, s.last_seen, s.begun_as = 'carried')) AS holders,
        max(s.last_seen) AS last_seen,
        bool_or(s.state = 'SYN_RECV') AS accepting, bool_or(s.state = 'SYN_SENT') AS connecting,
        bool_or(s.state NOT IN ('SYN_SENT', 'SYN_RECV', 'CLOSE')) AS established
    FROM main.sockets s JOIN base.runs runs ON runs.host = s.host AND runs.recording = s.recording
    WHERE s.protocol = 'tcp' AND s.state <> 'LISTEN' AND s.remote_port <> 0
    GROUP BY s.host, runs.boot, s.netns, s.family, s.local_address, s.local_port,
        s.remote_address, s.remote_port, s.socket_id
)
SELECT c.host, c.boot, c.netns, c.socket_id, 'tcp' AS protocol, c.family, c.local_address, c.local_port,
    c.remote_address, c.remote_port, c.accepting, c.connecting, c.established, c.first_pid, c.first_program,
    c.pid, c.program, c.holders,{began("c.first", "f", "opened", "opened")}
    c.last_seen,{_CLOSED},
    c.first.state AS first_state, c.last.state AS last_state, c.last.recording AS recording
FROM seen c
JOIN base.runs f ON f.host = c.host AND f.recording = c.first.recording
JOIN base.runs l ON l.host = c.host AND l.recording = c.last.recording
"""

# `[::]` takes IPv4 peers too, unless told otherwise; an IPv4 peer of an IPv6 socket is v4-mapped.
_PLAIN = "replace({0}.local_address, '::ffff:', '')"
CONNECTIONS: Final = f"""
CREATE VIEW connections AS
WITH served AS (
    SELECT DISTINCT c.host, c.boot, c.netns, c.local_port, c.socket_id
    FROM base.connection_spans c JOIN base.periods p
        ON p.host = c.host AND p.netns = c.netns AND p.local_port = c.local_port
    WHERE p.protocol = 'tcp' AND p.state = 'LISTEN'
        AND (p.local_address = '::' OR {_PLAIN.format("p")} = {_PLAIN.format("c")}
            OR ({_PLAIN.format("p")} = '0.0.0.0' AND {_PLAIN.format("c")} NOT LIKE '%:%'))
        AND coalesce(p.began_not_before, p.began_not_after) <= c.opened_not_after
        AND (p.ended_not_after IS NULL
            OR p.ended_not_after >= coalesce(c.opened_not_before, c.opened_not_after))
), latest AS (
    SELECT a.host, runs.boot, a.socket_id,
        arg_max(a.bytes_sent, a.read_at) AS bytes_sent,
        arg_max(a.bytes_received, a.read_at) AS bytes_received,
        arg_max(a.total_retrans, a.read_at) AS total_retrans,
        arg_max(a.rtt_us, a.read_at) AS rtt_us
    FROM activity a JOIN base.runs runs ON runs.host = a.host AND runs.recording = a.recording
    GROUP BY a.host, runs.boot, a.socket_id
)
SELECT c.host, c.netns, c.socket_id, c.protocol, c.family, c.local_address, c.local_port, c.remote_address,
    c.remote_port,
    CASE WHEN c.accepting THEN 'server' WHEN c.connecting THEN 'client'
        WHEN served.socket_id IS NOT NULL THEN 'server'
        WHEN c.opened_as <> 'found' THEN 'client' END AS role,
    c.established, c.first_pid, c.first_program, c.pid, c.program, c.holders,
    c.opened_not_before, c.opened_not_after, c.opened_as, c.opened_evidence, c.last_seen,
    c.closed_not_before, c.closed_not_after, c.closed_as, c.closed_evidence, c.last_state,
    a.bytes_sent, a.bytes_received, a.total_retrans, a.rtt_us, c.recording
FROM base.connection_spans c
LEFT JOIN served ON served.host = c.host AND served.boot = c.boot AND served.netns = c.netns
    AND served.local_port = c.local_port AND served.socket_id = c.socket_id
LEFT JOIN latest a ON a.host = c.host AND a.boot = c.boot AND a.socket_id = c.socket_id
"""
