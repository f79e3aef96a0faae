"""Lengths of time as people type them: `200ms`, `1s`, `1.5h`, `2d`."""

from __future__ import annotations

import re
from typing import Final

from sockrec.errors import UsageError

_UNITS: Final = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "sec": 1_000_000,
    "m": 60_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}
_FORM: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*([a-z]*)")


def parse(text: str) -> int:
    """Return a length of time in microseconds; a bare number is seconds.

    Raises `UsageError` for anything else.
    """
    match = _FORM.fullmatch(text.strip().lower())
    unit = _UNITS.get(match[2] or "s") if match else None
    if match is None or unit is None:
        raise UsageError(f"{text!r} is not a length of time; write it as 200ms, 1s, 10m, 2h or 1d")
    return round(float(match[1]) * unit)


def show(microseconds: float) -> str:
    """Return a length of time in the unit that reads best: `200 ms`, `20.3 s`, `4 min 10 s`, `2 h 5 min`."""
    if microseconds < 1_000:
        return f"{microseconds:.0f} us"
    if microseconds < 999_500:
        return f"{microseconds / 1_000:.3g} ms"
    seconds = microseconds / 1_000_000
    if seconds < 119.5:
        return f"{seconds:.3g} s"
    if seconds < 7_170:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
