"""Which capture is meant: the one named, the environment's, or the newest in the default folder."""

from __future__ import annotations

import os
from pathlib import Path

from sockrec.errors import CaptureError
from sockrec.store import layout

VARIABLE = "SOCKREC_CAPTURE"
_SYSTEM = Path("/var/lib/sockrec")


def default_folder() -> Path:
    """Return where captures lie that nobody named: /var/lib/sockrec for root, else in the XDG data folder."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return _SYSTEM
    data = os.environ.get("XDG_DATA_HOME", "")
    # A relative path there is to be ignored (XDG Base Directory Specification).
    base = Path(data) if data.startswith("/") else Path.home() / ".local" / "share"
    return base / "sockrec"


def newest(folder: Path) -> Path | None:
    """Return the capture in `folder` whose latest recording began last; None if there is no capture.

    Raises `CaptureError` if the folder can't be read.
    """
    best: tuple[str, Path] | None = None
    try:
        for entry in sorted(folder.iterdir()):
            latest = _latest_recording(entry)
            if latest and (best is None or latest >= best[0]):
                best = (latest, entry)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CaptureError(f"cannot read {folder}: {error.strerror}; name a capture with --capture") from None
    return best[1] if best else None


def locate(capture: Path | None = None) -> Path:
    """Return the capture to read: `capture`, else $SOCKREC_CAPTURE, else the newest in the default folder.

    Raises `CaptureError` if none was named and the default folder holds none.
    """
    if capture is not None:
        return capture
    if named := os.environ.get(VARIABLE):
        return Path(named)
    folder = default_folder()
    found = newest(folder)
    if found is None:
        raise CaptureError(
            f"no capture named and none in {folder}: name one with --capture, or run 'sockrec record'"
        )
    return found


def locate_for_recording(recording: str, capture: Path | None = None) -> Path:
    """Return where to record: `capture`, else $SOCKREC_CAPTURE, else a new folder in the default one."""
    if capture is not None:
        return capture
    named = os.environ.get(VARIABLE)
    return Path(named) if named else default_folder() / recording


def _latest_recording(capture: Path) -> str:
    """Return the id of the recording in `capture` that began last; '' if it holds none."""
    names = [path.stem for path in capture.glob(f"{layout.RECORDINGS}/host=*/*.json")]
    names += [path.stem for path in capture.glob(f"{layout.JOURNAL}/host=*/*{layout.JOURNAL_SUFFIX}")]
    return max(names, default="")
