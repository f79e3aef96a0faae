"""`sockrec keep`: saves what was recorded, with what follows, as a capture of its own."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sockrec.cli._capture import CaptureOption

if TYPE_CHECKING:
    from sockrec.store.keep_requests import Wish
    from sockrec.store.layout import Layout

# The part that is being written is sealed first: a second or two for the largest.
_PATIENCE_S = 30
_LOOK_S = 0.02


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("keep")(keep)


def keep(
    reason: Annotated[str, typer.Option(help="Why: it stands in the capture that is kept.")],
    capture: CaptureOption = None,
    for_: Annotated[
        str | None,
        typer.Option("--for", help="Keep what follows too, so long: 10m. By default as long as --ring is."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to make; else <capture>-kept-<time>, next to it."),
    ] = None,
) -> None:
    """Save what a capture holds, and what follows, as a capture of its own.

    Prints the path of that capture. It costs no disk until the original's parts are removed: both have the
    same files. A running recorder adds what follows; without one, what is there is kept.
    """
    from sockrec.errors import CaptureError, UsageError
    from sockrec.model import durations
    from sockrec.store import keep_requests, locate
    from sockrec.store.layout import Layout
    from sockrec.store.survey import survey

    if not reason.strip() or len(reason) > keep_requests.LONGEST_REASON:
        raise UsageError("--reason must say why, in at most 4096 characters")
    source = Layout(locate.locate(capture))
    survey(source.root)  # raises what is wrong with it, if it is none
    now_us = time.time_ns() // 1000
    for_us = None if for_ is None else durations.parse(for_)
    folder = keep_requests.make_output(source.root, output, now_us)
    wish = keep_requests.Wish(reason, str(folder), now_us, for_us, _asker())
    try:
        told = _ask(source, wish) or _keep_unattended(source, wish)
    except (CaptureError, KeyboardInterrupt):
        _clear(folder)
        raise
    typer.echo(str(folder))
    typer.echo(f"sockrec: {told}", err=True)


def _ask(source: Layout, wish: Wish) -> str | None:
    """Have the recorder of a capture do it, and return what it does; None if there is no recorder."""
    from sockrec.errors import CaptureError
    from sockrec.store import keep_requests, layout
    from sockrec.store.lock import holder

    held = None
    for folder in sorted((source.root / layout.JOURNAL).glob("host=*")):
        host = layout.host_of(folder.name)
        held = holder(folder / layout.LOCK)
        if held and host is not None:
            break
    if held is None or host is None:
        return None
    path = keep_requests.ask(source, host, wish)
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        time.sleep(_LOOK_S)
        try:
            now = keep_requests.read(path)
        except FileNotFoundError:
            return "kept what was there"  # all is done: nothing of what follows was wanted
        if now.state == keep_requests.GOING:
            return _follows(now)
        if now.state == keep_requests.FAILED:
            path.unlink(missing_ok=True)
            raise CaptureError(f"the recorder could not keep it: {now.error}")
        if holder(folder / layout.LOCK) is None:
            path.unlink(missing_ok=True)
            return None
    path.unlink(missing_ok=True)
    raise CaptureError(
        f"the recorder (process {held.pid}) did not answer within {_PATIENCE_S} s: look whether it is "
        "stopped or its disk is full, and ask again"
    )


def _follows(wish: Wish) -> str:
    from sockrec.model import durations

    left_us = (wish.until_us or 0) - time.time_ns() // 1000
    if left_us <= 0:
        return "kept what was there"
    return f"kept what was there; what follows is added for another {durations.show(left_us)}"


def _keep_unattended(source: Layout, wish: Wish) -> str:
    from sockrec.store.keeping import keep_unattended

    keep_unattended(source, wish)
    return "no recorder writes there: kept what was there"


def _asker() -> dict[str, Any]:
    """Return who runs this: the process that started it."""
    pid = os.getppid()
    try:
        program = Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        program = ""
    return {"pid": pid, "uid": os.getuid() if sys.platform != "win32" else 0, "program": program}


def _clear(folder: Path) -> None:
    """Remove the folder that was made for nothing."""
    from contextlib import suppress

    with suppress(OSError):  # something was put there: it stays to be looked at
        folder.rmdir()
