"""Rows as a recorder would journal them, made up but realistic."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from sockrec.model.columns import ENDING, Table
from sockrec.model.tables import TABLES
from sockrec.model.tcp_columns import TCP_COUNTERS
from sockrec.store.journal import JournalWriter
from sockrec.store.layout import Layout, stem
from sockrec.store.schema import journal_schemas

HOST = "web-1"
RECORDING = "20261120T103200-3f9a"
START = 1_795_170_720_000_000  # 2026-11-20T10:32:00Z
SECOND = 1_000_000
SCHEMAS = journal_schemas()
HEADER = {"recording": RECORDING, "host": HOST, "part": 0, "started": START}

_SAMPLE_VALUES: dict[str, Any] = {
    "int": 7,
    "float": 0.5,
    "bool": True,
    "text": "x",
    "time": START,
    "ints": [1, 2],
    "texts": ["a", "b c"],
}


def batch(name: str, rows: Iterable[Mapping[str, Any]]) -> pa.RecordBatch:
    """Make a batch of a journal table; columns that a row leaves out are null."""
    return pa.RecordBatch.from_pylist([dict(row) for row in rows], schema=SCHEMAS[name])


def sample(number: int, **more: Any) -> dict[str, Any]:
    began = START + number * SECOND
    return {
        "recording": RECORDING,
        "number": number,
        "began_at": began,
        "ended_at": began + 2000,
        "complete": True,
        **more,
    }


def socket(number: int, first_seen: int = START + 2000, **more: Any) -> dict[str, Any]:
    return {
        "recording": RECORDING,
        "socket_id": number,
        "protocol": "tcp",
        "local_port": 1000 + number,
        "state": "LISTEN",
        "holders": [number, number + 1],
        "first_seen": first_seen,
        "begun_as": "opened",
        "rank": float(number),
        **more,
    }


def end(row: int, at: int, **more: Any) -> dict[str, Any]:
    facts = {"last_seen": at, "ended_by": at + SECOND, "ended_as": "closed", "ended_evidence": "sample"}
    return {"row": row, **facts, **more}


def full_row(table: Table, ended: bool = False) -> dict[str, Any]:
    """Return a row with a value in every column that the journal writes when a row begins."""
    columns = [column for column in table.columns if ended or not table.spans or column not in ENDING]
    return {column.name: _SAMPLE_VALUES[column.type] for column in columns}


def open_journal(root: Path, part: int = 0, sync_seconds: float = 1.0) -> JournalWriter:
    layout = Layout(root)
    path = layout.journal(HOST, stem(RECORDING, part))
    path.parent.mkdir(parents=True, exist_ok=True)
    return JournalWriter(path, {**HEADER, "part": part}, sync_seconds)


def small_part(root: Path, samples: int = 4, part: int = 0, ended_as: str | None = "stopped") -> Path:
    """Journal a part: a socket opens in each sample, and the one of the sample before it closes."""
    with open_journal(root, part) as journal:
        for number in range(samples):
            now = START + number * SECOND
            frames = {
                "sockets.begun": batch("sockets.begun", [socket(part * 1000 + number, now + 2000)]),
                "samples": batch("samples", [sample(part * 1000 + number)]),
                "activity": batch(
                    "activity", [{"recording": RECORDING, "socket_id": part * 1000 + number, "read_at": now}]
                ),
            }
            if number:
                frames["sockets.ended"] = batch("sockets.ended", [end(number - 1, now - SECOND + 2000)])
            journal.append(frames)
        if ended_as:
            journal.end(ended_as)
        return journal.path


def final_rows(tables: Mapping[str, pa.Table]) -> dict[str, list[dict[str, Any]]]:
    return {name: tables[name].to_pylist() for name in TABLES}


def idle_sockets(count: int) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Return `sockets.begun` and `activity` of a first sample of that many established connections."""
    dice = random.Random(count)
    seen = START + 20_000
    sockets = [
        {
            "recording": RECORDING,
            "socket_id": 4096 + number,
            "netns": 4026531840,
            "protocol": "tcp",
            "family": "inet",
            "local_address": "10.0.0.5",
            "local_port": 7071,
            "remote_address": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
            "remote_port": 32768 + dice.randrange(28232),
            "state": "ESTABLISHED",
            "uid": 1000,
            "inode": 90_000 + number * 2 + dice.randrange(2),
            "pid": 4121,
            "program": "myapp",
            "holders": [4121],
            "owner": "held",
            "first_seen": seen,
            "begun_as": "found",
            "begun_evidence": "sample",
            "rank": float(number),
        }
        for number in range(count)
    ]
    counters: dict[str, tuple[int, int]] = {
        "rto_us": (204_000, 204_000 + 1),
        "snd_mss": (1448, 1448 + 1),
        "rcv_mss": (536, 536 + 1),
        "pmtu": (1500, 1500 + 1),
        "rtt_us": (40, 4000),
        "rttvar_us": (10, 2000),
        "snd_ssthresh": (2147483647, 2147483647 + 1),
        "snd_cwnd": (10, 10 + 1),
        "reordering": (3, 3 + 1),
        "pacing_rate": (10**6, 10**8),
        "bytes_received": (100, 4000),
        "bytes_acked": (100, 9000),
        "min_rtt_us": (20, 400),
        "delivery_rate": (10**6, 10**8),
        "segs_in": (4, 20),
        "segs_out": (4, 20),
    }
    activity = [
        {
            "recording": RECORDING,
            "socket_id": 4096 + number,
            "read_at": seen,
            "recv_q": 0,
            "send_q": 0,
            "drops": 0,
            "rmem": 0,
            "rcvbuf": 131072,
            "wmem": 0,
            "sndbuf": 2626560,
            "timer": "off",
            **{column.name: dice.randrange(*counters.get(column.name, (0, 1))) for column in TCP_COUNTERS},
        }
        for number in range(count)
    ]
    return batch("sockets.begun", sockets), batch("activity", activity)
