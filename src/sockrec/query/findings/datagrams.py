"""Datagrams that came, or were to go, and were dropped on this host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sockrec.model.addresses import endpoint
from sockrec.model.programs import known_as_sql
from sockrec.query.findings import risen
from sockrec.query.findings.finding import Asked, Finding, Kind, Threshold, count, process

Row = dict[str, Any]
_DATAGRAMS: Final = Threshold(
    "datagrams", 10, "datagrams", "one or two may be a burst at start; nobody sends them again"
)
# Both families count: Udp of snmp, Udp6 of snmp6.
_COUNTERS: Final = {
    "receive buffer full": ("RcvbufErrors", "Udp6RcvbufErrors"),
    "wrong checksum": ("InCsumErrors", "Udp6InCsumErrors"),
    "no memory": ("MemErrors", "Udp6MemErrors"),
    "send buffer full": ("SndbufErrors", "Udp6SndbufErrors"),
}
_OF_UDP: Final = "(section = 'Udp' OR name LIKE 'Udp6%')"
# A socket's counter stands at 0 when it is made. Of one that was there before, or before the time asked
# about, what it had then is not counted.
_DROPPED: Final = """
WITH dropping AS (
    SELECT DISTINCT host, recording, socket_id FROM activity WHERE drops > 0 AND {read}
), readings AS (
    SELECT host, recording, socket_id, read_at, drops, recv_q, rcvbuf
    FROM activity SEMI JOIN dropping USING (host, recording, socket_id) WHERE drops IS NOT NULL
), ends AS (
    SELECT host, recording, socket_id, not_after AS read_at, drops, protocol, local_address, local_port,
        pid, program, sampled
    FROM base.events WHERE kind = 'closed' AND protocol IN ('udp', 'udplite') AND drops > 0 AND {ended}
), who AS (
    SELECT host, recording, socket_id, any_value(protocol) AS protocol,
        arg_max(local_address, last_seen) AS local_address, arg_max(local_port, last_seen) AS local_port,
        arg_max(pid, last_seen) AS pid, arg_max(program, last_seen) AS program,
        min(first_seen) FILTER (begun_as = 'opened') AS opened
    FROM sockets WHERE protocol IN ('udp', 'udplite') GROUP BY host, recording, socket_id
), every_ AS (
    SELECT r.*, w.* EXCLUDE (host, recording, socket_id) FROM (
        FROM readings UNION ALL BY NAME
        SELECT * EXCLUDE (protocol, local_address, local_port, pid, program, sampled) FROM ends WHERE sampled
    ) r JOIN who w USING (host, recording, socket_id)
    UNION ALL BY NAME
    SELECT * EXCLUDE (sampled), TIMESTAMPTZ '-infinity' AS opened FROM ends WHERE NOT sampled
), risen AS (
    SELECT *, lag(read_at) OVER run AS before,
        drops - coalesce(lag(drops) OVER run, CASE WHEN opened IS NULL THEN drops ELSE 0 END) AS rise
    FROM every_ WINDOW run AS (PARTITION BY host, recording, socket_id ORDER BY read_at, drops)
)
SELECT host, recording, socket_id, protocol, local_address, local_port, pid, {known} AS named,
    sum(rise)::BIGINT AS drops, min(read_at) AS not_after, arg_min_null(before, read_at) AS not_before,
    max(recv_q) AS recv_q, max(rcvbuf) AS rcvbuf
FROM risen WHERE rise > 0 AND {risen} GROUP BY ALL
ORDER BY drops DESC, host, local_port
"""


def find(asked: Asked) -> Iterator[Finding]:
    """Find each UDP socket that dropped at least `datagrams`, and the rest that the kernel counts.

    A socket drops what comes when its receive buffer is full: its program reads too slowly, or bursts are
    larger than the buffer (SO_RCVBUF, net.core.rmem_max). What sockets don't account for (gone before a
    sample saw them, wrong checksums, a full send buffer) is told of all together, by the kernel's counters.
    """
    least = asked.threshold("udp-drops", _DATAGRAMS)
    by_sockets: dict[str, int] = {}
    sql = _DROPPED.format(
        read=asked.within("read_at", "read_at"),
        ended=asked.within("not_after", "not_after"),
        risen=asked.within("before", "read_at"),
        known=known_as_sql("program"),
    )
    for row in asked.rows(sql):
        by_sockets[row["host"]] = by_sockets.get(row["host"], 0) + row["drops"]
        if row["drops"] >= least:
            yield _of_socket(row)
    names = [name for both in _COUNTERS.values() for name in both]
    for (host, _), counted in risen.risen(asked, names, _OF_UDP).items():
        rises = {
            why: sum(counted[name].rise for name in both if name in counted)
            for why, both in _COUNTERS.items()
        }
        received = sum(rise for why, rise in rises.items() if why != "send buffer full")
        rest = max(0, received - by_sockets.get(host, 0))
        if rest + rises["send buffer full"] >= least:
            yield _of_all(host, counted, rises, rest)


def _of_socket(row: Row) -> Finding:
    who = process(row["pid"], row["named"])
    place = endpoint(row["local_address"], row["local_port"])
    buffer = f" of {row['rcvbuf']:,} bytes" if row["rcvbuf"] else ""
    return Finding(
        kind="udp-drops",
        severity="critical",
        title=f"datagrams to port {row['local_port']} are dropped",
        text=(
            f"{count(row['drops'], 'datagram')} to {row['protocol']} {place} came and were dropped: the"
            f" receive buffer{buffer} had no room for them: {who} does not read as fast as they come."
        ),
        not_before=row["not_before"],
        not_after=row["not_after"],
        host=row["host"],
        subject=f"{who} on {row['protocol']} {place}",
        numbers={
            "port": row["local_port"],
            "drops": row["drops"],
            "recv_q": row["recv_q"],
            "rcvbuf": row["rcvbuf"],
            "socket_id": row["socket_id"],
        },
        look=f"sockrec rates --counter Udp.RcvbufErrors; sockrec port {row['local_port']}",
        sql=(
            "SELECT read_at, drops, recv_q, rcvbuf FROM activity WHERE drops > 0"
            f" AND socket_id = {row['socket_id']} UNION ALL SELECT not_after, drops, NULL, NULL FROM events"
            f" WHERE kind = 'closed' AND drops > 0 AND socket_id = {row['socket_id']} ORDER BY read_at"
        ),
    )


def _of_all(host: str, counted: dict[str, risen.Risen], rises: dict[str, int], rest: int) -> Finding:
    first = min(counted.values(), key=lambda one: one.not_after)
    told = ", ".join(f"{rise:,} {why}" for why, rise in rises.items() if rise)
    parts = [f"{count(rest, 'datagram')} that came were dropped by no socket that was seen"] if rest else []
    if sent := rises["send buffer full"]:
        parts.append(f"{count(sent, 'datagram')} could not be sent")
    return Finding(
        kind="udp-drops",
        severity="warning",
        title="datagrams are dropped",
        text=f"{' and '.join(parts)}. The kernel counted: {told}.",
        not_before=first.not_before,
        not_after=first.not_after,
        host=host,
        subject="udp",
        numbers={why.replace(" ", "_"): rise for why, rise in rises.items()} | {"by_no_socket": rest},
        look="sockrec rates --counter Udp.InErrors; sockrec rates --counter Udp.SndbufErrors",
        sql=(
            f"SELECT read_at, section, name, increase, per_second FROM counters WHERE {_OF_UDP} AND name IN"
            f" ({', '.join(repr(name) for name in sorted(counted))}) AND increase > 0 ORDER BY read_at"
        ),
    )


KIND: Final = Kind("udp-drops", find, (_DATAGRAMS,))
