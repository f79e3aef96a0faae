"""How large a run is: everything that decides how long it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes of one run; more rounds make narrower answers, not other ones."""

    name: str
    sizes: tuple[int, ...]
    """Sockets in each population."""
    rounds: int
    """Rounds of the steady sample at each share of changes."""
    rival_rounds: int
    """Rounds in which the slow rivals take part."""
    disk_sockets: int
    disk_samples: int
    text_samples: int
    """Samples of which the netstat text is kept, to be compressed."""
    hours: float
    """Length of the generated capture."""
    day_sockets: int
    startup_rounds: int
    kept_seconds: int
    """Length of the recording that keeps to its budget."""


FULL: Final = Scale("full", (1_000, 10_000, 100_000), 7, 3, 10_000, 240, 20, 24, 10_000, 9, 300)
QUICK: Final = Scale("quick", (1_000, 10_000), 3, 2, 2_000, 30, 5, 0.1, 10_000, 3, 30)
