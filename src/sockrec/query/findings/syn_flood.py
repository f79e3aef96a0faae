"""Connections that are asked for and never made: a flood, or answers that don't reach who asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sockrec.catalog.sources import literal
from sockrec.model.addresses import endpoint
from sockrec.query.findings import risen, sweep
from sockrec.query.findings.finding import Asked, Finding, Kind, Threshold, count

Row = dict[str, Any]
_REQUESTS: Final = Threshold(
    "requests",
    50,
    "requests",
    "at one moment to one port; a busy server has that many on their way, but each for a round trip only",
)
_SECONDS: Final = Threshold("seconds", 0.5, "seconds", "a round trip to the other side of the world, twice")
_COOKIES, _DROPPED, _OVERFLOWS = "SyncookiesSent", "TCPReqQFullDrop", "ListenOverflows"
# Where a listener's program does not accept, requests stay too: that is told as accept-queue-full.
_HALF_OPEN: Final = """
WITH full_ AS (
    SELECT DISTINCT host, netns, local_port AS port
    FROM sockets SEMI JOIN (FROM activity WHERE recv_q > backlog_limit AND {read}) a
        USING (host, recording, socket_id)
    WHERE state = 'LISTEN'
), asked AS (
    SELECT host, recording, netns, replace(local_address, '::ffff:', '') AS address, local_port AS port,
        replace(remote_address, '::ffff:', '') AS peer, {began} AS began,
        {after} AS after, {ended} AS ended
    FROM sockets
    WHERE protocol = 'tcp' AND state = 'SYN_RECV' AND {seen}
        AND epoch_us(last_seen) - epoch_us(first_seen) >= {seconds} * 1000000
), {swept}, peaks AS (
    SELECT host, netns, address, port, max(at_once) AS peak,
        min(moment) FILTER (at_once >= {least}) AS moment,
        arg_min_null(before, moment) FILTER (at_once >= {least}) AS before
    FROM swept GROUP BY ALL
), of_peers AS (
    SELECT host, netns, address, port, peer, count(*) AS requests FROM asked GROUP BY ALL
), peers AS (
    SELECT host, netns, address, port, count(*) AS peers, sum(requests)::BIGINT AS requests,
        arg_max(peer, requests) AS top_peer, max(requests) AS top
    FROM of_peers GROUP BY ALL
)
SELECT * REPLACE (make_timestamptz(moment) AS moment, make_timestamptz(before) AS before)
FROM peaks JOIN peers USING (host, netns, address, port) ANTI JOIN full_ USING (host, netns, port)
ORDER BY peak DESC, host, address, port
"""
_KEY: Final = "host, recording, netns, address, port"


def find(asked: Asked) -> Iterator[Finding]:
    """Find each port with at least `requests` half-open requests at one moment, or that many SYN cookies.

    Counted are those for which the kernel waited at least `seconds`: their peers asked (SYN), were answered,
    and said no more. They come from forged addresses (a SYN flood), or the answers get lost on the way back.
    It is critical where the queue of requests was full: the kernel then sends cookies, or drops what comes.
    With cookies sent and no request seen in any sample, the port is not known.
    """
    least = asked.threshold("syn-flood", _REQUESTS)
    sql = _HALF_OPEN.format(
        read=asked.within("read_at", "read_at"),
        seen=asked.within("first_seen", "last_seen"),
        seconds=asked.threshold("syn-flood", _SECONDS),
        began=sweep.BEGAN,
        after=sweep.AFTER,
        ended=sweep.ENDED,
        swept=sweep.at_once("asked", _KEY),
        least=least,
    )
    sent = risen.risen(asked, (_COOKIES, _DROPPED, _OVERFLOWS), "source = 'netstat'")
    ports: dict[tuple[str, int], list[Row]] = {}
    for row in asked.rows(sql):
        ports.setdefault((row["host"], row["netns"]), []).append(row)
    for place in sent.keys() | ports.keys():
        counted = sent.get(place, {})
        is_full = sum(counted[name].rise for name in (_COOKIES, _DROPPED) if name in counted) >= least
        if is_full and place not in ports and _OVERFLOWS not in counted:
            yield _of_no_port(place[0], counted)
        for number, row in enumerate(ports.get(place, ())):
            # What the kernel counts is of all its listeners: it is told of the one most asked.
            told = is_full and number == 0
            if told or row["peak"] >= least:
                yield _of_port(row, counted if told else {})


def _counts(counted: Mapping[str, risen.Risen]) -> dict[str, int]:
    return {
        name: counted[source].rise if source in counted else 0
        for name, source in (("cookies", _COOKIES), ("dropped", _DROPPED))
    }


def _what_was_done(counts: Mapping[str, int]) -> str:
    """Return what the kernel did instead of keeping requests."""
    cookies, dropped = counts["cookies"], counts["dropped"]
    parts = [f"answered {count(cookies, 'time')} with a SYN cookie"] if cookies else []
    parts += [f"dropped {count(dropped, 'request')}"] if dropped else []
    return f"A queue of requests was full: the kernel {' and '.join(parts)}."


def _of_port(row: Row, counted: Mapping[str, risen.Risen]) -> Finding:
    place = endpoint(row["address"], row["port"])
    counts = _counts(counted)
    peers = count(row["peers"], "peer")
    if row["top"] > 1 or row["peers"] == 1:
        peers += f" ({'most: ' if row['peers'] > 1 else ''}{row['top_peer']}, {row['top']:,})"
    done = f" {_what_was_done(counts)}" if any(counts.values()) else ""
    moment, before = row["moment"], row["before"]
    if moment is None:
        first = min(counted.values(), key=lambda one: one.not_after)
        moment, before = first.not_after, first.not_before
    return Finding(
        kind="syn-flood",
        severity="critical" if done else "warning",
        title=f"port {row['port']} is asked for connections that nobody makes",
        text=(
            f"{count(row['peak'], 'request')} to tcp {place} stood half open at once: {peers}"
            f" asked and said no more when answered.{done}"
        ),
        not_before=before,
        not_after=moment,
        host=row["host"],
        subject=f"tcp {place}",
        numbers={
            "port": row["port"],
            "half_open": row["peak"],
            "requests": row["requests"],
            "peers": row["peers"],
            "top_peer": row["top_peer"],
            **counts,
        },
        look=f"sockrec rates --counter {_COOKIES}; sockrec port {row['port']}",
        sql=(
            "SELECT remote_address, count(*) AS requests, min(first_seen) AS first_seen,"
            " max(last_seen) AS last_seen FROM sockets WHERE state = 'SYN_RECV'"
            f" AND local_port = {row['port']}"
            f" AND replace(local_address, '::ffff:', '') = {literal(row['address'])}"
            " GROUP BY remote_address ORDER BY requests DESC"
        ),
    )


def _of_no_port(host: str, counted: Mapping[str, risen.Risen]) -> Finding:
    counts = _counts(counted)
    first = min(counted.values(), key=lambda one: one.not_after)
    return Finding(
        kind="syn-flood",
        severity="critical",
        title="a port is asked for more connections than it can keep in mind",
        text=(f"{_what_was_done(counts)} No sample saw a request wait: which port it was is not known."),
        not_before=first.not_before,
        not_after=first.not_after,
        host=host,
        subject="a port not known",
        numbers=counts,
        look=f"sockrec rates --counter {_COOKIES}",
        sql=(
            "SELECT read_at, name, increase, per_second FROM counters"
            f" WHERE name IN ('{_COOKIES}', '{_DROPPED}') AND increase > 0 ORDER BY read_at"
        ),
    )


KIND: Final = Kind("syn-flood", find, (_REQUESTS, _SECONDS))
