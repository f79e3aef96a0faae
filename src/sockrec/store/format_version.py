"""The one check of a format version, which is told apart from the release version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockrec.errors import CaptureError
from sockrec.model.tables import FORMAT_VERSION

if TYPE_CHECKING:
    from pathlib import Path


def check_version(path: Path, version: int) -> None:
    """Raise `CaptureError` for a format that only a newer sockrec knows."""
    if version > FORMAT_VERSION:
        known = f"this sockrec reads up to format {FORMAT_VERSION}"
        raise CaptureError(f"{path} is of format {version}, {known}: upgrade sockrec")
