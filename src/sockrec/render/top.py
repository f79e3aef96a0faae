"""The largest by each measure, a small table for each; in Markdown too.

Rows are mappings with the columns of `sockrec.query.top`; times in them are aware datetimes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from typing import Any, Final

from sockrec.model import durations, timetext
from sockrec.model.addresses import endpoint
from sockrec.render import formats
from sockrec.render.live import size

Row = Mapping[str, Any]
_Column = tuple[str, Callable[[Row], str], bool]

_TITLES: Final = {
    "recv-q": "Recv-Q: unread bytes; of a listener, connections that wait to be accepted",
    "send-q": "Send-Q: bytes that the peer has not acknowledged",
    "retrans": "retransmissions: segments sent again",
    "rtt": "rtt: the longest smoothed round trip of a connection",
    "connections": "connections of one process",
    "churn": "churn: connections that a program opened and closed",
}


def tables(rows: Sequence[Row], by: Sequence[str], zone: tzinfo, form: str) -> str:
    """Return a table for each name in `by` that has rows, under a line that says what it counts.

    `form` is `table` or `markdown`.
    """
    moments = [timetext.from_datetime(row["peak_at"]) for row in rows if row["peak_at"] is not None]
    days = {timetext.to_datetime(moment, zone).date() for moment in moments}
    several = len({row["host"] for row in rows}) > 1
    parts = []
    for name in by:
        if found := [row for row in rows if row["measure"] == name]:
            of_sockets = found[0]["socket_id"] is not None
            columns = _sockets(zone, len(days) > 1) if of_sockets else _processes(found)
            if several:
                columns.insert(0, ("host", lambda row: str(row["host"]), False))
            cells = [[show(row) for _, show, _ in columns] for row in found]
            titles, right = [title for title, _, _ in columns], [is_number for _, _, is_number in columns]
            parts.append(f"{_TITLES[name]}\n\n{formats.whole(form, titles, cells, right)}")
    return "\n".join(parts)


def _sockets(zone: tzinfo, dated: bool) -> list[_Column]:
    def at(row: Row) -> str:
        time_us = timetext.from_datetime(row["peak_at"])
        return timetext.full(time_us, zone) if dated else timetext.clock(time_us, zone)

    return [
        ("value", _value, True),
        ("at", at, False),
        ("socket", _socket, False),
        ("state", lambda row: row["state"] or "", False),
        ("process", _process, False),
    ]


def _processes(rows: Sequence[Row]) -> list[_Column]:
    named: _Column = ("program", lambda row: row["program"] or "unknown", False)
    if any(row["pid"] is not None for row in rows):
        named = ("process", _process, False)
    return [
        # Of churn it is what was opened and closed, so that one connection may count twice.
        ("churn" if rows[0]["measure"] == "churn" else "connections", lambda row: f"{row['value']:,}", True),
        ("opened", lambda row: f"{row['opened']:,}", True),
        ("closed", lambda row: f"{row['closed']:,}", True),
        named,
    ]


def _value(row: Row) -> str:
    value = row["value"]
    if row["measure"] == "rtt":
        return durations.show(value)
    if row["measure"] == "retrans":
        return f"{value:,}"
    if row["state"] == "LISTEN":
        return f"{value:,} of {row['backlog_limit']:,}" if row["backlog_limit"] is not None else f"{value:,}"
    return size(value)


def _socket(row: Row) -> str:
    local = endpoint(row["local_address"], row["local_port"])
    if not row["remote_port"]:
        return f"{row['protocol']} {local}"
    return f"{row['protocol']} {local} - {endpoint(row['remote_address'], row['remote_port'])}"


def _process(row: Row) -> str:
    return "unknown" if row["pid"] is None else f"{row['program'] or '?'}[{row['pid']}]"
