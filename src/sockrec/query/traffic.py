"""How many bytes went where: by service, port, program, process or peer; in all, or in equal steps.

TCP connections have counters of their own (tcp_info): bytes sent, those sent again included, and bytes
received in order. They are written every `record --counters-interval`, at once when something goes wrong, and
at the end: what a connection transferred between two writings counts as of the later one. Of what it
had transferred before the recording nothing is counted. UDP sockets have no such counters.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sockrec.catalog.sources import bounds, literal
from sockrec.errors import UsageError
from sockrec.model.programs import known_as_sql

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb

    from sockrec.catalog import Catalog

# The columns that make a group, as SQL over the rows of `_ENDS`.
GROUPS: Final = {
    "service": {
        "service": "coalesce({names}[service_port], service_port::VARCHAR)",
        "port": "service_port",
    },
    "port": {"port": "service_port", "role": "role"},
    "program": {"program": f"coalesce({known_as_sql('program')}, 'unknown')"},
    "process": {"pid": "pid", "program": f"coalesce({known_as_sql('program')}, 'unknown')"},
    "peer": {"peer": "remote_address"},
}
COLUMNS: Final = ("connections", "bytes_sent", "bytes_received", "bytes", "share")
MOST_STEPS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for: a name of `GROUPS`, and the time (`first_us`, `last_us`], microseconds UTC.

    None is the beginning, or the end. Steps of `every_us` begin where a clock `offset_us` ahead of UTC
    shows a multiple of them. `host` is one host, or all.
    """

    by: str = "service"
    first_us: int | None = None
    last_us: int | None = None
    every_us: int | None = None
    offset_us: int = 0
    host: str | None = None


@dataclass(frozen=True, slots=True)
class Uncounted:
    """What has no bytes: connections whose counters were never written, and sockets that have none."""

    connections: int
    udp_sockets: int


def columns(wanted: Wanted) -> tuple[str, ...]:
    """Return the names of the columns of an answer."""
    return (*(["time"] if wanted.every_us else []), *_group(wanted), *COLUMNS)


def traffic(catalog: Catalog, wanted: Wanted) -> duckdb.DuckDBPyRelation:
    """Return a row for each group, or for each of its steps, that has any bytes: the most first.

    `connections` counts those that transferred something then; `bytes` is sent and received; `share` is the
    group's part of all bytes, of its step if there are steps. Raises `UsageError` for what makes no sense.
    """
    group = _group(wanted)
    _check(catalog, wanted)
    step = ""
    if wanted.every_us is not None:
        every, ahead = wanted.every_us, wanted.offset_us
        step = f'make_timestamptz((epoch_us(read_at) + {ahead}) // {every} * {every} - {ahead}) AS "time", '
    names = _services(catalog)
    named = ", ".join(f'{sql.replace("{names}", names)} AS "{name}"' for name, sql in group.items())
    whole = 'OVER (PARTITION BY "time")' if step else "OVER ()"
    order = '"time", ' if step else ""
    keys = ", ".join(f'"{name}"' for name in group)
    return catalog.relation(
        f"""WITH {_ends(wanted)}, told AS (
    SELECT {step}{named}, count(DISTINCT (host, life, socket_id)) AS connections,
        sum(sent)::BIGINT AS bytes_sent, sum(received)::BIGINT AS bytes_received
    FROM transferred GROUP BY ALL HAVING sum(sent) + sum(received) > 0
)
SELECT {order}{keys}, connections, bytes_sent, bytes_received, bytes_sent + bytes_received AS bytes,
    (bytes_sent + bytes_received) / sum(bytes_sent + bytes_received) {whole} AS share
FROM told ORDER BY {order}bytes DESC, {keys}"""
    )


def largest(rows: Sequence[Mapping[str, Any]], wanted: Wanted, most: int) -> tuple[list[Any], int]:
    """Return the rows of the groups with the most bytes, and how many other groups there are."""
    names = _group(wanted)
    totals: Counter[tuple[Any, ...]] = Counter()
    for row in rows:
        totals[tuple(row[name] for name in names)] += row["bytes"]
    kept = {group for group, _ in totals.most_common(most)}
    return [row for row in rows if tuple(row[name] for name in names) in kept], len(totals) - len(kept)


def uncounted(catalog: Catalog, wanted: Wanted) -> Uncounted:
    """Return how much of what was open in that time has no bytes."""
    ((connections,),) = catalog.rows(
        f"""WITH {_ends(wanted)}
SELECT count(*) FROM wanted_spans s ANTI JOIN counted c
    ON c.host = s.host AND c.life = s.life AND c.socket_id = s.socket_id
WHERE s.established"""
    )
    first, last = bounds(wanted.first_us, wanted.last_us)
    ((sockets,),) = catalog.rows(
        f"""SELECT count(DISTINCT (host, recording, socket_id)) FROM sockets
WHERE protocol LIKE 'udp%' AND {_host("host", wanted)} AND first_seen <= {last} AND last_seen >= {first}"""
    )
    return Uncounted(connections, sockets)


def _group(wanted: Wanted) -> dict[str, str]:
    try:
        return GROUPS[wanted.by]
    except KeyError:
        raise UsageError(f"--by is one of {', '.join(GROUPS)}, not {wanted.by!r}") from None


def _check(catalog: Catalog, wanted: Wanted) -> None:
    first, last, every = wanted.first_us, wanted.last_us, wanted.every_us
    if first is not None and last is not None and last < first:
        raise UsageError("--to is before --from")
    if every is None:
        return
    if every < 1:
        raise UsageError("steps of --every take some time: give it as 10s or 1m")
    ((began, ended),) = catalog.rows("SELECT epoch_us(min(began)), epoch_us(max(ended)) FROM base.runs")
    length = (ended if last is None else last) - (began if first is None else first)
    if length // every > MOST_STEPS:
        raise UsageError(f"that would be {length // every:,} steps: make --every longer, or the time shorter")


def _host(column: str, wanted: Wanted) -> str:
    return "true" if wanted.host is None else f"{column} = {literal(wanted.host)}"


def _services(catalog: Catalog) -> str:
    """Return the recorded host's names of TCP ports as a map in SQL; the last recording's."""
    names: dict[int, str] = {}
    for recording in catalog.recordings:
        told = recording.get("names")
        ports = told.get("services") if isinstance(told, dict) else None
        tcp = ports.get("tcp") if isinstance(ports, dict) else None
        if isinstance(tcp, dict):
            names = {int(port): str(name) for port, name in tcp.items() if str(port).isdecimal()}
    pairs = ", ".join(f"{port}: {literal(name)}" for port, name in sorted(names.items()))
    return f"MAP {{{pairs}}}" if pairs else "MAP {0: ''}"


# Of a connection with both ends on this host either end counts all of it: by service, port or peer it is
# counted where it was accepted; by program or process each end is its program's own.
_BOTH_ENDS: Final = ("program", "process")


def _ends(wanted: Wanted) -> str:
    first, last = bounds(wanted.first_us, wanted.last_us)
    counted = (
        "SELECT * FROM transfers"
        if wanted.by in _BOTH_ENDS
        else """SELECT t.* FROM transfers t ANTI JOIN wanted_spans s
        ON t.role = 'client' AND s.host = t.host AND s.role = 'server'
            AND s.local_address = t.remote_address AND s.local_port = t.remote_port
            AND s.remote_address = t.local_address AND s.remote_port = t.local_port
            AND s.opened_not_after <= t.opened_not_after + INTERVAL 1 SECOND
            AND t.opened_not_after <= s.opened_not_after + INTERVAL 1 SECOND"""
    )
    return _TRANSFERRED.format(
        first=first,
        last=last,
        host=_host("c.host", wanted),
        counted=counted,
    )


# Counters are those of a cookie, which goes on from recording to recording of one boot. The first that is
# known of a connection found open is where counting begins; one that was opened begins at 0. The kernel
# counts the peer's FIN as a byte received: what the end told, which is without it, is the most there can be.
_TRANSFERRED: Final = """ports AS (
    SELECT DISTINCT host, netns, local_port FROM base.listening WHERE protocol = 'tcp'
), spans AS (
    SELECT c.host, c.life, c.netns, c.socket_id, c.established, c.opened_as,
        replace(c.local_address, '::ffff:', '') AS local_address, c.local_port,
        replace(c.remote_address, '::ffff:', '') AS remote_address, c.remote_port,
        CASE WHEN c.accepting OR (p.local_port IS NOT NULL AND NOT coalesce(c.connecting, false))
            THEN 'server' ELSE 'client' END AS role,
        coalesce(c.pid, c.first_pid) AS pid, coalesce(c.program, c.first_program) AS program,
        c.opened_not_after, coalesce(c.closed_not_after, TIMESTAMPTZ 'infinity') AS closed
    FROM base.connection_spans c LEFT JOIN ports p
        ON p.host = c.host AND p.netns = c.netns AND p.local_port = c.local_port
    WHERE {host}
), wanted_spans AS (
    SELECT * FROM spans WHERE opened_not_after <= {last} AND closed >= {first}
), counted AS (
    SELECT a.host, r.life, a.socket_id, a.read_at, a.bytes_sent, a.bytes_received, NULL::BIGINT AS in_all
    FROM main.activity a JOIN base.runs r ON r.host = a.host AND r.recording = a.recording
    WHERE a.bytes_sent IS NOT NULL AND a.bytes_received IS NOT NULL
    UNION ALL
    SELECT e.host, r.life, e.socket_id, e.not_after AS read_at, e.bytes_sent, e.bytes_received,
        e.bytes_received AS in_all
    FROM base.events e JOIN base.runs r ON r.host = e.host AND r.recording = e.recording
    WHERE e.kind = 'closed' AND e.bytes_sent IS NOT NULL AND e.bytes_received IS NOT NULL
), joined AS (
    SELECT s.*, c.read_at, c.bytes_sent, least(c.bytes_received, max(c.in_all) OVER (
        PARTITION BY s.host, s.life, s.socket_id, s.local_port)) AS bytes_received
    FROM wanted_spans s JOIN counted c ON c.host = s.host AND c.life = s.life AND c.socket_id = s.socket_id
), transfers AS (
    SELECT s.* EXCLUDE (bytes_sent, bytes_received), s.bytes_sent - coalesce(
            lag(s.bytes_sent) OVER readings, if(s.opened_as = 'opened', 0, s.bytes_sent)) AS sent,
        s.bytes_received - coalesce(
            lag(s.bytes_received) OVER readings, if(s.opened_as = 'opened', 0, s.bytes_received)) AS received,
        CASE WHEN s.role = 'server' THEN s.local_port ELSE s.remote_port END AS service_port
    FROM joined s
    WINDOW readings AS (PARTITION BY s.host, s.life, s.socket_id, s.local_port
        ORDER BY s.read_at, s.bytes_sent, s.bytes_received)
), ends AS (
    {counted}
), transferred AS (
    SELECT * REPLACE (greatest(sent, 0) AS sent, greatest(received, 0) AS received)
    FROM ends WHERE read_at > {first} AND read_at <= {last} AND (sent > 0 OR received > 0)
)"""
