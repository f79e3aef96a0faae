"""SQL of the connections: a TCP socket's rows put together, with its role, its end and last counters."""

from __future__ import annotations

from typing import Final

from sockrec.catalog.periods import began, first_of, last_of

# A TCP connection keeps its cookie from SYN_RECV through TIME_WAIT, and its identity with it: one
# group, no windows. It is closed from TIME_WAIT on, which lasts a minute more and belongs to no one. A first
# row of that which a cut began tells nothing of its beginning: the part before was removed, or is damaged.
_CLOSED = """
    CASE WHEN c.waiting.begun_as = 'carried' THEN NULL
        WHEN c.waiting IS NOT NULL THEN c.waiting.begun_after
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
COUNTERS: Final = ("bytes_sent", "bytes_received", "segs_out", "segs_in", "total_retrans", "rtt_us")

# What the kernel keeps for a while of a connection that no sample saw alive (TIME_WAIT, FIN_WAIT2) has a
# cookie of its own: an event tells of the connection.
REMNANT: Final = "({0}.begun_as = 'opened' AND {0}.begun_evidence = 'inferred')"
# Where its beginning was not seen, bytes that went through tell. The SYN counts as one when acknowledged.
ESTABLISHED: Final = (
    "({0}.established_at IS NOT NULL"
    " OR ({0}.opened_at IS NULL AND coalesce({0}.bytes_acked, 0) + coalesce({0}.bytes_received, 0) > 0))"
)

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
        bool_and(s.state = 'SYN_RECV') AND bool_or(s.ended_as = 'closed') AS requested,
        bool_and(s.state = 'TIME_WAIT' OR (s.state = 'FIN_WAIT2' AND s.inode = 0)) AS only_left,
        bool_or(s.state = 'SYN_RECV') AS accepting, bool_or(s.state = 'SYN_SENT') AS connecting,
        bool_or(s.state NOT IN ('SYN_SENT', 'SYN_RECV', 'CLOSE')) AS established
    FROM main.sockets s JOIN base.runs runs ON runs.host = s.host AND runs.recording = s.recording
    WHERE s.protocol = 'tcp' AND s.state <> 'LISTEN' AND s.remote_port <> 0
    GROUP BY s.host, runs.life, s.netns, s.family, s.local_address, s.local_port,
        s.remote_address, s.remote_port, s.socket_id
), sampled AS (
SELECT c.host, c.life, c.netns, c.socket_id, 'tcp' AS protocol, c.family, c.local_address, c.local_port,
    c.remote_address, c.remote_port, c.requested, c.only_left, c.accepting, c.connecting, c.established,
    c.first_pid, c.first_program,
    c.pid, c.program, c.holders,{began("c.first", "c.first", "opened", "opened", "c.first_seen")}
    c.last_seen, coalesce(c.waiting_after, c.last_seen) AS open_until,{_CLOSED},
    c.first.state AS first_state, c.last.state AS last_state, c.last.recording AS recording
FROM seen c
), told AS (
    SELECT e.*, runs.life
    FROM base.events e JOIN base.runs runs ON runs.host = e.host AND runs.recording = e.recording
    WHERE e.kind = 'closed' AND e.protocol = 'tcp'
)
SELECT c.* EXCLUDE (requested, only_left) REPLACE (
        coalesce(e.role = 'server', c.accepting) AS accepting,
        coalesce(e.role = 'client', c.connecting) AS connecting,
        c.established OR e.established_at IS NOT NULL AS established,
        coalesce(e.pid, c.pid) AS pid,
        CASE WHEN e.pid IS NULL THEN c.program ELSE e.program END AS program,
        coalesce(e.opened_at, c.opened_not_before) AS opened_not_before,
        coalesce(e.opened_at, c.opened_not_after) AS opened_not_after,
        CASE WHEN e.opened_at IS NULL THEN c.opened_as ELSE 'opened' END AS opened_as,
        CASE WHEN e.opened_at IS NULL THEN c.opened_evidence ELSE 'event' END AS opened_evidence,
        coalesce(e.not_before, c.open_until) AS open_until,
        CASE WHEN e.not_after IS NULL THEN c.closed_not_before ELSE e.not_before END AS closed_not_before,
        coalesce(e.not_after, c.closed_not_after) AS closed_not_after,
        CASE WHEN e.not_after IS NULL THEN c.closed_as ELSE 'closed' END AS closed_as,
        CASE WHEN e.not_after IS NULL THEN c.closed_evidence ELSE e.evidence END AS closed_evidence
    ),
    coalesce(e.owner_evidence, CASE WHEN c.pid IS NOT NULL THEN 'sample' END) AS owner_evidence,
    e.not_after IS NOT NULL AS told, e.cause AS how, {", ".join(f"e.{name}" for name in COUNTERS)}
FROM sampled c
LEFT JOIN told e ON e.host = c.host AND e.life = c.life AND e.socket_id = c.socket_id
    AND e.local_port = c.local_port
WHERE NOT (c.opened_as = 'opened' AND c.opened_evidence = 'inferred')
    AND NOT (c.only_left AND e.sampled IS NOT DISTINCT FROM false)  -- told by the recording before
    AND NOT (c.requested AND e.kind IS NULL)  -- what it became has a cookie of its own, or it came to nothing
UNION ALL BY NAME
SELECT u.host, u.life, u.netns, u.socket_id, u.protocol, u.family, u.local_address, u.local_port,
    u.remote_address, u.remote_port, u.role = 'server' AS accepting, u.role = 'client' AS connecting,
    {ESTABLISHED.format("u")} AS established,
    u.pid AS first_pid, u.program AS first_program, u.pid, u.program,
    CASE WHEN u.pid IS NULL THEN [] ELSE [u.pid] END AS holders,
    u.began_not_before AS opened_not_before, u.began_not_after AS opened_not_after,
    u.begun_as AS opened_as, u.begun_evidence AS opened_evidence,
    u.not_before AS last_seen, u.not_before AS open_until, u.not_before AS closed_not_before,
    u.not_after AS closed_not_after, 'closed' AS closed_as, u.evidence AS closed_evidence,
    NULL::VARCHAR AS first_state, NULL::VARCHAR AS last_state, u.recording, u.owner_evidence, true AS told,
    u.cause AS how, {", ".join(f"u.{name}" for name in COUNTERS)}
FROM base.unsampled u WHERE u.kind = 'closed' AND u.protocol = 'tcp'
"""

# `[::]` takes IPv4 peers too, unless told otherwise; an IPv4 peer of an IPv6 socket is v4-mapped.
PLAIN = "replace({0}.local_address, '::ffff:', '')"


# For each port, by address: when listening began, the latest first, and the latest end of all begun by
# then. Whether anybody listened is then one look into two lists, without a join by time. No lambda and no
# sum of a time and an interval either: both can fail, and DuckDB lets no filter pass what can.
def listened(period: str) -> str:
    """Return the SELECT of who listened when.

    `period` is the SELECT of single periods: host, netns, local_port, address, began, ended.
    """
    return f"""
WITH period AS ({period}), ordered AS (
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


_PERIOD: Final = f"""
    SELECT p.host, p.netns, p.local_port, {PLAIN.format("p")} AS address,
        coalesce(p.began_not_before, p.began_not_after) AS began,
        coalesce(p.ended_not_after, TIMESTAMPTZ 'infinity') AS ended
    FROM base.listening p WHERE p.protocol = 'tcp'
"""
LISTENED: Final = f"CREATE VIEW base.listened AS {listened(_PERIOD)}"


def _listened(address: str, first: str, last: str) -> str:
    """Return the condition that somebody listened on an address of the port between two moments."""
    began, ended = f"l.times[{address}].began", f"l.times[{address}].latest_end"
    return f"""{ended}[list_position(list_reverse_sort(list_append({began}, {last})), {last})]
            >= coalesce({first}, {last})"""


def accepted(row: str, first: str, last: str) -> str:
    """Return the condition that a row's socket was accepted: somebody listened on its address and port.

    `row` is joined with `base.listened l`; the socket was opened between `first` and `last`.
    """
    plain = PLAIN.format(row)
    return f"""({_listened("'::'", first, last)}
            OR {_listened(plain, first, last)}
            OR ({plain} NOT LIKE '%:%' AND {_listened("'0.0.0.0'", first, last)}))"""


def role(row: str) -> str:
    """Return at which end of its connection a row of `base.connection_spans` stands; null if unknown.

    `row` is joined with `base.listened l`. What was not there when recording began, and nobody could have
    accepted, was connected from here.
    """
    return f"""CASE WHEN {row}.accepting THEN 'server' WHEN {row}.connecting THEN 'client'
        WHEN {accepted(row, f"{row}.opened_not_before", f"{row}.opened_not_after")} THEN 'server'
        WHEN {row}.opened_as <> 'found' THEN 'client' END"""


# Counters are asked for each socket (LATERAL), so that only those of the connections asked for are put
# together. Where they were not written they are null, which arg_max passes over.
CONNECTIONS: Final = f"""
CREATE VIEW connections AS
SELECT c.host, c.netns, c.socket_id, c.protocol, c.family, c.local_address, c.local_port, c.remote_address,
    c.remote_port,
    {role("c")} AS role,
    c.established, c.first_pid, c.first_program, c.pid, c.program, c.holders, c.owner_evidence,
    c.opened_not_before, c.opened_not_after, c.opened_as, c.opened_evidence, c.last_seen,
    c.closed_not_before, c.closed_not_after, c.closed_as, c.closed_evidence, c.how, c.last_state,
    {", ".join(f"coalesce(c.{name}, a.{name}) AS {name}" for name in COUNTERS)}, c.recording
FROM base.connection_spans c
LEFT JOIN base.listened l ON l.host = c.host AND l.netns = c.netns AND l.local_port = c.local_port
LEFT JOIN LATERAL (
    SELECT {", ".join(f"arg_max(a.{name}, a.read_at) AS {name}" for name in COUNTERS)}
    FROM main.activity a JOIN base.runs runs ON runs.host = a.host AND runs.recording = a.recording
    WHERE runs.life = c.life AND a.socket_id = c.socket_id
) a ON true
"""
