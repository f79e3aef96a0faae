"""Why a question has no answer: what the capture does hold instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sockrec.catalog import times
from sockrec.catalog.sources import literal
from sockrec.model import timetext
from sockrec.query.events import were_told
from sockrec.query.when import of_subject

if TYPE_CHECKING:
    from datetime import tzinfo

    from sockrec.catalog import Catalog
    from sockrec.query.grammar import Question

_MOST_NAMED: Final = 12


def recorded(catalog: Catalog, zone: tzinfo) -> str:
    """Return what was recorded: `recorded: 2026-11-20 10:32:00.000 to ..., 31 samples of web-1`."""
    spans = times.spans(catalog)
    if not spans:
        return "nothing was recorded yet"
    count, hosts = catalog.rows("SELECT sum(samples)::BIGINT, list_sort(list(DISTINCT host)) FROM base.runs")[
        0
    ]
    span = timetext.span(spans[0][0], max(last for _, last in spans), zone)
    return f"recorded: {span}, {count} sample{'' if count == 1 else 's'} of {_some(hosts)}"


def explain(catalog: Catalog, question: Question, zone: tzinfo) -> str:
    """Return one line that says why nothing matched and what was recorded."""
    reasons = [f"nothing recorded matches {question.text!r}"]
    reasons += _why(catalog, question, zone)
    return "; ".join([*reasons, recorded(catalog, zone)])


def port_unknown(catalog: Catalog, port: int, protocol: str | None, zone: tzinfo) -> str:
    """Return one line that says that nobody listened on a port, and who listened on which instead."""
    name = f"{port}/{protocol}" if protocol else port
    return "; ".join([f"nobody listened on port {name}", *_listened(catalog), recorded(catalog, zone)])


def no_event(catalog: Catalog, zone: tzinfo) -> str:
    """Return one line that says that no event matches, what was recorded, and if only samples told of it."""
    told = "" if were_told(catalog) else " by samples alone: no event source told anything"
    return f"no event matches; {recorded(catalog, zone)}{told}"


def _why(catalog: Catalog, question: Question, zone: tzinfo) -> list[str]:
    if question.topic == "listening":
        return _still(catalog, question, zone) or _listened(catalog)
    if question.topic == "process":
        return []
    if question.topic == "connection" and question.subject == "port":
        moved = catalog.rows(
            f"SELECT count(*) FROM listeners WHERE {of_subject(question)}"
            + ("" if question.begins else " AND ended_not_after IS NOT NULL")
        )[0][0]
        verb = "started" if question.begins else "stopped"
        hint = [f"for its listener ask 'port {question.port} {verb} listening'"] if moved else []
    else:
        hint = []
    count, still, vain = catalog.rows(
        "SELECT count(*), count(*) FILTER (closed_not_after IS NULL), count(*) FILTER (NOT established) "
        f"FROM base.connection_spans WHERE {of_subject(question)}"
    )[0]
    if not count:
        return ["no connection of it was recorded", *hint]
    # Who asks when somebody connected looks for a connection that came about.
    never = f", {vain} of them never established" if vain else ""
    those = "1 connection of it was" if count == 1 else f"{count} connections of it were"
    return [f"{those} recorded, {still} of them open to the end{never}", *hint]


def _still(catalog: Catalog, question: Question, zone: tzinfo) -> list[str]:
    """Say from when to when the subject listened, if it did and that is why nothing matched."""
    found = catalog.rows(
        "SELECT protocol, local_address, local_port, epoch_us(coalesce(began_not_before, began_not_after)), "
        f"epoch_us(last_seen), begun_as, ended_as FROM listeners WHERE {of_subject(question)} "
        f"ORDER BY began_not_after LIMIT {_MOST_NAMED}"
    )
    reasons = []
    for protocol, address, port, first, last, begun_as, ended_as in found:
        since = (
            "already when recording began" if begun_as == "found" else f"from {timetext.full(first, zone)}"
        )
        until = "when recording stopped" if ended_as == "stopped" else "when last seen"
        shown = f"[{address}]" if ":" in address else address
        reasons.append(
            f"{protocol} {shown}:{port} was listening {since} and still {until}, {timetext.full(last, zone)}"
        )
    return reasons


def _listened(catalog: Catalog) -> list[str]:
    ports = catalog.rows(
        "SELECT DISTINCT local_port, CASE WHEN protocol = 'tcp' THEN '' ELSE '/' || protocol END AS kind "
        f"FROM listeners WHERE protocol <> {literal('raw')} ORDER BY kind, local_port LIMIT {_MOST_NAMED + 1}"
    )
    if not ports:
        return ["no port was listening"]
    return [f"ports that listened: {_some([f'{port}{kind}' for port, kind in ports])}"]


def _some(names: list[str]) -> str:
    more = ", ..." if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
