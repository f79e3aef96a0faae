"""Gaps, one moment, and what changed between two."""

from __future__ import annotations

from pathlib import Path

from sockrec.catalog import open_catalog
from tests.catalog.captures import Part, began, ended


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
