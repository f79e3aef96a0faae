"""`sockrec baseline`: what a host normally has open, kept as a file and compared with captures."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sockrec.cli import _capture
from sockrec.cli._capture import CaptureOption, FromOption, TimeZoneOption, ToOption

if TYPE_CHECKING:
    from sockrec.catalog import Catalog
    from sockrec.query.baseline import Span

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The baseline, a TOML file.")]
TableOption = Annotated[str, typer.Option("--format", "-f", help="table, csv, json, jsonl or markdown.")]
OneHostOption = Annotated[str | None, typer.Option(help="Which host, if a capture holds several.")]


def register(app: typer.Typer) -> None:
    """Add the verb, with its own verbs."""
    own = typer.Typer(rich_markup_mode=None)

    @own.callback(invoke_without_command=True)
    def baseline(context: typer.Context) -> None:
        """What a host normally has open: learn it, look at it, compare captures with it."""
        if context.invoked_subcommand is None:
            _capture.write(f"{context.get_help()}\n")

    own.command("save")(save)
    own.command("show")(show)
    own.command("diff")(diff)
    app.add_typer(own, name="baseline")


def save(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; else it is printed.")
    ] = None,
    capture: Annotated[
        list[Path] | None,
        typer.Option(
            "--capture", "-C", help="A capture to learn from; may be repeated. As with other verbs."
        ),
    ] = None,
    from_: FromOption = None,
    to: ToOption = None,
    host: OneHostOption = None,
    add: Annotated[
        bool, typer.Option("--add", help="Learn more into a file that is there; comments stay.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Learn from one or more captures what a host normally has open, and write it as TOML.

    Services: port, program, users, addresses, the networks of their peers. Connections: program, port, the
    networks they go to. Edit the file as you like: `any` is every user, address or network.
    """
    from sockrec.errors import NothingMatchedError, UsageError
    from sockrec.model import baseline_text
    from sockrec.model.baseline import Baseline
    from sockrec.query.baseline import learn
    from sockrec.render import baseline_file
    from sockrec.store import texts

    if add and (force or output is None):
        raise UsageError("--add goes with --output, and without --force")
    before = None
    if output is not None and (add or not force) and os.path.lexists(output):
        if not add:
            raise UsageError(f"{output} is there: --add learns more into it, --force replaces it")
        before = texts.read(output)
        baseline_text.parse(before, str(output))
    learned = Baseline()
    for one in capture or (None,):
        with _capture.opened(one) as catalog:
            learned = learned.added(learn(catalog, _span(catalog, host, from_, to)))
    if not learned.entries:
        raise NothingMatchedError("nothing to learn: nothing listened, and nothing connected, in that time")
    text = baseline_file.text(learned)
    if output is None:
        _capture.write(text)
        return
    if before is not None:
        text = baseline_file.added(before, str(output), learned)
    texts.write(output, text)
    whole = baseline_text.parse(text, str(output))
    typer.echo(
        f"sockrec: {_safe(str(output))} has {_count(len(whole.listens), 'service')} and"
        f" {_count(len(whole.connects), 'port')} that programs connect to",
        err=True,
    )


def show(file: FileArgument, format_: TableOption = "table") -> None:
    """Show what a baseline holds."""
    from sockrec.errors import NothingMatchedError
    from sockrec.render import baseline as render
    from sockrec.store import baselines

    _capture.check_format(format_)
    found = baselines.read(file)
    if not found.entries:
        raise NothingMatchedError(f"{file} has nothing in it")
    if format_ in ("table", "markdown"):
        _capture.write(render.table(found, format_))
    else:
        _capture.show_rows(format_, render.COLUMNS, render.rows(found))


def diff(
    file: FileArgument,
    capture: CaptureOption = None,
    at: Annotated[str | None, typer.Option("--at", help="Only what was open at that moment.")] = None,
    from_: FromOption = None,
    to: ToOption = None,
    host: OneHostOption = None,
    format_: TableOption = "table",
    tz: TimeZoneOption = None,
) -> None:
    """Compare a capture with a baseline: what is new, gone, of another program, user, address, peer.

    All of the capture, or what is asked for. The same service with another pid is no difference; nor are
    fewer users or peers, or no connection where some are usual. Exit status 1 if nothing differs.
    """
    from sockrec.errors import NothingMatchedError, UsageError
    from sockrec.model import timetext
    from sockrec.query import baseline as query
    from sockrec.query.baseline import seen
    from sockrec.render import baseline as render
    from sockrec.store import baselines

    _capture.check_format(format_)
    if at and (from_ or to):
        raise UsageError("ask for --at one moment, or --from one --to another")
    usual = baselines.read(file)
    with _capture.opened(capture) as catalog:
        zone = _capture.zone(catalog, tz)
        span = _span(catalog, host, from_, to, at, tz)
        now = query.learn(catalog, span)
        shown = _shown(catalog, span)
        when = timetext.full(shown[0], zone) if at else timetext.span(*shown, zone)
        compared = str(file), f"{span.host}, {when}"
        found = query.differences(usual, now, seen.facts(catalog), span.host or "")
        if not found:
            raise NothingMatchedError(f"nothing differs between {compared[0]} and {compared[1]}")
        rows = [one.row() for one in found]
        if format_ in ("table", "markdown"):
            named = [dict(zip(query.COLUMNS, row, strict=True)) for row in rows]
            _capture.write(render.differences(named, compared, format_))
        else:
            _capture.show_rows(format_, query.COLUMNS, rows)


def _span(
    catalog: Catalog,
    host: str | None,
    from_: str | None,
    to: str | None,
    at: str | None = None,
    tz: str | None = None,
) -> Span:
    """Return the time asked for, of one host; raises `UsageError` for what makes no sense."""
    from sockrec.errors import UsageError
    from sockrec.model import timeexpr
    from sockrec.model.timeexpr import TimeContext
    from sockrec.query.baseline import Span
    from sockrec.replay.moment import Moments

    moments = Moments(catalog, host)
    context = TimeContext(moments.spans(), _capture.zone(catalog, tz), time.time_ns() // 1000)
    if at:
        sample = moments.at(timeexpr.parse(at, context))
        return Span(moments.host, sample.began_us, sample.ended_us)
    first, last = (timeexpr.parse(text, context, recorded=False) if text else None for text in (from_, to))
    if first is not None and last is not None and last < first:
        raise UsageError("--to is before --from")
    return Span(moments.host, first, last)


def _shown(catalog: Catalog, span: Span) -> tuple[int, int]:
    """Return the first and last moment that was compared: of the samples, where none was asked for."""
    from sockrec.catalog.sources import literal

    ((first, last),) = catalog.rows(
        "SELECT epoch_us(min(began_at)), epoch_us(max(ended_at)) FROM samples"
        f" WHERE host = {literal(span.host or '')}"
    )
    return (
        first if span.first_us is None else max(first, span.first_us),
        last if span.last_us is None else min(last, span.last_us),
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _safe(text: str) -> str:
    from sockrec.render.escape import terminal

    return terminal(text)
