"""Clients wait for an answer that does not come: something on the way drops what they ask."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sockrec.catalog.sources import literal
from sockrec.model import durations
from sockrec.model.addresses import endpoint
from sockrec.model.programs import known_as_sql
from sockrec.query.findings.finding import Asked, Finding, Kind, Threshold, count, listed

_WAIT: Final = Threshold(
    "wait", 1, "seconds", "of one attempt: the kernel asks again after a second, and this one got no answer"
)
_SECONDS: Final = Threshold(
    "seconds", 5, "seconds", "of all attempts at one place: less may be a packet or two that got lost"
)
# What a sample saw asking, with what the kernel told of its end. A row that ended as another state, or an
# event that has when it was established, was answered; the event of one refused says so.
_STUCK: Final = """
WITH sampled AS (
    SELECT host, recording, socket_id, any_value(replace(remote_address, '::ffff:', '')) AS address,
        any_value(remote_port) AS port, arg_max(pid, last_seen) AS pid,
        arg_max(program, last_seen) AS program, arg_min_null(begun_after, first_seen) AS not_before,
        min(first_seen) AS not_after, max(last_seen) AS last_seen,
        arg_max_null(ended_as, (last_seen, first_seen)) AS ended_as
    FROM sockets WHERE protocol = 'tcp' AND state = 'SYN_SENT' GROUP BY host, recording, socket_id
), told AS (
    SELECT host, recording, socket_id, replace(remote_address, '::ffff:', '') AS address, remote_port AS port,
        pid, program, opened_at, not_after AS ended, established_at, cause
    FROM base.events
    WHERE kind = 'closed' AND protocol = 'tcp' AND (established_at IS NULL AND role = 'client'
            AND epoch_us(not_after) - epoch_us(opened_at) >= {wait} * 1000000
        OR sampled AND socket_id IN (SELECT socket_id FROM sampled))
), attempts AS (
    SELECT host, coalesce(t.address, s.address) AS address, coalesce(t.port, s.port) AS port,
        coalesce(t.pid, s.pid) AS pid, {known} AS named, coalesce(t.opened_at, s.not_before) AS not_before,
        coalesce(t.opened_at, s.not_after) AS not_after, coalesce(t.ended, s.last_seen) AS last_seen,
        CASE WHEN t.cause IN ('timed out', 'unreachable') THEN t.cause
            WHEN t.ended IS NULL AND coalesce(s.ended_as, 'stopped') <> 'closed' THEN 'trying'
            ELSE 'given up' END AS how
    FROM sampled s FULL JOIN told t USING (host, recording, socket_id)
    WHERE t.established_at IS NULL AND t.cause IS DISTINCT FROM 'refused'
        AND (t.ended IS NOT NULL OR s.ended_as IS DISTINCT FROM 'changed')
), waited AS (
    SELECT *, epoch_us(last_seen) - epoch_us(not_after) AS took FROM attempts
)
SELECT host, address, port, count(*) AS attempts, sum(took)::BIGINT AS total_us, max(took) AS longest_us,
    count(*) FILTER (how = 'timed out') AS timed_out, count(*) FILTER (how = 'unreachable') AS unreachable,
    count(*) FILTER (how = 'given up') AS given_up, count(*) FILTER (how = 'trying') AS trying,
    list_sort(list(DISTINCT coalesce(named, 'unknown'))) AS programs,
    arg_min_null(not_before, not_after) AS not_before, min(not_after) AS not_after
FROM waited WHERE took >= {wait} * 1000000 AND {within}
GROUP BY host, address, port HAVING sum(took) >= {seconds} * 1000000
ORDER BY total_us DESC, host, address, port
"""


def find(asked: Asked) -> Iterator[Finding]:
    """Find each address and port that did not answer this host's clients for at least `seconds`.

    A firewall that drops in silence, a host that is gone, or a wrong address. Counted are attempts that
    waited at least `wait`, and timed out, were given up by their program, or still go on. Not those that
    were refused, nor those that were answered in the end.
    """
    sql = _STUCK.format(
        wait=asked.threshold("connect-stuck", _WAIT),
        seconds=asked.threshold("connect-stuck", _SECONDS),
        known=known_as_sql("coalesce(t.program, s.program)"),
        within=asked.within("not_after", "last_seen"),
    )
    for row in asked.rows(sql):
        place = endpoint(row["address"], row["port"])
        who = listed(row["programs"])
        yield Finding(
            kind="connect-stuck",
            severity="critical",
            title=f"clients get no answer from {place}",
            text=(
                f"{who} asked tcp {place} {count(row['attempts'], 'time')} and got no answer, for"
                f" {durations.show(row['longest_us'])} at the longest: {_ends(row)}. It is dropped on the"
                " way, or nobody is there."
            ),
            not_before=row["not_before"],
            not_after=row["not_after"],
            host=row["host"],
            subject=f"{who} to tcp {place}",
            numbers={
                "port": row["port"],
                **{
                    name: row[name] for name in ("attempts", "timed_out", "unreachable", "given_up", "trying")
                },
                "longest_us": row["longest_us"],
            },
            look=f"sockrec events --peer {place}",
            sql=(
                "SELECT opened_not_after, last_seen, how, pid, program, local_address, local_port"
                f" FROM connections WHERE NOT established AND remote_port = {row['port']}"
                f" AND replace(remote_address, '::ffff:', '') = {literal(row['address'])}"
                " ORDER BY opened_not_after"
            ),
        )


def _ends(row: dict[str, Any]) -> str:
    """Return how the attempts ended: `2 timed out, 1 still tries`."""
    words = (
        ("timed_out", "timed out"),
        ("unreachable", "told that it can't be reached"),
        ("given_up", "given up"),
        ("trying", "not ended yet"),
    )
    return ", ".join(f"{row[name]:,} {said}" for name, said in words if row[name])


KIND: Final = Kind("connect-stuck", find, (_WAIT, _SECONDS))
