"""What happened, as rows of the events table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa

from sockrec.kernel.arrays import FIELD
from sockrec.kernel.endings import CAUSES
from sockrec.model.tables import EVENTS, LAST_COUNTERS
from sockrec.recorder.columns import FAMILIES, PROTOCOLS, Columns, address_texts, batch, named
from sockrec.recorder.events.causes import Cause
from sockrec.recorder.events.happened import Closed, Happened
from sockrec.recorder.events.lives import CLIENT, SERVER
from sockrec.recorder.seen import NEVER, Ints, Rows
from sockrec.store import schema

_SCHEMA: Final = schema.arrow_schema(EVENTS)
_ROLES: Final = {0: None, CLIENT: "client", SERVER: "server"}
_COUNTERS: Final = (*sorted(LAST_COUNTERS), "drops")
_CAUSES: Final = dict(enumerate(CAUSES))
_INFERRED: Final = "inferred"


class EventRows:
    """Makes batches of the events table. `anchor_us` as in the ledger."""

    def __init__(self, recording: str, netns: int, anchor_us: int) -> None:
        self._constant = {"recording": recording}
        self._netns = netns
        self._anchor = anchor_us

    def batch(self, happened: Happened) -> pa.RecordBatch:
        """Return all rows of one drain."""
        parts = []
        if happened.closed is not None and len(happened.plain):
            columns = self._sockets(happened.closed, happened.plain, "closed")
            parts.append(batch(_SCHEMA, columns, self._constant))
        for stopped in happened.listeners:
            rows = np.array([stopped.row])
            columns = self._sockets(stopped.closed, rows, "stopped listening") | _of_cause(stopped.cause)
            exact = columns["not_before"][0] == columns["not_after"][0]
            if not exact and stopped.cause.word:
                columns["evidence"] = [_INFERRED]
            if stopped.cause.pid != stopped.closed.owned.of(stopped.row).pid:
                columns["owner_evidence"] = ["event" if exact else _INFERRED]
            parts.append(batch(_SCHEMA, columns, self._constant))
        for row in self._others(happened):
            columns = {name: [value] for name, value in row.items()}
            parts.append(batch(_SCHEMA, columns, self._constant))
        return parts[0] if len(parts) == 1 else pa.concat_batches(parts)

    def _sockets(self, closed: Closed, rows: Rows, kind: str) -> Columns:
        life, sockets, owned = closed.lives, closed.sockets, closed.owned
        n = len(rows)
        ipv6 = life.family[rows] == 10
        columns: Columns = {
            "kind": pa.repeat(kind, n),
            "not_before": closed.not_before[rows],
            "not_after": closed.not_after[rows],
            "evidence": pa.repeat("event", n),
            "socket_id": sockets.cookie[rows],
            "netns": np.full(n, self._netns),
            "protocol": named(sockets.protocol[rows], PROTOCOLS),
            "family": named(life.family[rows], FAMILIES),
            "local_address": _addresses(life.local[rows], ipv6),
            "local_port": life.local_port[rows],
            "remote_address": _addresses(life.remote[rows], ipv6),
            "remote_port": life.remote_port[rows],
            "role": named(life.role[rows], _ROLES),
            "opened_at": self._us(life.opened[rows]),
            "established_at": self._us(life.established[rows]),
            "sampled": owned.sampled[rows],
            "cause": named(life.cause[rows], _CAUSES),
        }
        owner = pa.array(owned.owner[rows])
        columns["pid"] = pa.array([one.pid for one in owned.names], pa.int64()).take(owner)
        columns["program"] = pa.array([one.program for one in owned.names], pa.string()).take(owner)
        columns["owner_evidence"] = pa.array([one.evidence for one in owned.names], pa.string()).take(owner)
        for name in _COUNTERS:
            columns[name] = sockets.activity[FIELD[name], rows]
        return columns

    def _others(self, happened: Happened) -> Iterator[dict[str, Any]]:
        """Give the rows of processes and of losses."""
        for end in happened.processes:
            yield self._bounds("exited", end.not_before, end.not_after) | {
                name: value[0] for name, value in _of_cause(end.cause).items()
            }
        for one, program in happened.execs:
            yield self._bounds("exec", one.done, one.done) | {
                "pid": one.pid,
                "program": program,
                "detail": one.path,
            }
        for lost in happened.lost:
            yield {
                "kind": "lost",
                "not_before": lost.not_before,
                "not_after": lost.not_after,
                "evidence": "event",
                "detail": lost.what,
                "count": lost.count,
            }

    def _bounds(self, kind: str, first_ns: int, last_ns: int) -> dict[str, Any]:
        first, last = (moment // 1000 + self._anchor for moment in (first_ns, last_ns))
        return {"kind": kind, "not_before": first, "not_after": last, "evidence": "event"}

    def _us(self, times: Ints) -> Ints:
        result: Ints = np.where(times == NEVER, NEVER, times // 1000 + self._anchor)
        return result


def _of_cause(cause: Cause) -> Columns:
    return {
        "cause": [cause.word],
        "pid": [cause.pid],
        "program": [cause.program],
        "exit_code": [cause.exit_code],
        "signal": [cause.signal],
        "by_pid": [cause.by_pid],
        "by_program": [cause.by_program],
        "detail": [cause.detail],
    }


def _addresses(
    raw: np.ndarray[Any, np.dtype[np.uint8]], ipv6: np.ndarray[Any, np.dtype[np.bool_]]
) -> list[str]:
    halves = np.ascontiguousarray(raw).view(np.int64)
    return address_texts(halves[:, 0], halves[:, 1], ipv6)
