"""Gaps, one moment, and what changed between two."""

from __future__ import annotations

import json
from pathlib import Path

from sockrec.catalog import open_catalog
from tests.catalog.captures import Part, began, ended
from tests.catalog.test_pushdown import scans


def _ids(root: Path, second: float) -> list[int]:
    with open_catalog(root) as catalog:
        rows = catalog.rows(f"SELECT socket_id FROM sockets_at('{began(second).isoformat()}') ORDER BY rank")
        return [id_ for (id_,) in rows]


def test_the_moment_shows_the_latest_sample_begun(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.socket(1, 0, 3, "found", "closed")
    part.socket(2, 4, 9, "opened", "stopped")
    part.write()
    assert _ids(tmp_path, -0.001) == []
    assert _ids(tmp_path, 0) == [1]
    assert _ids(tmp_path, 3.999) == [1]
    assert _ids(tmp_path, 4) == [2]
    assert _ids(tmp_path, 99) == [2]


def test_a_cut_row_counts_once_in_the_sample_of_the_cut(tmp_path: Path) -> None:
    one = Part(tmp_path, 0, 4)
    one.socket(1, 0, 4, "found", "carried", program="old")
    one.write()
    two = Part(tmp_path, 5, 9, part=1)
    two.socket(1, 5, 9, "carried", "stopped", program="old")
    two.write()
    for second in range(10):
        assert _ids(tmp_path, second) == [1]


def test_activity_is_that_of_the_moment(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.socket(1, 0, 9, "found", "stopped")
    part.active(1, 0, recv_q=1, backlog_limit=128)
    part.active(1, 5, recv_q=7, backlog_limit=128)
    part.write()
    with open_catalog(tmp_path) as catalog:
        for second, waiting in ((0, 1), (4, 1), (5, 7), (9, 7)):
            sql = f"SELECT recv_q, backlog_limit, sampled_at FROM sockets_at('{began(second).isoformat()}')"
            assert catalog.rows(sql) == [(waiting, 128, began(second))]


def _carry(part: Part, number: int, last: int, id_: int = 1) -> None:
    """Add a socket that all parts, of ten samples each, hand on to the next."""
    begun, ended_as = "carried" if number else "found", "stopped" if number == last else "carried"
    part.socket(id_, 10 * number, 10 * number + 9, begun, ended_as)


def test_counters_are_of_the_latest_row_that_has_them(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.socket(1, 0, 9, "found", "stopped", state="ESTABLISHED", remote_port=9)
    part.socket(2, 0, 9, "found", "stopped", protocol="udp", state="UNCONN")
    part.socket(3, 0, 9, "found", "stopped")
    part.active(1, 0, recv_q=1)
    part.active(1, 2, recv_q=2, rcvbuf=100, snd_mss=1448, snd_cwnd=10, bytes_sent=5)
    part.active(1, 4, recv_q=3)
    # Two rows of one moment: what both have is equal.
    for counters in ({}, {"rcvbuf": 100, "snd_cwnd": 11, "bytes_sent": 9}):
        part.active(1, 6, recv_q=4, **counters)
    part.active(2, 0, rcvbuf=200, rmem=3)
    part.active(2, 2, recv_q=8)
    # From /proc alone: no buffer limits are known.
    part.active(3, 2, snd_cwnd=10, recv_q=1)
    part.write()
    with open_catalog(tmp_path) as catalog:

        def found(second: float) -> list[tuple[object, ...]]:
            columns = "recv_q, rcvbuf, rmem, snd_cwnd, bytes_sent"
            return catalog.rows(
                f"SELECT {columns} FROM sockets_at('{began(second).isoformat()}') ORDER BY socket_id"
            )

        assert found(1) == [(1, None, None, None, None), (0, 200, 3, None, None), (None,) * 5]
        assert found(3) == [(2, 100, None, 10, 5), (8, 200, 3, None, None), (1, None, None, 10, None)]
        assert found(5)[0] == (3, 100, None, 10, 5)
        assert found(9)[0] == (4, 100, None, 11, 9)


def test_only_parts_near_the_moment_are_opened(tmp_path: Path) -> None:
    root = tmp_path / "a b%41 ünï 'd'"
    for number in range(9):
        part = Part(root, 10 * number, 10 * number + 9, part=number)
        for id_ in range(100):
            _carry(part, number, last=8, id_=id_)
            part.active(id_, 10 * number, recv_q=number, rcvbuf=number)
        part.write()
    with open_catalog(root) as catalog:
        for number in range(9):
            sql = f"SELECT recv_q, rcvbuf FROM sockets_at('{began(10 * number + 5).isoformat()}')"
            assert catalog.rows(sql) == [(number, number)] * 100
        ((_, plan),) = catalog.rows(f"EXPLAIN (ANALYZE, FORMAT json) {sql}")
        opened = [
            int(scan["Total Files Read"])
            for scan in scans(json.loads(plan))
            if "socket_id" in str(scan.get("Projections"))
        ]
        # DuckDB opens the first file of all as well, to learn the columns.
        assert len(opened) >= 2
        assert max(opened) <= 3


def test_a_missing_part_leaves_what_the_one_before_tells(tmp_path: Path) -> None:
    for number in range(3):
        part = Part(tmp_path, 10 * number, 10 * number + 9, part=number)
        _carry(part, number, last=2)
        part.active(1, 10 * number, recv_q=number, rcvbuf=number)
        part.write()
    part.path("activity").unlink()
    sql = f"SELECT recv_q, rcvbuf FROM sockets_at('{began(25).isoformat()}')"
    with open_catalog(tmp_path) as catalog:
        assert catalog.rows(sql) == [(1, 1)]


def test_a_file_by_another_name_is_always_looked_into(tmp_path: Path) -> None:
    for number in range(4):
        part = Part(tmp_path, 10 * number, 10 * number + 9, part=number, version=2)
        _carry(part, number, last=3)
        part.active(1, 10 * number, recv_q=number)
        part.write()
        for table in ("sockets", "activity", "samples") if number % 2 else ("activity",):
            part.path(table).rename(part.path(table).with_name(f"moved-{number}.parquet"))
    with open_catalog(tmp_path) as catalog:
        for number in range(4):
            sql = f"SELECT recv_q FROM sockets_at('{began(10 * number + 5).isoformat()}')"
            assert catalog.rows(sql) == [(number,)]


def test_every_host_has_its_own_moment(tmp_path: Path) -> None:
    for number, host in enumerate(("a", "b")):
        part = Part(tmp_path, 5 * number, 9, host=host, recording=f"20261120T10320{number}-aaaa")
        part.socket(number, 5 * number, 9, "found", "stopped")
        part.write()
    assert _ids(tmp_path, 4) == [0]
    assert _ids(tmp_path, 6) == [0, 1]


def test_changes_between(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.socket(1, 0, 3, "found", "closed")
    part.connection(2, 2, 4, "opened", "changed")
    part.connection(2, 5, 9, "changed", "stopped", state="CLOSE_WAIT")
    part.socket(3, 8, 9, "opened", "stopped")
    part.write()
    with open_catalog(tmp_path) as catalog:

        def changes(first: float, last: float) -> list[tuple[object, ...]]:
            return catalog.rows(
                "SELECT what, socket_id, state_before, state, not_before, not_after "
                f"FROM changes_between('{began(first).isoformat()}', '{began(last).isoformat()}') "
                "ORDER BY not_after"
            )

        assert changes(3.5, 5.5) == [
            ("closed", 1, None, "LISTEN", began(3), ended(4)),
            ("changed", 2, "ESTABLISHED", "CLOSE_WAIT", began(4), ended(5)),
        ]
        assert changes(5.5, 6.5) == []
        assert [row[:2] for row in changes(0, 99)] == [
            ("opened", 2),
            ("closed", 1),
            ("changed", 2),
            ("opened", 3),
        ]


def test_gaps(tmp_path: Path) -> None:
    one = Part(tmp_path, 0, 5)
    one.sample(2, complete=False, incomplete_why="tcp: interrupted")
    one.sample(5, ticks_missed=3)
    one.write()
    two = Part(tmp_path, 20, 22, recording="20261120T103300-bbbb")
    two.sample(20, ticks_missed=1)
    two.write()
    Part(tmp_path, 7, 9, host="web-2", recording="20261120T103400-cccc").write()
    with open_catalog(tmp_path) as catalog:
        assert catalog.rows("FROM gaps ORDER BY not_after") == [
            ("web-1", ended(1), began(3), "sample not whole: tcp: interrupted"),
            ("web-1", ended(4), began(5), "3 samples missed"),
            ("web-1", ended(5), began(20), "not recording"),
        ]
