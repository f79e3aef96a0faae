"""The ledger's numbers as the tables' rows: Arrow record batches for the journal."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from socket import IPPROTO_TCP
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sockrec.kernel import kernel_names
from sockrec.kernel.arrays import ACTIVITY_FIELDS
from sockrec.kernel.inet_fields import AGES
from sockrec.model import states, tables
from sockrec.recorder.columns import (
    FAMILIES,
    PROTOCOLS,
    Columns,
    address_texts,
    batch,
    each,
    interface,
    named,
    repeated,
    state_names,
    told,
)
from sockrec.recorder.ledger import UNIX_ACTIVITY, Changes, Ledger
from sockrec.recorder.observed import INET_ROW, UNIX_ROW
from sockrec.recorder.ownership import BegunProcess, EndedProcess, Owner
from sockrec.recorder.roster import Begun, Ended, Roster, Step
from sockrec.recorder.seen import NEVER, Ints, Rows
from sockrec.store import schema

Batches = dict[str, pa.RecordBatch]

_TYPES: Final = {0: "UNKNOWN", 1: "STREAM", 2: "DGRAM", 5: "SEQPACKET"}
_TIMERS: Final = {NEVER: None, 0: "off", 1: "on", 2: "keepalive", 3: "timewait", 4: "probe"}
_CONNECTED: Final = frozenset({IPPROTO_TCP, 132})
_TABLES: Final = (tables.SOCKETS, tables.UNIX_SOCKETS, tables.PROCESSES)
_BEGUN: Final = {table.name: schema.begun_schema(table) for table in _TABLES}
_ENDED: Final = {table.name: schema.ended_schema(table) for table in _TABLES}
_ACTIVITY: Final = schema.arrow_schema(tables.ACTIVITY)
_SAMPLES: Final = schema.arrow_schema(tables.SAMPLES)
_EVIDENCE: Final = ("sample", "event", "inferred")
# Arrow imports pandas, where it is installed, when it first makes anything: now, not between two samples.
pa.scalar(_EVIDENCE[0])


class RowMaker:
    """Makes the batches of one recording: what the ledger numbers, written out."""

    def __init__(self, ledger: Ledger, recording: str, netns: int) -> None:
        self._ledger = ledger
        self._constant = {"recording": recording, "netns": netns}

    def batches(self, changes: Changes, sample: Mapping[str, Any] | None = None) -> Batches:
        """Return the journal tables of one sample (of a part's beginning: without a sample row)."""
        ledger = self._ledger
        made: Batches = {}
        self._spans(made, "sockets", changes.inet, ledger.inet, self._inet)
        self._spans(made, "unix_sockets", changes.unix, ledger.unix, self._unix)
        self._activity(made, changes)
        if changes.processes_begun:
            made["processes.begun"] = self._batch(_BEGUN["processes"], _processes(changes.processes_begun))
        if changes.processes_ended:
            made["processes.ended"] = self._batch(
                _ENDED["processes"], _processes_ended(changes.processes_ended)
            )
        if sample is not None:
            made["samples"] = self._batch(_SAMPLES, {name: [value] for name, value in sample.items()})
        return made

    def _batch(self, schema_: pa.Schema, columns: Columns) -> pa.RecordBatch:
        return batch(schema_, columns, self._constant)

    def _spans(
        self, made: Batches, table: str, step: Step, roster: Roster, columns: Callable[[Rows], Columns]
    ) -> None:
        if step.begun:
            places = np.concatenate([begun.places for begun in step.begun])
            begun = columns(places) | _beginnings(step.begun)
            begun["socket_id"] = roster.key[places]
            begun["rank"] = roster.rank[places]
            made[f"{table}.begun"] = self._batch(_BEGUN[table], begun)
        if step.ended:
            made[f"{table}.ended"] = self._batch(_ENDED[table], _endings(step.ended))

    def _inet(self, places: Rows) -> Columns:
        column = {name: self._ledger.inet.condition[row][places] for name, row in INET_ROW.items()}
        protocol, ipv6 = column["protocol"], column["family"] == socket.AF_INET6
        return {
            "protocol": named(protocol, PROTOCOLS),
            "family": named(column["family"], FAMILIES),
            "local_address": address_texts(column["local_high"], column["local_low"], ipv6),
            "local_port": column["local_port"],
            "remote_address": address_texts(column["remote_high"], column["remote_low"], ipv6),
            "remote_port": column["remote_port"],
            "interface": [interface(index) for index in column["interface"].tolist()],
            "state": state_names(column["state"], np.isin(protocol, list(_CONNECTED))),
            **self._owners(column),
            "shutdown": told(column["shutdown"]),
            "v6only": told(column["v6only"]),
            "mark": column["mark"],
            "cgroup": each(column["cgroup"], self._ledger.cgroups.path),
            "congestion": each(column["congestion"], kernel_names.name),
            "ulp": each(column["ulp"], kernel_names.name),
        }

    def _unix(self, places: Rows) -> Columns:
        column = {name: self._ledger.unix.condition[row][places] for name, row in UNIX_ROW.items()}
        return {
            "type": named(column["type"], _TYPES),
            "state": named(column["state"], states.UNIX_NAMES),
            "path": [self._ledger.paths[number] for number in column["path"].tolist()],
            "peer_inode": column["peer_inode"],
            **self._owners(column),
            "shutdown": told(column["shutdown"]),
            "vfs_inode": column["vfs_inode"],
            "vfs_device": column["vfs_device"],
        }

    def _owners(self, column: Mapping[str, Ints]) -> Columns:
        numbers, index = np.unique(column["owner"], return_inverse=True)
        owners = [self._ledger.ownership.owners[number] for number in numbers.tolist()]
        return {
            "uid": column["uid"],
            "inode": column["inode"],
            "pid": pa.array([owner.pid for owner in owners], pa.int64()).take(pa.array(index)),
            "program": pa.array([owner.program for owner in owners], pa.string()).take(pa.array(index)),
            "holders": _holders(owners).take(pa.array(index)),
            "owner": pa.array([owner.known for owner in owners], pa.string()).take(pa.array(index)),
            **self._descriptors(column),
        }

    def _descriptors(self, column: Mapping[str, Ints]) -> Columns:
        place, pids, fds = self._ledger.ownership.descriptors(column["owner"], column["inode"])
        ends = np.searchsorted(place, np.arange(len(column["owner"]) + 1))
        offsets = pa.array(ends, pa.int32())
        return {
            "fd_pids": pa.ListArray.from_arrays(offsets, pa.array(pids)),
            "fds": pa.ListArray.from_arrays(offsets, pa.array(fds)),
        }

    def _activity(self, made: Batches, changes: Changes) -> None:
        batches = []
        for names, moved in ((ACTIVITY_FIELDS, changes.inet.moved), (UNIX_ACTIVITY, changes.unix.moved)):
            if not len(moved):
                continue
            columns: Columns = {"socket_id": moved.key, "read_at": moved.read_at}
            columns |= {name: np.full(len(moved), NEVER) for name in ACTIVITY_FIELDS if name not in names}
            columns |= dict(zip(names, moved.values, strict=True))
            columns["timer"] = named(columns["timer"], _TIMERS)
            for name in AGES:
                columns[name] = np.where(
                    columns[name] == NEVER, NEVER, columns[name] + self._ledger.anchor_us
                )
            batches.append(self._batch(_ACTIVITY, columns))
        if batches:
            made["activity"] = batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _beginnings(parts: Sequence[Begun]) -> Columns:
    sizes = [len(part.places) for part in parts]
    after = [
        np.full(n, NEVER) if p.begun_after is None else p.begun_after
        for p, n in zip(parts, sizes, strict=True)
    ]
    return {
        "begun_after": np.concatenate(after),
        "first_seen": np.concatenate([part.first_seen for part in parts]),
        "begun_as": repeated([part.begun_as for part in parts], sizes),
        "begun_evidence": _evidence([part.told for part in parts], sizes),
    }


def _endings(parts: Sequence[Ended]) -> Columns:
    sizes = [len(part.row) for part in parts]
    return {
        "row": np.concatenate([part.row for part in parts]),
        "last_seen": np.concatenate([part.last_seen for part in parts]),
        "ended_by": np.concatenate([part.ended_by for part in parts]),
        "ended_as": repeated([part.ended_as for part in parts], sizes),
        "ended_evidence": _evidence([part.told for part in parts], sizes),
    }


def _evidence(told: Sequence[NDArray[np.int8] | None], sizes: Sequence[int]) -> pa.Array:
    """Return how each row is known."""
    codes = [np.zeros(n, np.int8) if some is None else some for some, n in zip(told, sizes, strict=True)]
    return pa.array(_EVIDENCE, pa.string()).take(pa.array(np.concatenate(codes)))


def _processes(begun: Sequence[BegunProcess]) -> Columns:
    facts = [row.process for row in begun]
    return {
        "pid": [fact.pid for fact in facts],
        "start_time": np.array([fact.start_us for fact in facts], np.int64),
        "ppid": [fact.ppid for fact in facts],
        "uid": [fact.uid for fact in facts],
        "comm": [fact.comm for fact in facts],
        "argv": [fact.argv for fact in facts],
        "exe": [fact.exe for fact in facts],
        "cgroup": [fact.cgroup for fact in facts],
        "unit": [fact.unit for fact in facts],
        "container": [fact.container for fact in facts],
        "begun_after": np.array([NEVER if r.begun_after is None else r.begun_after for r in begun], np.int64),
        "first_seen": np.array([row.first_seen for row in begun], np.int64),
        "begun_as": [row.begun_as for row in begun],
        "begun_evidence": [_EVIDENCE[0]] * len(begun),
    }


def _processes_ended(ended: Sequence[EndedProcess]) -> Columns:
    return {
        "row": [row.row for row in ended],
        "last_seen": np.array([row.last_seen for row in ended], np.int64),
        "ended_by": np.array([row.ended_by for row in ended], np.int64),
        "ended_as": [row.ended_as for row in ended],
        "ended_evidence": [_EVIDENCE[0]] * len(ended),
    }


def _holders(owners: Sequence[Owner]) -> pa.Array:
    return pa.array([owner.holders for owner in owners], pa.list_(pa.int64()))
