"""What a capture holds, as lines for a person; the facts are those of `sockrec.query.info`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from typing import Any, Final

from sockrec.model import durations, timetext
from sockrec.render.escape import terminal
from sockrec.render.live import size

_MOST_GAPS: Final = 20
_LATEST_US: Final = 253_402_300_799_000_000  # year 9999: what a calendar takes


def text(facts: Mapping[str, Any], zone: tzinfo) -> str:
    """Return the facts as text, each line ended; `capture` is shown as it is."""
    lines = [
        f"capture     {terminal(facts['capture'])}",
        f"hosts       {terminal(', '.join(facts['hosts']))}",
    ]
    if facts["span"]:
        first, last = facts["span"]
        length = durations.show(last - first)
        lines.append(f"recorded    {timetext.span(first, last, zone)} ({length})")
    lines.append(f"samples     {_samples(facts)}")
    if facts["recording_now"]:
        lines.append(f"now         being recorded: {terminal(', '.join(facts['recording_now']))}")
    for told in facts["recordings"]:
        lines += _recording(told, zone)
    lines += _tables(facts)
    lines += _bounds(facts, zone)
    lines += _gaps(facts, zone)
    lines += [f"damage      {terminal(damage)}" for damage in facts["damages"]]
    return "".join(f"{line}\n" for line in lines)


def _samples(facts: Mapping[str, Any]) -> str:
    parts = [f"{facts['samples']:,}"]
    if facts["samples_not_whole"]:
        parts.append(f"{facts['samples_not_whole']:,} not whole")
    if facts["ticks_missed"]:
        parts.append(f"{facts['ticks_missed']:,} missed")
    if facts["cpu_us_per_sample"] is not None:
        parts.append(f"{durations.show(facts['cpu_us_per_sample'])} of CPU each")
    return ", ".join(parts)


def _recording(told: Mapping[str, Any], zone: tzinfo) -> list[str]:
    when = "no sample"
    if told["first"] is not None:
        when = f"{timetext.span(told['first'], told['last'], zone)}, {told['samples']:,} samples"
    end = told.get("ended_as") or "not ended: it is being recorded, or its recorder died"
    lines = [f"recording   {terminal(str(told.get('recording')))}  {when}; {terminal(str(end))}"]
    options = told.get("options")
    interval = options.get("interval_us") if isinstance(options, dict) else None
    about = [
        f"host {told.get('host')}",
        f"Linux {told.get('kernel')}",
        f"time zone {told.get('time_zone')}",
        *([f"every {durations.show(interval)}"] if isinstance(interval, (int, float)) else []),
        *_privileges(told.get("privileges")),
    ]
    lines.append(f"            {terminal(', '.join(about))}")
    lines += _kept(told.get("kept"), zone)
    unavailable = told.get("unavailable")
    if isinstance(unavailable, list):
        lines += [f"            not seen: {terminal(str(what))}" for what in unavailable]
    return lines


def _kept(kept: object, zone: tzinfo) -> list[str]:
    """Return why this is a capture of its own, and of what."""
    if not isinstance(kept, dict):
        return []
    asked, until = (_moment(kept.get(name), zone) for name in ("asked_us", "until_us"))
    by = kept.get("by")
    who = "by nobody known"
    if isinstance(by, dict):
        named = f"by {by.get('program') or 'process'} (pid {by.get('pid')}, uid {by.get('uid')})"
        who = f"by {by['signal']}" if "signal" in by else named
    lines = [f"kept: {kept.get('reason')}", f"asked at {asked} {who}, of {kept.get('of')}"]
    if not kept.get("complete"):
        lines.append(f"not complete: what follows until {until} is added, or its recorder died")
    return [f"            {terminal(line)}" for line in lines]


def _moment(time_us: object, zone: tzinfo) -> str:
    known = isinstance(time_us, int) and 0 <= time_us < _LATEST_US
    return timetext.full(time_us, zone) if known and isinstance(time_us, int) else "an unknown time"


def _bounds(facts: Mapping[str, Any], zone: tzinfo) -> list[str]:
    """Return what is not there, or not whole, because the disk is bounded."""
    lines = []
    for told in facts["removed"]:
        until = _moment(told["until"], zone)
        lines.append(
            f"removed     {terminal(told['host'])}  {told['parts']:,} parts, {size(told['bytes'])}: "
            f"all from {until} or before"
        )
    for told in facts["thinned"]:
        span = timetext.span(told["first"], told["last"], zone)
        step = durations.show(told["step_us"])
        lines.append(f"thinned     {terminal(told['host'])}  {span}: queues and counters once in {step}")
    return lines


def _privileges(privileges: object) -> list[str]:
    if not isinstance(privileges, dict) or "uid" not in privileges:
        return []
    return ["as root" if privileges["uid"] == 0 else f"as uid {privileges['uid']}"]


def _tables(facts: Mapping[str, Any]) -> list[str]:
    rows = [
        (name, _count(told["rows"], "row"), size(told["bytes"]), _count(told["files"], "file"))
        for name, told in facts["tables"].items()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        f"{'tables' if not place else '':<12}{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  "
        f"{row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}".rstrip()
        for place, row in enumerate(rows)
    ]
    if facts["journal_bytes"]:
        lines.append(f"            and {size(facts['journal_bytes'])} of journal, not sealed yet")
    return lines


def _count(number: int, what: str) -> str:
    """Return `2 rows`, and `1 row ` as wide as if it were several."""
    return f"{number:,} {what}{' ' if number == 1 else 's'}"


def _gaps(facts: Mapping[str, Any], zone: tzinfo) -> list[str]:
    lines = []
    for gap in facts["gaps"][:_MOST_GAPS]:
        span = timetext.span(gap["not_before"], gap["not_after"], zone)
        length = durations.show(max(0, gap["not_after"] - gap["not_before"]))
        lines.append(f"gap         {terminal(gap['host'])}  {span} ({length}): {terminal(gap['why'])}")
    if len(facts["gaps"]) > _MOST_GAPS:
        lines.append(f"            and {len(facts['gaps']) - _MOST_GAPS:,} more: sockrec sql 'FROM gaps'")
    return lines
