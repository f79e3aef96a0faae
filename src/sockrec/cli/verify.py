"""`sockrec verify`: whether a capture is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sockrec.cli import _capture
from sockrec.cli._capture import CaptureOption

if TYPE_CHECKING:
    from pathlib import Path

    from sockrec.store.damage import Damage

_DAMAGED = 3


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("verify")(verify)


def verify(
    capture: CaptureOption = None,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Keep what can be read of damaged files, and note what is lost."),
    ] = False,
    format_: Annotated[str, typer.Option("--format", "-f", help="text or json.")] = "text",
) -> None:
    """Read a whole capture, compare it with its checksums, and tell what is damaged and lost by it.

    Ends with 0 if it is whole, with 3 if it is damaged. --repair leaves a capture that is whole again; what
    stood in the place of a repaired file is kept beside it, as .damaged.
    """
    from sockrec.errors import UsageError
    from sockrec.render import verification
    from sockrec.render.formats import json_value
    from sockrec.store.locate import locate
    from sockrec.store.repair import repair as mend
    from sockrec.store.verify import verify as read

    if format_ not in ("text", "json"):
        raise UsageError(f"there is no format {format_!r} here: give text or json")
    root = locate(capture).absolute()
    found = after = read(root)
    done: list[Damage] = []
    if repair and not found.is_whole:
        repaired = mend(root, found)
        done, after = repaired.done, repaired.after
    facts = {
        "capture": str(root),
        "files": after.files,
        "bytes": after.bytes,
        "whole": after.is_whole,
        "recording_now": after.recording,
        "damages": [{**_told(root, one.damage), "lost": one.lost} for one in found.findings],
        "repaired": [_told(root, one) for one in done],
        "known_losses": [_told(root, one) for one in after.losses],
        "remarks": [_told(root, one) for one in after.remarks],
    }
    _capture.write(verification.text(facts) if format_ == "text" else json_value(facts) + "\n")
    if not after.is_whole:
        raise typer.Exit(_DAMAGED)


def _told(root: Path, damage: Damage) -> dict[str, Any]:
    inside = damage.path.is_relative_to(root)
    path = damage.path.relative_to(root) if inside else damage.path
    return {"file": str(path), "offset": damage.offset, "what": damage.what}
