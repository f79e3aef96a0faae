"""SQL of everything that happened: stored events, their beginnings, and what samples alone tell.

All branches are rows of the files as they are, without windows or groups, so that filters on time, port
and kind reach the Parquet scans, and rows come as they are read.
"""

from __future__ import annotations

from typing import Final

from sockrec.catalog.connections import REMNANT, accepted
from sockrec.catalog.sources import null, quoted
from sockrec.model.tables import EVENTS as STORED

# What the rows of a socket and the rows of its events call by the same name.
_SOCKET: Final = (
    "recording", "socket_id", "netns", "protocol", "family", "local_address", "local_port",
    "remote_address", "remote_port", "pid", "program",
)  # fmt: skip
_SAMPLED: Final = {name: f"s.{name}" for name in _SOCKET} | {
    "owner_evidence": "CASE WHEN s.pid IS NOT NULL THEN 'sample' END",
    "sampled": "true",
}
_BEGUN: Final = {
    "not_before": "s.begun_after",
    "not_after": "s.first_seen",
    "evidence": "s.begun_evidence",
    "opened_at": "CASE s.begun_evidence WHEN 'event' THEN s.first_seen END",
}
_ENDED: Final = {
    "not_before": "s.last_seen",
    "not_after": "s.ended_by",
    "evidence": "s.ended_evidence",
}
_TIME_WAIT: Final = {
    "not_before": "s.begun_after",
    "not_after": "s.first_seen",
    "evidence": "s.begun_evidence",
}
# What is needed to tell on which side a connection began.
_SIDE: Final = (
    "s.state AS state, s.begun_as AS begun_as, s.begun_after AS begun_after, s.first_seen AS first_seen"
)
_CONNECTED: Final = "s.state <> 'LISTEN' AND (s.protocol <> 'tcp' OR s.remote_port <> 0)"


def _columns(alias: str, values: dict[str, str]) -> str:
    told = ", ".join(
        f"{values[column.name]} AS {quoted([column.name])}" if column.name in values else null(column)
        for column in STORED.columns
    )
    return f"{alias}.host, {told}"


def _untold_beginnings(stored: str, kind: str, ended: str) -> str:
    """Return the beginnings of sockets that no sample saw, from their ends."""
    same = (*_SOCKET, "role", "opened_at", "owner_evidence", "sampled")
    values = {name: f"e.{name}" for name in same} | {
        "kind": f"'{kind}'",
        "not_before": "e.opened_at",
        "not_after": "e.opened_at",
        "evidence": "'event'",
    }
    return f"""SELECT {_columns("e", values)}
    FROM {stored} e WHERE e.kind = '{ended}' AND NOT e.sampled AND e.opened_at IS NOT NULL"""


def _listening(begun: str) -> str:
    return f"""SELECT {_columns("s", _SAMPLED | _BEGUN | {"kind": "'listening'"})}
    FROM {begun} s WHERE s.state = 'LISTEN' AND s.begun_as = 'opened'"""


def _stopped(ended: str, stored: str) -> str:
    """Return the ends of listeners of which no event tells, not even why."""
    return f"""SELECT {_columns("s", _SAMPLED | _ENDED | {"kind": "'stopped listening'"})}
    FROM {ended} s LEFT JOIN {stored} e ON e.kind = 'stopped listening' AND e.host = s.host
        AND e.recording = s.recording AND e.socket_id = s.socket_id AND e.local_port = s.local_port
    WHERE s.state = 'LISTEN' AND s.ended_as = 'closed' AND e.kind IS NULL"""


def _connections(begun: str, ended: str) -> str:
    """Return beginnings and untold ends of connections and datagram sockets, with what tells their side.

    One that TIME_WAIT was first seen of opened and closed between two samples; its remnant's own end is
    none of its events.
    """
    opened = _columns("s", _SAMPLED | _BEGUN | {"kind": "'opened'"})
    waits = _columns("s", _SAMPLED | _TIME_WAIT | {"kind": "'closed'"})
    closed = _columns("s", _SAMPLED | _ENDED | {"kind": "'closed'"})
    return f"""SELECT {opened}, {_SIDE}
    FROM {begun} s WHERE {_CONNECTED} AND s.begun_as = 'opened' AND NOT ({REMNANT.format("s")})
    UNION ALL
    SELECT {waits}, {_SIDE}
    FROM {begun} s WHERE {_CONNECTED} AND s.state = 'TIME_WAIT' AND s.begun_as IN ('opened', 'changed')
        AND s.begun_evidence = 'sample'
    UNION ALL
    SELECT {closed}, {_SIDE}
    FROM {ended} s WHERE {_CONNECTED} AND s.state <> 'TIME_WAIT' AND s.ended_as = 'closed'
        AND s.ended_evidence = 'sample'"""


def select(begun: str, ended: str, stored: str, listened: str) -> str:
    """Return the SELECT of all events over tables of that shape.

    `begun` and `ended` give rows of `sockets` that began, and that ended; `stored` the stored events,
    `listened` what `base.listened` has.
    """
    role = f"""CASE WHEN c.protocol <> 'tcp' THEN NULL WHEN c.state = 'SYN_RECV' THEN 'server'
        WHEN c.state = 'SYN_SENT' THEN 'client'
        WHEN {accepted("c", "c.begun_after", "c.first_seen")} THEN 'server'
        WHEN c.begun_as = 'opened' THEN 'client' END"""
    return f"""SELECT host, {quoted(STORED.names)} FROM {stored}
UNION ALL {_untold_beginnings(stored, "opened", "closed")}
UNION ALL {_untold_beginnings(stored, "listening", "stopped listening")}
UNION ALL {_listening(begun)}
UNION ALL {_stopped(ended, stored)}
UNION ALL
SELECT {_columns("c", {name: f"c.{quoted([name])}" for name in STORED.names} | {"role": role})}
FROM ({_connections(begun, ended)}) c
LEFT JOIN {listened} l ON l.host = c.host AND l.netns = c.netns AND l.local_port = c.local_port"""


EVENTS: Final = (
    f"CREATE VIEW events AS {select('main.sockets', 'main.sockets', 'base.events', 'base.listened')}"
)
