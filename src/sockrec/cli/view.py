"""`sockrec view`: the sockets at any moment, on a terminal, by keys."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, suppress
from typing import Annotated

import typer

from sockrec.cli import _capture
from sockrec.cli._capture import CaptureOption, HostOption, TimeZoneOption


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("view")(view)


def view(
    capture: CaptureOption = None,
    at: Annotated[
        str | None, typer.Option(help="Where to begin: 10:32, '5m ago', start+30s; else the end.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Record too, as long as the view is open; -C names where.")
    ] = False,
    interval: Annotated[str, typer.Option(help="With --live: at most this long between two samples.")] = "1s",
    follow: Annotated[bool, typer.Option("--follow", help="Stay at the newest sample.")] = False,
    host: HostOption = None,
    tz: TimeZoneOption = None,
) -> None:
    """Travel in time: netstat's table at any moment, by keys; ? shows them all.

    Left and right go from sample to sample, n and p to the next change of what is selected, / filters,
    f lists what `diagnose` finds, Enter shows a socket's whole life, d what changed since a mark. A time
    that was not recorded is shown as such. Needs a terminal, and `pip install 'sockrec[view]'`.
    """
    from sockrec.errors import UsageError

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("view needs a terminal: in a pipe use 'sockrec replay', 'events' or 'diagnose'")
    try:
        import textual  # noqa: F401 - what view is made with
    except ModuleNotFoundError:
        raise UsageError("view needs textual: pip install 'sockrec[view]'") from None
    if live and at:
        raise UsageError("--live begins now: leave out --at")
    from sockrec.store.locate import locate
    from sockrec.view.app import Viewer
    from sockrec.view.live import Recorder
    from sockrec.view.source import Source

    with ExitStack() as stack:
        recorder = stack.enter_context(Recorder(capture, interval)) if live else None
        folder = recorder.capture if recorder else locate(capture)
        source = Source(folder, host, tz)
        try:
            at_us = None if at is None else source.understood(at)
            problem = recorder.problem if recorder else str
            viewer = Viewer(source, at_us, follow=live or follow, problem=problem)
        except BaseException:
            source.close()
            raise
        _trust_the_terminal()
        try:
            viewer.run()
        finally:
            viewer.close()
            _capture.tell_damages(source.catalog)
    if recorder is not None:
        typer.echo(f"sockrec: recorded into {recorder.capture}", err=True)
    if viewer.return_code:
        raise typer.Exit(viewer.return_code)


def _trust_the_terminal() -> None:
    """Forget `LINES` and `COLUMNS` where the terminal tells its size: they do not change when it does."""
    with suppress(OSError):
        if all(os.get_terminal_size()):
            for name in ("LINES", "COLUMNS"):
                os.environ.pop(name, None)
