"""Which columns of `activity` every row has, and which are null where they were not written."""

from __future__ import annotations

from typing import Final

from sockrec.model.tables import ACTIVITY, ALWAYS_WRITTEN, COUNTED_IF_KNOWN

_ROW: Final = ("recording", "socket_id", "read_at")
_UNIX: Final = ("refcount",)
# All that moves in an internet socket, in the table's order.
MOVING: Final = tuple(name for name in ACTIVITY.names if name not in (*_ROW, *_UNIX))
COUNTERS: Final = frozenset(MOVING) - frozenset(ALWAYS_WRITTEN)


def has_counters(row: str) -> str:
    """Return the condition that a row of `activity`, by its alias, has the counters."""
    return "(" + " OR ".join(f"{row}.{name} IS NOT NULL" for name in COUNTED_IF_KNOWN) + ")"
