"""The JSON file of each recording: how it was made, on what, and what could not be seen."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any, Final

from sockrec.model.tables import FORMAT_VERSION
from sockrec.store.damage import Damage
from sockrec.store.files import make_folder, write_atomically
from sockrec.store.format_version import check_version

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LARGEST: Final = 16 << 20
_OPEN = (
    os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
)


def write_recording(path: Path, facts: Mapping[str, Any]) -> None:
    """Write a recording's facts, with the format version, over what stands there; raises `CaptureError`."""
    make_folder(path.parent)
    content = json.dumps({"format_version": FORMAT_VERSION, **facts}, indent=1, ensure_ascii=True)
    write_atomically(path, content.encode() + b"\n")


def read_recording(path: Path) -> dict[str, Any] | Damage:
    """Read a recording's facts, or say what is wrong with the file.

    Raises `CaptureError` if a newer sockrec wrote it, and `FileNotFoundError` if it is not there.
    """
    try:
        fd = os.open(path, _OPEN)
        with os.fdopen(fd, "rb") as file:
            facts = os.fstat(fd)
            if not stat.S_ISREG(facts.st_mode):
                return Damage(path, "is no regular file: not read")
            if facts.st_size > LARGEST:
                return Damage(path, f"has {facts.st_size} bytes, more than any recording's facts: not read")
            content = file.read(LARGEST)
    except FileNotFoundError:
        raise
    except OSError as error:
        return Damage(path, f"can't be read: {error.strerror}")
    try:
        recording = json.loads(content)
    except (ValueError, RecursionError):
        return Damage(path, "is not whole JSON")
    if not isinstance(recording, dict) or not isinstance(recording.get("format_version"), int):
        return Damage(path, "names no format version")
    check_version(path, recording["format_version"])
    return recording
