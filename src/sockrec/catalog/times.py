"""When a capture was recorded, and in which time zone its times are shown."""

from __future__ import annotations

from datetime import UTC, tzinfo
from typing import TYPE_CHECKING

from sockrec.errors import NothingMatchedError, UsageError
from sockrec.model import timetext
from sockrec.model.timeexpr import TimeContext

if TYPE_CHECKING:
    from sockrec.catalog.catalog import Catalog


def zone_of(catalog: Catalog) -> tzinfo:
    """Return the time zone of the host recorded last; UTC if it has none that this machine knows."""
    for recording in reversed(catalog.recordings):
        try:
            return timetext.zone(str(recording["time_zone"]))
        except (KeyError, UsageError):
            continue
    return UTC


def spans(catalog: Catalog) -> list[tuple[int, int]]:
    """Return the first and last moment of each recording, in microseconds UTC, oldest first."""
    return [
        (first, last)
        for first, last in catalog.rows(
            "SELECT epoch_us(began), epoch_us(ended) FROM base.runs ORDER BY began, ended"
        )
    ]


def context(catalog: Catalog, zone: tzinfo, now_us: int) -> TimeContext:
    """Return what time expressions are understood against.

    Raises `NothingMatchedError` if no sample has been taken yet.
    """
    found = tuple(spans(catalog))
    if not found:
        raise NothingMatchedError(f"{catalog.root} holds no sample yet")
    return TimeContext(found, zone, now_us)
