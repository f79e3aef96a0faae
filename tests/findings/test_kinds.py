"""Each kind of finding on a capture that shows it, and on one that nearly does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from sockrec.errors import UsageError
from sockrec.query.findings import KINDS, parse_settings
from tests.catalog.captures import Part, us
from tests.catalog.captures import began as at
from tests.findings.asking import found, kinds
from tests.support.confusion import BY_HAND, Judge, by_kinds


def stops(part: Part) -> None:
    part.socket(1, 0, 9, "found", "closed")


def stops_and_comes_back(part: Part) -> None:
    stops(part)
    part.socket(2, 15, 60, "opened", "stopped", pid=4377)


def restarts_thrice(part: Part) -> None:
    for turn in range(4):
        last = 10 * turn + 8
        ended = "closed" if turn < 3 else "stopped"
        part.socket(
            1 + turn, 10 * turn, last if turn < 3 else 60, "opened" if turn else "found", ended, pid=turn
        )


def taken_over(part: Part) -> None:
    """The new one listens (SO_REUSEPORT) before the old one ends."""
    part.socket(1, 0, 9, "found", "closed")
    part.socket(2, 7, 60, "opened", "stopped", pid=4377)


def moves_to_all_addresses(part: Part) -> None:
    part.socket(1, 0, 9, "found", "closed", local_address="127.0.0.1")
    part.socket(2, 12, 60, "opened", "stopped", local_address="0.0.0.0", pid=4377)


def refused(part: Part, times: int) -> None:
    for number in range(times):
        part.closed(
            100 + number,
            *(5 + number, 5.1 + number),
            local_port=50_000 + number,
            remote_address="10.0.0.5",
            remote_port=7071,
            role="client",
            cause="refused",
            established_at=None,
            program="client",
        )


def waiting(part: Part, connections: int) -> None:
    part.socket(1, 0, 60, "found", "stopped")
    part.active(1, 0, recv_q=0, backlog_limit=7)
    part.active(1, 5, recv_q=connections, backlog_limit=7)


def unread(part: Part, size: int, until: int) -> None:
    part.socket(1, 0, 60, "found", "stopped")
    part.connection(11, 0, 60, "found", "stopped")
    for second, queue in ((0, 0), (5, size), (8, size + 10), (until, 0)):
        part.active(11, second, recv_q=queue, send_q=0)


def unsent(part: Part, **columns: Any) -> None:
    part.socket(1, 0, 60, "found", "stopped")
    part.connection(11, 0, 60, "found", "stopped")
    part.active(11, 0, recv_q=0, send_q=0)
    part.active(11, 5, recv_q=0, send_q=90_000, **columns)


def close_wait(part: Part, sockets: int, seconds: int) -> None:
    part.socket(1, 0, 60, "found", "stopped")
    for number in range(sockets):
        part.connection(11 + number, 5, 5 + seconds, "opened", "closed", state="CLOSE_WAIT")


def wider(part: Part, *addresses: str) -> None:
    first, *others = addresses
    part.socket(1, 0, 60, "found", "stopped", local_address=first)
    for number, address in enumerate(others):
        part.socket(2 + number, 10, 60, "opened", "stopped", local_address=address)


def missed(part: Part, ticks: int) -> None:
    part.rows["samples"] = [row for row in part.rows["samples"] if not 10 <= row["number"] < 10 + ticks]
    part.sample(10 + ticks, ticks_missed=ticks)


def stepped(part: Part, step_us: int) -> None:
    for number in range(20, 61):
        part.sample(number, clock_step_us=step_us)
    for number in range(20):
        part.sample(number, clock_step_us=0)


SHOWN: list[tuple[Callable[[Part], None], list[str]]] = [
    (stops, ["listener-stopped"]),
    (stops_and_comes_back, ["listener-stopped"]),
    (restarts_thrice, ["restart-loop"]),
    (taken_over, []),
    (moves_to_all_addresses, ["listens-wider"]),
    (lambda part: refused(part, 5), ["connections-refused"]),
    (lambda part: refused(part, 4), []),
    (lambda part: waiting(part, 8), ["accept-queue-full"]),
    (lambda part: waiting(part, 7), []),
    (lambda part: unread(part, 5_000, 16), ["unread"]),
    (lambda part: unread(part, 5_000, 14), []),
    (lambda part: unread(part, 500, 50), []),
    (lambda part: unsent(part, snd_wnd=0, probes=3), ["unsent"]),
    (lambda part: unsent(part, snd_wnd=1_000, retransmits=4), ["unsent"]),
    (lambda part: close_wait(part, 10, 31), ["close-wait"]),
    (lambda part: close_wait(part, 9, 31), []),
    (lambda part: close_wait(part, 20, 20), []),
    (lambda part: wider(part, "127.0.0.1", "0.0.0.0"), ["listens-wider"]),
    (lambda part: wider(part, "::1", "10.0.0.5"), ["listens-wider"]),
    (lambda part: wider(part, "0.0.0.0", "127.0.0.1"), []),
    (lambda part: wider(part, "10.0.0.5", "10.0.0.6"), []),
    (lambda part: missed(part, 3), ["gap"]),
    (lambda part: missed(part, 0), []),
    (lambda part: stepped(part, -3_600_000_000), ["clock-step"]),
    (lambda part: stepped(part, 900_000), []),
]


@pytest.mark.parametrize("number", range(len(SHOWN)))
def test_it_is_found_where_it_is_and_nowhere_else(tmp_path: Path, number: int, judge: Judge) -> None:
    make, expected = SHOWN[number]
    part = Part(tmp_path, 0, 60)
    make(part)
    part.write()
    told = kinds(tmp_path)
    judge(by_kinds(BY_HAND, told, expected))
    assert told == expected


def test_every_kind_is_shown_and_nearly_shown() -> None:
    modules = [
        import_module(f"{__package__}.{file.stem}") for file in Path(__file__).parent.glob("test_*.py")
    ]
    cases = [case for module in modules for case in getattr(module, "SHOWN", [])]
    names = {name for _, expected in cases for name in expected}
    assert names == {*(kind.name for kind in KINDS), "restart-loop"}


@pytest.mark.parametrize(
    ("columns", "reason", "title"),
    [
        ({"snd_wnd": 0}, "peer does not read", "does not read"),
        ({"snd_wnd": 500, "probes": 2}, "peer does not read", "does not read"),
        ({"snd_wnd": 500, "retransmits": 4}, "no answer", "does not answer"),
        ({"snd_wnd": 500}, "peer is slow", "is slow"),
    ],
)
def test_why_a_send_queue_stands_is_told_apart(
    tmp_path: Path, columns: dict[str, int], reason: str, title: str
) -> None:
    part = Part(tmp_path, 0, 60)
    unsent(part, **columns)
    part.write()
    (one,) = found(tmp_path)
    assert one.numbers["reason"] == reason
    assert one.title == f"10.0.0.9:40011 {title}"


@pytest.mark.parametrize(("first", "not_before"), [((0, 0), at(0)), ((5, 5_000), at(3)), ((0, 5_000), None)])
def test_when_a_queue_began_to_stand_has_bounds(
    tmp_path: Path, first: tuple[int, int], not_before: datetime | None
) -> None:
    """Since the reading before, or since the connection was opened; unknown if recording began with it."""
    part = Part(tmp_path, 0, 60)
    part.socket(1, 0, 60, "found", "stopped")
    opened = first == (5, 5_000)
    part.connection(11, 4 if opened else 0, 60, "opened" if opened else "found", "stopped")
    second, queue = first
    part.active(11, second, recv_q=queue, send_q=0)
    part.active(11, 7, recv_q=5_000, send_q=0)
    part.write()
    (one,) = found(tmp_path)
    assert (one.kind, one.not_before) == ("unread", not_before)
    assert one.not_after == at(second if queue else 7)


def test_what_one_process_leaves_is_one_finding(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 60)
    part.socket(1, 0, 60, "found", "stopped")
    for number, (pid, window) in enumerate(((7, 0), (7, 0), (7, 900), (8, 0), (7, 0))):
        part.connection(
            11 + number, 0, 60, "found", "stopped", remote_port=40_000 + number, pid=pid, program="busy"
        )
        part.active(11 + number, 0, recv_q=0, send_q=0)
        part.active(11 + number, 9 - number, recv_q=5_000 + number, send_q=90_000 + number, snd_wnd=window)
    part.write()
    told = [one for one in found(tmp_path) if one.kind in ("unread", "unsent")]
    numbers = {(one.kind, one.subject, one.numbers.get("reason")): one for one in told}
    assert {key: one.numbers["connections"] for key, one in numbers.items()} == {
        ("unread", "4 connections of busy[7]", None): 4,
        ("unread", "busy[8] tcp 10.0.0.5:7071 - 10.0.0.9:40003", None): 1,
        ("unsent", "3 connections of busy[7]", "peer does not read"): 3,
        ("unsent", "busy[7] tcp 10.0.0.5:7071 - 10.0.0.9:40002", "peer is slow"): 1,
        ("unsent", "busy[8] tcp 10.0.0.5:7071 - 10.0.0.9:40003", "peer does not read"): 1,
    }
    most = numbers["unread", "4 connections of busy[7]", None]
    assert most.text.endswith("5,004 bytes lay in its receive queue. So it was on 3 more of its connections.")
    # The fullest is told of; since when, of the first.
    assert (most.numbers["socket_id"], most.not_after) == (15, at(5))


def test_a_restart_tells_its_downtime_and_a_stop_is_worse(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 60)
    stops_and_comes_back(part)
    part.socket(5, 0, 20, "found", "closed", local_port=80, program="nginx: master process", pid=77)
    part.write()
    worse, one = found(tmp_path)
    assert (worse.severity, worse.numbers["port"], worse.subject) == (
        "critical",
        80,
        "nginx[77] on tcp 10.0.0.5:80",
    )
    assert (one.severity, one.numbers["down_us"], one.numbers["pid"]) == ("warning", 6_010_000, 4121)
    assert "for 3.99 s to 6.01 s. It was myapp[4121]." in one.text
    assert one.text.endswith("Then myapp[4377] did.")


def test_only_the_time_asked_about(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 60)
    stops(part)
    part.write()
    assert kinds(tmp_path, first_us=us(at(11))) == []
    assert kinds(tmp_path, last_us=us(at(8))) == []
    assert kinds(tmp_path, first_us=us(at(9)), last_us=us(at(9.5))) == ["listener-stopped"]
    assert kinds(tmp_path, host="nobody") == []


def test_thresholds_are_set_by_name(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 60)
    refused(part, 4)
    part.write()
    settings = parse_settings(["connections-refused.attempts=4"], KINDS)
    assert kinds(tmp_path, settings=settings) == ["connections-refused"]
    for nonsense in (
        "attempts=4",
        "connections-refused.attempts",
        "connections-refused.attempts=many",
        "gap.seconds=-1",
    ):
        with pytest.raises(UsageError):
            parse_settings([nonsense], KINDS)
