"""The story of a port: every chapter once, in order, with its numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sockrec.catalog import open_catalog
from sockrec.query.port import COLUMNS, port
from tests.catalog.captures import Part, began, ended


def _story(root: Path, number: int = 7071, protocol: str | None = None) -> list[dict[str, Any]]:
    with open_catalog(root) as catalog:
        relation = port(catalog, number, protocol)
        assert relation.columns == list(COLUMNS)
        return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def test_a_crash_and_a_restart(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 30)
    part.socket(1, 0, 9, "found", "closed")
    part.socket(2, 15, 30, "opened", "stopped", pid=4377)
    part.socket(3, 0, 30, "found", "stopped", local_port=80)
    part.connection(11, 0, 4, "found", "closed")
    part.connection(12, 3, 6)
    part.connection(13, 4, 9)
    part.connection(14, 6, 8, "opened", "closed", local_address="10.0.0.6")  # another's
    part.connection(15, 8, 9, state="TIME_WAIT")  # over before it was seen: one more, never at once
    part.connection(16, 20, 30, "opened", "stopped")
    part.connection(17, 20, 30, "opened", "stopped", local_port=80)
    part.active(1, 0, recv_q=0, backlog_limit=128)
    part.active(1, 5, recv_q=9, backlog_limit=128)
    part.active(1, 7, recv_q=2, backlog_limit=128)
    part.active(1, 7, recv_q=2, backlog_limit=128, rcvbuf=131_072, snd_cwnd=10)
    part.active(3, 7, recv_q=77, backlog_limit=128)
    part.active(2, 15, recv_q=1, backlog_limit=64)
    part.write()
    story = _story(tmp_path)
    chapters = [(row["what"], row["at_not_before"], row["at_not_after"], row["pid"]) for row in story]
    assert chapters == [
        ("was listening already", None, ended(0), 4121),
        ("stopped listening", began(9), ended(10), 4121),
        ("started listening", began(14), ended(15), 4377),
        ("still listening", began(30), began(30), 4377),
    ]
    numbers = ("connections", "peak_connections", "peak_waiting", "backlog_limit")
    assert [tuple(row[name] for name in numbers) for row in story] == [
        (None, None, None, None),
        (4, 3, 9, 128),
        (None, None, None, None),
        (1, 1, 1, 64),
    ]
    assert [row["again_pid"] for row in story] == [None, 4377, None, None]
    assert (story[1]["again_not_before"], story[1]["again_not_after"]) == (began(14), ended(15))


def test_gaps_within_the_story_are_chapters(tmp_path: Path) -> None:
    one = Part(tmp_path, 0, 5)
    one.socket(1, 2, 5, "opened", "stopped")
    one.write()
    two = Part(tmp_path, 60, 65, recording="20261120T103300-bbbb")
    two.socket(1, 60, 65, "found", "stopped")
    two.write()
    Part(tmp_path, 90, 95, recording="20261120T103400-cccc", host="web-2").write()
    story = _story(tmp_path)
    assert [(row["what"], row["at_not_before"], row["detail"]) for row in story] == [
        ("started listening", began(1), None),
        ("gap", ended(5), "not recording"),
        ("still listening", began(65), "when recording stopped"),
    ]


def test_an_end_in_a_gap(tmp_path: Path) -> None:
    one = Part(tmp_path, 0, 5)
    one.socket(1, 2, 5, "opened", "stopped")
    one.write()
    Part(tmp_path, 60, 65, recording="20261120T103300-bbbb").write()
    story = _story(tmp_path)
    assert [(row["what"], row["evidence"]) for row in story] == [
        ("started listening", "sample"),
        ("stopped listening", "inferred"),
        ("gap", None),
    ]


def test_one_protocol_of_several(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 5)
    part.socket(1, 0, 5, "found", "stopped", local_port=53)
    part.socket(2, 0, 5, "found", "stopped", local_port=53, protocol="udp", state="UNCONN")
    part.write()
    assert {row["protocol"] for row in _story(tmp_path, 53)} == {"tcp", "udp"}
    udp = _story(tmp_path, 53, "udp")
    assert {row["protocol"] for row in udp} == {"udp"}
    assert [row["connections"] for row in udp] == [None, None]
    assert _story(tmp_path, 54) == []
