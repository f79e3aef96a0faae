"""The ledger's numbers as the tables' rows: Arrow record batches for the journal."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from socket import IPPROTO_RAW, IPPROTO_TCP, IPPROTO_UDP
from typing import Any, Final

import numpy as np
import pyarrow as pa

from sockrec.kernel.arrays import ACTIVITY_FIELDS
from sockrec.model import addresses, states, tables
from sockrec.recorder.ledger import UNIX_ACTIVITY, Changes, Ledger
from sockrec.recorder.observed import INET_ROW, UNIX_ROW
from sockrec.recorder.ownership import BegunProcess, EndedProcess, Owner
from sockrec.recorder.roster import Begun, Ended, Roster, Step
from sockrec.recorder.seen import NEVER, Ints, Rows
from sockrec.store import schema

Columns = dict[str, Any]
Batches = dict[str, pa.RecordBatch]

_PROTOCOLS: Final = {IPPROTO_TCP: "tcp", IPPROTO_UDP: "udp", 136: "udplite", 132: "sctp", IPPROTO_RAW: "raw"}
_FAMILIES: Final = {int(socket.AF_INET): "inet", int(socket.AF_INET6): "inet6"}
_TYPES: Final = {1: "STREAM", 2: "DGRAM", 5: "SEQPACKET"}
_TIMERS: Final = {NEVER: None, 0: "off", 1: "on", 2: "keepalive", 3: "timewait", 4: "probe"}
_CONNECTED: Final = frozenset({IPPROTO_TCP, 132})
_TABLES: Final = (tables.SOCKETS, tables.UNIX_SOCKETS, tables.PROCESSES)
_BEGUN: Final = {table.name: schema.begun_schema(table) for table in _TABLES}
_ENDED: Final = {table.name: schema.ended_schema(table) for table in _TABLES}
_ACTIVITY: Final = schema.arrow_schema(tables.ACTIVITY)
_SAMPLES: Final = schema.arrow_schema(tables.SAMPLES)
_EVIDENCE: Final = "sample"
# Arrow imports pandas, where it is installed, when it first makes anything: now, not between two samples.
pa.scalar(_EVIDENCE)


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
        length = len(next(iter(columns.values())))
        arrays = []
        for field in schema_:
            values = columns.get(field.name)
            if values is None:
                values = pa.repeat(pa.scalar(self._constant[field.name], field.type), length)
            arrays.append(_array(values, field.type))
        return pa.RecordBatch.from_arrays(arrays, schema=schema_)

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
            "protocol": _named(protocol, _PROTOCOLS),
            "family": _named(column["family"], _FAMILIES),
            "local_address": _addresses(column["local_high"], column["local_low"], ipv6),
            "local_port": column["local_port"],
            "remote_address": _addresses(column["remote_high"], column["remote_low"], ipv6),
            "remote_port": column["remote_port"],
            "interface": [_interface(index) for index in column["interface"].tolist()],
            "state": _state_names(column["state"], np.isin(protocol, list(_CONNECTED))),
            **self._owners(column),
        }

    def _unix(self, places: Rows) -> Columns:
        column = {name: self._ledger.unix.condition[row][places] for name, row in UNIX_ROW.items()}
        return {
            "type": _named(column["type"], _TYPES),
            "state": _state_names(column["state"], np.zeros(len(places), np.bool_)),
            "path": [self._ledger.paths[number] for number in column["path"].tolist()],
            "peer_inode": column["peer_inode"],
            **self._owners(column),
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
        }

    def _activity(self, made: Batches, changes: Changes) -> None:
        batches = []
        for names, moved in ((ACTIVITY_FIELDS, changes.inet.moved), (UNIX_ACTIVITY, changes.unix.moved)):
            if not len(moved):
                continue
            columns: Columns = {"socket_id": moved.key, "read_at": moved.read_at}
            columns |= {name: np.full(len(moved), NEVER) for name in ACTIVITY_FIELDS if name not in names}
            columns |= dict(zip(names, moved.values, strict=True))
            columns["timer"] = _named(columns["timer"], _TIMERS)
            batches.append(self._batch(_ACTIVITY, columns))
        if batches:
            made["activity"] = batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _array(values: Any, type_: pa.DataType) -> pa.Array:
    """Return a column, NEVER in an array of numbers being null."""
    if not isinstance(values, np.ndarray):
        return values if isinstance(values, pa.Array) else pa.array(values, type_)
    missing = values == NEVER if values.dtype == np.int64 else None
    if missing is not None and not missing.any():
        missing = None
    numbers = pa.array(values, mask=missing)
    return numbers if numbers.type == type_ else numbers.cast(type_)


def _beginnings(parts: Sequence[Begun]) -> Columns:
    sizes = [len(part.places) for part in parts]
    after = [
        np.full(n, NEVER) if p.begun_after is None else p.begun_after
        for p, n in zip(parts, sizes, strict=True)
    ]
    return {
        "begun_after": np.concatenate(after),
        "first_seen": np.concatenate([part.first_seen for part in parts]),
        "begun_as": _repeated([part.begun_as for part in parts], sizes),
        "begun_evidence": _repeated([_EVIDENCE], [sum(sizes)]),
    }


def _endings(parts: Sequence[Ended]) -> Columns:
    sizes = [len(part.row) for part in parts]
    return {
        "row": np.concatenate([part.row for part in parts]),
        "last_seen": np.concatenate([part.last_seen for part in parts]),
        "ended_by": np.concatenate([part.ended_by for part in parts]),
        "ended_as": _repeated([part.ended_as for part in parts], sizes),
        "ended_evidence": _repeated([_EVIDENCE], [sum(sizes)]),
    }


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
        "begun_evidence": [_EVIDENCE] * len(begun),
    }


def _processes_ended(ended: Sequence[EndedProcess]) -> Columns:
    return {
        "row": [row.row for row in ended],
        "last_seen": np.array([row.last_seen for row in ended], np.int64),
        "ended_by": np.array([row.ended_by for row in ended], np.int64),
        "ended_as": [row.ended_as for row in ended],
        "ended_evidence": [_EVIDENCE] * len(ended),
    }


def _repeated(words: Sequence[str], sizes: Sequence[int]) -> pa.Array:
    return pa.array(np.repeat(np.array(words, dtype=object), sizes), pa.string())


def _named(numbers: Ints, names: Mapping[int, str | None]) -> pa.Array:
    """Return each number's name; a number without one is shown as it is."""
    found, index = np.unique(numbers, return_inverse=True)
    words = [names.get(number, str(number)) for number in found.tolist()]
    return pa.array(words, pa.string()).take(pa.array(index))


def _state_names(state: Ints, connected: np.ndarray[Any, np.dtype[np.bool_]]) -> pa.Array:
    unconnected = (state == states.CLOSE) & ~connected
    return _named(np.where(unconnected, 0, state), {**states.NAMES, 0: "UNCONN"})


def _addresses(high: Ints, low: Ints, ipv6: np.ndarray[Any, np.dtype[np.bool_]]) -> list[str]:
    raw = np.stack((high, low), axis=1).view("V16").ravel().tolist()
    return [_address(bytes(one), six) for one, six in zip(raw, ipv6.tolist(), strict=True)]


@lru_cache(maxsize=65_536)
def _address(raw: bytes, ipv6: bool) -> str:
    return addresses.to_text(raw, ipv6)


@lru_cache(maxsize=1024)
def _interface(index: int) -> str | None:
    if not index:
        return None
    try:
        return socket.if_indextoname(index)
    except OSError:  # the device is gone, its sockets are not
        return f"if{index}"


def _holders(owners: Sequence[Owner]) -> pa.Array:
    return pa.array([owner.holders for owner in owners], pa.list_(pa.int64()))
