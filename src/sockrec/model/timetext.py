"""Times as people read them: microseconds UTC in, text in a time zone out.

Where a date is shown, so is the offset from UTC: text that leaves this machine stays unambiguous.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from sockrec.errors import UsageError

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def zone(name: str) -> tzinfo:
    """Return a time zone by its IANA name; raises `UsageError` if this machine knows none of it."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise UsageError(
            f"no time zone {name!r} is known here; give one like Europe/Berlin with --tz"
        ) from None


def to_datetime(time_us: int, where: tzinfo) -> datetime:
    """Return a time as an aware datetime; raises `UsageError` for one outside years 1 to 9999."""
    try:
        return (EPOCH + timedelta(microseconds=time_us)).astimezone(where)
    except OverflowError:
        raise UsageError(f"{time_us} microseconds since 1970 is no date that can be shown") from None


def from_datetime(moment: datetime) -> int:
    """Return an aware datetime as microseconds UTC, exactly."""
    return (moment - EPOCH) // _MICROSECOND


def clock(time_us: int, where: tzinfo, digits: int = 3) -> str:
    """Return the time of day, `10:32:05.250`; `digits` of the second are kept (0 to 6), cut off."""
    moment = to_datetime(time_us, where)
    fraction = f".{moment.microsecond:06d}"[: digits + 1] if digits else ""
    return f"{moment:%H:%M:%S}{fraction}"


def offset(time_us: int, where: tzinfo) -> str:
    """Return the offset from UTC that holds then and there: `+01:00`."""
    return to_datetime(time_us, where).isoformat(timespec="seconds")[19:]


def full(time_us: int, where: tzinfo, digits: int = 3) -> str:
    """Return date, time of day and offset: `2026-11-20 10:32:05.250+01:00`."""
    date = to_datetime(time_us, where).date().isoformat()
    return f"{date} {clock(time_us, where, digits)}{offset(time_us, where)}"


def span(first_us: int, last_us: int, where: tzinfo, digits: int = 3) -> str:
    """Return `full to full`; date and offset are said once if they are the same."""
    first, last = full(first_us, where, digits), full(last_us, where, digits)
    zone_offset = offset(first_us, where)
    if first[:10] == last[:10] and zone_offset == offset(last_us, where):
        return f"{first.removesuffix(zone_offset)} to {last[11:]}"
    return f"{first} to {last}"


def iso(time_us: int) -> str:
    """Return a time for machines: ISO 8601, UTC, microseconds: `2026-11-20T10:32:05.250000Z`."""
    return f"{to_datetime(time_us, UTC):%Y-%m-%dT%H:%M:%S.%f}Z".rjust(27, "0")
