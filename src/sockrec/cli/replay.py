"""`sockrec replay`: what netstat would have printed then."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from sockrec.cli import _capture
from sockrec.cli._capture import CaptureOption, TimeZoneOption

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo

    from sockrec.catalog import Catalog
    from sockrec.model.timeexpr import TimeContext
    from sockrec.render.names import Names
    from sockrec.replay.moment import Moments, Sample

# What netstat is asked for stays as it was typed; -C is ours, not netstat's routing cache.
_SETTINGS = {"ignore_unknown_options": True}


class Style(StrEnum):
    """Whose output is printed."""

    NETSTAT = "netstat"
    SS = "ss"
    BSD = "bsd"


class Printer(Protocol):
    """Prints samples of one host under one set of flags, as one run of the program would.

    `lacking` says what the last one was recorded without, if that was asked for.
    """

    lacking: str | None

    def text(self, sample: Sample, names: Names, at_us: int | None = None) -> bytes:
        """Return the bytes for one sample; timers, and what is read more seldom, as at `at_us`."""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("replay", context_settings=_SETTINGS)(replay)


def replay(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FLAGS]...",
            help="netstat's own: -tulpn, -antp, -i, -r, -s, ...; or ss's, and its filter; or BSD's.",
        ),
    ] = None,
    capture: CaptureOption = None,
    style: Annotated[Style, typer.Option(help="Whose flags are given, and whose output is printed.")] = (
        Style.NETSTAT
    ),
    at: Annotated[
        str | None, typer.Option(help="The moment: 10:32, '5m ago', start+30s; else the end.")
    ] = None,
    from_: Annotated[str | None, typer.Option("--from", help="First moment of several.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Last moment of several.")] = None,
    speed: Annotated[str | None, typer.Option(help="Times faster than recorded, or max.")] = None,
    step: Annotated[bool, typer.Option("--step", help="Enter shows the next moment, q ends.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with each new sample, as -c does.")] = False,
    host: Annotated[str | None, typer.Option(help="Which host, if the capture holds several.")] = None,
    tz: TimeZoneOption = None,
) -> None:
    """Print what netstat, or ss, would have printed.

    At one moment (--at, or the end of the recording), or sample after sample: --from and --to,
    --follow, or netstat's own -c, which goes on from --at. Only control characters in names are
    printed otherwise: as `?`. With --style ss, columns are as wide as what stands in them; BBR's and
    DCTCP's own figures, MPTCP's and TLS's, and who waits for a UNIX listener, are not recorded.
    --style bsd is 4.4BSD's netstat: -a, -n, -f inet, -f inet6, -f unix, -p tcp.
    """
    from sockrec.errors import UsageError
    from sockrec.replay import pace
    from sockrec.replay.moment import Moments

    printer_of, continuous = _printer(style, words or [])
    follow = follow or (continuous and to is None)
    several = bool(from_ or to or speed or step or follow)
    if at and (from_ or to):
        raise UsageError("--at is one moment, --from and --to are several: give one or the other")
    if at and several and not follow:
        raise UsageError("--speed and --step need several moments: --from and --to")
    if follow and (to or step):
        raise UsageError("--follow has no end and no steps: leave out --to and --step")
    if step and speed:
        raise UsageError("--step waits for you, --speed does not: give one or the other")
    times_faster = pace.parse_speed(speed or "1")

    with _capture.opened(capture) as catalog:
        moments = Moments(catalog, host)
        screen = _Screen(catalog, moments, printer_of(catalog, moments), _capture.zone(catalog, tz))
        context = screen.context()
        if not several:
            screen.show_moment(_moment(at or "end", context))
            return
        first = _moment(from_ or at or ("end" if follow else "start"), context)
        last = _moment(to or "end", context)
        if last < first:
            raise UsageError("--to is before --from")
        found = screen.samples(first, last, follow)
        samples = pace.stepped(found, sys.stdin.readline) if step else pace.paced(found, times_faster)
        for sample in samples:
            screen.show(sample)


def _printer(style: Style, words: list[str]) -> tuple[Callable[[Catalog, Moments], Printer], bool]:
    """Return what prints in a style under the flags given, and whether they ask to go on with new samples."""
    if style is Style.SS:
        from sockrec.cli._ss import Ss
        from sockrec.render.ss_flags import parse_flags as parse_ss_flags

        ss_flags = parse_ss_flags(words)
        return lambda catalog, _: Ss(catalog, ss_flags), False
    if style is Style.BSD:
        from sockrec.cli._bsd import Bsd
        from sockrec.render.bsd_flags import parse_bsd_flags

        bsd_flags = parse_bsd_flags(words)
        return lambda _, moments: Bsd(moments, bsd_flags), False
    from sockrec.cli._netstat import Netstat
    from sockrec.render.netstat_flags import parse_flags

    flags = parse_flags(words)
    if flags.refusal:
        typer.echo(flags.refusal, err=True)
        raise typer.Exit(1)
    return lambda catalog, moments: Netstat(catalog, moments, flags), flags.continuous


def _moment(text: str, context: TimeContext) -> int:
    from sockrec.model import timeexpr

    return timeexpr.parse(text, context)


class _Screen:
    """Shows samples of one host on stdout in a style, and on stderr what else is to be said."""

    def __init__(self, catalog: Catalog, moments: Moments, printer: Printer, zone: tzinfo) -> None:
        self._catalog, self._moments, self._zone = catalog, moments, zone
        self._printer = printer
        self._names: dict[str, Names] = {}
        self._told_thinned = self._told_lacking = False

    def context(self) -> TimeContext:
        """Return what time expressions are understood against."""
        from sockrec.model.timeexpr import TimeContext

        return TimeContext(self._moments.spans(), self._zone, time.time_ns() // 1000)

    def samples(self, first_us: int, last_us: int, follow: bool) -> Iterator[Sample]:
        """Yield samples from one moment to another, and on while recording goes on if `follow`."""
        from sockrec.replay import pace
        from sockrec.store.layout import Layout
        from sockrec.store.lock import is_held

        last = None
        for last in self._moments.between(first_us, last_us):
            yield last
        if follow and last:
            lock = Layout(self._catalog.root).lock(self._moments.host)
            yield from pace.followed(self._new_samples, last, lambda: is_held(lock))

    def _new_samples(self, began_us: int) -> list[Sample]:
        self._catalog.refresh()
        return self._moments.after(began_us)

    def show_moment(self, moment_us: int) -> None:
        """Show the sample in force at a moment; say so if samples were due between the two."""
        from sockrec.model import timetext

        sample = self._moments.at(moment_us)
        self.show(sample, moment_us)
        if silence := self._moments.silence(sample, moment_us):
            begun, ended = silence
            until = f" to {timetext.full(ended, self._zone)}" if ended else ""
            _say(
                f"nothing was recorded from {timetext.full(begun, self._zone)}{until}: shown as it was before"
            )

    def show(self, sample: Sample, moment_us: int | None = None) -> None:
        """Print one sample; timers as at `moment_us`, else as at its end."""
        from sockrec.model import durations, timetext

        if sys.stderr.isatty():
            typer.echo(f"-- {timetext.full(sample.began_us, self._zone)}", err=True)
        sys.stdout.buffer.write(self._printer.text(sample, self._names_of(sample.recording), moment_us))
        sys.stdout.buffer.flush()
        if self._printer.lacking and not self._told_lacking:
            self._told_lacking = True
            _say(self._printer.lacking)
        if sample.thinned_us is not None and not self._told_thinned:
            self._told_thinned = True
            step = durations.show(sample.thinned_us)
            _say(f"of this time queues and timers were kept once in {step}: shown as last read in it")
        if sample.incomplete_why:
            when = timetext.full(sample.began_us, self._zone)
            _say(f"the sample of {when} is not whole: {sample.incomplete_why}")

    def _names_of(self, recording: str) -> Names:
        from sockrec.render.names import Names

        names = self._names.get(recording)
        if names is None:
            facts = [facts for facts in self._catalog.recordings if facts.get("recording") == recording]
            names = Names.from_json((facts[0].get("names") if facts else None) or {})
            self._names[recording] = names
        return names


def _say(text: str) -> None:
    from sockrec.render.names import printable

    typer.echo(f"sockrec: {printable(text)}", err=True)
