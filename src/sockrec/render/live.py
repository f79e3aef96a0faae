"""The live line of a recording: one line of a terminal, rewritten after each sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_UNITS: Final = ("B", "kB", "MB", "GB", "TB")


def size(number: float) -> str:
    """Return a number of bytes in the unit that reads best, by powers of 1000: `12.3 kB`."""
    for unit in _UNITS:
        if number < 999.5 or unit == _UNITS[-1]:
            break
        number /= 1000
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.3g} {unit}"


def count(number: int, noun: str) -> str:
    """Return a number of things: `1 sample`, `2,000 samples`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def clock(microseconds: int) -> str:
    """Return an elapsed time as `0:05`, `12:34` or `2:03:04`."""
    minutes, seconds = divmod(microseconds // 1_000_000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def line(
    *,
    elapsed_us: int,
    samples: int,
    sockets: Mapping[str, int],
    changes: int,
    events: int,
    events_lost: int,
    size_bytes: int,
    cpu_percent: float,
    ticks_missed: int,
    incomplete: int,
    width: int,
    alarm: str = "",
    note: str = "",
) -> str:
    """Return the live line, cut at the terminal's width.

    `sockets` counts by state, the most frequent first to be shown. An `alarm` comes before them, a `note`
    behind all.
    """
    states = sorted(sockets.items(), key=lambda item: (-item[1], item[0]))
    parts = [
        clock(elapsed_us),
        *([alarm] if alarm else []),
        count(samples, "sample"),
        " ".join(f"{name} {count}" for name, count in states) or "no sockets",
        count(changes, "change"),
        count(events, "event"),
        size(size_bytes),
        f"CPU {cpu_percent:.1f} %",
    ]
    if events_lost:
        parts.append(f"{count(events_lost, 'event')} lost")
    if ticks_missed:
        parts.append(f"{ticks_missed} missed")
    if incomplete:
        parts.append(f"{incomplete} incomplete")
    if note:
        parts.append(note)
    return "  ".join(parts)[: max(0, width - 1)]
