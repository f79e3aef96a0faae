"""Connections that one end has closed, and that don't come to their end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sockrec.catalog.sources import literal
from sockrec.model import durations
from sockrec.model.programs import known_as_sql
from sockrec.query.findings import sweep
from sockrec.query.findings.finding import Asked, Finding, Kind, Threshold, count, listed

Row = dict[str, Any]
_SOCKETS: Final = Threshold(
    "sockets", 20, "sockets", "at one moment: every busy server has a few peers that vanish"
)
_SECONDS: Final = Threshold(
    "seconds", 30, "seconds", "a goodbye takes a round trip; three that got lost take seconds"
)
# The kernel's own remnant of a connection has no inode and no process; of both the last owner is known.
_STANDING: Final = """
WITH rows_ AS (
    SELECT host, recording, {known} AS named, coalesce(owner = 'held', false) AS held,
        state = 'FIN_WAIT2' AS answered, state, socket_id,
        replace(remote_address, '::ffff:', '') AS peer, first_seen, begun_after, last_seen, ended_as, ended_by
    FROM sockets
    WHERE protocol = 'tcp' AND state IN ('FIN_WAIT1', 'FIN_WAIT2', 'LAST_ACK', 'CLOSING') AND {seen}
), standing AS (
    SELECT {key}, socket_id, any_value(peer) AS peer, list(DISTINCT state) AS states,
        min({began}) AS began, arg_min_null({after}, first_seen) AS after,
        arg_max_null({ended}, (last_seen, first_seen)) AS ended,
        max(epoch_us(last_seen)) - min(epoch_us(first_seen)) AS took
    FROM rows_ GROUP BY ALL
    HAVING took >= {seconds} * 1000000
), {swept}, peaks AS (
    SELECT {key}, max(at_once) AS peak, min(moment) AS moment, arg_min_null(before, moment) AS before
    FROM swept WHERE at_once >= {least} GROUP BY ALL
), of_peers AS (
    SELECT {key}, peer, count(*) AS sockets, max(took) AS took, list_distinct(flatten(list(states))) AS states
    FROM standing SEMI JOIN peaks USING (host, recording, held, answered) GROUP BY ALL
), peers AS (
    SELECT {key}, count(*) AS peers, sum(sockets)::BIGINT AS sockets, max(took) AS longest_us,
        arg_max(peer, sockets) AS top_peer, max(sockets) AS top,
        list_sort(list_distinct(flatten(list(states)))) AS states
    FROM of_peers GROUP BY ALL
)
SELECT q.*, p.* EXCLUDE ({key}), make_timestamptz(moment) AS not_after, make_timestamptz(before) AS not_before
FROM peaks p JOIN peers q ON q.host = p.host AND q.recording = p.recording
    AND q.named IS NOT DISTINCT FROM p.named AND q.held = p.held AND q.answered = p.answered
QUALIFY row_number() OVER (PARTITION BY p.host, p.named, p.held, p.answered ORDER BY peak DESC) = 1
ORDER BY peak DESC
"""
_KEY: Final = "host, recording, named, held, answered"


def find(asked: Asked) -> Iterator[Finding]:
    """Find each program with at least `sockets` at one moment that stood half closed for at least `seconds`.

    In FIN_WAIT2 this host has closed and the peer has not: peers that leak, or wait. Where the program still
    holds them (shutdown) it waits for them as well; else the kernel ends them after tcp_fin_timeout, and it
    is a notice. In FIN_WAIT1, CLOSING and LAST_ACK the peer does not even acknowledge the close: it is gone,
    or the path to it is.
    """
    sql = _STANDING.format(
        known=known_as_sql("program"),
        seen=asked.within("first_seen", "last_seen"),
        seconds=asked.threshold("half-closed", _SECONDS),
        least=asked.threshold("half-closed", _SOCKETS),
        began=sweep.BEGAN,
        after=sweep.AFTER,
        ended=sweep.ENDED,
        swept=sweep.at_once("standing", _KEY),
        key=_KEY,
    )
    for row in asked.rows(sql):
        yield _finding(row)


def _finding(row: Row) -> Finding:
    who = row["named"] or "a program not known"
    states = listed(row["states"])
    peers = (
        row["top_peer"]
        if row["peers"] == 1
        else f"{row['peers']:,} peers, {row['top']:,} to {row['top_peer']}"
    )
    held = f"{who} still holds them" if row["held"] else f"no process holds them any more (last {who})"
    why = (
        "this host has closed them, and the peer has not"
        if row["answered"]
        else "the peer does not acknowledge the close: it is gone, or the path to it is"
    )
    quoted = ", ".join(literal(state) for state in row["states"])
    return Finding(
        kind="half-closed",
        severity="notice" if row["answered"] and not row["held"] else "warning",
        title=f"connections of {who} don't come to their end",
        text=(
            f"{count(row['peak'], 'connection')} to {peers} stood in {states} at once, for"
            f" {durations.show(row['longest_us'])} at the longest: {why}; {held}."
        ),
        not_before=row["not_before"],
        not_after=row["not_after"],
        host=row["host"],
        subject=f"{who} in {states}",
        numbers={
            "sockets": row["peak"],
            "in_all": row["sockets"],
            "peers": row["peers"],
            "top_peer": row["top_peer"],
            "held": row["held"],
            "longest_us": row["longest_us"],
        },
        look=f"sockrec events --peer {row['top_peer']}",
        sql=(
            "SELECT state, owner, program, local_port, remote_address, remote_port, first_seen, last_seen"
            f" FROM sockets WHERE state IN ({quoted}) AND remote_port <> 0"
            f" AND coalesce(owner = 'held', false) = {str(row['held']).lower()} ORDER BY first_seen"
        ),
    )


KIND: Final = Kind("half-closed", find, (_SOCKETS, _SECONDS))
