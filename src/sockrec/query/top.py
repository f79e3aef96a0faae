"""The sockets and processes with the most of something: queues, retransmissions, round trips, connections.

What is asked for is taken of the time between two moments. Queues are as samples found them; counters as they
were written (`record --counters-interval`) and as the end of each connection told them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sockrec.catalog.sources import bounds, literal
from sockrec.errors import UsageError
from sockrec.model.programs import known_as_sql

if TYPE_CHECKING:
    import duckdb

    from sockrec.catalog import Catalog

COLUMNS: Final = (
    "measure",
    "value",
    "backlog_limit",
    "peak_at",
    "host",
    "protocol",
    "local_address",
    "local_port",
    "remote_address",
    "remote_port",
    "socket_id",
    "state",
    "pid",
    "program",
    "opened",
    "closed",
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for: how many of the largest by each name of `ORDERS`, in [`first_us`, `last_us`].

    Moments are microseconds UTC, None is the beginning or the end; `host` is one host, or all.
    """

    by: tuple[str, ...]
    most: int = 10
    first_us: int | None = None
    last_us: int | None = None
    host: str | None = None


# Of each socket the largest value of a column, and when it was first read.
_LARGEST: Final = """
SELECT a.host, r.life, a.socket_id, max(a.{column}) AS value,
    arg_min(a.read_at, (-a.{column}, a.read_at)) AS at_, {limit} AS backlog_limit
FROM main.activity a JOIN base.runs r ON r.host = a.host AND r.recording = a.recording
WHERE a.{column} > 0 AND a.read_at BETWEEN {first} AND {last} AND {host}
GROUP BY a.host, r.life, a.socket_id ORDER BY value DESC, at_ LIMIT {most}
"""
# What was sent again in that time: counters only rise. Of what came before the recording nothing is counted.
_AGAIN: Final = """
SELECT host, life, socket_id, (last - coalesce(before, since))::BIGINT AS value, at_,
    NULL::BIGINT AS backlog_limit
FROM (
    SELECT p.host, p.life, p.socket_id, max(p.total) FILTER (p.at_ BETWEEN {first} AND {last}) AS last,
        max(p.total) FILTER (p.at_ < {first}) AS before,
        CASE WHEN any_value(s.opened_as) = 'opened' THEN 0 ELSE min(p.total) END AS since,
        arg_max(p.at_, p.total) FILTER (p.at_ BETWEEN {first} AND {last}) AS at_
    FROM (
        SELECT a.host, r.life, a.socket_id, a.read_at AS at_, a.total_retrans AS total
        FROM main.activity a JOIN base.runs r ON r.host = a.host AND r.recording = a.recording
        WHERE a.total_retrans IS NOT NULL AND a.read_at <= {last} AND {host}
        UNION ALL
        SELECT a.host, r.life, a.socket_id, a.not_after, a.total_retrans
        FROM base.events a JOIN base.runs r ON r.host = a.host AND r.recording = a.recording
        WHERE a.kind = 'closed' AND a.total_retrans IS NOT NULL AND a.not_after <= {last} AND {host}
    ) p
    JOIN base.connection_spans s ON s.host = p.host AND s.life = p.life AND s.socket_id = p.socket_id
    GROUP BY p.host, p.life, p.socket_id
)
WHERE last > coalesce(before, since) ORDER BY value DESC, at_ LIMIT {most}
"""
_SOCKETS: Final = """
WITH found AS ({found}), known AS (
    SELECT f.*, s.protocol, s.local_address, s.local_port, s.remote_address, s.remote_port, s.state, s.pid,
        s.program
    FROM found f JOIN base.runs r ON r.host = f.host AND r.life = f.life
    JOIN main.sockets s ON s.host = f.host AND s.recording = r.recording AND s.socket_id = f.socket_id
    QUALIFY row_number() OVER (PARTITION BY f.host, f.life, f.socket_id
        ORDER BY s.first_seen <= f.at_ DESC, abs(epoch_us(s.first_seen) - epoch_us(f.at_))) = 1
    UNION ALL BY NAME
    SELECT f.*, e.protocol, e.local_address, e.local_port, e.remote_address, e.remote_port,
        NULL::VARCHAR AS state, e.pid, e.program
    FROM found f JOIN base.unsampled e ON e.host = f.host AND e.life = f.life AND e.socket_id = f.socket_id
    WHERE e.kind = 'closed'
)
SELECT {by} AS measure, value::BIGINT AS value, backlog_limit, at_ AS peak_at, host, protocol,
    local_address, local_port, remote_address, remote_port, socket_id, state, pid, {program} AS program,
    NULL::BIGINT AS opened, NULL::BIGINT AS closed
FROM known
"""
# Connections by who has them: how many there were at once is not counted, only how many in all.
_HELD: Final = """
WITH spans AS (
    SELECT host, pid, {program} AS program, opened_as, opened_not_after, closed_not_after
    FROM base.connection_spans a
    WHERE opened_not_after <= {last} AND {host}
        AND coalesce(closed_not_after, TIMESTAMPTZ 'infinity') >= {first}
), counted AS (
    SELECT host, {who}, count(*) AS connections,
        count(*) FILTER (opened_as = 'opened' AND opened_not_after >= {first}) AS opened,
        count(*) FILTER (closed_not_after <= {last}) AS closed
    FROM spans GROUP BY ALL
)
SELECT {by} AS measure, {value} AS value, NULL::BIGINT AS backlog_limit, NULL::TIMESTAMPTZ AS peak_at, host,
    'tcp' AS protocol, NULL::VARCHAR AS local_address, NULL::BIGINT AS local_port,
    NULL::VARCHAR AS remote_address, NULL::BIGINT AS remote_port, NULL::BIGINT AS socket_id,
    NULL::VARCHAR AS state, pid, program, opened, closed
FROM counted WHERE {value} > 0 ORDER BY value DESC, host, program, pid LIMIT {most}
"""


def _largest(column: str, limit: str = "NULL::BIGINT") -> str:
    found = _LARGEST.replace("{column}", column).replace("{limit}", limit)
    return _SOCKETS.replace("{found}", found)


def _held(who: str, value: str) -> str:
    return _HELD.replace("{who}", who).replace("{value}", value)


ORDERS: Final = {
    "recv-q": _largest("recv_q", "any_value(a.backlog_limit)"),
    "send-q": _largest("send_q"),
    "retrans": _SOCKETS.replace("{found}", _AGAIN),
    "rtt": _largest("rtt_us"),
    "connections": _held("pid, program", "connections"),
    "churn": _held("NULL::BIGINT AS pid, program", "(opened + closed)"),
}
"""What can be asked for by name, as SQL: of sockets the highest queue (bytes; of a listener, connections that
wait), segments sent again, the longest smoothed round trip (microseconds); of processes how many connections
they had; of programs how many they opened and closed."""


def top(catalog: Catalog, wanted: Wanted) -> duckdb.DuckDBPyRelation:
    """Return the largest by each name asked for, in that order, with the columns `COLUMNS`.

    `value` is what counts (see `ORDERS`), `peak_at` when it was first that large.
    `opened` and `closed` are of connections and churn. Raises `UsageError` for what makes no sense.
    """
    if unknown := [name for name in wanted.by if name not in ORDERS]:
        raise UsageError(f"--by is one of {', '.join(ORDERS)}, not {unknown[0]!r}")
    first, last = wanted.first_us, wanted.last_us
    if first is not None and last is not None and last < first:
        raise UsageError("--to is before --from")
    values = dict(zip(("first", "last"), bounds(first, last), strict=True)) | {
        "host": "true" if wanted.host is None else f"a.host = {literal(wanted.host)}",
        "most": str(wanted.most),
        "program": known_as_sql("program"),
    }
    parts = []
    for place, name in enumerate(wanted.by):
        sql = ORDERS[name].replace("{by}", literal(name))
        for key, value in values.items():
            sql = sql.replace(f"{{{key}}}", value)
        parts.append(f"SELECT {place} AS place, * FROM ({sql})")
    return catalog.relation(
        f"SELECT * EXCLUDE (place) FROM ({' UNION ALL '.join(parts)})"
        " ORDER BY place, value DESC, peak_at, host, program, pid, socket_id"
    )
