"""Bytes are counted once, when they were written, and nothing that went through before the recording."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sockrec.catalog import open_catalog
from sockrec.errors import UsageError
from sockrec.query.traffic import GROUPS, Wanted, columns, largest, traffic, uncounted
from tests.catalog.captures import Part, us
from tests.catalog.captures import began as at


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """Give 30 seconds of a server on port 80, with clients here and elsewhere, and a database's client."""
    part = Part(
        tmp_path, 0, 30, facts={"names": {"services": {"tcp": {"80": "http"}, "udp": {"80": "other"}}}}
    )
    web: dict[str, Any] = {"local_port": 80, "program": "nginx: worker process", "pid": 10}
    part.socket(1, 0, 30, "found", "stopped", **web)
    part.connection(11, 0, 30, "found", "stopped", remote_address="10.0.0.9", **web)
    for second, sent in ((0, 1_000), (10, 1_500), (20, 4_000)):
        part.active(11, second, bytes_sent=sent, bytes_received=sent // 10)
    part.active(11, 25, recv_q=7)
    part.connection(12, 5, 9, remote_address="10.0.0.8", **web)
    part.active(12, 9, bytes_sent=200, bytes_received=100)
    # Both ends of one connection.
    part.connection(13, 5, 9, remote_address="10.0.0.5", remote_port=50_000, **web)
    part.active(13, 9, bytes_sent=40, bytes_received=60)
    client: dict[str, Any] = {"local_port": 50_000, "remote_address": "10.0.0.5", "remote_port": 80}
    part.connection(14, 5, 9, program="curl", pid=20, **client)
    part.active(14, 9, bytes_sent=60, bytes_received=40)
    part.connection(15, 0, 30, "found", "stopped", program="app", pid=30, local_port=50_001, remote_port=5432)
    part.active(15, 0, bytes_sent=7, bytes_received=7)
    part.active(15, 30, bytes_sent=107, bytes_received=307)
    part.connection(16, 0, 30, "found", "stopped", program="idle", local_port=50_002, remote_port=5432)
    part.socket(17, 0, 30, "found", "stopped", protocol="udp", state="CLOSE", local_port=53)
    part.write()
    return tmp_path


def told(capture: Path, **asked: Any) -> list[tuple[Any, ...]]:
    wanted = Wanted(**asked)
    with open_catalog(capture) as catalog:
        answer = traffic(catalog, wanted)
        assert tuple(answer.columns) == columns(wanted)
        return [row[:-1] for row in answer.fetchall()]


def test_each_group_has_its_own(capture: Path) -> None:
    assert told(capture) == [
        ("http", 80, 3, 3_000 + 200 + 40, 300 + 100 + 60, 3_700),
        ("5432", 5432, 1, 100, 300, 400),
    ]
    assert told(capture, by="port") == [
        (80, "server", 3, 3_240, 460, 3_700),
        (5432, "client", 1, 100, 300, 400),
    ]
    assert sorted(told(capture, by="program")) == [
        ("app", 1, 100, 300, 400),
        ("curl", 1, 60, 40, 100),
        ("nginx", 3, 3_240, 460, 3_700),
    ]
    assert sorted(told(capture, by="process"))[0] == (10, "nginx", 3, 3_240, 460, 3_700)
    assert told(capture, by="peer")[0] == ("10.0.0.9", 2, 3_100, 600, 3_700)
    assert sum(row[-1] for row in told(capture, by="peer")) == 4_100


def test_a_connection_counts_when_its_counters_were_written(capture: Path) -> None:
    first, last = us(at(9.5)), us(at(15))
    assert told(capture, first_us=first, last_us=last) == [("http", 80, 1, 500, 50, 550)]
    assert told(capture, last_us=first)[0] == ("http", 80, 2, 240, 160, 400)
    assert told(capture, first_us=us(at(30.5))) == []


@pytest.mark.parametrize("by", list(GROUPS))
@pytest.mark.parametrize("seconds", [1, 7, 60])
def test_steps_are_the_whole_in_pieces(capture: Path, by: str, seconds: int) -> None:
    whole = {row[:-4]: row[-3:] for row in told(capture, by=by)}
    pieces: dict[tuple[Any, ...], list[int]] = {}
    for row in told(capture, by=by, every_us=seconds * 1_000_000):
        assert us(row[0]) % (seconds * 1_000_000) == 0
        sums = pieces.setdefault(row[1:-4], [0, 0, 0])
        for place, value in enumerate(row[-3:]):
            sums[place] += value
    assert {key: tuple(sums) for key, sums in pieces.items()} == whole


def test_shares_are_of_all_and_of_each_step(capture: Path) -> None:
    with open_catalog(capture) as catalog:
        assert sum(row[-1] for row in traffic(catalog, Wanted()).fetchall()) == pytest.approx(1)
        steps: dict[Any, float] = {}
        for row in traffic(catalog, Wanted(every_us=10_000_000)).fetchall():
            steps[row[0]] = steps.get(row[0], 0.0) + row[-1]
    assert steps
    assert all(share == pytest.approx(1) for share in steps.values())


def test_what_is_not_counted_is_known(capture: Path) -> None:
    with open_catalog(capture) as catalog:
        found = uncounted(catalog, Wanted())
    assert (found.connections, found.udp_sockets) == (1, 1)


def test_the_largest_of_all_steps_are_kept(capture: Path) -> None:
    wanted = Wanted(every_us=10_000_000)
    with open_catalog(capture) as catalog:
        answer = traffic(catalog, wanted)
        rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.fetchall()]
    kept, others = largest(rows, wanted, 1)
    assert ({row["service"] for row in kept}, others) == ({"http"}, 1)
    assert [row for row in rows if row["service"] == "http"] == kept


@pytest.mark.parametrize(
    "asked",
    [{"by": "colour"}, {"first_us": 2, "last_us": 1}, {"every_us": 0}, {"every_us": 1}],
)
def test_what_makes_no_sense_is_refused(capture: Path, asked: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        told(capture, **asked)


def test_the_fin_that_the_kernel_counts_is_no_byte(tmp_path: Path) -> None:
    """A sample saw the connection half closed; its end tells what it received without that."""
    part = Part(tmp_path, 0, 30)
    part.socket(1, 0, 30, "found", "stopped")
    part.connection(11, 2, 8)
    part.active(11, 5, bytes_sent=10, bytes_received=1_000)
    part.active(11, 8, bytes_sent=10, bytes_received=20_009)
    part.closed(11, 2, 8.5, sampled=True, bytes_sent=10, bytes_received=20_008)
    part.write()
    assert [row[-3:] for row in told(tmp_path)] == [(10, 20_008, 20_018)]
