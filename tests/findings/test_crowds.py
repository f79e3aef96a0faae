"""Findings about many connections: storms, leaks of sockets, scans, beacons; and what the recorder lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.catalog.captures import Part, began, ended
from tests.findings.asking import found
from tests.support.confusion import BY_HAND, Judge, by_kinds

LENGTH = 120


def listening(part: Part, *ports: int, **columns: Any) -> None:
    for number, port in enumerate(ports):
        part.socket(1 + number, 0, LENGTH, "found", "stopped", local_port=port, **columns)


def accepted(part: Part, times: list[float], *, address: str = "10.0.0.9", **columns: Any) -> None:
    """Connections of a peer to port 7071 that events told of, no sample."""
    for number, at in enumerate(times):
        row: dict[str, Any] = {"local_port": 7071, "remote_address": address, "role": "server"}
        row |= {"remote_port": 40_000 + number} | columns
        part.closed(1000 + len(part.rows["events"]), at, at + 0.1, **row)


def called(part: Part, times: list[float], address: str = "203.0.113.9", **columns: Any) -> None:
    """Connections of a program of this host to port 443 of a peer."""
    row: dict[str, Any] = {"remote_port": 443, "role": "client", "local_port": 50_000}
    row |= {"program": "agent", "pid": 77} | columns
    accepted(part, times, address=address, **row)


def burst(part: Part, size: int, usual: int = 5, at: float = 60, **columns: Any) -> None:
    listening(part, 7071)
    accepted(part, [slot * 10 + 0.01 * n for slot in range(12) for n in range(usual)], **columns)
    accepted(part, [at + 0.01 * n for n in range(size - usual)], **columns)


def half_empty(part: Part) -> None:
    """Six of the twelve ten seconds of a recording of 110 s have connections: half of them have none."""
    part.rows["samples"] = [row for row in part.rows["samples"] if row["number"] <= 110]
    listening(part, 7071)
    accepted(part, [20 * slot + 0.01 * n for slot in range(6) for n in range(200 if slot == 5 else 5)])


def sampled_burst(part: Part, size: int) -> None:
    """The same without events: samples saw them all."""
    listening(part, 7071)
    for number in range(size):
        part.connection(1000 + number, 61, 70, remote_port=10_000 + number)


def opens(part: Part, size: int, each: float) -> None:
    """A program opens one socket after another, and closes none."""
    for number in range(size):
        first = 1 + int(number * each)
        part.connection(1000 + number, first, LENGTH, "opened", "stopped", remote_port=10_000 + number)


def pool(part: Part) -> None:
    """As many, but all at the beginning."""
    for number in range(300):
        part.connection(
            1000 + number, 1 + number // 100, LENGTH, "opened", "stopped", remote_port=9000 + number
        )


def comes_and_goes(part: Part) -> None:
    """As many in all, each open for a while."""
    for number in range(300):
        first = 1 + int(number / 3)
        part.connection(1000 + number, first, first + 5, remote_port=9000 + number)


def probed(part: Part, ports: int, open_: int, first: float = 10) -> None:
    listening(part, *range(7000, 7000 + open_))
    for number in range(ports):
        accepted(part, [first + number], address="10.0.0.8", local_port=7000 + number)


def answered(part: Part, resets: int, known: int = 0, name: str = "OutRsts", section: str = "Tcp") -> None:
    listening(part, 7071)
    for second, value in ((0, 1000), (20, 1000 + resets)):
        part.rows["counters"].append(
            {
                "recording": part.recording,
                "netns": part.netns,
                "source": "snmp",
                "section": section,
                "name": name,
                "read_before": began(second - 10) if second else None,
                "read_at": began(second),
                "value": value,
            }
        )
    accepted(part, [15 + 0.01 * n for n in range(known)], cause="reset by us")


def tried(part: Part, targets: int, established: int = 0, *, first: float = 10, each: float = 0.1) -> None:
    listening(part, 7071)
    for number in range(targets):
        answer = {"established_at": began(10)} if number < established else {"established_at": None}
        called(part, [first + each * number], f"10.1.0.{number}", **answer)


def tried_and_sampled(part: Part, targets: int, established: int, **columns: Any) -> None:
    listening(part, 7071)
    for number in range(targets):
        peer = {
            "remote_address": f"10.1.0.{number}",
            "remote_port": 443,
            "local_port": 50_000 + number,
            "pid": 77,
        }
        peer |= columns
        id_, answers = 1000 + number, number < established
        part.connection(id_, 10, 11, "opened", "changed" if answers else "closed", state="SYN_SENT", **peer)
        if answers:
            part.connection(id_, 12, 14, "changed", "closed", **peer)


def tried_and_read_too_late(part: Part, targets: int) -> None:
    """Samples saw all of them, and found no holder any more; their ends tell who it was."""
    for number in range(targets):
        second = 10 + number // 10
        peer: dict[str, Any] = {
            "remote_address": f"10.2.0.{number}",
            "remote_port": 443,
            "local_port": 50_000 + number,
        }
        seen = peer | {"pid": None, "program": None, "owner": "exited", "state": "SYN_SENT"}
        part.connection(1000 + number, second, second, **seen)
        agent = peer | {"pid": 77, "program": "agent", "role": "client", "sampled": True}
        part.closed(1000 + number, None, second + 0.5, **agent)


def regular(part: Part, calls: int, space: float, jitter: float = 0.0, **columns: Any) -> None:
    called(part, [1 + number * space + (jitter if number % 2 else 0) for number in range(calls)], **columns)


def lost(part: Part) -> None:
    listening(part, 7071)
    part.event("lost", 5, 6, detail="state changes", count=12)
    part.event("lost", 8, 9, detail="state changes", count=30)


def partly(part: Part) -> None:
    listening(part, 7071)
    part.sample(30, complete=False, incomplete_why="udp: the kernel ended the dump early")


def dropped(part: Part) -> None:
    listening(part, 7071)
    part.sample(0, samples_dropped=4)


SHOWN: list[tuple[Callable[[Part], None], list[str]]] = [
    (lambda part: burst(part, 200), ["connection-storm"]),
    (lambda part: burst(part, 199), []),
    (lambda part: burst(part, 200, at=59), ["connection-storm"]),  # half of it in the next ten seconds
    (lambda part: burst(part, 200, 21), []),
    (lambda part: burst(part, 250, 21), ["connection-storm"]),
    (lambda part: sampled_burst(part, 250), ["connection-storm"]),
    (half_empty, ["connection-storm"]),
    (lambda part: opens(part, 240, 0.48), ["socket-leak"]),
    (lambda part: opens(part, 99, 1.15), []),
    (pool, []),
    (comes_and_goes, []),
    (lambda part: probed(part, 5, 6), ["scan-in"]),
    (lambda part: probed(part, 4, 6), []),
    (lambda part: probed(part, 5, 11), []),
    (lambda part: probed(part, 5, 6, first=58), ["scan-in"]),
    (lambda part: answered(part, 100), ["scan-in"]),
    (lambda part: answered(part, 150, 51), []),
    (lambda part: answered(part, 100, name="NoPorts", section="Udp"), ["scan-in"]),
    (lambda part: tried(part, 50), ["scan-out"]),
    (lambda part: tried(part, 49), []),
    (lambda part: tried(part, 50, first=57.55), ["scan-out"]),  # half of them in the next minute
    (lambda part: tried(part, 50, first=45.5, each=0.6), ["scan-out"]),
    (lambda part: tried(part, 50, first=30, each=1.3), []),  # more than a minute
    (lambda part: tried(part, 60, 31), []),
    (lambda part: tried(part, 60, 30), ["scan-out"]),
    (lambda part: tried_and_sampled(part, 60, 30), ["scan-out"]),
    (lambda part: tried_and_sampled(part, 60, 31), []),
    (lambda part: tried_and_sampled(part, 60, 31, pid=None, program=None), []),
    (lambda part: tried_and_read_too_late(part, 50), ["scan-out"]),
    (lambda part: regular(part, 8, 10), ["beacon"]),
    (lambda part: regular(part, 7, 10), []),
    (lambda part: regular(part, 20, 4.9), []),
    (lambda part: regular(part, 10, 10, 0.7), ["beacon"]),
    (lambda part: regular(part, 10, 10, 0.9), []),
    (lambda part: regular(part, 10, 10, address="10.0.0.7"), []),
    (lost, ["losses"]),
    (partly, ["losses"]),
    (dropped, ["losses"]),
]


@pytest.mark.parametrize("number", range(len(SHOWN)))
def test_it_is_found_where_it_is_and_nowhere_else(tmp_path: Path, number: int, judge: Judge) -> None:
    make, expected = SHOWN[number]
    part = Part(tmp_path, 0, LENGTH)
    make(part)
    part.write()
    answer = found(tmp_path)
    told = [one.kind for one in answer]
    judge(by_kinds(BY_HAND, told, expected))
    assert told == expected, answer
    for one in answer:
        assert one.not_after <= ended(LENGTH)


@pytest.mark.parametrize("late", [0, 30, 50])
def test_who_held_what_a_sample_read_too_late_is_told_by_its_end(tmp_path: Path, late: int) -> None:
    part = Part(tmp_path, 0, LENGTH)
    tried_and_read_too_late(part, late)
    tried(part, 100, first=20, each=0.1)
    part.write()
    (one,) = found(tmp_path)
    assert (one.subject, one.numbers["targets"]) == ("agent[77]", 100 + late)


def test_private_peers_are_asked_for(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, LENGTH)
    regular(part, 10, 10, address="10.0.0.7")
    part.write()
    (one,) = found(tmp_path, settings={"beacon.private": 1.0})
    assert one.numbers["interval_us"] == 10_000_000
    assert one.text == "agent called 10.0.0.7:443 10 times, every 10 s."


def test_the_words_tell_who_and_how_many(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, LENGTH)
    burst(part, 250)
    probed(part, 5, 6)
    tried(part, 50)
    lost(part)
    part.write()
    texts = {one.kind: one.text for one in found(tmp_path)}
    assert (
        texts["connection-storm"]
        == "Port 7071 got 250 connections within ten seconds; usual are 5 connections."
    )
    assert texts["scan-in"].startswith("10.0.0.8 connected to 5 ports of this host within a minute, of 7 ")
    assert texts["scan-out"].startswith("agent[77] asked 1 port of 50 addresses within a minute;")
    assert texts["losses"].startswith("42 events of the kernel were lost (state changes), 2 times:")
