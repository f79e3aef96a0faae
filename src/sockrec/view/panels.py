"""The lines around the table, as rich texts; whatever comes from a capture in them is made harmless."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from sockrec.model import durations, timetext
from sockrec.render.escape import terminal
from sockrec.view import texts
from sockrec.view.keys import HINTS
from sockrec.view.widgets import styles

if TYPE_CHECKING:
    from datetime import tzinfo

    from textual.geometry import Size

    from sockrec.view.source import Gap, Happened, Source
    from sockrec.view.table import Table
    from sockrec.view.timeline import Stop
    from sockrec.view.widgets.sockets import Sockets

# Narrower terminals have no room for events in columns.
_WIDE = 110


def _text(words: str = "", style: object = "") -> Text:
    return Text(words, style, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]


def where(source: Source, stop: Stop, table: Table | None, *, following: bool) -> Text:
    """Return host, moment, sample, and how many sockets are shown."""
    text = _text(f"{terminal(source.host)}  {timetext.full(stop.time_us, source.zone)}", styles.TITLE)
    number = source.timeline.number_of(stop.sample) + 1
    total = f"sample {number:,} of {len(source.timeline.samples):,}"
    text.append(f"  {total if stop.silent_until is None else 'no sample here'}")
    if table is not None:
        shown = f"{len(table):,} of " if len(table) != table.sockets else ""
        text.append(f"  {shown}{table.sockets:,} sockets")
    if following:
        text.append("  following", styles.NEW)
    return text


def unknown(stop: Stop, gaps: Iterable[Gap], zone: tzinfo) -> list[str]:
    """Return what is not known of a moment, as sentences."""
    told = []
    if stop.silent_until is not None:
        told.append(texts.silence(stop.sample.ended_us, stop.silent_until, zone))
    elif stop.sample.incomplete_why:
        told.append(f"this sample is not whole: {terminal(stop.sample.incomplete_why)}")
    else:
        near = (
            gap
            for gap in gaps
            if gap.first_us <= stop.sample.ended_us and gap.last_us >= stop.sample.began_us
        )
        told += [f"not all is known around here: {terminal(gap.why)}" for gap in near][:1]
    if stop.sample.thinned_us:
        told.append(f"queues and timers were kept once in {durations.show(stop.sample.thinned_us)}")
    return told


def notices(told: list[str], more: list[str]) -> Text:
    """Return the line of what must not be missed, and what is set."""
    text = _text().append("; ".join(told), styles.WARNING)
    return text.append((" | " if told and more else "") + "  ".join(more), styles.CHANGED)


def detail(source: Source, stop: Stop, sockets: Sockets) -> Text:
    """Return the selected socket, uncut, and since when it is so."""
    text = _text()
    if sockets.table is None or sockets.subject is None:
        return text
    if sockets.place is None:
        text.append(f"{texts.name(sockets.subject)} is not in this table", styles.WARNING)
        return text.append("\nn and p go to where it comes and goes")
    line = sockets.table.line(sockets.place)
    names = source.names_of(stop.sample.recording)
    text.append(texts.detail(line, names.user(line.row.uid)))
    return text.append(f"\n{texts.since(sockets.table.since(sockets.place), source.zone)}")


def happened(found: Happened | None, stop: Stop, zone: tzinfo, room: Size, *, is_first: bool) -> Text:
    """Return what happened since the sample before, as much as there is room for."""
    if stop.silent_until is not None:
        return _text("what happened here is not known", styles.WARNING)
    if is_first:
        return _text("the first sample: what was before is not known", styles.TITLE)
    if found is None:
        return _text("since the sample before: ...", styles.TITLE)
    told = texts.most_telling(found.rows, max(1, room.height - 1))
    rest = len(found.rows) + found.more - len(told)
    all_ = f"   e: {rest:,} more" if rest else ""
    text = _text(f"since the sample before: {texts.summary(found)}{all_}", styles.TITLE)
    lines = texts.event_lines(told, zone)
    if room.width < _WIDE:
        lines = [" ".join(line.split()) for line in lines]
    return _text().append_text(text).append("".join(f"\n{line}" for line in lines))


def hints(width: int) -> Text:
    """Return as many of the keys as there is room for."""
    shown = ""
    for hint in HINTS:
        longer = f"{shown}   {hint}" if shown else hint
        if cell_len(longer) <= width:
            shown = longer
    return _text(shown, styles.FAINT)
