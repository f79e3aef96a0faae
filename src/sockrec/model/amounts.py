"""Limits as people type them: `5%` of a core, `512MiB` of memory or disk."""

from __future__ import annotations

import re
from typing import Final

from sockrec.errors import UsageError

_NO_LIMIT: Final = frozenset({"0", "0%", "off"})
_SHARE: Final = re.compile(r"(\d{1,6}(?:\.\d{1,4})?)\s*%")
_BYTES: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*([a-z]+)")

_POWERS: Final = {"k": 1, "m": 2, "g": 3, "t": 4}
_UNITS: Final = (
    {"b": 1}
    | {f"{letter}b": 1000**power for letter, power in _POWERS.items()}
    | {f"{letter}{rest}": 1024**power for letter, power in _POWERS.items() for rest in ("", "ib")}
)


def parse_share(text: str, cores: int) -> float | None:
    """Return a share of one core, 0.05 for `5%`; None for `0` or `off`: no limit.

    Raises `UsageError` for anything else, and for more than `cores` have.
    """
    text = text.strip().lower()
    if text in _NO_LIMIT:
        return None
    match = _SHARE.fullmatch(text)
    share = float(match[1]) / 100 if match else 0.0
    if not share:
        raise UsageError(f"{text!r} is not a share of a core; write it as 5%, 0.5% or off")
    if share > cores:
        raise UsageError(f"{text} is more than this host has: the most is {cores * 100}%")
    return share


def parse_bytes(text: str) -> int | None:
    """Return an amount of memory or disk in bytes; None for `0` or `off`: no limit.

    kB, MB, GB and TB are powers of 1000; KiB, MiB, GiB, TiB and K, M, G, T alone of 1024. A number
    without a unit is refused: nobody means bytes. Raises `UsageError`.
    """
    text = text.strip().lower()
    if text in _NO_LIMIT:
        return None
    match = _BYTES.fullmatch(text)
    unit = _UNITS.get(match[2]) if match else None
    count = round(float(match[1]) * unit) if match and unit else 0
    if not count:
        raise UsageError(f"{text!r} is not an amount of bytes; write it as 512MiB, 1GiB or off")
    return count
