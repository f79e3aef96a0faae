"""Connections: their bounds, their role, what they carried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sockrec.catalog import open_catalog
from tests.catalog.captures import Part, began, ended


def _connections(part: Part) -> dict[int, dict[str, Any]]:
    part.write()
    with open_catalog(part.root) as catalog:
        relation = catalog.relation("FROM connections")
        rows = [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
    return {row["socket_id"]: row for row in rows}


def test_it_closes_when_time_wait_begins(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.connection(2, 1, 3, "opened", "changed")
    part.connection(2, 4, 8, "changed", "closed", state="TIME_WAIT", owner="last", inode=0)
    (row,) = _connections(part).values()
    assert (row["opened_not_before"], row["opened_not_after"]) == (began(0), ended(1))
    assert (row["closed_as"], row["closed_not_before"], row["closed_not_after"]) == (
        "closed",
        began(3),
        ended(4),
    )
    assert (row["last_state"], row["established"]) == ("TIME_WAIT", True)


def test_one_only_seen_in_time_wait_opened_and_closed_between_two_samples(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.connection(2, 4, 8, state="TIME_WAIT", pid=None, program=None, owner="exited")
    (row,) = _connections(part).values()
    for edge in ("opened", "closed"):
        assert (row[f"{edge}_not_before"], row[f"{edge}_not_after"]) == (began(3), ended(4))


def test_one_still_open_has_no_end(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.connection(2, 1, 9, "opened", "stopped")
    (row,) = _connections(part).values()
    assert (row["closed_as"], row["closed_not_before"], row["closed_not_after"]) == ("stopped", None, None)


def test_roles(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 20)
    part.socket(1, 1, 9, "opened", "closed")  # 10.0.0.5:7071
    part.socket(2, 0, 20, "found", "stopped", local_address="0.0.0.0", local_port=80)
    six = {"family": "inet6", "remote_address": "::ffff:10.0.0.9"}
    part.socket(3, 0, 20, "found", "stopped", local_address="::", local_port=81, family="inet6")
    part.connection(11, 5, 6)
    part.connection(12, 12, 13)  # its listener was gone before
    part.connection(13, 5, 6, local_port=80)
    part.connection(14, 5, 6, local_port=81, local_address="::ffff:10.0.0.5", **six)
    part.connection(15, 5, 6, local_port=33000)
    part.connection(16, 5, 6, local_address="10.0.0.6")
    part.connection(17, 0, 6, "found", local_port=33001)
    part.connection(18, 0, 6, "found", local_port=80)
    part.connection(19, 5, 5, "opened", "changed", local_port=99, state="SYN_RECV")
    part.connection(19, 6, 6, "changed", "closed", local_port=99)
    part.connection(20, 5, 5, "opened", "closed", local_port=80, state="SYN_SENT")
    part.connection(21, 5, 6, netns=5)
    rows = _connections(part)
    roles = {id_: row["role"] for id_, row in rows.items()}
    assert roles == {
        11: "server",
        12: "client",
        13: "server",
        14: "server",
        15: "client",
        16: "client",
        17: None,
        18: "server",
        19: "server",
        20: "client",
        21: "client",
    }
    assert [id_ for id_, row in rows.items() if not row["established"]] == [20]


def test_the_last_counters_outlive_time_wait(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.connection(2, 1, 3, "opened", "changed")
    part.connection(2, 4, 8, "changed", "closed", state="TIME_WAIT")
    part.connection(3, 1, 3)
    part.active(2, 1, bytes_sent=1, bytes_received=2, total_retrans=0, rtt_us=9)
    part.active(2, 3, bytes_sent=100, bytes_received=200, total_retrans=3, rtt_us=5)
    part.active(2, 4, timer="timewait")
    rows = _connections(part)
    assert [rows[2][name] for name in ("bytes_sent", "bytes_received", "total_retrans", "rtt_us")] == [
        100,
        200,
        3,
        5,
    ]
    assert rows[3]["bytes_sent"] is None


def test_rows_without_counters_change_none_of_the_last(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.connection(2, 1, 8)
    part.active(
        2, 3, snd_mss=1448, snd_cwnd=10, bytes_sent=100, bytes_received=200, total_retrans=3, rtt_us=5
    )
    part.active(2, 3)
    part.active(2, 5, recv_q=7)
    part.connection(3, 1, 8)
    part.active(3, 3, recv_q=7)
    part.write()
    rows = _connections(part)
    counters = ("bytes_sent", "bytes_received", "total_retrans", "rtt_us")
    assert [rows[2][name] for name in counters] == [100, 200, 3, 5]
    assert [rows[3][name] for name in counters] == [None] * 4


def test_a_short_listening_within_a_long_one_does_not_hide_it(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 30)
    part.socket(1, 1, 20)
    part.socket(2, 5, 7)
    part.connection(11, 12, 13)
    part.connection(12, 25, 26)
    part.connection(13, 5, 6, local_port=99)
    roles = {id_: row["role"] for id_, row in _connections(part).items()}
    assert roles == {11: "server", 12: "client", 13: "client"}


def test_the_last_known_holder_is_kept(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.connection(2, 1, 1, "opened", "changed", state="SYN_RECV", pid=None, program=None, owner="kernel")
    part.connection(2, 2, 3, "changed", "changed", pid=7, program="worker")
    part.connection(2, 4, 8, "changed", "closed", state="TIME_WAIT", pid=7, program="worker", owner="last")
    (row,) = _connections(part).values()
    assert (row["first_pid"], row["pid"], row["program"]) == (7, 7, "worker")


def test_one_connection_over_segments_and_recordings(tmp_path: Path) -> None:
    one = Part(tmp_path, 0, 4)
    one.connection(2, 1, 4, "opened", "carried")
    one.write()
    two = Part(tmp_path, 5, 9, part=1)
    two.connection(2, 5, 9, "carried", "stopped")
    two.write()
    three = Part(tmp_path, 20, 29, recording="20261120T103300-bbbb")
    three.connection(2, 20, 25, "found", "closed")
    (row,) = _connections(three).values()
    assert (row["opened_not_after"], row["closed_not_after"]) == (ended(1), ended(26))
