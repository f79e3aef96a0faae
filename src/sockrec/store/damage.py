"""What is wrong with a file of a capture: skipped and reported, never raised."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that could not be read: the file, what is wrong, and the byte where it begins if known.

    `known` is damage that was dealt with: the file is whole again, without what could not be read.
    """

    path: Path
    what: str
    offset: int | None = None
    known: bool = False

    def __str__(self) -> str:
        where = "" if self.offset is None else f" at byte {self.offset}"
        return f"{self.path}{where}: {self.what}"
