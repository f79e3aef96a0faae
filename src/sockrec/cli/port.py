"""`sockrec port`: the whole story of a port."""

from __future__ import annotations

from typing import Annotated

import typer

from sockrec.cli import _capture
from sockrec.cli._capture import CaptureOption, TimeZoneOption


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("port")(port)


def port(
    number: Annotated[str, typer.Argument(metavar="PORT", help="The port, like 7071 or 53/udp.")],
    capture: CaptureOption = None,
    format_: Annotated[
        str, typer.Option("--format", "-f", help="text, json, jsonl, csv, table or markdown.")
    ] = "text",
    tz: TimeZoneOption = None,
) -> None:
    """Tell the story of a port: who listened from when to when, gaps, restarts, connections, peaks."""
    from sockrec.errors import NothingMatchedError
    from sockrec.query import grammar, nothing
    from sockrec.query.port import port as ask
    from sockrec.render import sentences

    _capture.check_format(format_, "text")
    wanted, protocol = grammar.port_and_protocol(number)
    with _capture.opened(capture) as catalog:
        zone = _capture.zone(catalog, tz)
        story = ask(catalog, wanted, protocol)
        rows = _capture.dicts(story)
        if not rows:
            raise NothingMatchedError(nothing.port_unknown(catalog, wanted, protocol, zone))
        if format_ == "text":
            _capture.write(sentences.story(rows, wanted, zone))
        else:
            _capture.show(format_, story)
