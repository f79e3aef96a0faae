"""Times as people type them, against the standard library's own calendar."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockrec.errors import UsageError
from sockrec.model import timetext
from sockrec.model.timeexpr import TimeContext, parse

BERLIN = ZoneInfo("Europe/Berlin")


def us(text: str) -> int:
    """Return an ISO 8601 time with its offset as microseconds UTC."""
    return timetext.from_datetime(datetime.fromisoformat(text))


# Two recordings with a gap between, over midnight in Berlin (UTC+1 in November).
FIRST = (us("2026-11-19T20:00:00+01:00"), us("2026-11-19T21:00:00+01:00"))
SECOND = (us("2026-11-19T22:00:00+01:00"), us("2026-11-20T12:00:00.500000+01:00"))
CONTEXT = TimeContext((FIRST, SECOND), BERLIN, us("2026-11-20T12:05:00+01:00"))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("10:32", "2026-11-20T10:32:00+01:00"),
        ("  10:32:05.25 ", "2026-11-20T10:32:05.250000+01:00"),
        ("00:00", "2026-11-20T00:00:00+01:00"),
        ("23:59:59.999999", "2026-11-19T23:59:59.999999+01:00"),
        ("20:30", "2026-11-19T20:30:00+01:00"),
        ("9:05", "2026-11-20T09:05:00+01:00"),
        ("2026-11-20 10:32", "2026-11-20T10:32:00+01:00"),
        ("2026-11-20T09:32:05Z", "2026-11-20T10:32:05+01:00"),
        ("2026-11-20T10:32:05.000001+02:00", "2026-11-20T09:32:05.000001+01:00"),
        ("2026-11-20 08:32 -0130", "2026-11-20T11:02:00+01:00"),
        ("start", "2026-11-19T20:00:00+01:00"),
        ("start+30s", "2026-11-19T20:00:30+01:00"),
        ("end - 10s", "2026-11-20T11:59:50.500000+01:00"),
        ("END-250ms", "2026-11-20T12:00:00.250000+01:00"),
        ("end", "2026-11-20T12:00:00.500000+01:00"),
        ("10m ago", "2026-11-20T11:55:00+01:00"),
        ("now-1.5h", "2026-11-20T10:35:00+01:00"),
    ],
)
def test_every_form_of_the_grammar(text: str, meant: str) -> None:
    assert parse(text, CONTEXT) == us(meant)


@pytest.mark.parametrize(
    "text",
    ["", "noon", "5m", "25:00", "10:60", "10", "10:32:05.1234567", "2026-11-20", "2026-11-20T10:32:05+25:00",
     "10:32 pm", "start30s", "١٠:٣٢", "10:32\n11:00"],
)  # fmt: skip
def test_what_is_no_time_names_the_forms(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a time; write it as 10:32.*5m ago.*start.30s"):
        parse(text, CONTEXT)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2026-13-01 10:00", "2026-13-01 is not a date"),
        ("start+soon", "'soon' is not a length of time"),
        ("some time ago", "'some time' is not a length of time"),
        ("now", "2026-11-20 12:05:00.000+01:00 is after what was recorded: "
                "2026-11-19 20:00:00.000+01:00 to 2026-11-20 12:00:00.500+01:00"),
        ("start-1us", "2026-11-19 19:59:59.999+01:00 is before what was recorded"),
        ("13:00", "2026-11-20 13:00:00.000+01:00 is after what was recorded"),
        ("21:30", "is after what was recorded"),
        ("2026-11-19 21:30", "2026-11-19 21:30:00.000+01:00 is in a gap: nothing was recorded from "
                             "2026-11-19 21:00:00.000+01:00 to 2026-11-19 22:00:00.000+01:00"),
        ("end+999999999d", "is no date that can be shown"),
        ("9999-12-31 23:59", "is after what was recorded"),
        ("0001-01-01 00:00+14:00", "is no date that can be shown|is before what was recorded"),
    ],
)  # fmt: skip
def test_a_time_that_cannot_be_answered_says_why(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("+", r"\+")) as caught:
        parse(text, CONTEXT)
    assert "\n" not in str(caught.value)


def test_a_moment_need_not_be_recorded_where_it_is_asked_for_so() -> None:
    assert parse("now", CONTEXT, recorded=False) == CONTEXT.now_us
    assert parse("13:00", CONTEXT, recorded=False) == us("2026-11-20T13:00:00+01:00")


def test_edges_of_a_recording_belong_to_it() -> None:
    for edge in (*FIRST, *SECOND):
        assert parse(timetext.full(edge, BERLIN, digits=6), CONTEXT) == edge
    with pytest.raises(UsageError):
        parse(timetext.full(SECOND[1] + 1, BERLIN, digits=6), CONTEXT)


def autumn(first: str, last: str) -> TimeContext:
    """Return a recording of the night in which Berlin's clocks went from 03:00+02:00 to 02:00+01:00."""
    return TimeContext(((us(first), us(last)),), BERLIN, us(last))


def test_an_hour_that_was_twice_is_the_recorded_one() -> None:
    before = autumn("2026-10-25T02:00:00+02:00", "2026-10-25T02:50:00+02:00")
    after = autumn("2026-10-25T02:00:00+01:00", "2026-10-25T02:50:00+01:00")
    for text in ("02:30", "2026-10-25 02:30"):
        assert parse(text, before) == us("2026-10-25T02:30:00+02:00")
        assert parse(text, after) == us("2026-10-25T02:30:00+01:00")


def test_an_hour_recorded_twice_must_be_given_with_its_offset() -> None:
    both = autumn("2026-10-25T01:00:00+02:00", "2026-10-25T04:00:00+01:00")
    for text in ("02:30", "2026-10-25 02:30"):
        with pytest.raises(UsageError, match=r"was twice.*\+02:00 or \+01:00"):
            parse(text, both)
    assert parse("2026-10-25 02:30+02:00", both) == us("2026-10-25T00:30:00Z")
    assert parse("2026-10-25 02:30+01:00", both) == us("2026-10-25T01:30:00Z")
    assert parse("03:30", both) == us("2026-10-25T03:30:00+01:00")


def test_an_hour_that_never_was() -> None:
    spring = autumn("2026-03-29T01:00:00+01:00", "2026-03-29T05:00:00+02:00")
    for text in ("02:30", "2026-03-29 02:30"):
        with pytest.raises(UsageError, match="never was in Europe/Berlin"):
            parse(text, spring)
    two_days = autumn("2026-03-28T01:00:00+01:00", "2026-03-29T05:00:00+02:00")
    assert parse("02:30", two_days) == us("2026-03-28T02:30:00+01:00")


ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu"])
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(
    timetext.from_datetime
)


@given(MOMENTS, ZONES)
def test_what_is_shown_is_understood_again(moment: int, zone: str) -> None:
    context = TimeContext(((moment, moment),), timetext.zone(zone), moment)
    assert parse(timetext.full(moment, context.zone, digits=6), context) == moment
    assert parse(timetext.iso(moment), context) == moment
    # Alone, a time of day is found on the one recorded day.
    assert parse(timetext.clock(moment, context.zone, digits=6), context) == moment


@given(MOMENTS, ZONES, st.integers(0, 4 * 86_400), st.times())
def test_a_time_of_day_is_the_latest_recorded_one(moment: int, zone: str, length: int, clock: object) -> None:
    where = timetext.zone(zone)
    last = moment + length * 1_000_000
    context = TimeContext(((moment, last),), where, last)
    # Every moment with that time of day within the recording, by the standard library's arithmetic.
    days = [timetext.to_datetime(moment, where).date() + timedelta(days=n) for n in range(-1, 7)]
    candidates = []
    for day in days:
        for fold in (0, 1):
            local = datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=where, fold=fold)
            real = local.astimezone(UTC)
            if real.astimezone(where).replace(tzinfo=None) == local.replace(tzinfo=None):
                candidates.append(timetext.from_datetime(real))
    recorded = sorted({candidate for candidate in candidates if moment <= candidate <= last})
    twice = (
        len(recorded) > 1
        and timetext.full(recorded[-1], where)[:10] == timetext.full(recorded[-2], where)[:10]
    )
    if recorded and not twice:
        assert parse(str(clock), context) == max(recorded)
    else:
        with pytest.raises(UsageError, match="was twice" if twice else "never was|is before|is after"):
            parse(str(clock), context)


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert isinstance(parse(text, CONTEXT, recorded=False), int)
