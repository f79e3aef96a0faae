"""Answers as sentences: one line for each, for somebody tired who must not misread it.

Rows are mappings with the columns of `sockrec.query.when` and `sockrec.query.port`; times in them
are aware datetimes. Bounds are shown so that they still hold: the later one is rounded up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any, Final

from sockrec.model import durations, timetext
from sockrec.model.gaps import NOT_SEEN
from sockrec.render.escape import terminal

Answer = Mapping[str, Any]

_MILLISECOND: Final = 1_000
_UNKNOWN: Final = "holder unknown"
_BOUNDS_WIDTH: Final = len("10:32:09.000 - 10:32:10.010")


def endpoint(address: str | None, port: int | None) -> str:
    """Return `10.0.0.5:7071`, `[::1]:7071`; port 0 as `*`, no address as `?`; safe for a terminal."""
    shown = "?" if address is None else f"[{address}]" if ":" in address else address
    return f"{terminal(shown)}:{port or '*'}"


def holder(pid: int | None, program: str | None) -> str:
    """Return `myapp[4121]`, or that it is unknown; safe for a terminal."""
    if pid is None:
        return _UNKNOWN
    return f"{terminal(program or '?')}[{pid}]"


def _plain(word: object) -> str:
    """Return one of our own words; of a capture made elsewhere it may be anything."""
    return terminal(str(word))


def _us(moment: datetime) -> int:
    return timetext.from_datetime(moment)


def _zone_name(time_us: int, zone: tzinfo) -> str:
    offset = timetext.offset(time_us, zone)
    return "UTC" if offset == "+00:00" else offset


def _digits(first_us: int, last_us: int) -> int:
    return 3 if last_us - first_us >= _MILLISECOND or not (first_us % 1000 or last_us % 1000) else 6


def _round_up(time_us: int, digits: int) -> int:
    return time_us if digits == 6 else -(-time_us // _MILLISECOND) * _MILLISECOND


def at(moment: datetime, zone: tzinfo, digits: int) -> str:
    """Return `10:32:04.100 UTC on 2026-11-20`, rounded up to so many digits of the second (3 or 6)."""
    time_us = _round_up(_us(moment), digits)
    day = timetext.to_datetime(time_us, zone).date()
    return f"{timetext.clock(time_us, zone, digits)} {_zone_name(time_us, zone)} on {day}"


def between(not_before: datetime, not_after: datetime, zone: tzinfo) -> str:
    """Return `between 10:32:04.100 and 10:32:04.300 UTC on 2026-11-20`."""
    first, last = _us(not_before), _us(not_after)
    digits = _digits(first, last)
    last = _round_up(last, digits)
    same_day = timetext.to_datetime(first, zone).date() == timetext.to_datetime(last, zone).date()
    if not same_day or timetext.offset(first, zone) != timetext.offset(last, zone):
        return f"between {timetext.full(first, zone, digits)} and {timetext.full(last, zone, digits)}"
    end = f"{timetext.clock(last, zone, digits)} {_zone_name(last, zone)}"
    day = timetext.to_datetime(first, zone).date()
    return f"between {timetext.clock(first, zone, digits)} and {end} on {day}"


def _how(row: Answer) -> str:
    """Return how a moment is known: `exact`, `by sample`, or `inferred`, with why it was not seen."""
    if row["exact"] and row["evidence"] == "event":
        return "exact"
    how = "inferred" if row["evidence"] == "inferred" else f"by {_plain(row['evidence'])}"
    return f"{how}: {row['cause']}" if row["cause"] in NOT_SEEN else how


def _cause(row: Answer) -> str:
    """Return why something ended, safe for a terminal; '' if it is not known."""
    return terminal(row["cause"]) if row["cause"] and row["cause"] not in NOT_SEEN else ""


def _later(ended: tuple[datetime, datetime], again: tuple[datetime, datetime]) -> str:
    """Return the downtime: one number where the bounds leave no doubt of it, else both."""
    least = max(0, _us(again[0]) - _us(ended[1]))
    most = _us(again[1]) - _us(ended[0])
    if most - least <= most / 20:
        return f"{durations.show((least + most) / 2)} later"
    return (
        f"{durations.show(least)} to {durations.show(most)} later"
        if least
        else f"within {durations.show(most)}"
    )


def again(row: Answer, ended: tuple[datetime, datetime]) -> str:
    """Return `listening again 20.3 s later as myapp[4377]`; '' if it never did."""
    if row["again_not_after"] is None:
        return ""
    start = row["again_not_before"] or row["again_not_after"]
    when = _later(ended, (start, row["again_not_after"]))
    return f"listening again {when} as {holder(row['again_pid'], row['again_program'])}"


def _subject(row: Answer, topic: str) -> str:
    if topic == "process":
        return holder(row["pid"], row["program"])
    local = endpoint(row["local_address"], row["local_port"])
    if topic == "listening":
        return f"port {row['local_port']} ({_plain(row['protocol'])} {local})"
    pair = f"{_plain(row['protocol'])} {local} - {endpoint(row['remote_address'], row['remote_port'])}"
    return f"connection {pair}" if topic == "connection" else pair


def _verb(topic: str, begins: bool, state: str | None) -> str:
    if topic == "state":
        return f"{'entered' if begins else 'left'} {state}"
    verbs = {
        "listening": ("started listening", "stopped listening"),
        "connection": ("opened", "closed"),
        "process": ("started", "ended"),
    }
    return verbs[topic][0 if begins else 1]


def _already(topic: str, state: str | None) -> str:
    words = {"listening": "listening", "connection": "open", "process": "running"}
    return f"was {words.get(topic, f'in {state}')} already"


def answer(row: Answer, topic: str, begins: bool, zone: tzinfo, *, name_host: bool = False) -> str:
    """Return one answer of `when` as a sentence without a full stop.

    `topic` is listening, connection, state or process; `begins` tells beginnings from ends.
    """
    first, last = row["not_before"], row["not_after"]
    cause = _cause(row)
    if topic == "process" and cause:
        what = cause  # it names the process, and says how it ended
    else:
        what = f"{_subject(row, topic)} {_verb(topic, begins, _plain(row['state']))}"
    if first is None:
        already = f"{_subject(row, topic)} {_already(topic, _plain(row['state']))}"
        text = f"{already} at {at(last, zone, 3)}, when recording began"
    elif row["exact"]:
        text = f"{what} at {at(last, zone, 6)} ({_how(row)})"
    else:
        doubt = durations.show(_us(last) - _us(first))
        text = f"{what} {between(first, last, zone)} ({doubt}; {_how(row)})"
    if topic != "process":
        text += f": {cause or holder(row['pid'], row['program'])}"
    if first is not None and (restart := again(row, (first, last))):
        text += f"; {restart}"
    return f"{terminal(row['host'])}: {text}" if name_host else text


def story(rows: Sequence[Answer], port: int, zone: tzinfo) -> str:
    """Return the story of a port as lines, oldest first, a blank one before each new day and host."""
    lines: list[str] = []
    several = len({row["host"] for row in rows}) > 1
    place = None
    width = max((len(_where(row)) for row in rows if row["what"] != "gap"), default=0)
    for row in rows:
        moment = _us(row["at_not_before"] or row["at_not_after"])
        day = timetext.to_datetime(moment, zone).date()
        here = (row["host"], day, _zone_name(moment, zone))
        if here != place:
            if place is not None:
                lines.append("")
            lines.append(f"port {port} on {terminal(row['host'])}, {day} (times in {here[2]})")
            place = here
        elif several and not lines:
            lines.append(terminal(row["host"]))
        lines += _chapter(row, zone, width)
    return "".join(f"{line}\n" for line in lines)


def _chapter(row: Answer, zone: tzinfo, width: int) -> list[str]:
    time_text = _bounds(row, zone)
    if row["what"] == "gap":
        return [f"  {time_text}  {'(gap)':<16}{_plain(row['detail'])}"]
    detail = f", {terminal(row['detail'])}" if row["detail"] else ""
    who = terminal(row["cause"]) if row["cause"] else holder(row["pid"], row["program"])
    lines = [f"  {time_text}  {_where(row):<{width}}  {row['what']}{detail}: {who}"]
    indent = " " * (len(time_text) + 4)
    if facts := _facts(row):
        lines.append(f"{indent}{facts}")
    if row["what"] == "stopped listening" and (
        restart := again(row, (row["at_not_before"], row["at_not_after"]))
    ):
        lines.append(f"{indent}{restart}")
    return lines


def _where(row: Answer) -> str:
    return f"{_plain(row['protocol'])} {endpoint(row['address'], row['port'])}"


def _bounds(row: Answer, zone: tzinfo) -> str:
    first, last = row["at_not_before"], row["at_not_after"]
    low = _us(first or last)
    if first is None or low == _us(last):
        # First evidence is rounded up, last evidence down; what an event told is shown as it is.
        digits = 6 if first is not None and row["evidence"] == "event" else 3
        alone = timetext.clock(_round_up(low, 3) if first is None else low, zone, digits)
        return f"{alone:<{_BOUNDS_WIDTH}}"
    digits = _digits(low, _us(last))
    end = timetext.clock(_round_up(_us(last), digits), zone, digits)
    return f"{timetext.clock(low, zone, digits)} - {end}"


def _facts(row: Answer) -> str:
    if row["connections"] is None:
        return ""
    number = row["connections"]
    text = f"{number:,} connection{'' if number == 1 else 's'}"
    if number:
        text += f", at most {row['peak_connections']:,} at once"
    if row["peak_waiting"] is not None:
        limit = f" (limit {row['backlog_limit']:,})" if row["backlog_limit"] is not None else ""
        text += f"; at most {row['peak_waiting']:,} waiting for accept{limit}"
    return text
