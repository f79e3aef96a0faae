"""Rows of the events table as they are written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from sockrec.kernel.exits import Exit
from sockrec.model.tables import EVENTS, LAST_COUNTERS
from sockrec.recorder.events.happened import Happened
from sockrec.recorder.events.rows import EventRows
from sockrec.store import schema
from tests.recorder.events.example import MS, US, A, B
from tests.recorder.events.stage import Stage, stage
from tests.recorder.events.support import (
    ANCHOR,
    CLOSE,
    ESTABLISHED,
    LISTEN,
    NETNS,
    SYN_SENT,
    Change,
    Script,
    connection,
)

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["stage"]

HOSTILE = "a\nb\x1b[31m'; --\\xff"
LIFE = connection(A, 1010 * MS, 1050 * MS, thread=100)
OF_PROCESSES = {"exit_code", "signal", "by_pid", "by_program", "detail", "count"}


def rows(happened: Happened) -> list[dict[str, Any]]:
    batch: pa.RecordBatch = EventRows("r1", NETNS, ANCHOR).batch(happened)
    assert batch.schema == schema.arrow_schema(EVENTS)
    batch.validate(full=True)
    found: list[dict[str, Any]] = batch.to_pylist()
    return found


def when(boot_us: int) -> datetime:
    seconds, microseconds = divmod(ANCHOR + boot_us, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)


def nulls(row: dict[str, Any]) -> set[str]:
    return {name for name, value in row.items() if value is None}


def test_a_connection_with_everything_known(stage: Stage) -> None:
    stage.host.add(100, HOSTILE)
    counters = {name: number for number, name in enumerate(sorted(LAST_COUNTERS), 1)}
    script = Script(LIFE, [(1050 * MS + 20 * US, A, 77)], announced=[{"cookie": 77, "drops": 0} | counters])
    (row,) = rows(stage.drain(60_000, script))
    # Our FIN is answered by the peer's in an interrupt, with all read: that is not among the bytes.
    assert row == dict.fromkeys(OF_PROCESSES) | counters | {
        "recording": "r1", "kind": "closed", "not_before": when(1_050_000), "not_after": when(1_050_000),
        "evidence": "event", "socket_id": 77, "netns": NETNS, "protocol": "tcp", "family": "inet",
        "local_address": "10.0.0.5", "local_port": 4000, "remote_address": "10.0.0.9", "remote_port": 80,
        "role": "client", "opened_at": when(1_010_000), "established_at": when(1_020_000), "pid": 100,
        "program": HOSTILE, "owner_evidence": "event", "sampled": False, "cause": "closed by us",
        "bytes_received": counters["bytes_received"] - 1, "drops": 0,
    }  # fmt: skip


def test_what_is_not_known_is_null(stage: Stage) -> None:
    bare = {"cookie": 5, "protocol": 17, "local": "fd00::5", "remote": "::", "remote_port": 0}
    (row,) = rows(stage.drain(60_000, Script(announced=[bare])))
    assert nulls(row) == OF_PROCESSES | LAST_COUNTERS | {
        "role", "opened_at", "established_at", "pid", "program", "owner_evidence", "cause", "drops",
    }  # fmt: skip
    assert (row["protocol"], row["family"], row["local_address"]) == ("udp", "inet6", "fd00::5")
    assert (row["not_before"], row["not_after"]) == (when(1_000_000), when(1_060_000))


def test_a_sampled_one_without_an_announcement_has_no_counters(stage: Stage) -> None:
    stage.sample(0, {"cookie": 77, "state": ESTABLISHED, "inode": 5})
    stage.drain(60_000, Script(LIFE, [(1050 * MS + 20 * US, A, 77)]))
    (row,) = rows(stage.drain(1_000_000))
    assert nulls(row) >= LAST_COUNTERS | {"drops"}
    assert (row["sampled"], row["protocol"], row["local_port"]) == (True, "tcp", 4000)


def test_several_kinds_in_one_batch(stage: Stage) -> None:
    stage.host.add(100, HOSTILE)
    listens = [
        Change(1011 * MS, B, CLOSE, LISTEN, 8080, 0, 100, "0.0.0.0", "0.0.0.0"),
        Change(1012 * MS, B, LISTEN, CLOSE, 8080, 0, 100, "0.0.0.0", "0.0.0.0"),
    ]
    refused = [Change(1013 * MS, 0xC0, CLOSE, SYN_SENT), Change(1014 * MS, 0xC0, SYN_SENT, CLOSE)]
    script = Script(
        [*LIFE, *listens, *refused],
        [(1051 * MS, A, 77), (1012 * MS + US, B, 78), (1015 * MS, 0xC0, 79)],
        resets_received=[(1014 * MS - US, 0xC0)],
        announced=[{"cookie": 77}, {"cookie": 78, "remote_port": 0}, {"cookie": 79}],
        announced_lost=3,
        exits=[Exit(100, 1_055_000, 1_056_000, 256)],
        execs=[(1040 * MS, 100, 100, "/bin/wörker")],
    )
    first = stage.drain(60_000, script)
    last = stage.drain(1_500_000, last=True)
    found = [row for one in (first, last) if not one.nothing for row in rows(one)]
    told = {(row["kind"], row["cause"], row["pid"], row["detail"], row["count"]) for row in found}
    assert told >= {
        ("closed", "closed by us", 100, None, None),
        ("closed", "refused", None, None, None),
        ("stopped listening", "close", 100, None, None),
        ("exited", "exit", 100, None, None),
        ("lost", None, None, "destroyed sockets", 3),
    }
    exited = next(row for row in found if row["kind"] == "exited")
    assert (exited["exit_code"], exited["program"], exited["netns"]) == (1, HOSTILE, None)
    assert (exited["not_before"], exited["not_after"]) == (when(1_055_000), when(1_056_000))
    stopped = next(row for row in found if row["kind"] == "stopped listening")
    assert (stopped["remote_port"], stopped["local_port"], stopped["evidence"]) == (0, 8080, "event")


def test_an_exec_of_one_that_listens(stage: Stage) -> None:
    stage.host.add(100, "server")
    listens = Change(1011 * MS, B, CLOSE, LISTEN, 8080, 0, 100, "0.0.0.0", "0.0.0.0")
    stage.drain(20_000, Script([listens]))
    script = Script(execs=[(1031 * MS, 100, 100, "/bin/wörker")], prepares=[(1030 * MS, 100)])
    (row,) = rows(stage.drain(20_000, script))
    assert (row["kind"], row["pid"], row["detail"]) == ("exec", 100, "/bin/wörker")
    assert (row["not_before"], row["not_after"]) == (when(1_031_000), when(1_031_000))


def test_a_cause_from_bounds_is_inferred(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.host.add(100, "server")
    stage.sources.tracer = None
    listener = {
        "cookie": 50,
        "state": LISTEN,
        "remote_port": 0,
        "remote": "0.0.0.0",
        "inode": 5,
        "owner": 100,
    }
    stage.sample(0, listener)
    script = Script(announced=[{"cookie": 50, "remote_port": 0}], exits=[Exit(100, 1_010_000, 1_050_000, 9)])
    (row, exited) = rows(stage.drain(60_000, script))
    assert (row["kind"], row["evidence"], row["cause"], row["signal"]) == (
        "stopped listening", "inferred", "signal", 9,
    )  # fmt: skip
    assert (row["pid"], row["owner_evidence"], row["sampled"]) == (100, "sample", True)
    assert row["not_before"] < row["not_after"]
    assert (exited["kind"], exited["evidence"], exited["signal"]) == ("exited", "event", 9)


def test_a_pid_is_never_without_its_evidence(stage: Stage) -> None:
    """Whoever closed a listener is known by that event, even if nobody was known to hold it."""
    stage.host.add(100, "server")
    stops = Change(1040 * MS, A, LISTEN, CLOSE, 8080, 0, 100, "0.0.0.0", "0.0.0.0")
    script = Script([stops], [(1041 * MS, A, 50)], announced=[{"cookie": 50, "remote_port": 0}])
    (row,) = rows(stage.drain(60_000, script, last=True))
    assert (row["cause"], row["pid"]) == ("close", 100)
    assert row["owner_evidence"] is not None
