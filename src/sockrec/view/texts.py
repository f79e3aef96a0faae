"""The texts of the viewer that are longer than a word: what happened, one socket's life, a difference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from sockrec.catalog.guard import one_line
from sockrec.errors import SockrecError
from sockrec.model import durations, timetext
from sockrec.query import diff, lifecycle
from sockrec.query.port import port
from sockrec.render import diff as diff_text
from sockrec.render import findings as findings_text
from sockrec.render import lifecycle as lifecycle_text
from sockrec.render import sentences
from sockrec.render.escape import terminal
from sockrec.render.events import EventLines

if TYPE_CHECKING:
    from datetime import tzinfo

    import duckdb

    from sockrec.query.findings import Finding
    from sockrec.replay.moment import Sample
    from sockrec.view.source import Happened, Source
    from sockrec.view.table import Line, Subject

# What is told first where there is no room for all.
_TELLING: Final = ("lost", "stopped listening", "listening", "exited", "exec")
_PLAIN_ENDS: Final = ("closed by us", "closed by the peer")


def event_lines(rows: Sequence[dict[str, Any]], zone: tzinfo) -> list[str]:
    """Return events as `sockrec events` prints them, without the lines of the day."""
    lines = EventLines(zone, name_host=False)
    return [lines.line(row).splitlines()[-1] for row in rows]


def most_telling(rows: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Return so many of some events in their order: listeners, processes and losses before connections."""
    ranked = sorted(range(len(rows)), key=lambda place: (_rank(rows[place]), place))
    return [rows[place] for place in sorted(ranked[:count])]


def _rank(row: dict[str, Any]) -> int:
    if row["kind"] in _TELLING:
        return 0
    if row["kind"] == "closed" and row["cause"] and row["cause"] not in _PLAIN_ENDS:
        return 1
    return 2


def summary(happened: Happened) -> str:
    """Return what happened in numbers: `1 stopped listening, 3 opened, 15 closed (12 refused)`."""
    kinds = Counter(row["kind"] for row in happened.rows)
    ends = Counter(
        row["cause"]
        for row in happened.rows
        if row["kind"] == "closed" and row["cause"] not in (None, *_PLAIN_ENDS)
    )
    order = sorted(
        kinds, key=lambda kind: (_TELLING.index(kind) if kind in _TELLING else 9, kind != "opened")
    )
    parts = []
    for kind in order:
        text = f"{kinds[kind]:,} {terminal(kind)}"
        if kind == "closed" and ends:
            text += f" ({', '.join(f'{number:,} {terminal(cause)}' for cause, number in ends.most_common())})"
        parts.append(text)
    more = f"; {happened.more:,} more not counted" if happened.more else ""
    return ", ".join(parts) + more if parts else "nothing happened"


def since(known: tuple[int | None, int, str, str], zone: tzinfo) -> str:
    """Return since when a socket is as it is, with how that is known."""
    after, first, begun_as, evidence = known
    if begun_as in ("found", "carried", ""):
        return f"so since {timetext.clock(first, zone)} or before"
    if after is None or after == first:
        exact = evidence == "event"
        return f"so since {timetext.clock(first, zone, 6 if exact else 3)}{' (exact)' if exact else ''}"
    return f"so since {timetext.clock(after, zone)} - {timetext.clock(-(-first // 1000) * 1000, zone)}"


def detail(line: Line, user: str) -> str:
    """Return one socket uncut: both ends, state, owner, queues."""
    row = line.row
    who = f"{terminal(row.argv0) or '?'}[{row.pid}]" if row.pid is not None else "holder unknown"
    if row.pid is not None and row.owner != "held":
        who += " (let go of it)"
    return f"{name(line.subject)} {terminal(row.state)}  {who}  user {terminal(user)}"


def name(subject: Subject) -> str:
    """Return what is selected in words: its protocol and its ends."""
    ends = sentences.endpoint(subject.local_address, subject.local_port)
    if subject.remote_port:
        ends += f" - {sentences.endpoint(subject.remote_address, subject.remote_port)}"
    return f"{terminal(subject.protocol)} {ends}"


def life(source: Source, subject: Subject, at_us: int, pid: int | None) -> str:
    """Return the whole life of a socket: a connection's states, or the story of a listener's port."""
    parts = []
    told = source.of_socket(subject)
    if subject.socket_id is not None and subject.protocol == "tcp":
        known_as = told[-1]["socket_id"] if told else subject.socket_id
        steps = lifecycle.of_socket(source.catalog, known_as, source.host)
        rows = [dict(zip(steps.columns, row, strict=True)) for row in steps.fetchall()]
        rows = [row for row in rows if row["local_port"] == subject.local_port]
        parts.append(lifecycle_text.of_socket(rows, source.zone))
    elif subject.socket_id is None:
        story = port(source.catalog, subject.local_port, subject.protocol)
        rows = [dict(zip(story.columns, row, strict=True)) for row in story.fetchall()]
        rows = [row for row in rows if row["host"] == source.host]
        parts.append(sentences.story(rows, subject.local_port, source.zone))
    if told:
        parts.append(
            "What happened to it\n" + "".join(f"  {line}\n" for line in event_lines(told, source.zone))
        )
    if pid is not None and (process := source.process(pid, at_us)):
        parts.append(_process(pid, process))
    return "\n".join(filter(None, parts)) or "nothing more is known of it\n"


def _process(pid: int, process: dict[str, Any]) -> str:
    lines = [f"Process {pid}"]
    for name, value in process.items():
        if value is not None and value != []:
            shown = " ".join(map(str, value)) if isinstance(value, list) else str(value)
            lines.append(f"  {name:<13}{terminal(shown)}")
    return "".join(f"{line}\n" for line in lines)


def difference(source: Source, before: Sample, after: Sample) -> str:
    """Return what is not the same in two samples, as `sockrec diff` prints it."""
    sides = [diff.services(source.catalog, source.host, sample.began_us) for sample in (before, after)]
    moments = [timetext.full(sample.began_us, source.zone) for sample in (before, after)]
    rows = [dict(zip(diff.COLUMNS, one.row(), strict=True)) for one in diff.differences(*sides)]
    if not rows:
        return f"{moments[0]} -> {moments[1]}\n\nNothing differs between the two.\n"
    return diff_text.table(rows, moments, "table")


def finding(found: Finding, zone: tzinfo) -> str:
    """Return a finding as `sockrec diagnose` prints it."""
    return findings_text.text([{**asdict(found)}], zone)


def counted(found: Sequence[Finding]) -> str:
    """Return how many findings there are of each severity: `1 critical, 2 warnings`."""
    severities = Counter(one.severity for one in found)
    plurals = {"critical": "critical"}
    return ", ".join(
        f"{number} {name if number == 1 else plurals.get(name, f'{name}s')}"
        for name, number in severities.items()
    )


def problem(error: SockrecError | duckdb.Error) -> str:
    """Return an error as a line."""
    return terminal(" ".join(str(error).split()) if isinstance(error, SockrecError) else one_line(error))


def silence(first_us: int, last_us: int, zone: tzinfo) -> str:
    """Return what is said where no sample is."""
    span = timetext.span(first_us, last_us, zone)
    length = durations.show(last_us - first_us)
    return f"no sample here: nothing was recorded from {span} ({length}); shown as it was before"
