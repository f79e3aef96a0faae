"""How a recording goes, in the one line that `systemctl status` shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sockrec.render.escape import terminal
from sockrec.render.live import count, size


def status(
    *,
    samples: int,
    sockets: Mapping[str, int],
    events: int,
    events_lost: int,
    size_bytes: int,
    cpu_percent: float,
    disk: str | None,
    lacks: Sequence[str],
) -> str:
    """Return the line: trouble first, then what was recorded, then what this recording does not see.

    `sockets` counts by state. `disk`: what the disk does to the recording, None while it takes all.
    """
    now = sum(sockets.values())
    parts = [
        f"Recording: {count(samples, 'sample')}",
        f"{count(now, 'socket')} now",
        count(events, "event") + (f" ({events_lost:,} lost)" if events_lost else ""),
        f"{size(size_bytes)} in this run",
        f"CPU {cpu_percent:.1f} %",
    ]
    text = ", ".join(parts)
    if disk:
        text = f"{disk}. {text}"
    if lacks:
        text = f"{text}. Not seen: {'; '.join(lacks)}"
    return terminal(text)
