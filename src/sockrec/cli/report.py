"""`sockrec report`: one page to mail."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from sockrec.cli import _capture
from sockrec.cli._capture import CaptureOption, FromOption, TimeZoneOption, ToOption


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("report")(report)


def report(
    output: Annotated[str, typer.Option("--output", "-o", help="The file to write; - for stdout.")],
    from_: FromOption = None,
    to: ToOption = None,
    host: Annotated[str | None, typer.Option(help="Which host, if the capture holds several.")] = None,
    capture: CaptureOption = None,
    tz: TimeZoneOption = None,
) -> None:
    """Write a page to mail: what happened, the figures, and netstat's table of any moment.

    One HTML file for any recent browser: it asks for nothing elsewhere. It has the findings of `diagnose`,
    who listened when and why it ended, and sockets, connections, queues, retransmissions, round trips,
    traffic and interfaces on one time axis. A click on a moment shows the internet sockets that netstat
    would have shown. What is too much for a page is thinned, and the page says so. It holds names of
    programs and peers: mind who gets it.
    """
    from sockrec import report as pages
    from sockrec.catalog import times
    from sockrec.model import timeexpr

    with _capture.opened(capture) as catalog:
        zone = _capture.zone(catalog, tz)
        context = times.context(catalog, zone, time.time_ns() // 1000)
        first, last = (
            timeexpr.parse(text, context, recorded=False) if text else None for text in (from_, to)
        )
        page = pages.make_page(pages.choose(catalog, host, first, last, zone))
        if output == "-":
            _capture.write(page)
        else:
            _write(Path(output), page)


def _write(place: Path, page: str) -> None:
    """Put the page in place of a file; say on stderr how large it is."""
    from sockrec.render.escape import terminal
    from sockrec.store import texts

    texts.write(place, page)
    typer.echo(
        f"sockrec: {terminal(str(place))} has {len(page) / 1e6:.1f} MB: open it in a browser", err=True
    )
