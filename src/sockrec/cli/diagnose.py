"""`sockrec diagnose`: what happened, in words, with the evidence."""

from __future__ import annotations

import inspect
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sockrec.cli import _capture
from sockrec.cli._capture import CaptureOption, FromOption, HostOption, TimeZoneOption, ToOption

if TYPE_CHECKING:
    from sockrec.query.findings import Finding

_COLUMNS = (
    "kind",
    "severity",
    "title",
    "text",
    "not_before",
    "not_after",
    "host",
    "subject",
    "numbers",
    "look",
    "sql",
)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("diagnose")(diagnose)


def diagnose(
    from_: FromOption = None,
    to: ToOption = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A threshold: close-wait.sockets=50; may be repeated.")
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="Show what is looked for, with the thresholds, and end.")
    ] = False,
    baseline: Annotated[
        Path | None,
        typer.Option(
            help="What is usual, as `sockrec baseline save` writes it: tells what is not in it, too."
        ),
    ] = None,
    host: HostOption = None,
    capture: CaptureOption = None,
    format_: Annotated[
        str, typer.Option("--format", "-f", help="text, json, jsonl, csv, table or markdown.")
    ] = "text",
    tz: TimeZoneOption = None,
) -> None:
    """Say what happened, the most telling first: in words, with when, who, the numbers and the SQL.

    Exit status 1 if nothing was found. What is looked for, and from which numbers on, says --list.
    """
    from sockrec.catalog import times
    from sockrec.errors import NothingMatchedError, UsageError
    from sockrec.model import timeexpr
    from sockrec.query import findings, nothing, rate_names
    from sockrec.render import findings as render
    from sockrec.store import baselines

    _capture.check_format(format_, "text")
    settings = findings.parse_settings(set_ or [], findings.KINDS)
    if list_:
        listed = [
            (
                kind.name,
                inspect.getdoc(kind.find) or "",
                [(one.name, one.default, one.unit, one.why) for one in kind.thresholds],
            )
            for kind in findings.KINDS
        ]
        _capture.write(render.kinds(listed))
        return
    usual = None if baseline is None else baselines.read(baseline)
    with _capture.opened(capture) as catalog:
        zone = _capture.zone(catalog, tz)
        context = times.context(catalog, zone, time.time_ns() // 1000)
        rate_names.hosts(catalog, host)
        first, last = (
            timeexpr.parse(text, context, recorded=False) if text else None for text in (from_, to)
        )
        if first is not None and last is not None and last < first:
            raise UsageError("--to is before --from")
        asked = findings.Asked(catalog, first, last, host, settings, usual)
        rows = [_row(one) for one in findings.diagnose(asked)]
        if not rows:
            raise NothingMatchedError(f"nothing found; {nothing.recorded(catalog, zone)}")
        if format_ == "text":
            _capture.write(render.text(rows, zone, name_host=len(catalog.survey.hosts) > 1))
        elif format_ == "markdown":
            _capture.write(render.as_markdown(rows, zone))
        else:
            _capture.show_rows(format_, _COLUMNS, [tuple(row.values()) for row in rows])


def _row(finding: Finding) -> dict[str, Any]:
    return {name: getattr(finding, name) for name in _COLUMNS}
