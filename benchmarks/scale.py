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
    question_rounds: int
    """Times that each question is asked, at most."""
    startup_rounds: int
    kept_seconds: int
    """Length of the recording that keeps to its budget."""
    event_rounds: int
    event_seconds: int
    """Length of the load of short connections that each watches in each round."""
    loss_seconds: int
    """Length of the load that must be recorded whole."""
    steady_interval_ms: int
    """Time between steady samples, in which events are drained."""
    network_seconds: int
    """Length of each recording with and without the rest of the network."""


FULL: Final = Scale(
    name="full",
    sizes=(1_000, 10_000, 100_000),
    rounds=7,
    rival_rounds=3,
    disk_sockets=10_000,
    disk_samples=240,
    text_samples=20,
    hours=24,
    day_sockets=10_000,
    question_rounds=5,
    startup_rounds=9,
    kept_seconds=300,
    event_rounds=3,
    event_seconds=8,
    loss_seconds=60,
    steady_interval_ms=1_000,
    network_seconds=15,
)
QUICK: Final = Scale(
    name="quick",
    sizes=(1_000, 10_000),
    rounds=3,
    rival_rounds=2,
    disk_sockets=2_000,
    disk_samples=30,
    text_samples=5,
    hours=0.1,
    day_sockets=10_000,
    question_rounds=3,
    startup_rounds=3,
    kept_seconds=30,
    event_rounds=1,
    event_seconds=2,
    loss_seconds=5,
    steady_interval_ms=250,
    network_seconds=4,
)
