"""The states of connections as people draw them: of one socket, or the ways that all of a port went.

Rows are mappings with the columns of `sockrec.query.lifecycle`; times in them are aware datetimes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from itertools import groupby, pairwise
from typing import Any, Final

from sockrec.model import durations, timetext
from sockrec.render import formats
from sockrec.render.escape import terminal
from sockrec.render.sentences import endpoint, holder

Row = Mapping[str, Any]

_UNSAMPLED: Final = "not sampled"
_STATE_WIDTH: Final = len("ESTABLISHED")
_BOUNDS_WIDTH: Final = len("10:32:09.000 - 10:32:10.010")
_TITLES: Final = ("role", "from", "", "to", "connections", "median", "longest")
_RIGHT: Final = (False, False, False, False, True, True, True)


def of_socket(rows: Sequence[Row], zone: tzinfo) -> str:
    """Return a line for each state of a life, with when it was entered and how long it lasted."""
    lines: list[str] = []
    for _, life in groupby(rows, key=lambda row: (row["host"], row["socket_id"], row["local_port"])):
        steps = list(life)
        if lines:
            lines.append("")
        lines += [_title(steps[-1], zone), *_steps(steps, zone)]
    return "".join(f"{line}\n" for line in lines)


def of_port(rows: Sequence[Row], form: str) -> str:
    """Return a table of the ways from state to state; `form` is `table` or `markdown`."""
    cells = []
    for row in rows:
        goes = row["next_state"] or "to the end of the recording"
        cells.append(
            [
                row["role"] or "unknown",
                row["state"],
                "->",
                f"{goes}, {row['how']}" if row["how"] else goes,
                f"{row['connections']:,}",
                _length(row["median_us"]),
                _length(row["longest_us"]),
            ]
        )
    return formats.whole(form, _TITLES, cells, _RIGHT)


def _title(row: Row, zone: tzinfo) -> str:
    ends = f"{endpoint(row['local_address'], row['local_port'])} - {_remote(row)}"
    moment = timetext.from_datetime(row["not_after"])
    day = timetext.to_datetime(moment, zone).date()
    offset = timetext.offset(moment, zone)
    role = f", {terminal(row['role'])}" if row["role"] else ""
    return (
        f"{terminal(row['protocol'])} {ends}{role}, {holder(row['pid'], row['program'])}, on"
        f" {terminal(row['host'])}, {day} (times in {'UTC' if offset == '+00:00' else offset})"
    )


def _remote(row: Row) -> str:
    return endpoint(row["remote_address"], row["remote_port"])


def _steps(steps: Sequence[Row], zone: tzinfo) -> list[str]:
    lasted = [_lasted(one, after) for one, after in pairwise(steps)]
    lines = []
    for row, length in zip(steps, [*lasted, ""], strict=True):
        what = row["how"] or length
        if row["not_before"] is None:
            what = ", ".join(filter(None, ("found so", what)))
        state = row["state"] or _UNSAMPLED
        lines.append(f"  {_bounds(row, zone):<{_BOUNDS_WIDTH}}  {state:<{_STATE_WIDTH}}  {what}".rstrip())
    return lines


def _bounds(row: Row, zone: tzinfo) -> str:
    first, last = (_us(row["not_before"] or row["not_after"]), _us(row["not_after"]))
    if first == last:
        return timetext.clock(last, zone, 6 if row["evidence"] == "event" else 3)
    return f"{timetext.clock(first, zone)} - {timetext.clock(-(-last // 1000) * 1000, zone)}"


def _lasted(row: Row, after: Row) -> str:
    """Return how long a state lasted: one number where its bounds leave no doubt, else both."""
    entered, left = _us(row["not_after"]), _us(after["not_before"] or after["not_after"])
    most = _us(after["not_after"]) - _us(row["not_before"] or row["not_after"])
    least = max(0, left - entered)
    if row["not_before"] is None:
        return f"at least {durations.show(least)}"
    if most - least <= most / 20:
        return durations.show((least + most) / 2)
    return (
        f"{durations.show(least)} to {durations.show(most)}" if least else f"at most {durations.show(most)}"
    )


def _us(moment: datetime) -> int:
    return timetext.from_datetime(moment)


def _length(microseconds: int | None) -> str:
    return "" if microseconds is None else durations.show(microseconds)
