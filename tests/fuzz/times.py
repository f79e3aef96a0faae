"""Moments, lengths of time and amounts as people type them. Input: UTF-8, what is none replaced."""

from __future__ import annotations

import contextlib
from zoneinfo import ZoneInfo

from sockrec.errors import UsageError
from sockrec.model import amounts, durations, timeexpr, timetext
from sockrec.model.timeexpr import TimeContext
from tests.fuzz.grammar import one_line

_DAY = 86_400_000_000
_NOW = 1_795_170_720_000_000
_LONGEST = 10**9 * _DAY
_ZONES = tuple(map(ZoneInfo, ("Europe/Berlin", "America/New_York", "Pacific/Apia", "Australia/Lord_Howe")))


def seeds() -> list[bytes]:
    """Return every form there is."""
    forms = (*timeexpr.FORMS.replace("'", "").split(", "), "now", "1.5h", "200 ms", "5%", "512MiB", "off")
    return [form.encode() for form in forms]


def check(data: bytes) -> None:
    """Parse it as each; only `UsageError` may be raised."""
    text = data.decode(errors="replace")
    for zone in _ZONES:
        context = TimeContext(((_NOW - 3 * _DAY, _NOW - 2 * _DAY), (_NOW - _DAY, _NOW)), zone, _NOW)
        for recorded in (True, False):
            try:
                moment = timeexpr.parse(text, context, recorded)
            except UsageError as error:
                one_line(error)
                continue
            assert context.holds(moment) or not recorded
            assert abs(moment) < 1 << 63
    with contextlib.suppress(UsageError):
        assert 0 <= durations.parse(text) < _LONGEST
    for parse in (lambda: amounts.parse_share(text, 4), lambda: amounts.parse_bytes(text)):
        try:
            found = parse()
        except UsageError:
            continue
        assert found is None or found > 0
    with contextlib.suppress(UsageError):
        timetext.zone(text)
