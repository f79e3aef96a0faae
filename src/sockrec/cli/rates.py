"""`sockrec rates`: how fast interfaces and protocol counters moved."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from sockrec.cli import _capture
from sockrec.cli._capture import CaptureOption, FromOption, HostOption, TimeZoneOption, ToOption

if TYPE_CHECKING:
    from datetime import tzinfo

    import duckdb

    from sockrec.catalog import Catalog
    from sockrec.query.rates import Span, Wanted

_FOR_PEOPLE = ("table", "markdown")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("rates")(rates)


def rates(
    iface: Annotated[
        list[str] | None,
        typer.Option("--iface", "-i", help="A row for each reading of this interface; may be repeated."),
    ] = None,
    counter: Annotated[
        list[str] | None,
        typer.Option(
            "--counter",
            "-c",
            help="A row for each reading that found this counter moved: ListenOverflows,"
            " Tcp.RetransSegs, ...; may be repeated.",
        ),
    ] = None,
    from_: FromOption = None,
    to: ToOption = None,
    every: Annotated[
        str | None, typer.Option("--every", help="Put readings together in steps this long: 10s, 1m, 1h.")
    ] = None,
    host: HostOption = None,
    capture: CaptureOption = None,
    format_: Annotated[
        str, typer.Option("--format", "-f", help="table, csv, json, jsonl or markdown.")
    ] = "table",
    tz: TimeZoneOption = None,
) -> None:
    """Say how fast interfaces and protocol counters moved, on average and at their peak.

    Counters of trouble (drops, errors, retransmissions, ...) come first. They are read every `record
    --slow-interval`: a rate is over the time since the reading before, and what a step holds is what
    its readings found. Empty cells are times of which nothing is known.
    """
    from sockrec.errors import NothingMatchedError, UsageError
    from sockrec.query import nothing, rate_names
    from sockrec.query import rates as query
    from sockrec.render import rates as render

    _capture.check_format(format_)
    if iface and counter:
        raise UsageError("ask for --iface or for --counter, one after the other")
    if every and not (iface or counter):
        raise UsageError("--every goes with --iface or --counter")
    with _capture.opened(capture) as catalog:
        zone = _capture.zone(catalog, tz)
        wanted = _wanted(catalog, zone, from_, to, host, every)
        span = query.span(catalog, wanted)
        thing = "interface" if iface else "counter"
        if iface:
            answer = query.of_interfaces(catalog, wanted, rate_names.interfaces(catalog, iface, host))
        elif counter:
            answer = query.of_counters(catalog, wanted, rate_names.counters(catalog, counter, host))
        else:
            _overview(query.overview(catalog, wanted), span, zone, format_)
            return
        rows = _capture.dicts(answer)
        if not rows:
            why = f"{', '.join(iface)} was not read" if iface else f"{', '.join(counter or [])} did not move"
            raise NothingMatchedError(f"{why} in that time; {nothing.recorded(catalog, zone)}")
        if format_ in _FOR_PEOPLE:
            _capture.write(render.series(rows, thing, zone, format_, wanted.every_us))
        else:
            _capture.show(format_, answer)


def _wanted(
    catalog: Catalog, zone: tzinfo, from_: str | None, to: str | None, host: str | None, every: str | None
) -> Wanted:
    from sockrec.catalog import times
    from sockrec.model import durations, timeexpr
    from sockrec.query import rate_names
    from sockrec.query import rates as query

    context = times.context(catalog, zone, time.time_ns() // 1000)
    rate_names.hosts(catalog, host)
    first, last = (timeexpr.parse(text, context, recorded=False) if text else None for text in (from_, to))
    ahead = query.ahead_us(context.start_us if first is None else first, zone)
    return query.wanted(
        first,
        last,
        host,
        None if every is None else durations.parse(every),
        ahead,
    )


def _overview(answer: duckdb.DuckDBPyRelation, span: Span, zone: tzinfo, format_: str) -> None:
    from sockrec.render import rates as render

    if format_ in _FOR_PEOPLE:
        rows = _capture.dicts(answer)
        _capture.write(render.overview(rows, span.readings, span.first_us, span.last_us, zone, format_))
    else:
        _capture.show(format_, answer)
