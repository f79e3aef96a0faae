"""Listeners of whose ends events tell: when, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sockrec.catalog import open_catalog
from tests.catalog.captures import Part, began, ended

CAUSE = ("cause", "exit_code", "signal", "by_pid", "by_program", "detail")


def _listeners(root: Path) -> list[dict[str, Any]]:
    with open_catalog(root) as catalog:
        relation = catalog.relation("FROM listeners ORDER BY began_not_after, socket_id")
        return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def _of(row: dict[str, Any], names: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)


def test_the_cause_is_that_of_its_own_end(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 30)
    part.socket(1, 0, 9, "found", "closed")
    part.exactly(ended=9.5)
    part.stopped(1, 9.5, cause="signal", signal=9, by_pid=99, by_program="bash", pid=4122, program="worker")
    part.socket(2, 15, 20, pid=4377)
    part.exactly(14.5, 20.5)
    part.stopped(2, 20.5, cause="exec", detail="/bin/ls", pid=4377)
    part.socket(3, 25, 30, "opened", "stopped", pid=4378)
    part.write()
    one, two, three = _listeners(tmp_path)
    assert _of(one, CAUSE) == ("signal", None, 9, 99, "bash", None)
    assert (one["first_pid"], one["pid"], one["program"]) == (4121, 4122, "worker")
    assert (one["ended_not_before"], one["ended_not_after"], one["ended_evidence"]) == (
        began(9.5),
        began(9.5),
        "event",
    )
    assert (one["again_not_before"], one["again_not_after"], one["again_pid"]) == (
        began(14.5),
        began(14.5),
        4377,
    )
    assert _of(two, CAUSE) == ("exec", None, None, None, None, "/bin/ls")
    assert _of(three, CAUSE) == (None,) * 6
    assert (two["again_not_before"], three["begun_evidence"]) == (began(24), "sample")


def test_an_inferred_cause_keeps_the_samples_bounds(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.socket(1, 0, 3, "found", "closed")
    part.stopped(1, 3, 4.01, evidence="inferred", cause="exit", exit_code=3)
    part.write()
    (row,) = _listeners(tmp_path)
    assert (row["ended_not_before"], row["ended_not_after"]) == (began(3), ended(4))
    assert _of(row, CAUSE)[:2] == ("exit", 3)


def test_one_that_no_sample_saw_is_a_row_and_a_restart(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.socket(1, 0, 3, "found", "closed")
    part.exactly(ended=3.1)
    part.stopped(1, 3.1, cause="close")
    part.stopped(2, 3.4, cause="exit", exit_code=1, sampled=False, opened_at=began(3.2), pid=5, program="x")
    part.stopped(3, 3.8, sampled=False, pid=None, program=None)  # its beginning was not seen
    part.write()
    one, two, three = _listeners(tmp_path)
    assert (one["again_not_before"], one["again_pid"]) == (began(3.2), 5)
    assert (two["began_not_before"], two["began_not_after"], two["begun_as"], two["begun_evidence"]) == (
        began(3.2),
        began(3.2),
        "opened",
        "event",
    )
    assert (two["ended_not_before"], two["ended_not_after"], two["ended_as"], two["ended_evidence"]) == (
        began(3.4),
        began(3.4),
        "closed",
        "event",
    )
    assert (two["holders"], two["pid"], two["first_pid"], two["cause"], two["exit_code"]) == (
        [5],
        5,
        5,
        "exit",
        1,
    )
    assert (three["began_not_before"], three["began_not_after"], three["begun_evidence"]) == (
        began(3),
        began(3.8),
        "inferred",
    )
    assert (three["pid"], three["holders"], three["cause"]) == (None, [], None)


def test_an_end_is_that_of_its_own_recording(tmp_path: Path) -> None:
    """Over a gap the same socket may be found again: it is its last recording that tells of its end."""
    one = Part(tmp_path, 0, 5)
    one.socket(1, 0, 5, "found", "stopped")
    one.write()
    two = Part(tmp_path, 20, 25, recording="20261120T103300-bbbb")
    two.socket(1, 20, 23, "found", "closed")
    two.exactly(ended=23.5)
    two.stopped(1, 23.5, cause="close")
    two.write()
    (row,) = _listeners(tmp_path)
    assert (row["ended_not_before"], row["cause"]) == (began(23.5), "close")


def test_lost_events_are_gaps_and_bound_nothing(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.socket(1, 0, 7, "found", "closed")
    part.event("lost", 2.5, 3.5, detail="state changes", count=128)
    part.event("lost", 4.5, 4.6, detail="destroyed sockets")
    part.write()
    with open_catalog(tmp_path) as catalog:
        assert catalog.rows("FROM gaps ORDER BY not_after") == [
            ("web-1", began(2.5), began(3.5), "128 state changes lost"),
            ("web-1", began(4.5), began(4.6), "destroyed sockets lost"),
        ]
    (row,) = _listeners(tmp_path)
    assert (row["ended_not_before"], row["ended_not_after"], row["ended_as"]) == (
        began(7),
        ended(8),
        "closed",
    )


def test_what_its_event_knows_of_who_held_it_is_told_where_samples_know_nothing(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 30)
    for id_, held in ((1, None), (2, None), (3, 4121)):
        part.socket(id_, 1, 9, pid=held, program="myapp" if held else None, local_port=7000 + id_)
        part.exactly(ended=9.5)
    part.stopped(1, 9.5, cause="close", pid=4122, program="worker")
    part.stopped(2, 9.5, cause="close", pid=None, program="worker", local_port=7002)
    part.stopped(3, 9.5, cause="close", pid=None, program=None, local_port=7003)
    part.write()
    told = sorted((row["local_port"], row["pid"], row["program"]) for row in _listeners(tmp_path))
    assert told == [(7001, 4122, "worker"), (7002, None, "worker"), (7003, 4121, "myapp")]
