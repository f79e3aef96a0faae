"""`sockrec events`: everything that happened to sockets, in order."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from sockrec.cli import _capture
from sockrec.cli._capture import CaptureOption, TimeZoneOption

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import tzinfo
    from typing import Any

    import duckdb

    from sockrec.catalog import Catalog
    from sockrec.query.events import Wanted

_BATCH_ROWS = 2_000
_ROUND_SECONDS = 1.0
# As `tail -f` does, following begins with the last ten.
_LATEST = 10


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("events")(events)


def events(
    port: Annotated[
        str | None, typer.Option("--port", "-p", help="Port of either end, like 7071 or 53/udp.")
    ] = None,
    pid: Annotated[str | None, typer.Option("--pid", help="The process that held it, or that ended.")] = None,
    peer: Annotated[
        str | None, typer.Option("--peer", help="The other end: 10.0.0.9, 10.0.0.9:443 or [::1]:443.")
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind", "-k", help="listening, stopped, opened, closed, exited, exec or lost; may be repeated."
        ),
    ] = None,
    from_: Annotated[str | None, typer.Option("--from", help="First moment: 10:32, '5m ago', ...")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Last moment.")] = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Go on as it is being recorded; begins with the last ten, or --from."),
    ] = False,
    capture: CaptureOption = None,
    format_: Annotated[
        str, typer.Option("--format", "-f", help="text, json, jsonl, csv, table or markdown.")
    ] = "text",
    tz: TimeZoneOption = None,
) -> None:
    """Print what happened, one line each: sockets opened and closed, listeners, processes, losses.

    Moments that the kernel told are exact; others are given as bounds, `10:32:04.1-05.2`. `->` is a
    connection that was made from here, `<-` one that was accepted.
    """
    from sockrec.errors import NothingMatchedError, UsageError
    from sockrec.query import events as query
    from sockrec.query import nothing

    _capture.check_format(format_, "text")
    if follow and to:
        raise UsageError("--follow has no end: leave out --to")
    with _capture.opened(capture) as catalog:
        zone = _capture.zone(catalog, tz)
        first_us, last_us = _moments(catalog, zone, from_, to)
        wanted = query.wanted(port, pid, peer, kind or (), first_us, last_us)
        out = _Output(format_, zone, name_host=len(catalog.survey.hosts) > 1)
        if follow:
            _follow(catalog, wanted, out, whole=from_ is not None)
        else:
            _capture.stream(
                catalog, lambda connection: out.batches(connection, query.ordered(wanted)), _capture.write
            )
        out.end()
        if not out.matched:
            raise NothingMatchedError(nothing.no_event(catalog, zone))


def _moments(
    catalog: Catalog, zone: tzinfo, from_: str | None, to: str | None
) -> tuple[int | None, int | None]:
    from sockrec.catalog import times
    from sockrec.model import timeexpr

    if not (from_ or to):
        return None, None
    context = times.context(catalog, zone, time.time_ns() // 1000)
    first, last = (timeexpr.parse(text, context, recorded=False) if text else None for text in (from_, to))
    return first, last


class _Output:
    """Rows as text in the format asked for. `matched` tells whether any of them was what was asked for."""

    def __init__(self, format_: str, zone: tzinfo, *, name_host: bool) -> None:
        from sockrec.query.events import COLUMNS
        from sockrec.render import formats
        from sockrec.render.events import EventLines

        self.matched = False
        self._columns = (*COLUMNS, "told", "is_match")
        self._lines = EventLines(zone, name_host=name_host)
        self._format = None if format_ == "text" else formats.make(format_, COLUMNS, _numeric())
        self._begun = False

    def batches(self, connection: duckdb.DuckDBPyConnection, sql: str) -> Iterator[str]:
        """Yield the rows of a statement as text, as they come."""
        answer = connection.execute(sql)
        while rows := answer.fetchmany(_BATCH_ROWS):
            yield self.text(rows)

    def text(self, rows: Sequence[tuple[Any, ...]]) -> str:
        """Return some rows, with what stands before the first ones."""
        self.matched |= any(row[-1] for row in rows)
        if self._format is None:
            return "".join(self._lines.line(dict(zip(self._columns, row, strict=True))) for row in rows)
        head = "" if self._begun else self._format.head()
        self._begun = True
        return head + self._format.rows([row[:-2] for row in rows])

    def end(self) -> None:
        """Write what stands after all rows, if there were any."""
        if self._format and self._begun:
            _capture.write(self._format.tail())


def _numeric() -> list[bool]:
    from sockrec.catalog.views import EVENTS

    return [column.type in ("int", "float") for column in EVENTS.columns]


def _follow(catalog: Catalog, wanted: Wanted, out: _Output, *, whole: bool) -> None:
    """Print what was recorded last, then what is, until nobody records any more."""
    from sockrec.catalog.live import Live
    from sockrec.query import events as query
    from sockrec.store.follow import Follower

    survey = catalog.survey
    follower = Follower(survey)
    before = query.ordered(wanted) if whole else query.latest(wanted, _LATEST)
    _capture.stream(catalog, lambda connection: out.batches(connection, before), _capture.write)
    if catalog.survey is not survey:
        # It was opened anew, without damaged files: what was printed is all up to then.
        follower.close()
        follower = Follower(catalog.survey)
    if not follower.is_recording:
        typer.echo("sockrec: nobody records here: there is no more to follow", err=True)
        return
    live = Live(catalog)
    try:
        for rows in _rounds(follower, live, query.ordered(wanted)):
            if rows:
                _capture.write(out.text(rows))
    finally:
        live.close()
        follower.close()


def _rounds(follower: Any, live: Any, sql: str) -> Iterable[list[tuple[Any, ...]]]:
    """Yield what is new about each second, until all that was recorded was given."""
    missed = 0
    while True:
        # Asked before reading: what is written in between is still read.
        more = follower.is_recording
        yield live.rows(sql, follower.read(), is_last=not more)
        if follower.missed > missed:
            missed = follower.missed
            typer.echo(
                f"sockrec: {missed} part{'' if missed == 1 else 's'} of the recording sealed too soon to be "
                "followed whole: ask again without --follow for all that happened",
                err=True,
            )
        if not more:
            return
        time.sleep(_ROUND_SECONDS)
