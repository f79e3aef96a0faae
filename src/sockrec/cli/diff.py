"""`sockrec diff`: what is not the same at two moments."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sockrec.cli import _capture
from sockrec.cli._capture import CaptureOption, TimeZoneOption

if TYPE_CHECKING:
    from datetime import tzinfo

    from sockrec.catalog import Catalog
    from sockrec.query.diff import Service


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("diff")(diff)


def diff(
    t1: Annotated[
        str | None,
        typer.Argument(metavar="[T1]", help="The moment before: 10:32, start+30s; else start."),
    ] = None,
    t2: Annotated[str | None, typer.Argument(metavar="[T2]", help="The moment after; else the end.")] = None,
    capture: CaptureOption = None,
    with_: Annotated[
        Path | None,
        typer.Option("--with", help="The capture that T2 is of, if another. T1 is then its end if left out."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Which host, if the capture holds several.")] = None,
    with_host: Annotated[
        str | None, typer.Option("--with-host", help="The host at T2, if another: compares two hosts.")
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", "-f", help="table, csv, json, jsonl or markdown.")
    ] = "table",
    tz: TimeZoneOption = None,
) -> None:
    """Compare two moments: what opened, closed, changed or moved.

    Listeners one by one: on another address, of another program, restarted with another pid. Connections by
    program and service, with ephemeral ports folded away. The moments may be of two captures (before and
    after a deploy), or of two hosts.
    """
    from sockrec.errors import NothingMatchedError
    from sockrec.query import diff as query
    from sockrec.render import diff as render

    _capture.check_format(format_)
    with ExitStack() as stack:
        first = stack.enter_context(_capture.opened(capture))
        second = first if with_ is None else stack.enter_context(_capture.opened(with_))
        elsewhere = with_ is not None or with_host is not None
        before, began = _services(first, host, t1 or ("end" if elsewhere else "start"), tz)
        after, ended = _services(second, with_host or (None if with_ else host), t2 or "end", tz)
        rows = [one.row() for one in query.differences(before, after)]
        if not rows:
            raise NothingMatchedError(f"nothing differs between {began} and {ended}")
        if format_ in ("table", "markdown"):
            named = [dict(zip(query.COLUMNS, row, strict=True)) for row in rows]
            _capture.write(render.table(named, (began, ended), format_))
        else:
            _capture.show_rows(format_, query.COLUMNS, rows)


def _services(catalog: Catalog, host: str | None, text: str, tz: str | None) -> tuple[list[Service], str]:
    """Return what a host had open at a moment, and that moment, and its host, as text."""
    from sockrec.model import timeexpr, timetext
    from sockrec.model.timeexpr import TimeContext
    from sockrec.query import diff as query
    from sockrec.replay.moment import Moments

    zone: tzinfo = _capture.zone(catalog, tz)
    moments = Moments(catalog, host)
    moment_us = timeexpr.parse(text, TimeContext(moments.spans(), zone, time.time_ns() // 1000))
    sample = moments.at(moment_us)
    shown = f"{timetext.full(sample.began_us, zone)} on {moments.host}"
    if silence := moments.silence(sample, moment_us):
        until = f" to {timetext.full(silence[1], zone)}" if silence[1] else ""
        typer.echo(
            f"sockrec: nothing was recorded from {timetext.full(silence[0], zone)}{until}: compared as it was"
            " before",
            err=True,
        )
    return query.services(catalog, moments.host, moment_us), shown
