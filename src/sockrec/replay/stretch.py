"""The sockets of many samples in a row, read at once: each moment of them is then found in memory.

One moment asked of DuckDB costs as much as a few hundred of them. What stands in a moment is told by the same
rules as in `sockrec.replay.rows`, so that the answers are the same rows in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from sockrec.model.netstat_row import NetstatRow
from sockrec.replay.moment import Asked, Sample, found_by
from sockrec.replay.rows import unescaped

if TYPE_CHECKING:
    import pyarrow as pa

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_NONE: Final = -1
NULL: Final = int(np.iinfo(np.int64).min)
"""What stands where a number is not known."""
# Of a socket's number and a time since the first sample together, in one integer: room for 12 days.
_TIME_BITS: Final = 40
_FAR: Final = (1 << _TIME_BITS) - 1

_IN_FILES: Final = """
file IN (
    SELECT near.file FROM base.within_reach near JOIN parts.samples f ON f.file = near.sample_file
    WHERE near."table" = '{}' AND f.host = $host AND f.recording = $recording
        AND f.began_at BETWEEN make_timestamptz($began) AND make_timestamptz($last)
)
"""
_TIMES: Final = """epoch_us(first_seen) AS first_seen, coalesce(epoch_us(last_seen), -1) AS last_seen,
    coalesce(begun_as = 'carried', false) AS carried,
    if(coalesce(ended_evidence = 'event' AND last_seen = ended_by, false), epoch_us(ended_by), NULL)
        AS gone"""
_TOUCHING: Final = """host = $host AND recording = $recording
    AND first_seen <= make_timestamptz($ended) AND last_seen >= make_timestamptz($began)"""
_SOCKETS: Final = f"""
SELECT socket_id, protocol, family, local_address, local_port, remote_address, remote_port, state,
    coalesce(uid, 0) AS uid, coalesce(inode, 0) AS inode, pid, coalesce(program, '') AS program,
    coalesce(owner, '') AS owner, row_number() OVER (ORDER BY rank, protocol, family) AS place, {_TIMES},
    epoch_us(begun_after) AS begun_after, coalesce(begun_as, '') AS begun_as,
    coalesce(begun_evidence, '') AS begun_evidence
FROM parts.sockets WHERE {_TOUCHING} AND {_IN_FILES.format("sockets")}
ORDER BY socket_id, first_seen
"""
_PROCESSES: Final = f"""
SELECT pid, coalesce(argv[1], '') AS argv0, {_TIMES}
FROM parts.processes WHERE {_TOUCHING} AND {_IN_FILES.format("processes")}
ORDER BY pid, first_seen
"""
_MOVING: Final = "recv_q, send_q, timer, timer_deadline, retransmits, probes"
# Of what was read before the first sample a socket's last row is all that counts.
_ACTIVITY: Final = f"""
WITH near AS (
    SELECT socket_id, read_at, {_MOVING} FROM parts.activity
    WHERE host = $host AND recording = $recording AND read_at <= make_timestamptz($until)
        AND {_IN_FILES.format("activity")}
        AND socket_id IN (
            SELECT socket_id FROM parts.sockets WHERE {_TOUCHING} AND {_IN_FILES.format("sockets")}
        )
), before AS (
    SELECT socket_id, max(read_at) AS read_at FROM near
    WHERE read_at <= make_timestamptz($began) GROUP BY socket_id
)
SELECT n.socket_id, epoch_us(n.read_at) AS read_at, coalesce(n.recv_q, 0) AS recv_q,
    coalesce(n.send_q, 0) AS send_q, coalesce(n.timer, 'off') AS timer,
    epoch_us(n.timer_deadline) AS timer_deadline,
    coalesce(n.retransmits, 0) AS retransmits, coalesce(n.probes, 0) AS probes
FROM near n LEFT JOIN before b USING (socket_id)
WHERE b.read_at IS NULL OR n.read_at >= b.read_at
ORDER BY n.socket_id, n.read_at
"""


class Words(NamedTuple):
    """A column of text: the distinct texts, and which of them each row has."""

    texts: list[str]
    codes: Ints

    def of(self, row: int) -> str:
        """Return the text of a row."""
        return self.texts[int(self.codes[row])]


class Found(NamedTuple):
    """What one sample found: rows of a `Stretch` in the kernel's order, and which row of activity each has.

    `moved` is -1 for a socket without any; `argv0` says which of `Stretch.argv0` its owner ran under, -1
    where its own row says it.
    """

    rows: Ints
    moved: Ints
    argv0: Ints


class Stretch:
    """The sockets of some samples of one recording, all that follow each other from the first to the last.

    `samples` must not be empty. Reads the capture when it is made, and never again.
    """

    def __init__(self, capture: Asked, samples: Sequence[Sample]) -> None:
        self.first, self.last = samples[0], samples[-1]
        values = {
            "host": self.first.host,
            "recording": self.first.recording,
            "began": self.first.began_us,
            "last": self.last.began_us,
            "ended": max(one.ended_us for one in samples),
        }
        until = max(found_by(one)["until"] for one in samples)
        sockets, processes, activity = capture.run(
            lambda connection: (
                connection.sql(_SOCKETS, params=values).to_arrow_table(),
                connection.sql(_PROCESSES, params=values).to_arrow_table(),
                connection.sql(_ACTIVITY, params=values | {"until": until}).to_arrow_table(),
            )
        )
        self._sockets = _Times(sockets, "socket_id")
        self.ids = self._sockets.keys
        self.protocol, self.family, self.state = (
            _words(sockets[name]) for name in ("protocol", "family", "state")
        )
        self.local_address, self.remote_address = (
            _words(sockets[f"{end}_address"]) for end in ("local", "remote")
        )
        self.local_port, self.remote_port = (_ints(sockets[f"{end}_port"]) for end in ("local", "remote"))
        self.uid, self.inode, self.pid = (_ints(sockets[name]) for name in ("uid", "inode", "pid"))
        self.program, self.owner = _words(sockets["program"]), _words(sockets["owner"])
        self.begun_as, self.begun_evidence = _words(sockets["begun_as"]), _words(sockets["begun_evidence"])
        self.begun_after, self.first_seen = _ints(sockets["begun_after"]), _ints(sockets["first_seen"])
        self._place = _ints(sockets["place"])
        self._processes = _Times(processes, "pid")
        self.argv0 = _words(processes["argv0"])
        held = np.array([text == "held" for text in self.owner.texts], dtype=bool)
        self._is_held = held[self.owner.codes] if len(held) else np.zeros(0, dtype=bool)
        self._read(activity)

    def _read(self, activity: pa.Table) -> None:
        self._recv_q, self._send_q = _ints(activity["recv_q"]), _ints(activity["send_q"])
        self._timer, self._deadline = _words(activity["timer"]), _ints(activity["timer_deadline"])
        self._retransmits, self._probes = _ints(activity["retransmits"]), _ints(activity["probes"])
        # A socket by its place among all: with the time in one number, that one search finds the latest.
        self._distinct, self._number = np.unique(self.ids, return_inverse=True)
        number = np.searchsorted(self._distinct, _ints(activity["socket_id"]))
        self._moves = (number << _TIME_BITS) + self._since(_ints(activity["read_at"]))

    def _since(self, times: Ints) -> Ints:
        # Before the first sample no socket has more than one row: how long before does not matter.
        return np.clip(times - self.first.began_us + 1, 0, _FAR)

    def covers(self, sample: Sample) -> bool:
        """Tell whether a sample is one of the stretch."""
        return (sample.host, sample.recording) == (
            self.first.host,
            self.first.recording,
        ) and self.first.began_us <= sample.began_us <= self.last.began_us

    def at(self, sample: Sample) -> Found:
        """Return what a sample of the stretch found."""
        rows = self._sockets.held(sample)
        rows = rows[np.argsort(self._place[rows], kind="stable")]
        number = self._number[rows]
        until = int(self._since(np.array([found_by(sample)["until"]]))[0])
        moved = np.searchsorted(self._moves, (number << _TIME_BITS) + until, side="right") - 1
        if len(self._moves):
            moved[(moved >= 0) & (self._moves[moved] >> _TIME_BITS != number)] = _NONE
        return Found(rows, moved, self._argv0(rows, sample))

    def _argv0(self, rows: Ints, sample: Sample) -> Ints:
        running = self._processes.held(sample)
        pids = self._processes.keys[running]
        if not len(pids):
            return np.full(len(rows), _NONE)
        place = np.minimum(np.searchsorted(pids, self.pid[rows]), len(pids) - 1)
        known = self._is_held[rows] & (pids[place] == self.pid[rows])
        return np.where(known, self.argv0.codes[running[place]], _NONE)

    def row(self, row: int, moved: int, argv0: int, at_us: int) -> NetstatRow:
        """Return one row of what a sample found; what is left of its timer is counted from `at_us`."""
        name = self.argv0.texts[argv0] if argv0 >= 0 else self.program.texts[self.program.codes[row]]
        pid = int(self.pid[row])
        found = NetstatRow(
            protocol=self.protocol.of(row),
            family=self.family.of(row),
            local_address=self.local_address.of(row),
            local_port=int(self.local_port[row]),
            remote_address=self.remote_address.of(row),
            remote_port=int(self.remote_port[row]),
            state=self.state.of(row),
            uid=int(self.uid[row]),
            inode=int(self.inode[row]),
            pid=None if pid == NULL else pid,
            argv0=unescaped(name),
            owner=self.owner.of(row),
        )
        if moved < 0:
            return found
        deadline = int(self._deadline[moved])
        return found._replace(
            recv_q=int(self._recv_q[moved]),
            send_q=int(self._send_q[moved]),
            timer=self._timer.of(moved),
            timer_seconds=0.0 if deadline == NULL else max(0, (deadline - at_us) // 10_000) / 100,
            retransmits=int(self._retransmits[moved]),
            probes=int(self._probes[moved]),
        )


class _Times:
    """When rows held that have a key: of each key, the row that began last among those that held counts."""

    def __init__(self, table: pa.Table, key: str) -> None:
        self.keys = _ints(table[key])
        self._first, self._last = _ints(table["first_seen"]), _ints(table["last_seen"])
        self._carried = _flags(table["carried"])
        gone = _ints(table["gone"])
        self._gone = np.where(gone == NULL, np.iinfo(np.int64).max, gone)

    def held(self, sample: Sample) -> Ints:
        """Return the rows that held in a sample (`sockrec.catalog.moments.held`), in order of their keys."""
        holds = (
            (self._first <= sample.ended_us)
            & (self._last >= sample.began_us)
            & (~self._carried | (self._first < sample.began_us))
            & (self._gone > sample.ended_us)
        )
        rows = np.flatnonzero(holds)
        keys = self.keys[rows]
        # They are in order of key and beginning: the last of a key is its newest.
        return rows[np.append(keys[1:] != keys[:-1], True)] if len(rows) else rows


def _ints(column: pa.ChunkedArray) -> Ints:
    found: Ints = column.fill_null(NULL).to_numpy().astype(np.int64, copy=False)
    return found


def _flags(column: pa.ChunkedArray) -> Flags:
    return column.to_numpy().astype(np.bool_, copy=False)  # type: ignore[no-any-return]


def _words(column: pa.ChunkedArray) -> Words:
    import pyarrow as pa

    coded = column.cast(pa.string()).fill_null("").combine_chunks().dictionary_encode()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks() if coded.num_chunks else pa.array([], pa.string()).dictionary_encode()
    return Words([str(text) for text in coded.dictionary.to_pylist()], _codes(coded.indices))


def _codes(indices: Any) -> Ints:
    found: Ints = indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return found
