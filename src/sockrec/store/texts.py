"""Texts that people name a file for: written whole or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from sockrec.errors import UsageError

_MODE: Final = 0o644


def read(file: Path) -> str:
    """Return what a file holds; raises `UsageError` if it can't be read."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"can't read {file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{file}, line {line}: this is no UTF-8") from None


def write(file: Path, text: str) -> None:
    """Put a text in place of a file, whole or not at all; raises `UsageError` if it can't be written.

    A file that is there keeps its mode, and stays where a symlink to it leads. A pipe or a device, which no
    file may take the place of, is written to.
    """
    place = Path(os.path.realpath(file))
    temporary = None
    try:
        if place.exists() and not place.is_file():
            place.write_text(text, encoding="utf-8", newline="\n")
            return
        descriptor, temporary = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        Path(temporary).chmod(stat.S_IMODE(place.stat().st_mode) if place.exists() else _MODE)
        Path(temporary).replace(place)
    except OSError as error:
        if temporary is not None:
            with suppress(OSError):
                Path(temporary).unlink()
        raise UsageError(f"can't write {file}: {error.strerror}") from None
