"""SQL of the connections that began, of the stored tables: a fifth of what asking `connections` takes."""

from __future__ import annotations

from typing import Final

from sockrec.query.findings.finding import Asked

# Who accepted and who connected is told by events, by the first state, and else by who listened on the port.
# What a request (SYN_RECV) becomes is another socket. Who held one that closed while a sample looked for its
# holder is told by its end alone.
_NEW: Final = (
    "protocol = 'tcp' AND remote_port <> 0 AND begun_as = 'opened' AND begun_evidence <> 'inferred'"
    " AND state <> 'SYN_RECV'"
)
_BEGUN: Final = """
served AS (
    SELECT DISTINCT host, netns, local_port FROM sockets WHERE protocol = 'tcp' AND state = 'LISTEN'
    UNION
    SELECT DISTINCT host, netns, local_port FROM base.events WHERE kind = 'stopped listening'
), held AS (
    SELECT e.host, e.recording, e.socket_id, any_value(e.pid) AS pid, any_value(e.program) AS program
    FROM base.events e SEMI JOIN (FROM sockets WHERE {new} AND pid IS NULL AND {seen}) s
        ON s.host = e.host AND s.recording = e.recording AND s.socket_id = e.socket_id
    WHERE e.kind = 'closed' AND e.sampled AND e.pid IS NOT NULL GROUP BY ALL
), begun AS (
    SELECT host, netns, local_port, replace(remote_address, '::ffff:', '') AS address, remote_port,
        coalesce(s.pid, held.pid) AS pid, coalesce(s.program, held.program) AS program,
        begun_after AS not_before, first_seen AS not_after, socket_id,
        state = 'SYN_SENT' AS trying,
        state = 'SYN_SENT'
            OR (host, netns, local_port) NOT IN (SELECT (host, netns, local_port) FROM served) AS client
    FROM sockets s LEFT JOIN held USING (host, recording, socket_id)
    WHERE {new} AND {seen}
    UNION ALL
    SELECT host, netns, local_port, replace(remote_address, '::ffff:', ''), remote_port, pid, program,
        opened_at, opened_at, socket_id, established_at IS NULL, role IS NOT DISTINCT FROM 'client'
    FROM base.events
    WHERE kind = 'closed' AND NOT sampled AND protocol = 'tcp' AND remote_port <> 0 AND opened_at IS NOT NULL
        AND {told}
)"""


def begun(asked: Asked) -> str:
    """Return what follows WITH: the table `begun`, of the TCP connections that began in the time asked about.

    `client` is whether this host asked for it, `address` and `remote_port` are the peer's, `trying` is
    whether it was not established when it was first seen, or ever.
    """
    return _BEGUN.format(
        new=_NEW, seen=asked.within("begun_after", "first_seen"), told=asked.within("opened_at", "opened_at")
    )


def has_clients(asked: Asked) -> bool:
    """Return whether this host asked for any of them: a host that only serves is quickly done with."""
    sql = f"WITH {begun(asked)} SELECT EXISTS (FROM begun WHERE client) AS found"
    return bool(asked.shared("clients", lambda: asked.rows(sql))[0]["found"])
