"""Somebody tries one port after the other: a peer on this host, or a program of this host elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sockrec.catalog.sources import literal
from sockrec.model.programs import known_as_sql
from sockrec.query.findings.begun import begun, has_clients
from sockrec.query.findings.finding import Asked, Finding, Kind, Threshold, count, process

_PORTS: Final = Threshold(
    "ports", 5, "ports in a minute", "few clients use so many services of one host, and not all at once"
)
_SHARE: Final = Threshold(
    "share", 50, "per cent of all open ports", "a host of many services has clients of many of them"
)
_RESETS: Final = Threshold(
    "resets", 100, "resets in a minute", "a service that is down is asked by its clients a few times a second"
)
_TARGETS: Final = Threshold(
    "targets", 50, "addresses and ports in a minute", "few programs talk to so many, and most of them answer"
)
# A minute of the clock would cut in two what begins at its end: each moment is looked at in two minutes that
# begin half a minute apart.
_SHIFTS: Final = "(VALUES (0), (30000000)) shifts(shift)"
_MINUTE: Final = "(epoch_us({0}) + shift) // 60000000"
_HALF: Final = "epoch_us({0}) // 30000000"
_SPAN_US: Final = 150_000_000
_MOST_SPANS: Final = 10_000
_OPEN: Final = """
open_ AS (
    SELECT host, netns, count(DISTINCT local_port) AS open_ports FROM sockets
    WHERE protocol = 'tcp' AND state = 'LISTEN' AND local_address NOT LIKE '127.%' AND local_address <> '::1'
    GROUP BY ALL
)"""
# Of many million connections most peers made a few at a time: only the others are looked at by the minute.
# Who made enough of them within a minute made them in two spans of the clock at most, and half in one of
# those. It does not ask yet who connected to whom, which takes as long again.
_MANY: Final = """
WITH {open_}, met AS (
    SELECT host, netns, replace(remote_address, '::ffff:', '') AS address,
        epoch_us(first_seen) // {span} AS span
    FROM sockets
    WHERE protocol = 'tcp' AND remote_port <> 0 AND begun_as = 'opened' AND {seen}
    UNION ALL
    SELECT host, netns, replace(remote_address, '::ffff:', ''), epoch_us(opened_at) // {span}
    FROM base.events
    WHERE kind = 'closed' AND NOT sampled AND protocol = 'tcp' AND remote_port <> 0 AND {told}
), counted AS MATERIALIZED (
    SELECT host, netns, address, span, count(*) AS connections FROM met GROUP BY ALL
), enough AS (
    SELECT c.*, greatest({least}, coalesce(open_ports, 0) * {share} / 100) AS least
    FROM counted c LEFT JOIN open_ USING (host, netns)
), busy AS (
    SELECT e.address, e.span, coalesce(beside.span, e.span) AS another
    FROM counted beside RIGHT JOIN enough e ON beside.host = e.host AND beside.netns = e.netns
        AND beside.address = e.address AND beside.span - e.span IN (-1, 1)
    WHERE e.connections * 2 >= e.least AND e.connections + coalesce(beside.connections, 0) >= e.least
)
SELECT address, span FROM busy UNION SELECT address, another FROM busy
"""
_IN: Final = """
WITH {begun}, {open_}, minutes AS (
    SELECT host, netns, address, shift, count(DISTINCT local_port) AS ports, count(*) AS connections,
        min(not_before) AS not_before, min(not_after) AS not_after
    FROM begun, {shifts} WHERE NOT client AND {many} GROUP BY host, netns, address, shift, {minute}
    HAVING count(DISTINCT local_port) >= {least}
), tried AS (
    SELECT m.host, address, max(ports) AS ports, any_value(open_ports) AS open_ports,
        sum(connections)::BIGINT AS connections,
        arg_min(not_before, not_after) AS not_before, min(not_after) AS not_after
    FROM minutes m LEFT JOIN open_ o ON o.host = m.host AND o.netns = m.netns
    WHERE ports * 100 >= coalesce(open_ports, 0) * {share}
    GROUP BY m.host, address, shift
)
FROM tried QUALIFY row_number() OVER (PARTITION BY host, address ORDER BY ports DESC, connections DESC) = 1
ORDER BY ports DESC, host, address
"""
# To who asks a port where nobody listens the kernel answers with a reset (TCP), or that it can't be reached
# (UDP). Clients of this host that it refused itself have their sockets, and are told as such.
_CLOSED: Final = """
WITH readings AS (
    SELECT host, netns, name, increase, read_before, read_at
    FROM counters
    WHERE ((section = 'Tcp' AND name = 'OutRsts') OR (section IN ('Udp', 'Udp6') AND name = 'NoPorts'))
        AND increase > 0 AND {within}
), known AS (
    SELECT host, netns, not_after, row_number() OVER (PARTITION BY host, netns ORDER BY not_after) AS resets
    FROM base.events WHERE kind = 'closed' AND protocol = 'tcp'
        AND (cause = 'reset by us' OR (cause = 'refused' AND remote_address = local_address))
), told AS (
    SELECT r.*, if(r.name = 'OutRsts', coalesce(until.resets, 0) - coalesce(since.resets, 0), 0) AS resets
    FROM readings r
    ASOF LEFT JOIN known until
        ON until.host = r.host AND until.netns = r.netns AND until.not_after <= r.read_at
    ASOF LEFT JOIN known since
        ON since.host = r.host AND since.netns = r.netns AND since.not_after <= r.read_before
), minutes AS (
    SELECT host, netns, name, sum(increase - resets)::BIGINT AS answers, min(read_before) AS not_before,
        min(read_at) AS not_after
    FROM told, {shifts} GROUP BY host, netns, name, shift, {minute}
)
SELECT host, name, max(answers) AS answers, arg_max(not_before, answers) AS not_before,
    arg_max(not_after, answers) AS not_after
FROM minutes GROUP BY host, name HAVING max(answers) >= {least} ORDER BY host, name
"""
# Who tried so many at all: what they were is asked of those only.
_BUSY: Final = """
WITH {begun}, halves AS (
    SELECT host, pid, {half} AS half, count(*) AS connections, count(*) FILTER (trying) AS trying
    FROM begun WHERE client GROUP BY ALL
)
SELECT DISTINCT h.half
FROM halves h LEFT JOIN halves next
    ON next.host = h.host AND next.pid IS NOT DISTINCT FROM h.pid AND next.half = h.half + 1
WHERE h.connections + coalesce(next.connections, 0) >= {least}
    AND (h.trying + coalesce(next.trying, 0)) * 2 >= {least}
"""
_OUT: Final = """
WITH {begun}, minutes AS (
    SELECT host, pid, program, shift, {minute} AS minute,
        count(DISTINCT (address, remote_port)) AS targets, count(DISTINCT address) AS addresses,
        count(DISTINCT remote_port) AS ports, list(socket_id) FILTER (trying) AS tried,
        min(not_before) AS not_before, min(not_after) AS not_after
    FROM begun, {shifts} WHERE client AND {busy} GROUP BY ALL
    HAVING count(*) >= {least} AND count(DISTINCT (address, remote_port)) >= {least}
        AND count(*) FILTER (trying) * 2 >= {least}
), answered AS (
    SELECT t.host, t.pid, t.shift, t.minute, count(*) AS answers
    FROM (SELECT host, pid, shift, minute, unnest(tried) AS socket_id FROM minutes) t
    SEMI JOIN sockets s ON s.socket_id = t.socket_id AND s.host = t.host AND s.state = 'ESTABLISHED'
    GROUP BY ALL
)
SELECT m.host, m.pid, {known} AS named, max(targets) AS targets, arg_max(addresses, targets) AS addresses,
    arg_max(ports, targets) AS ports, arg_min(not_before, not_after) AS not_before,
    min(not_after) AS not_after
FROM minutes m LEFT JOIN answered a
    ON a.host = m.host AND a.pid IS NOT DISTINCT FROM m.pid AND a.shift = m.shift AND a.minute = m.minute
WHERE (len(tried) - coalesce(answers, 0)) * 2 >= targets
GROUP BY m.host, m.pid, named ORDER BY targets DESC, m.host, m.pid
"""


def find_in(asked: Asked) -> Iterator[Finding]:
    """Find each peer that used `ports` ports of this host within a minute, and bursts at closed ports.

    The ports are at least `share` of those that are open to others. Who asks a closed port leaves no
    socket: the kernel answers by itself, and counts its answers. At least `resets` of them in a minute,
    more than the connections that were reset account for, are a finding without a peer.
    """
    yield from _peers(asked)
    yield from _unknown(asked)


def _peers(asked: Asked) -> Iterator[Finding]:
    least, share = asked.threshold("scan-in", _PORTS), asked.threshold("scan-in", _SHARE)
    sql = _MANY.format(
        open_=_OPEN,
        span=_SPAN_US,
        seen=asked.within("begun_after", "first_seen"),
        told=asked.within("opened_at", "opened_at"),
        least=least,
        share=share,
    )
    many = [f"({literal(row['address'])}, {row['span']})" for row in asked.rows(sql)]
    if not many:
        return
    near = f"(address, epoch_us(not_after) // {_SPAN_US}) IN ({', '.join(many)})"
    sql = _IN.format(
        begun=begun(asked),
        open_=_OPEN,
        shifts=_SHIFTS,
        minute=_MINUTE.format("not_after"),
        many=near if len(many) <= _MOST_SPANS else "true",
        least=least,
        share=share,
    )
    for row in asked.rows(sql):
        yield Finding(
            kind="scan-in",
            severity="warning",
            title=f"{row['address']} tries this host's ports",
            text=(
                f"{row['address']} connected to {count(row['ports'], 'port')} of this host within a minute,"
                f" of {row['open_ports'] or row['ports']:,} that were open to others at any time."
            ),
            not_before=row["not_before"],
            not_after=row["not_after"],
            host=row["host"],
            subject=row["address"],
            numbers={"ports": row["ports"], "connections": row["connections"]},
            look=f"sockrec events --peer {row['address']}",
            sql=(
                "SELECT opened_not_after, local_port, bytes_received, how FROM connections WHERE"
                f" role = 'server' AND replace(remote_address, '::ffff:', '') = {literal(row['address'])}"
                " ORDER BY opened_not_after"
            ),
        )


def _unknown(asked: Asked) -> Iterator[Finding]:
    sql = _CLOSED.format(
        within=asked.within("read_at", "read_at"),
        shifts=_SHIFTS,
        minute=_MINUTE.format("read_at"),
        least=asked.threshold("scan-in", _RESETS),
    )
    for row in asked.rows(sql):
        kind = "tcp" if row["name"] == "OutRsts" else "udp"
        yield Finding(
            kind="scan-in",
            severity="warning",
            title=f"somebody asks {kind} ports where nobody listens",
            text=(
                f"{count(row['answers'], 'time')} within a minute the kernel answered that nobody listens"
                f" there ({row['name']}); who asked leaves no socket."
            ),
            not_before=row["not_before"],
            not_after=row["not_after"],
            host=row["host"],
            subject=f"{kind} ports of this host",
            numbers={"answers": row["answers"], "counter": row["name"]},
            look=f"sockrec rates --counter {row['name']}",
            sql=(
                "SELECT read_at, section, value, increase FROM counters"
                f" WHERE name = {literal(row['name'])} AND increase > 0 ORDER BY read_at"
            ),
        )


def find_out(asked: Asked) -> Iterator[Finding]:
    """Find each process that tried `targets` addresses and ports within a minute, half of them in vain.

    A crawler or a mail server talks to as many; most of theirs answer.
    """
    if not has_clients(asked):
        return
    least, half = asked.threshold("scan-out", _TARGETS), _HALF.format("not_after")
    sql = _BUSY.format(begun=begun(asked), half=half, least=least)
    halves = {row["half"] + later for row in asked.rows(sql) for later in (0, 1)}
    if not halves:
        return
    near = f"{half} IN ({', '.join(map(str, sorted(halves)))})"
    sql = _OUT.format(
        begun=begun(asked),
        shifts=_SHIFTS,
        minute=_MINUTE.format("not_after"),
        busy=near if len(halves) <= _MOST_SPANS else "true",
        known=known_as_sql("m.program"),
        least=least,
    )
    for row in asked.rows(sql):
        who = process(row["pid"], row["named"])
        peers = "one address" if row["addresses"] == 1 else f"{row['addresses']:,} addresses"
        tried = f"{count(row['ports'], 'port')} of {peers}"
        pid = "pid IS NULL" if row["pid"] is None else f"pid = {row['pid']}"
        yield Finding(
            kind="scan-out",
            severity="warning",
            title=f"{row['named'] or row['pid'] or 'somebody'} tries the ports of others",
            text=f"{who} asked {tried} within a minute; at least half of them did not answer, or refused.",
            not_before=row["not_before"],
            not_after=row["not_after"],
            host=row["host"],
            subject=who,
            numbers={"targets": row["targets"], "addresses": row["addresses"], "ports": row["ports"]},
            look="sockrec traffic --by process"
            if row["pid"] is None
            else f"sockrec events --pid {row['pid']}",
            sql=(
                "SELECT opened_not_after, remote_address, remote_port, established, how FROM connections"
                f" WHERE role = 'client' AND {pid} ORDER BY opened_not_after"
            ),
        )


IN: Final = Kind("scan-in", find_in, (_PORTS, _SHARE, _RESETS))
OUT: Final = Kind("scan-out", find_out, (_TARGETS,))
