"""Times as people type them: `10:32`, `5m ago`, `start+30s`, and the rest of a small grammar.

It is our own because general parsers guess: they read `5m` as five past midnight.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import Final

from sockrec.errors import UsageError
from sockrec.model import durations, timetext

FORMS: Final = (
    "10:32, 10:32:05.250, '2026-11-20 10:32', 2026-11-20T10:32:05Z, "
    "'5m ago', start+30s, end-10s, start, end or now"
)

_CLOCK: Final = (
    r"(?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d)(?:\.(?P<fraction>\d{1,6}))?)?"
)
_OFFSET: Final = r"(?:\s*(?P<offset>[Zz]|[+-](?:[01]\d|2[0-3]):?[0-5]\d))?"
_DATE: Final = r"(?P<date>\d{4}-\d{2}-\d{2})"
_CLOCK_FORM: Final = re.compile(_CLOCK, re.ASCII)
_FULL_FORM: Final = re.compile(rf"{_DATE}(?:[Tt]|\s+){_CLOCK}{_OFFSET}", re.ASCII)
_AGO_FORM: Final = re.compile(r"(?P<length>.+?)\s*ago", re.ASCII)
_EDGE_FORM: Final = re.compile(r"(?P<edge>start|end|now)(?:\s*(?P<sign>[+-])\s*(?P<length>.+))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class TimeContext:
    """What an expression is understood against.

    `spans` are what was recorded, (first, last) microseconds UTC each, both inside, in order and
    not empty; `zone` is the time zone of times without an offset; `now_us` is the present.
    """

    spans: tuple[tuple[int, int], ...]
    zone: tzinfo
    now_us: int

    @property
    def start_us(self) -> int:
        """The first recorded moment."""
        return self.spans[0][0]

    @property
    def end_us(self) -> int:
        """The last recorded moment."""
        return max(last for _, last in self.spans)

    def holds(self, time_us: int) -> bool:
        """Tell whether something was recorded then."""
        return any(first <= time_us <= last for first, last in self.spans)


def parse(text: str, context: TimeContext, recorded: bool = True) -> int:
    """Return the moment that an expression means, in microseconds UTC.

    A bare time of day is one of the capture's days, in its zone: the latest on which it was
    recorded, else the last. Raises `UsageError` for what is no time, for a local time that never
    was or was twice (when clocks change), and, unless `recorded` is false, for a moment outside
    of what was recorded.
    """
    found = _understand(text.strip(), context)
    if recorded and not context.holds(found):
        raise UsageError(_outside(found, context))
    return found


def _understand(text: str, context: TimeContext) -> int:
    if match := _EDGE_FORM.fullmatch(text.lower()):
        edges = {"start": context.start_us, "end": context.end_us, "now": context.now_us}
        length = durations.parse(match["length"]) if match["length"] else 0
        return edges[match["edge"]] + (length if match["sign"] == "+" else -length)
    if match := _AGO_FORM.fullmatch(text.lower()):
        return context.now_us - durations.parse(match["length"])
    if match := _FULL_FORM.fullmatch(text):
        try:
            day = date.fromisoformat(match["date"])
        except ValueError:
            raise UsageError(f"{match['date']} is not a date") from None
        if match["offset"]:
            moment = datetime.combine(day, _time_of_day(match), _fixed(match["offset"]))
            return timetext.from_datetime(moment)
        return _local(day, _time_of_day(match), context)
    if match := _CLOCK_FORM.fullmatch(text):
        return _on_some_day(_time_of_day(match), context)
    raise UsageError(f"{text!r} is not a time; write it as {FORMS}")


def _time_of_day(match: re.Match[str]) -> time:
    fraction = (match["fraction"] or "").ljust(6, "0")
    return time(int(match["hour"]), int(match["minute"]), int(match["second"] or 0), int(fraction))


def _fixed(offset: str) -> tzinfo:
    if offset in "Zz":
        return UTC
    length = timedelta(hours=int(offset[1:3]), minutes=int(offset[-2:]))
    return timezone(length if offset[0] == "+" else -length)


def _moments(day: date, clock: time, where: tzinfo) -> list[int]:
    """Return when a local time was: once, twice where clocks went back, never where they went on."""
    found = []
    for fold in (0, 1):
        try:
            moment = timetext.from_datetime(datetime.combine(day, clock, where).replace(fold=fold))
            back = timetext.to_datetime(moment, where)
        except OverflowError:
            raise UsageError(f"{day} {clock} is too far away to be shown in another time zone") from None
        if (back.date(), back.time()) == (day, clock) and moment not in found:
            found.append(moment)
    return found


def _local(day: date, clock: time, context: TimeContext) -> int:
    moments = _moments(day, clock, context.zone)
    if not moments:
        raise UsageError(f"{day} {clock} never was in {context.zone}: clocks went forward over it")
    recorded = [moment for moment in moments if context.holds(moment)]
    if len(recorded) > 1:
        both = " or ".join(timetext.offset(moment, context.zone) for moment in recorded)
        raise UsageError(
            f"{day} {clock} was twice in {context.zone}, as clocks went back; add its offset, {both}"
        )
    return (recorded or moments)[0]


def _on_some_day(clock: time, context: TimeContext) -> int:
    last = timetext.to_datetime(context.end_us, context.zone).date()
    for first_us, last_us in reversed(context.spans):
        day = timetext.to_datetime(last_us, context.zone).date()
        begin = timetext.to_datetime(first_us, context.zone).date()
        while day >= begin:
            if any(context.holds(moment) for moment in _moments(day, clock, context.zone)):
                return _local(day, clock, context)
            if day == date.min:
                break
            day -= timedelta(days=1)
    return _local(last, clock, context)


def _outside(time_us: int, context: TimeContext) -> str:
    def text(moment: int) -> str:
        return timetext.full(moment, context.zone)

    if not context.start_us <= time_us <= context.end_us:
        where = "before" if time_us < context.start_us else "after"
        recorded = timetext.span(context.start_us, context.end_us, context.zone)
        return f"{text(time_us)} is {where} what was recorded: {recorded}"
    before = max(last for _, last in context.spans if last < time_us)
    after = min(first for first, _ in context.spans if first > time_us)
    return f"{text(time_us)} is in a gap: nothing was recorded from {text(before)} to {text(after)}"
