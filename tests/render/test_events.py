"""Events as lines: exact where they are, honest bounds where not, nothing in them steers a terminal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockrec.query.events import COLUMNS
from sockrec.render.events import EventLines, when

NOON = datetime(2026, 11, 20, 10, 32, 4, 118207, tzinfo=UTC)


def _event(kind: str = "closed", **columns: Any) -> dict[str, Any]:
    connection = {
        "host": "web-1",
        "not_before": NOON,
        "not_after": NOON,
        "evidence": "event",
        "protocol": "tcp",
        "local_address": "10.0.0.5",
        "local_port": 43310,
        "remote_address": "10.0.0.9",
        "remote_port": 5432,
        "role": "client",
        "pid": 4121,
        "program": "curl",
        "owner_evidence": "event",
    }
    return dict.fromkeys((*COLUMNS, "told", "is_match")) | connection | {"kind": kind} | columns


def _line(kind: str = "closed", **columns: Any) -> str:
    lines = EventLines(UTC, name_host=False).line(_event(kind, **columns)).splitlines()
    assert lines[0] == "2026-11-20 (times in UTC)"
    (line,) = lines[1:]
    return line


def test_a_connection_with_all_that_is_known() -> None:
    assert _line(
        opened_at=NOON - timedelta(milliseconds=3.2),
        cause="closed by us",
        bytes_sent=517,
        bytes_received=12_345,
        total_retrans=2,
        drops=0,
    ) == (
        "10:32:04.118207  closed             tcp 10.0.0.5:43310 -> 10.0.0.9:5432  curl[4121]  "
        "closed by us after 3.2 ms, 517 B sent, 12.3 kB received, 2 retransmitted"
    )


@pytest.mark.parametrize(
    ("columns", "ending"),
    [
        ({}, "tcp 10.0.0.5:43310 -> 10.0.0.9:5432  curl[4121]"),
        ({"role": "server"}, "tcp 10.0.0.5:43310 <- 10.0.0.9:5432  curl[4121]"),
        ({"role": None}, "tcp 10.0.0.5:43310 - 10.0.0.9:5432  curl[4121]"),
        ({"pid": None, "owner_evidence": None}, "5432  holder unknown"),
        ({"owner_evidence": "inferred"}, "5432  curl[4121] (inferred)"),
        ({"cause": "refused"}, "curl[4121]  refused"),
        ({"local_port": 0}, "tcp 10.0.0.5:* -> 10.0.0.9:5432  curl[4121]  no local port was free"),
        ({"local_port": 0, "role": "server"}, "tcp 10.0.0.5:* <- 10.0.0.9:5432  curl[4121]"),
        ({"bytes_sent": 0}, "curl[4121]  0 B sent"),
        ({"local_address": "::1", "remote_address": "::2"}, "tcp [::1]:43310 -> [::2]:5432  curl[4121]"),
        (
            {"protocol": "udp", "remote_port": 0, "local_port": 53, "role": None, "drops": 3},
            "udp 10.0.0.5:53  curl[4121]  3 dropped",
        ),
        # How long it lasted is said only where both ends are exact.
        (
            {"not_before": NOON - timedelta(seconds=1), "opened_at": NOON - timedelta(seconds=9)},
            "curl[4121]",
        ),
    ],
)
def test_what_is_not_known_is_left_out(columns: dict[str, Any], ending: str) -> None:
    assert _line(**columns).endswith(ending)


@pytest.mark.parametrize(
    ("kind", "columns", "line"),
    [
        ("opened", {}, "opened             tcp 10.0.0.5:43310 -> 10.0.0.9:5432  curl[4121]"),
        ("listening", {"remote_port": 0}, "listening          tcp 10.0.0.5:43310  curl[4121]"),
        (
            "stopped listening",
            {"remote_port": 0, "told": "curl[4121] closed it", "opened_at": NOON - timedelta(seconds=20.3)},
            "stopped listening  tcp 10.0.0.5:43310  curl[4121] closed it after 20.3 s",
        ),
        (
            "stopped listening",
            {"remote_port": 0, "evidence": "inferred", "told": "curl[4121] exited with status 3"},
            "stopped listening  tcp 10.0.0.5:43310  curl[4121] exited with status 3 (inferred)",
        ),
        ("stopped listening", {"remote_port": 0}, "stopped listening  tcp 10.0.0.5:43310  curl[4121]"),
        ("exited", {"told": "curl[4121] exited"}, "exited             curl[4121] exited"),
        ("exited", {}, "exited             curl[4121] exited"),
        ("exec", {"detail": "/bin/ls"}, "exec               curl[4121] became /bin/ls"),
        ("lost", {"detail": "state changes", "count": 1280}, "lost               1,280 state changes"),
        ("lost", {}, "lost               events"),
    ],
)
def test_each_kind(kind: str, columns: dict[str, Any], line: str) -> None:
    assert _line(kind, **columns) == f"10:32:04.118207  {line}"


def test_bounds_are_as_wide_as_an_exact_moment_and_rounded_outwards() -> None:
    second = timedelta(seconds=1)
    for first, last, shown in (
        (NOON, NOON, "10:32:04.118207"),
        (NOON, NOON + 0.99 * second, "10:32:04.1-05.2"),
        (NOON, NOON + timedelta(microseconds=1), "10:32:04.1-04.2"),
        (NOON, NOON + 59 * second, "10:32:04.1-03.2"),
        (NOON, NOON + 59.9 * second, "10:32:04-33:05"),  # `04.1-04.1` would say less
        (NOON, NOON + 61 * second, "10:32:04-33:06"),
        (NOON, NOON + 2 * 3600 * second, "10:32-12:33"),
        (NOON, NOON + 50 * 3600 * second, "11-20-11-22"),
        (None, NOON, "by 10:32:04.2"),
    ):
        assert when(first, last, UTC) == shown
        assert len(shown) <= len("10:32:04.118207")


@given(st.integers(0, 59_799_999), st.integers(0, 3_599_999_999))
def test_bounds_shown_hold(length: int, offset: int) -> None:
    first = datetime(2026, 11, 20, 10, tzinfo=UTC) + timedelta(microseconds=offset)
    last = first + timedelta(microseconds=length)
    shown = when(first, last, UTC)
    if not length:
        assert shown == f"{first:%H:%M:%S.%f}"
        return
    low, high = shown.split("-")
    begin = first.replace(hour=0, minute=0, second=0, microsecond=0)
    hours, minutes, seconds = low.split(":")
    low_at = begin + timedelta(hours=int(hours), minutes=int(minutes), seconds=float(seconds))
    assert timedelta(0) <= first - low_at < timedelta(seconds=0.1)
    # The upper bound is the first moment after the lower one at that second.
    high_at = low_at + timedelta(seconds=round((float(high) - float(seconds)) % 60, 1))
    assert timedelta(0) <= high_at - last < timedelta(seconds=0.1)


def test_a_title_stands_before_each_day_and_offset() -> None:
    lines = EventLines(ZoneInfo("Europe/Berlin"), name_host=False)
    said = [lines.line(_event(not_before=at, not_after=at)) for at in (NOON, NOON, NOON + timedelta(days=1))]
    assert [one.count("\n") for one in said] == [2, 1, 2]
    assert said[0].startswith("2026-11-20 (times in +01:00)\n11:32:04.118207  ")
    assert said[2].startswith("2026-11-21 (times in +01:00)\n")


def test_a_moment_is_that_of_its_zone() -> None:
    assert when(NOON, NOON, timezone(timedelta(hours=5, minutes=30))) == "16:02:04.118207"


def test_hosts_are_named_where_there_are_several() -> None:
    line = EventLines(UTC, name_host=True).line(_event()).splitlines()[1]
    assert line.startswith("10:32:04.118207  web-1  closed ")


@pytest.mark.parametrize("column", ["program", "told", "detail", "host"])
def test_hostile_names_steer_nothing(column: str) -> None:
    hostile = "a\x1b[31m\n\u202eb"
    for kind in ("closed", "stopped listening", "exited", "exec", "lost", "opened"):
        text = EventLines(UTC, name_host=True).line(_event(kind, **{column: hostile}))
        assert text.count("\n") == 2
        assert not {"\x1b", "\u202e"} & set(text)
