"""Bytes that nobody takes: an application that does not read, a peer that does not, a path that loses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from sockrec.model import durations
from sockrec.model.addresses import endpoint
from sockrec.model.programs import known_as_sql
from sockrec.query.findings.finding import Asked, Finding, Kind, Threshold, count, process

Row = dict[str, Any]
_MOST_SHOWN: Final = 50
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
# What the peer does, and how that is known.
_REASONS: Final = {
    "peer does not read": ("does not read", "its window is closed: the program there does not read"),
    "no answer": (
        "does not answer",
        "it was sent again {again} without an answer: the path or the peer is gone",
    ),
    "peer is slow": ("is slow", "it acknowledges less than is sent"),
}


def find_unread(asked: Asked) -> Iterator[Finding]:
    """Find each program that left at least `bytes` of a connection unread for at least `seconds`.

    A Recv-Q did not fall in all that time. The peer's bytes have come: the path is right, and this host's
    program is what is stuck. The connections of one process are one finding, told of the fullest.
    """
    for rows in _grouped(_stuck(asked, "unread", "recv_q")):
        row = rows[0]
        who = process(row["pid"], row["named"])
        text = (
            f"{who} did not read what {_remote(row)} had sent it for {durations.show(row['took'])}:"
            f" {row['queue']:,} bytes lay in its receive queue.{_more(rows)}"
        )
        yield _finding(rows, "unread", f"{row['named'] or 'a program'} does not read", text, "recv_q")


def find_unsent(asked: Asked) -> Iterator[Finding]:
    """Find each program with at least `bytes` that a peer did not take for at least `seconds`.

    Told apart by tcp_info: a window of 0, or probes of it, is a peer whose program does not read;
    retransmissions are a path that loses, or a peer that is gone; neither is a peer that is slow. The
    connections of one process for which the reason is the same are one finding, told of the fullest.
    """
    stuck = [row | {"reason": _reason(row)} for row in _stuck(asked, "unsent", "send_q")]
    for rows in _grouped(stuck, "reason"):
        row = rows[0]
        done, why = _REASONS[row["reason"]]
        again = count(row["retransmits"] or 0, "time")
        text = (
            f"{_remote(row)} did not take what {process(row['pid'], row['named'])} had for it for"
            f" {durations.show(row['took'])}: {row['queue']:,} bytes lay in the send queue;"
            f" {why.format(again=again)}.{_more(rows)}"
        )
        yield _finding(rows, "unsent", f"{_remote(row)} {done}", text, "send_q")


def _reason(row: Row) -> str:
    if row["snd_wnd"] == 0 or row["probes"]:
        return "peer does not read"
    return "no answer" if row["retransmits"] else "peer is slow"


def _grouped(rows: Iterable[Row], *also: str) -> list[list[Row]]:
    """Return the rows of each process together, and of what else they are told apart by, in their order."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in ("host", "pid", "named", *also)), []).append(row)
    return list(groups.values())


def _remote(row: Row) -> str:
    return endpoint(row["remote_address"], row["remote_port"])


def _more(rows: list[Row]) -> str:
    more = len(rows) - 1
    return f" So it was on {more:,} more of its connections." if more else ""


def _stuck(asked: Asked, kind: str, queue: str) -> list[Row]:
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


def _finding(rows: list[Row], kind: str, title: str, text: str, queue: str) -> Finding:
    row = rows[0]
    began = min(rows, key=lambda one: one["began"])
    who = process(row["pid"], row["named"])
    place = f"{endpoint(row['local_address'], row['local_port'])} - {_remote(row)}"
    numbers = {
        "bytes": row["queue"],
        "us": row["took"],
        "socket_id": row["socket_id"],
        "connections": len(rows),
        **({"reason": row["reason"]} if "reason" in row else {}),
    }
    sockets = ", ".join(str(one["socket_id"]) for one in rows[:_MOST_SHOWN])
    return Finding(
        kind=kind,
        severity="warning",
        title=title,
        text=text,
        not_before=began["not_before"],
        not_after=began["began"],
        host=row["host"],
        subject=f"{who} tcp {place}" if len(rows) == 1 else f"{len(rows):,} connections of {who}",
        numbers=numbers,
        look=f"sockrec lifecycle --socket {row['socket_id']}; sockrec top --by {queue.replace('_', '-')}",
        sql=(
            f"SELECT socket_id, read_at, {queue}, snd_wnd, probes, retransmits, timer FROM activity"
            f" WHERE socket_id IN ({sockets}) AND {queue} IS NOT NULL ORDER BY socket_id, read_at"
        ),
    )


UNREAD: Final = Kind("unread", find_unread, (_SECONDS, _BYTES))
UNSENT: Final = Kind("unsent", find_unsent, (_SECONDS, _BYTES))
