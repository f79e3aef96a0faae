"""The sockets that a sample found, as SQL and as rows for netstat's format."""

from __future__ import annotations

import re
from typing import Any, Final

from sockrec.catalog.moments import held, newest
from sockrec.model.netstat_row import NetstatRow
from sockrec.model.unix_row import UnixRow

# Only the files that can hold something of the sample are opened. Where it lies is asked each time: its
# part may have been sealed since it was found.
IN_FILES: Final = """
file IN (
    SELECT near.file FROM base.within_reach near JOIN parts.samples f ON f.file = near.sample_file
    WHERE near."table" = '{}' AND f.host = $host AND f.recording = $recording
        AND f.began_at = make_timestamptz($began)
)
"""
HELD: Final = f"""
host = $host AND recording = $recording
    AND {held("r", "make_timestamptz($began)", "make_timestamptz($ended)")}
"""


def _found(table: str, facts: str, moving: str, shown: str, order: str) -> str:
    """Return the statement: `facts` of the rows that held, `moving` as last read, what is `shown` of both."""
    return f"""
WITH held AS (
    SELECT {facts}, pid, program, owner, socket_id, rank, make_timestamptz($until) AS known_until
    FROM parts.{table} r WHERE {HELD} AND {IN_FILES.format(table)}
    QUALIFY {newest("r")}
), moved AS (
    SELECT a.socket_id, a.read_at AS moved_at, {moving}
    FROM parts.activity a
    WHERE {IN_FILES.format("activity")} AND a.host = $host AND a.recording = $recording
        AND a.read_at <= make_timestamptz($until)
), running AS (
    SELECT pid, arg_max(coalesce(argv[1], ''), first_seen) AS argv0
    FROM parts.processes r WHERE {HELD} AND {IN_FILES.format("processes")} GROUP BY pid
)
SELECT {shown}
FROM held h
    ASOF LEFT JOIN moved m ON m.socket_id = h.socket_id AND m.moved_at <= h.known_until
    LEFT JOIN running p ON p.pid = h.pid AND h.owner = 'held'
ORDER BY {order}
"""


# The kernel counts timers in ticks of 1/100 s, rounded down (USER_HZ).
INET: Final = _found(
    "sockets",
    "protocol, family, local_address, local_port, remote_address, remote_port, state, uid, inode",
    "a.recv_q, a.send_q, a.timer, a.timer_deadline, a.retransmits, a.probes",
    """h.protocol, h.family, h.local_address, h.local_port, h.remote_address, h.remote_port, h.state,
    coalesce(m.recv_q, 0), coalesce(m.send_q, 0), coalesce(h.uid, 0), coalesce(h.inode, 0),
    h.pid, coalesce(p.argv0, h.program, ''), coalesce(h.owner, ''), coalesce(m.timer, 'off'),
    coalesce(greatest(0, (epoch_us(m.timer_deadline) - $at) // 10000), 0) / 100.0,
    coalesce(m.retransmits, 0), coalesce(m.probes, 0)""",
    "h.rank, h.protocol, h.family",
)
UNIX: Final = _found(
    "unix_sockets",
    "type, state, inode, path, peer_inode",
    "a.refcount, a.recv_q, a.send_q",
    """coalesce(m.refcount, 0), h.type, h.state, coalesce(h.inode, 0), h.path, h.peer_inode,
    coalesce(m.recv_q, 0), coalesce(m.send_q, 0), h.pid, coalesce(p.argv0, h.program, ''),
    coalesce(h.owner, '')""",
    "h.rank",
)

# Captures spell a byte that is no UTF-8 as \\xNN; netstat prints the byte.
_ESCAPED: Final = re.compile(r"\\x([89a-f][0-9a-f])")


def unescaped(text: str) -> str:
    """Return text with the bytes that a capture spells as escapes, as PEP 383 surrogates."""
    return _ESCAPED.sub(lambda found: chr(0xDC00 + int(found[1], 16)), text) if "\\x" in text else text


def inet_row(values: tuple[Any, ...]) -> NetstatRow:
    """Return a row that `INET` found."""
    row = NetstatRow(*values)
    return row._replace(argv0=unescaped(row.argv0)) if "\\x" in row.argv0 else row


def unix_row(values: tuple[Any, ...]) -> UnixRow:
    """Return a row that `UNIX` found."""
    row = UnixRow(*values)
    return row._replace(argv0=unescaped(row.argv0), path=row.path and unescaped(row.path))
