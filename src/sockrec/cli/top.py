"""`sockrec top`: which sockets and processes had the most of something."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from sockrec.cli import _capture
from sockrec.cli._capture import CaptureOption, FromOption, HostOption, TimeZoneOption, ToOption


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("top")(top)


def top(
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by", help="recv-q, send-q, retrans, rtt, connections or churn; may be repeated; else all."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many of each.")] = 5,
    from_: FromOption = None,
    to: ToOption = None,
    host: HostOption = None,
    capture: CaptureOption = None,
    format_: Annotated[
        str, typer.Option("--format", "-f", help="table, csv, json, jsonl or markdown.")
    ] = "table",
    tz: TimeZoneOption = None,
) -> None:
    """Show the sockets and processes with the longest queues, most retransmissions, connections, churn.

    Queues are as samples found them, with the moment at which each was first that long. Connections are all
    that a process had in that time, however short.
    """
    from sockrec.catalog import times
    from sockrec.errors import NothingMatchedError
    from sockrec.model import timeexpr
    from sockrec.query import nothing, rate_names
    from sockrec.query import top as query
    from sockrec.render import top as render

    _capture.check_format(format_)
    with _capture.opened(capture) as catalog:
        zone = _capture.zone(catalog, tz)
        context = times.context(catalog, zone, time.time_ns() // 1000)
        rate_names.hosts(catalog, host)
        first, last = (
            timeexpr.parse(text, context, recorded=False) if text else None for text in (from_, to)
        )
        names = tuple(by or query.ORDERS)
        answer = query.top(catalog, query.Wanted(names, limit, first, last, host))
        rows = _capture.dicts(answer)
        if not rows:
            raise NothingMatchedError(f"nothing to tell of that time; {nothing.recorded(catalog, zone)}")
        if format_ in ("table", "markdown"):
            _capture.write(render.tables(rows, names, zone, format_))
        else:
            _capture.show(format_, answer)
