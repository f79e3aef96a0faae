"""`sockrec traffic`: how many bytes went where."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from sockrec.cli import _capture
from sockrec.cli._capture import CaptureOption, FromOption, HostOption, TimeZoneOption, ToOption

if TYPE_CHECKING:
    from sockrec.query.traffic import Uncounted

_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("traffic")(traffic)


def traffic(
    by: Annotated[str, typer.Option("--by", help="service, port, program, process or peer.")] = "service",
    from_: FromOption = None,
    to: ToOption = None,
    every: Annotated[str | None, typer.Option("--every", help="In steps this long: 10s, 1m, 1h.")] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=0, help="Of how many of the largest; 0 for all. Tables show 20, else all."),
    ] = None,
    host: HostOption = None,
    capture: CaptureOption = None,
    format_: Annotated[
        str, typer.Option("--format", "-f", help="table, csv, json, jsonl or markdown.")
    ] = "table",
    tz: TimeZoneOption = None,
) -> None:
    """Count the bytes of TCP connections: by service, port, program, process or peer, and over time.

    Counters are read every `record --counters-interval` and at the end of each connection: what went through
    in between counts as of then. A connection with both ends on this host is counted once, where it was
    accepted; by program or process at both ends. UDP has no counters for its bytes.
    """
    from sockrec.catalog import times
    from sockrec.errors import NothingMatchedError
    from sockrec.model import durations, timeexpr
    from sockrec.query import nothing, rate_names, rates
    from sockrec.query import traffic as query
    from sockrec.render import traffic as render

    _capture.check_format(format_)
    every_us = None if every is None else durations.parse(every)
    for_people = format_ in ("table", "markdown")
    with _capture.opened(capture) as catalog:
        zone = _capture.zone(catalog, tz)
        context = times.context(catalog, zone, time.time_ns() // 1000)
        rate_names.hosts(catalog, host)
        first, last = (
            timeexpr.parse(text, context, recorded=False) if text else None for text in (from_, to)
        )
        ahead = rates.ahead_us(context.start_us if first is None else first, zone)
        wanted = query.Wanted(by, first, last, every_us, ahead, host)
        rows = _capture.dicts(query.traffic(catalog, wanted))
        _tell(query.uncounted(catalog, wanted))
        if not rows:
            raise NothingMatchedError(
                f"no bytes were counted in that time; {nothing.recorded(catalog, zone)}"
            )
        most = (_SHOWN if for_people else 0) if limit is None else limit
        rows, others = query.largest(rows, wanted, most) if most else (rows, 0)
        if for_people:
            _capture.write(render.table(rows, list(query.GROUPS[by]), others, zone, format_, every_us))
        else:
            _capture.show_rows(format_, query.columns(wanted), [tuple(row.values()) for row in rows])


def _tell(uncounted: Uncounted) -> None:
    """Say on stderr what has no bytes."""
    if uncounted.connections:
        typer.echo(
            f"sockrec: not counted: {uncounted.connections:,} connections whose counters were not recorded",
            err=True,
        )
    if uncounted.udp_sockets:
        sockets = f"{uncounted.udp_sockets:,} UDP sockets"
        typer.echo(f"sockrec: not counted: {sockets}, of whose bytes the kernel keeps no count", err=True)
