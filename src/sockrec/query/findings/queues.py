"""Bytes that nobody takes: an application that does not read, a peer that does not, a path that loses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sockrec.model import durations
from sockrec.model.addresses import endpoint
from sockrec.model.programs import known_as_sql
from sockrec.query.findings.finding import Asked, Finding, Kind, Threshold, count, process

_SECONDS: Final = Threshold(
    "seconds", 10, "seconds", "a program may be busy for a while; users have given up by then"
)
_BYTES: Final = Threshold(
    "bytes",
    4096,
    "bytes",
    "less may be a goodbye (TLS, HTTP/2) in an idle connection of a pool that nobody reads",
)
# A queue that never falls is one stretch: rows are written as it moves, and what is in force lasts to the
# next row, or to the socket's end.
_STUCK: Final = """
WITH moved AS (
    SELECT host, recording, socket_id, read_at, {queue} AS queue, snd_wnd, probes, retransmits,
        lag({queue}) OVER readings AS before, lead(read_at) OVER readings AS next_at,
        lag(read_at) OVER readings AS read_before
    FROM activity WHERE socket_id IN ({sockets}) AND {queue} IS NOT NULL
    WINDOW readings AS (PARTITION BY host, recording, socket_id ORDER BY read_at)
), cut AS (
    SELECT *, sum((queue < coalesce(before, 0) OR coalesce(before, 0) = 0)::INT) OVER (
        PARTITION BY host, recording, socket_id ORDER BY read_at) AS stretch
    FROM moved
), stretches AS (
    SELECT host, recording, socket_id, min(read_at) AS began,
        arg_min_null(read_before, read_at) AS not_before, max(queue) AS queue,
        max(next_at) FILTER (queue > 0) AS ended, bool_or(next_at IS NULL) AS lasts,
        min(snd_wnd) AS snd_wnd, max(probes) AS probes, max(retransmits) AS retransmits
    FROM cut WHERE queue > 0 GROUP BY host, recording, socket_id, stretch
), alive AS (
    SELECT host, recording, socket_id, protocol, local_address, local_port, remote_address, remote_port,
        arg_max(pid, last_seen) AS pid, {known} AS named, max(last_seen) AS last_seen,
        arg_min_null(begun_after, first_seen) AS opened
    FROM sockets
    WHERE socket_id IN ({sockets}) AND protocol = 'tcp' AND remote_port <> 0
        AND state IN ('ESTABLISHED', 'CLOSE_WAIT')
    GROUP BY ALL
), timed AS (
    SELECT s.* EXCLUDE (ended, not_before), a.* EXCLUDE (host, recording, socket_id),
        coalesce(s.not_before, a.opened) AS not_before,
        if(s.lasts, greatest(a.last_seen, s.began), s.ended) AS until
    FROM stretches s JOIN alive a USING (host, recording, socket_id)
)
SELECT *, epoch_us(until) - epoch_us(began) AS took
FROM timed
WHERE queue >= {bytes} AND epoch_us(until) - epoch_us(began) >= {seconds} * 1000000 AND {within}
QUALIFY row_number() OVER (PARTITION BY host, recording, socket_id ORDER BY took DESC) = 1
ORDER BY queue DESC, began
"""
_TITLES: Final = {
    "peer does not read": "does not read",
    "no answer": "does not answer",
    "peer is slow": "is slow",
}


def find_unread(asked: Asked) -> Iterator[Finding]:
    """Find each connection whose program left at least `bytes` unread for at least `seconds`.

    Its Recv-Q did not fall in all that time. The peer's bytes have come: the path is right, and this host's
    program is what is stuck.
    """
    for row in _stuck(asked, "unread", "recv_q"):
        who = process(row["pid"], row["named"])
        peer = endpoint(row["remote_address"], row["remote_port"])
        text = (
            f"{who} did not read what {peer} had sent it for {durations.show(row['took'])}:"
            f" {row['queue']:,} bytes lay in its receive queue."
        )
        yield _finding(row, "unread", f"{row['named'] or 'a program'} does not read", text, "recv_q")


def find_unsent(asked: Asked) -> Iterator[Finding]:
    """Find each connection with at least `bytes` that the peer did not take for at least `seconds`.

    Told apart by tcp_info: a window of 0, or probes of it, is a peer whose program does not read;
    retransmissions are a path that loses, or a peer that is gone; neither is a peer that is slow.
    """
    for row in _stuck(asked, "unsent", "send_q"):
        who = process(row["pid"], row["named"])
        peer = endpoint(row["remote_address"], row["remote_port"])
        if row["snd_wnd"] == 0 or row["probes"]:
            why, reason = "its window is closed: the program there does not read", "peer does not read"
        elif row["retransmits"]:
            again = count(row["retransmits"], "time")
            why, reason = (
                f"it was sent again {again} without an answer: the path or the peer is gone",
                "no answer",
            )
        else:
            why, reason = "it acknowledges less than is sent", "peer is slow"
        text = (
            f"{peer} did not take what {who} had for it for {durations.show(row['took'])}:"
            f" {row['queue']:,} bytes lay in the send queue; {why}."
        )
        yield _finding(row, "unsent", f"{peer} {_TITLES[reason]}", text, "send_q", reason)


def _stuck(asked: Asked, kind: str, queue: str) -> list[dict[str, Any]]:
    least = asked.threshold(kind, _BYTES)
    # Few have that much: of these alone the stretches are put together.
    long = asked.rows(f"SELECT DISTINCT socket_id FROM activity WHERE {queue} >= {least}")
    if not long:
        return []
    values = {
        "sockets": ", ".join(str(row["socket_id"]) for row in long),
        "queue": queue,
        "known": known_as_sql("arg_max(program, last_seen)"),
        "bytes": str(least),
        "seconds": str(asked.threshold(kind, _SECONDS)),
        "within": asked.within("began", "until"),
    }
    sql = _STUCK
    for name, value in values.items():
        sql = sql.replace(f"{{{name}}}", value)
    return asked.rows(sql)


def _finding(
    row: dict[str, Any], kind: str, title: str, text: str, queue: str, reason: str | None = None
) -> Finding:
    local, remote = (endpoint(row[f"{side}_address"], row[f"{side}_port"]) for side in ("local", "remote"))
    numbers = {"bytes": row["queue"], "us": row["took"], "socket_id": row["socket_id"]}
    return Finding(
        kind=kind,
        severity="warning",
        title=title,
        text=text,
        not_before=row["not_before"],
        not_after=row["began"],
        host=row["host"],
        subject=f"{process(row['pid'], row['named'])} tcp {local} - {remote}",
        numbers=numbers if reason is None else numbers | {"reason": reason},
        look=f"sockrec lifecycle --socket {row['socket_id']}; sockrec top --by {queue.replace('_', '-')}",
        sql=(
            f"SELECT read_at, {queue}, snd_wnd, probes, retransmits, timer FROM activity"
            f" WHERE socket_id = {row['socket_id']} AND {queue} IS NOT NULL ORDER BY read_at"
        ),
    )


UNREAD: Final = Kind("unread", find_unread, (_SECONDS, _BYTES))
UNSENT: Final = Kind("unsent", find_unsent, (_SECONDS, _BYTES))
