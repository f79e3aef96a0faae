"""Periods of listening: what is one, when it began and ended, what followed it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sockrec.catalog import open_catalog
from tests.catalog.captures import Part, began, ended

SECOND = "20261120T103300-bbbb"


def _listeners(root: Path, columns: str = "*") -> list[dict[str, Any]]:
    with open_catalog(root) as catalog:
        relation = catalog.relation(f"SELECT {columns} FROM listeners ORDER BY began_not_after, socket_id")
        return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def test_a_restart_is_linked_with_both_bounds(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 10)
    part.socket(1, 0, 3, "found", "closed")
    part.socket(2, 6, 10, "opened", "stopped", pid=4377)
    part.write()
    first, second = _listeners(tmp_path)
    assert (first["begun_as"], first["began_not_before"], first["began_not_after"]) == (
        "found",
        None,
        ended(0),
    )
    assert (first["ended_not_before"], first["ended_not_after"]) == (began(3), ended(4))
    assert (first["ended_as"], first["ended_evidence"], first["pid"]) == ("closed", "sample", 4121)
    assert (first["again_not_before"], first["again_not_after"]) == (began(5), ended(6))
    assert (first["again_pid"], first["again_program"]) == (4377, "myapp")
    assert (second["ended_as"], second["ended_not_before"], second["ended_not_after"]) == (
        "stopped",
        None,
        None,
    )
    assert second["again_not_after"] is None


def test_a_restart_within_one_sample_is_one_too(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 5)
    part.socket(1, 0, 2, "found", "closed")
    part.socket(2, 3, 5, "opened", "stopped", pid=4377)
    part.write()
    assert [row["again_pid"] for row in _listeners(tmp_path)] == [4377, None]


def test_what_began_before_the_end_or_elsewhere_is_no_restart(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.socket(1, 0, 4, "found", "closed")
    part.socket(2, 2, 9, "opened", "stopped", pid=2)
    part.socket(3, 6, 9, "opened", "stopped", pid=3, local_address="10.0.0.6")
    part.socket(4, 6, 9, "opened", "stopped", pid=4, protocol="udp", state="UNCONN")
    part.socket(5, 6, 9, "opened", "stopped", pid=5, local_port=7072)
    part.socket(6, 6, 9, "opened", "stopped", pid=6, netns=99)
    part.write()
    assert [row["again_pid"] for row in _listeners(tmp_path)] == [None] * 6


def test_the_nearest_of_several_restarts_is_linked(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 12)
    for id_, first in ((1, 1), (2, 4), (3, 7), (4, 10)):
        part.socket(id_, first, first + 1, pid=id_)
    part.write()
    assert [row["again_pid"] for row in _listeners(tmp_path)] == [2, 3, 4, None]


def test_many_segments_are_one_period(tmp_path: Path) -> None:
    for number in range(5):
        part = Part(tmp_path, 10 * number, 10 * number + 9, part=number)
        end = "closed" if number == 4 else "carried"
        part.socket(
            1, 10 * number, 10 * number + (5 if number == 4 else 9), "carried" if number else "found", end
        )
        part.write()
    (row,) = _listeners(tmp_path)
    assert (row["began_not_after"], row["begun_as"]) == (ended(0), "found")
    assert (row["ended_not_before"], row["ended_not_after"]) == (began(45), ended(46))


def test_a_socket_opened_in_the_sample_of_the_cut_keeps_its_beginning(tmp_path: Path) -> None:
    """The row before the cut and the one after it then begin at the same moment."""
    one = Part(tmp_path, 0, 4)
    one.socket(1, 4, 4, "opened", "carried")
    row = one.rows["sockets"][0]
    row["last_seen"] = row["ended_by"] = row["first_seen"]
    one.write()
    two = Part(tmp_path, 5, 9, part=1)
    two.socket(1, 5, 9, "carried", "stopped")
    carried = two.rows["sockets"][0]
    carried["begun_after"] = carried["first_seen"] = row["first_seen"]
    two.write()
    (row,) = _listeners(tmp_path)
    assert (row["begun_as"], row["began_not_before"], row["began_not_after"]) == (
        "opened",
        began(3),
        ended(4),
    )
    assert row["ended_as"] == "stopped"


def test_segments_dropped_by_retention_leave_it_found(tmp_path: Path) -> None:
    part = Part(tmp_path, 10, 19, part=1)
    part.socket(1, 10, 19, "carried", "stopped")
    part.write()
    (row,) = _listeners(tmp_path)
    assert (row["begun_as"], row["began_not_before"]) == ("found", None)


def test_a_new_holder_does_not_end_it(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.socket(1, 1, 3, "opened", "changed", pid=1, program="root")
    part.socket(1, 4, 6, "changed", "changed", pid=2, program="worker", holders=[2, 3])
    part.socket(1, 7, 8, "changed", "closed", pid=3, program="worker")
    part.write()
    (row,) = _listeners(tmp_path)
    assert (row["first_pid"], row["first_program"]) == (1, "root")
    assert (row["pid"], row["program"], row["holders"]) == (3, "worker", [3])
    assert (row["began_not_after"], row["ended_not_after"]) == (ended(1), ended(9))


def test_the_same_socket_can_stop_and_listen_again(tmp_path: Path) -> None:
    """shutdown(2) and listen(2) on one socket: the time in CLOSE is none of listening."""
    part = Part(tmp_path, 0, 9)
    part.socket(1, 1, 3, "opened", "changed")
    part.socket(1, 4, 5, "changed", "changed", state="CLOSE")
    part.socket(1, 6, 8, "changed", "closed")
    part.write()
    first, second = _listeners(tmp_path)
    assert (first["ended_as"], first["ended_not_after"]) == ("changed", ended(4))
    assert (second["begun_as"], second["began_not_before"]) == ("changed", began(5))
    assert first["again_not_after"] == ended(6)


def test_udp_listens_while_it_has_no_peer(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    udp = {"protocol": "udp", "local_port": 53}
    part.socket(1, 1, 3, "opened", "changed", state="UNCONN", **udp)
    part.socket(
        1, 4, 8, "changed", "closed", state="ESTABLISHED", remote_address="1.1.1.1", remote_port=9, **udp
    )
    part.socket(2, 1, 8, state="CLOSE")
    part.socket(3, 1, 8, protocol="sctp", local_port=9)
    part.socket(4, 1, 8, protocol="raw", state="UNCONN", local_port=1)
    part.write()
    rows = _listeners(tmp_path)
    assert [(row["socket_id"], row["protocol"]) for row in rows] == [(1, "udp"), (3, "sctp"), (4, "raw")]
    assert (rows[0]["ended_as"], rows[0]["ended_not_after"]) == ("changed", ended(4))


def test_dual_stack_listeners_are_two(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 5)
    part.socket(1, 0, 3, "found", "closed", local_address="0.0.0.0")
    part.socket(2, 0, 5, "found", "stopped", local_address="::", remote_address="::", family="inet6")
    part.write()
    rows = _listeners(tmp_path)
    assert [(row["local_address"], row["ended_as"]) for row in rows] == [
        ("0.0.0.0", "closed"),
        ("::", "stopped"),
    ]


def _two_recordings(
    root: Path, *, boot: str = "boot-1", here: bool = True, end: str = "stopped", **facts: Any
) -> None:
    one = Part(root, 0, 5)
    one.socket(1, 0, 5, "found", end)
    one.write()
    two = Part(root, 20, 25, recording=SECOND, boot_id=boot, **facts)
    two.sample(20, complete=False, incomplete_why="tcp")
    two.socket(9, 20, 25, "found", "stopped", local_port=22)
    if here:
        two.socket(1, 20, 23, "found", "closed")
    two.write()


def test_it_goes_on_over_a_gap_if_the_same_socket_is_found_again(tmp_path: Path) -> None:
    for end in ("stopped", "gap"):
        _two_recordings(tmp_path / end, end=end)
        rows = [row for row in _listeners(tmp_path / end) if row["local_port"] == 7071]
        assert len(rows) == 1
        assert (rows[0]["ended_as"], rows[0]["ended_not_after"]) == ("closed", ended(24))


def test_it_ended_in_the_gap_if_the_next_recording_lacks_it(tmp_path: Path) -> None:
    """The first sample of the next recording is not whole: the second one is the first evidence."""
    for end in ("stopped", "gap"):
        _two_recordings(tmp_path / end, here=False, end=end)
        (row,) = [row for row in _listeners(tmp_path / end) if row["local_port"] == 7071]
        assert (row["ended_as"], row["ended_evidence"]) == ("gap", "inferred")
        assert (row["ended_not_before"], row["ended_not_after"]) == (began(5), ended(21))


def test_the_same_cookie_after_another_boot_is_another_socket(tmp_path: Path) -> None:
    _two_recordings(tmp_path, boot="boot-2")
    first, second = (row for row in _listeners(tmp_path) if row["local_port"] == 7071)
    assert (first["ended_as"], first["ended_not_before"], first["ended_not_after"]) == (
        "gap",
        began(5),
        ended(21),
    )
    assert (second["begun_as"], second["began_not_before"], second["begun_evidence"]) == (
        "gap",
        began(5),
        "inferred",
    )
    assert first["again_not_after"] == second["began_not_after"]


def test_a_recording_of_another_namespace_or_host_says_nothing_of_it(tmp_path: Path) -> None:
    for name, other in (("netns", {"netns": 7}), ("host", {"host": "web-2"})):
        _two_recordings(tmp_path / name, here=False, **other)
        (row,) = [row for row in _listeners(tmp_path / name) if row["local_port"] == 7071]
        assert (row["ended_as"], row["ended_not_after"]) == ("stopped", None)


def test_a_crash_alone_is_no_end(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 5)
    part.socket(1, 0, 5, "found", "gap")
    part.write()
    (row,) = _listeners(tmp_path)
    assert (row["ended_as"], row["ended_not_before"], row["last_seen"]) == ("stopped", None, began(5))


def test_a_recording_without_description_is_a_boot_of_its_own(tmp_path: Path) -> None:
    _two_recordings(tmp_path)
    for file in (tmp_path / "recordings").rglob("*.json"):
        file.unlink()
    rows = [row for row in _listeners(tmp_path) if row["local_port"] == 7071]
    assert [row["ended_as"] for row in rows] == ["gap", "closed"]
