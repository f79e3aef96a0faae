"""Events as lines, one each: when, what, where, who, and how it ended.

Rows are mappings with the columns of `sockrec.query.events`; times in them are aware datetimes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any, Final

from sockrec.model import durations, timetext
from sockrec.render.escape import terminal
from sockrec.render.live import size
from sockrec.render.sentences import endpoint, holder

Event = Mapping[str, Any]

_ARROWS: Final = {"client": "->", "server": "<-"}
_SECOND: Final = 1_000_000
_MINUTE: Final = 60 * _SECOND
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_TIME_WIDTH: Final = len("10:32:04.118207")
_KIND_WIDTH: Final = len("stopped listening")


class EventLines:
    """Makes the lines; a title goes before the first one, and before each new day.

    `name_host` puts the host into each line.
    """

    def __init__(self, zone: tzinfo, *, name_host: bool) -> None:
        self._zone = zone
        self._name_host = name_host
        self._day: str | None = None

    def line(self, event: Event) -> str:
        """Return an event as a line, ended, with the title of its day before it if the day is new."""
        if event["not_after"] is None:
            # No recorder writes such a row. It is shown: a capture made elsewhere may have it.
            return f"{'?':<{_TIME_WIDTH}}  {_kind(event):<{_KIND_WIDTH}}  {'  '.join(_facts(event))}\n"
        last = timetext.from_datetime(event["not_after"])
        offset = timetext.offset(last, self._zone)
        date = timetext.to_datetime(last, self._zone).date()
        day = f"{date} (times in {'UTC' if offset == '+00:00' else offset})"
        title = "" if day == self._day else f"{day}\n"
        self._day = day
        moment_text = when(event["not_before"], event["not_after"], self._zone)
        parts = [f"{moment_text:<{_TIME_WIDTH}}"]
        if self._name_host:
            parts.append(terminal(event["host"]))
        parts += [f"{_kind(event):<{_KIND_WIDTH}}", *_facts(event)]
        return f"{title}{'  '.join(parts)}\n"


def when(not_before: datetime | None, not_after: datetime, zone: tzinfo) -> str:
    """Return a moment as exactly as it is known: `10:32:04.118207`, else `10:32:04.1-05.2` (its bounds).

    Bounds are rounded outwards, so that they still hold: to tenths of a second, to seconds from a minute
    on, to minutes from an hour on. Without a first one: `by 10:32:05.2`.
    """
    last = timetext.from_datetime(not_after)
    if not_before == not_after:
        return timetext.clock(last, zone, 6)
    if not_before is None:
        return f"by {timetext.clock(_up(last, _SECOND // 10), zone, 1)}"
    first = timetext.from_datetime(not_before)
    # Of the later bound only what may differ is shown: a turn of the clock would be lost in it.
    for step, turn, digits, shared in ((_SECOND // 10, _MINUTE, 1, "HH:MM:"), (_SECOND, _HOUR, 0, "HH:")):
        low, high = first // step * step, _up(last, step)
        if high - low < turn:
            rest = timetext.clock(high, zone, digits)[len(shared) :]
            return f"{timetext.clock(low, zone, digits)}-{rest}"
    low, high = first // _MINUTE * _MINUTE, _up(last, _MINUTE)
    begin, end = (timetext.to_datetime(time_us, zone) for time_us in (low, high))
    form = "%H:%M" if high - low < _DAY else "%m-%d"
    return f"{begin:{form}}-{end:{form}}"


def _kind(event: Event) -> str:
    return terminal(str(event["kind"]))


def _up(time_us: int, step: int) -> int:
    return -(-time_us // step) * step


def _facts(event: Event) -> list[str]:
    kind = event["kind"]
    if kind == "lost":
        what = terminal(event["detail"] or "events")
        return [what if event["count"] is None else f"{event['count']:,} {what}"]
    if kind == "exec":
        became = terminal(event["detail"] or "another program")
        return [f"{holder(event['pid'], event['program'])} became {became}"]
    if kind == "exited":
        return [_told(event) or f"{holder(event['pid'], event['program'])} exited"]
    facts = [_where(event)]
    if kind == "stopped listening":
        told = _told(event) or holder(event["pid"], event["program"])
        return [*facts, told + _inferred(event["evidence"]) + _after(event)]
    facts.append(holder(event["pid"], event["program"]) + _inferred(event["owner_evidence"]))
    if kind == "closed" and (end := _end(event)):
        facts.append(end)
    return facts


def _told(event: Event) -> str:
    return terminal(event["told"] or "")


def _inferred(evidence: str | None) -> str:
    return " (inferred)" if evidence == "inferred" else ""


def _where(event: Event) -> str:
    here = f"{terminal(str(event['protocol']))} {endpoint(event['local_address'], event['local_port'])}"
    if not event["remote_port"]:
        return here
    arrow = _ARROWS.get(event["role"], "-")
    return f"{here} {arrow} {endpoint(event['remote_address'], event['remote_port'])}"


def _after(event: Event) -> str:
    """Return how long it lasted, ` after 3.2 ms`, where that is known."""
    if event["opened_at"] is None or event["not_after"] is None or event["not_before"] != event["not_after"]:
        return ""
    length = timetext.from_datetime(event["not_after"]) - timetext.from_datetime(event["opened_at"])
    return f" after {durations.show(length)}" if length >= 0 else ""


def _end(event: Event) -> str:
    """Return how a connection ended, and what it carried."""
    # connect(2) that finds no free port fails in SYN_SENT, with none bound yet (EADDRNOTAVAIL).
    in_vain = event["role"] == "client" and event["local_port"] == 0
    cause = event["cause"] or ("no local port was free" if in_vain else "")
    parts = [(terminal(cause) + _after(event)).strip()]
    for column, word in (("bytes_sent", "sent"), ("bytes_received", "received")):
        if event[column] is not None:
            parts.append(f"{size(event[column])} {word}")
    for column, word in (("total_retrans", "retransmitted"), ("drops", "dropped")):
        if event[column]:
            parts.append(f"{event[column]:,} {word}")
    return ", ".join(part for part in parts if part)
