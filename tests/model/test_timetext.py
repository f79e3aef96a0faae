"""Times as they are shown."""

from __future__ import annotations

from datetime import UTC

import pytest

from sockrec.errors import UsageError
from sockrec.model import timetext

# 2026-11-20T09:32:05.250999Z
MOMENT = 1_795_167_125_250_999
BERLIN = timetext.zone("Europe/Berlin")


def test_a_date_is_never_shown_without_its_offset() -> None:
    assert timetext.full(MOMENT, UTC) == "2026-11-20 09:32:05.250+00:00"
    assert timetext.full(MOMENT, BERLIN, digits=6) == "2026-11-20 10:32:05.250999+01:00"
    assert timetext.full(MOMENT, timetext.zone("Asia/Kathmandu"), digits=0) == "2026-11-20 15:17:05+05:45"
    # Before standard time offsets had seconds.
    assert timetext.full(-2_500_000_000_000_000, BERLIN, digits=0) == "1890-10-11 20:26:48+00:53:28"


def test_clock_cuts_and_does_not_round() -> None:
    assert timetext.clock(MOMENT, BERLIN) == "10:32:05.250"
    assert timetext.clock(MOMENT, BERLIN, digits=0) == "10:32:05"
    assert timetext.clock(MOMENT, BERLIN, digits=6) == "10:32:05.250999"


def test_a_span_says_date_and_offset_once_if_they_are_one() -> None:
    hour = 3_600_000_000
    assert timetext.span(MOMENT, MOMENT + hour, BERLIN, 0) == "2026-11-20 10:32:05 to 11:32:05+01:00"
    assert (
        timetext.span(MOMENT, MOMENT + 14 * hour, BERLIN, 0)
        == "2026-11-20 10:32:05+01:00 to 2026-11-21 00:32:05+01:00"
    )
    # The night the clocks go back: the same date, another offset.
    night = 1_792_886_400_000_000
    assert (
        timetext.span(night, night + 2 * hour, BERLIN, 0)
        == "2026-10-25 02:00:00+02:00 to 2026-10-25 03:00:00+01:00"
    )


def test_iso_is_utc_with_microseconds() -> None:
    assert timetext.iso(MOMENT) == "2026-11-20T09:32:05.250999Z"
    assert timetext.iso(0) == "1970-01-01T00:00:00.000000Z"


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../../etc/passwd", "/etc/passwd", "Europe", "a\0b"])
def test_an_unknown_zone_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="no time zone"):
        timetext.zone(name)
