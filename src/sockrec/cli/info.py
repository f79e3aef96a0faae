"""`sockrec info`: what a capture holds."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sockrec.cli import _capture
from sockrec.cli._capture import CaptureOption, TimeZoneOption


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("info")(info)


def info(
    capture: CaptureOption = None,
    format_: Annotated[str, typer.Option("--format", "-f", help="text or json.")] = "text",
    tz: TimeZoneOption = None,
) -> None:
    """Tell what a capture holds: hosts, recordings, time, samples, tables, gaps, cost."""
    from sockrec.errors import UsageError
    from sockrec.query.info import info as ask
    from sockrec.render import summary
    from sockrec.render.formats import json_value

    if format_ not in ("text", "json"):
        raise UsageError(f"there is no format {format_!r} here: give text or json")
    with _capture.opened(capture) as catalog:
        zone = _capture.zone(catalog, tz)
        facts = ask(catalog)
        if format_ == "text":
            # A person knows it by the name that was typed; programs get the whole path.
            _capture.write(summary.text({**facts, "capture": str(capture or facts["capture"])}, zone))
        else:
            _capture.write(json_value(_timed(facts)) + "\n")


def _timed(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the facts with their moments as ISO 8601."""
    from sockrec.model import timetext

    def iso(time_us: int | None) -> str | None:
        return None if time_us is None else timetext.iso(time_us)

    return {
        **facts,
        "span": facts["span"] and [iso(moment) for moment in facts["span"]],
        "recordings": [
            {**told, "first": iso(told["first"]), "last": iso(told["last"])} for told in facts["recordings"]
        ],
        "removed": [{**told, "until": iso(told["until"])} for told in facts["removed"]],
        "thinned": [
            {**told, "first": iso(told["first"]), "last": iso(told["last"])} for told in facts["thinned"]
        ],
        "gaps": [
            {**gap, "not_before": iso(gap["not_before"]), "not_after": iso(gap["not_after"])}
            for gap in facts["gaps"]
        ],
    }
