"""Captures written by hand, row by row, in the units that tests think in: numbers of samples."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sockrec.model.columns import Table
from sockrec.model.tables import EVENTS, FORMAT_VERSION, TABLES
from sockrec.store import check_block, parquet
from sockrec.store.journal import JournalWriter
from sockrec.store.layout import Layout, stem
from sockrec.store.recordings import write_recording
from sockrec.store.schema import arrow_schema, begun_schema, ended_schema

START = datetime(2026, 11, 20, 10, 32, tzinfo=UTC)
SAMPLE_TAKES = timedelta(milliseconds=10)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def us(moment: datetime) -> int:
    """Return a moment in microseconds UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def began(sample: float) -> datetime:
    """When sample `sample` began: one each second."""
    return START + timedelta(seconds=sample)


def ended(sample: float) -> datetime:
    """When it ended."""
    return began(sample) + SAMPLE_TAKES


@dataclass
class Part:
    """One segment of one recording, samples `first` to `last`; `write` puts it into the capture.

    `version` is that of the format: of older ones only segments can be written.
    """

    root: Path
    first: int
    last: int
    recording: str = "20261120T103200-aaaa"
    host: str = "web-1"
    part: int = 0
    boot_id: str = "boot-1"
    netns: int = 4026531840
    version: int = FORMAT_VERSION
    facts: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {name: [] for name in TABLES})

    def __post_init__(self) -> None:
        """Take the samples."""
        for number in range(self.first, self.last + 1):
            self.sample(number)

    def sample(self, number: int, **changed: Any) -> None:
        """Add a sample, or change one that is there."""
        rows = [row for row in self.rows["samples"] if row["number"] != number]
        row = {
            "recording": self.recording,
            "number": number,
            "began_at": began(number),
            "ended_at": ended(number),
            "interval_us": 1_000_000,
            "sockets": 1,
            "complete": True,
            "ticks_missed": 0,
            "cpu_us": 1000,
        }
        self.rows["samples"] = [*rows, row | changed]

    def span(self, first: int, last: int, begun: str, ended_as: str | None) -> dict[str, Any]:
        """Return the bounds of a row seen in samples `first` to `last`."""
        first_seen = began(first) if begun == "carried" else ended(first)
        begun_after = {"found": None, "carried": began(first)}.get(begun, began(first - 1))
        cut = ended_as == "carried"
        last_seen = max(first_seen, began(last + 1 if cut else last))
        ended_by = last_seen if cut else ended(last + 1) if ended_as in ("closed", "changed") else None
        return {
            "recording": self.recording,
            "begun_after": begun_after,
            "first_seen": first_seen,
            "begun_as": begun,
            "begun_evidence": "sample",
            "last_seen": last_seen,
            "ended_by": ended_by,
            "ended_as": ended_as,
            "ended_evidence": "sample" if ended_as else None,
        }

    def socket(
        self,
        id_: int,
        first: int,
        last: int,
        begun: str = "opened",
        ended_as: str | None = "closed",
        **columns: Any,
    ) -> None:
        """Add a row: by default a TCP listener on 10.0.0.5:7071 of myapp[4121]."""
        row = {
            "socket_id": id_,
            "netns": self.netns,
            "protocol": "tcp",
            "family": "inet",
            "local_address": "10.0.0.5",
            "local_port": 7071,
            "remote_address": "0.0.0.0",
            "remote_port": 0,
            "state": "LISTEN",
            "uid": 0,
            "inode": 1000 + id_,
            "pid": 4121,
            "program": "myapp",
            "owner": "held",
            "rank": float(id_),
        } | columns
        row.setdefault("holders", [row["pid"]] if row["pid"] is not None else [])
        self.rows["sockets"].append(row | self.span(first, last, begun, ended_as))

    def exactly(self, begun: float | None = None, ended: float | None = None) -> None:
        """Let events have told when the socket row added last began, or ended."""
        row = self.rows["sockets"][-1]
        if begun is not None:
            row |= dict.fromkeys(("begun_after", "first_seen"), began(begun)) | {"begun_evidence": "event"}
        if ended is not None:
            row |= dict.fromkeys(("last_seen", "ended_by"), began(ended)) | {"ended_evidence": "event"}

    def event(self, kind: str, not_before: float, not_after: float | None = None, **columns: Any) -> None:
        """Add a stored event: exact, unless a second moment is given."""
        row = {
            "recording": self.recording,
            "kind": kind,
            "not_before": began(not_before),
            "not_after": began(not_before if not_after is None else not_after),
            "evidence": "event",
        }
        self.rows["events"].append(row | columns)

    def _ended(self, kind: str, id_: int, at: float, until: float | None, **columns: Any) -> None:
        """Add the end of a TCP socket on 10.0.0.5:7071 of myapp[4121]."""
        row = {
            "socket_id": id_,
            "netns": self.netns,
            "protocol": "tcp",
            "family": "inet",
            "local_address": "10.0.0.5",
            "local_port": 7071,
            "pid": 4121,
            "program": "myapp",
        }
        self.event(kind, at, until, **(row | columns))

    def closed(
        self, id_: int, opened: float | None, at: float, until: float | None = None, **columns: Any
    ) -> None:
        """Add the end of a connection, by default one of `connection` that no sample saw."""
        row = {
            "remote_address": "10.0.0.9",
            "remote_port": 40000 + id_,
            "role": None if opened is None else "server",
            "opened_at": None if opened is None else began(opened),
            "established_at": None if opened is None else began(opened + 0.001),
            "owner_evidence": "inferred",
            "sampled": False,
            "cause": "closed by the peer",
        }
        self._ended("closed", id_, at, until, **(row | columns))

    def stopped(self, id_: int, at: float, until: float | None = None, **columns: Any) -> None:
        """Add the end of a listener, by default of the one of `socket`, with its cause."""
        row = {"remote_address": "0.0.0.0", "remote_port": 0, "owner_evidence": "sample", "sampled": True}
        self._ended("stopped listening", id_, at, until, **(row | columns))

    def connection(
        self,
        id_: int,
        first: int,
        last: int,
        begun: str = "opened",
        ended_as: str | None = "closed",
        **columns: Any,
    ) -> None:
        """Add a row of a connection from 10.0.0.9 to the listener of `socket`."""
        defaults = {"state": "ESTABLISHED", "remote_address": "10.0.0.9", "remote_port": 40000 + id_}
        self.socket(id_, first, last, begun, ended_as, **(defaults | columns))

    def process(
        self,
        pid: int,
        first: int,
        last: int,
        begun: str = "opened",
        ended_as: str | None = "closed",
        **columns: Any,
    ) -> None:
        """Add a process that was seen holding sockets in those samples."""
        row = {
            "pid": pid,
            "start_time": began(first - 0.5),
            "comm": "myapp",
            "argv": ["/opt/myapp"],
            "exe": "/opt/myapp",
        }
        self.rows["processes"].append(row | columns | self.span(first, last, begun, ended_as))

    def active(self, id_: int, at: float, **columns: Any) -> None:
        """Add an activity row."""
        row = {
            "recording": self.recording,
            "socket_id": id_,
            "read_at": began(at),
            "recv_q": 0,
            "send_q": 0,
            "timer": "off",
        }
        self.rows["activity"].append(row | columns)

    def tables(self) -> dict[str, pa.Table]:
        """Return the rows as the store's final tables."""
        return {
            name: pa.Table.from_pylist(self.rows[name], schema=arrow_schema(table))
            .select([column.name for column in table.columns if column.since <= self.version])
            .sort_by([(column, "ascending") for column in table.order])
            for name, table in TABLES.items()
            if self._has(table)
        }

    def _has(self, table: Table) -> bool:
        return table is not EVENTS or self.version > 1

    def path(self, table: str) -> Path:
        """Return where the segment of a table lies."""
        name = stem(self.recording, self.part)
        return Layout(self.root).segment(table, self.host, "2026-11-20", name)

    def write(self) -> Part:
        """Write the segments and the recording's facts."""
        tables = self.tables()
        metadata = {"sockrec.format_version": str(self.version), "sockrec.host": self.host}
        metadata |= {"sockrec.recording": self.recording, "sockrec.part": str(self.part)}
        metadata |= {f"sockrec.{which}_sample_at": str(us(began(self.first))) for which in ("first", "last")}
        for name, table in tables.items():
            path = self.path(name)
            if self.version >= check_block.SINCE:
                counts = json.dumps({name: table.num_rows for name, table in tables.items()})
                told = {**metadata, "sockrec.tables": counts}
                parquet.write(path, TABLES[name], table, told, row_group=1000)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            described = table.replace_schema_metadata(metadata)
            pq.write_table(described, path, compression="zstd", row_group_size=1000, write_page_checksum=True)
        self.describe()
        return self

    def journal(self, *, end: str | None = None) -> Path:
        """Write the rows as a journal instead, one frame; `end` ends the part as the recorder would."""
        path = Layout(self.root).journal(self.host, stem(self.recording, self.part))
        path.parent.mkdir(parents=True, exist_ok=True)
        header = {
            "recording": self.recording,
            "host": self.host,
            "part": self.part,
            "started": us(began(self.first)),
        }
        with JournalWriter(path, header) as writer:
            batches: dict[str, pa.RecordBatch] = {}
            for name, table in TABLES.items():
                rows = self.rows[name]
                if not table.spans:
                    batches[name] = pa.RecordBatch.from_pylist(rows, schema=arrow_schema(table))
                    continue
                closed = [{"row": place} | row for place, row in enumerate(rows) if row["ended_as"]]
                batches[name + ".begun"] = pa.RecordBatch.from_pylist(rows, schema=begun_schema(table))
                batches[name + ".ended"] = pa.RecordBatch.from_pylist(closed, schema=ended_schema(table))
            writer.append(batches)
            if end:
                writer.end(end)
        self.describe()
        return path

    def describe(self) -> None:
        """Write the recording's facts."""
        facts = {
            "format_version": self.version,
            "recording": self.recording,
            "host": self.host,
            "boot_id": self.boot_id,
            "netns": self.netns,
            "kernel": "6.18.0",
            "time_zone": "UTC",
            "started_us": us(began(self.first)),
            "ended_us": us(ended(self.last)),
            "ended_as": "stopped",
            "unavailable": [],
            "options": {"interval_us": 1_000_000},
        }
        write_recording(Layout(self.root).recording(self.host, self.recording), facts | self.facts)
