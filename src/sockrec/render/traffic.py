"""Traffic as a table for people, with a small bar for each share; in Markdown too.

Rows are mappings with the columns of `sockrec.query.traffic`; times in them are aware datetimes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from typing import Any, Final

from sockrec.model import timetext
from sockrec.render import escape, formats
from sockrec.render.live import size

Row = Mapping[str, Any]

_BAR: Final = 20
_SECOND: Final = 1_000_000
_NUMBERS: Final = ("port", "pid")


def table(
    rows: Sequence[Row], group: Sequence[str], others: int, zone: tzinfo, form: str, step_us: int | None
) -> str:
    """Return a line for each row, and one that says how many `others` are not shown.

    `group` names the columns that make a group, `form` is `table` or `markdown`, `step_us` the length of the
    steps, if there are any.
    """
    shown: list[tuple[str, Callable[[Row], str], bool]] = []
    if step_us is not None:
        days = {timetext.to_datetime(timetext.from_datetime(row["time"]), zone).date() for row in rows}
        shown.append(("time", lambda row: _time(row, zone, len(days) > 1, step_us), False))
    shown += [(name, _field(name), name in _NUMBERS) for name in group]
    shown += [
        ("connections", lambda row: f"{row['connections']:,}", True),
        ("sent", lambda row: size(row["bytes_sent"]), True),
        ("received", lambda row: size(row["bytes_received"]), True),
        ("total", lambda row: size(row["bytes"]), True),
        ("share", lambda row: f"{100 * row['share']:.1f} %", True),
        ("", lambda row: "#" * round(_BAR * row["share"]), False),
    ]
    text = formats.whole(
        form,
        [title for title, _, _ in shown],
        [[show(row) for _, show, _ in shown] for row in rows],
        [is_number for _, _, is_number in shown],
    )
    if others:
        text += f"\n{others:,} more: --limit 0 shows all\n"
    if step_us is not None and form == "table":
        moments = [timetext.from_datetime(row["time"]) for row in rows]
        text = f"{escape.terminal(timetext.span(min(moments), max(moments), zone, 0))}\n\n{text}"
    return text


def _field(name: str) -> Callable[[Row], str]:
    return lambda row: formats.plain(row[name])


def _time(row: Row, zone: tzinfo, dated: bool, step_us: int) -> str:
    digits = 0 if step_us % _SECOND == 0 else 3
    time_us = timetext.from_datetime(row["time"])
    return timetext.full(time_us, zone, digits) if dated else timetext.clock(time_us, zone, digits)
