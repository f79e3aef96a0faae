"""Announcements of destroyed sockets that wait for their moments, and what the two tell of each other."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from socket import IPPROTO_TCP

import numpy as np

from sockrec.kernel import endings
from sockrec.kernel.arrays import FIELD, InetSockets
from sockrec.recorder.events import chains
from sockrec.recorder.events.lives import Lives
from sockrec.recorder.seen import NEVER, Ints, Mask, Rows


@dataclass(frozen=True, slots=True)
class Announced:
    """Announcements that wait for their moments; `read_by` in recorded microseconds."""

    sockets: InetSockets
    read_by: Ints

    def __len__(self) -> int:
        return len(self.read_by)

    @classmethod
    def none(cls) -> Announced:
        """Return no announcements."""
        return cls(InetSockets.empty(), np.empty(0, np.int64))

    def joined(self, other: Announced) -> Announced:
        """Return these and then others."""
        if not len(self):
            return other
        sockets = InetSockets.concat([self.sockets, other.sockets])
        return Announced(sockets, np.concatenate((self.read_by, other.read_by)))

    def take(self, rows: Rows) -> Announced:
        """Return some of them, in their order."""
        if len(rows) == len(self):
            return self
        columns = {
            each.name: getattr(self.sockets, each.name)[..., rows]
            if each.name == "activity"
            else getattr(self.sockets, each.name)[rows]
            for each in dataclasses.fields(InetSockets)
        }
        return Announced(InetSockets(**columns), self.read_by[rows])


def fill_endpoints(life: Lives, sockets: InetSockets) -> None:
    """Take the endpoints of sockets that were not traced from their announcements."""
    rows = np.flatnonzero((life.family == 0) | ((life.remote_port == 0) & (sockets.remote_port != 0)))
    for name in ("family", "local", "remote", "local_port", "remote_port"):
        getattr(life, name)[rows] = getattr(sockets, name)[rows]


def correct(life: Lives, sockets: InetSockets, rows: Mask) -> None:
    """Take the FIN out of the bytes received, and tell what only the counters do of an end."""
    bytes_received = sockets.activity[FIELD["bytes_received"]]
    rows = rows & (sockets.protocol == IPPROTO_TCP) & (bytes_received != NEVER)
    if not rows.any():
        return
    last = life.take(rows)
    ends = chains.blank(len(last))
    ends.old_state, ends.thread, ends.times = last.last_state, last.closer, last.closed
    bytes_received[rows] = endings.bytes_from_peer(
        ends,
        last.cause,
        last.ended,
        last.interrupted,
        bytes_received[rows],
        sockets.activity[FIELD["recv_q"], rows],
    )
    life.cause[rows] = endings.unanswered(
        last.cause, last.last_state, sockets.activity[FIELD["send_q"], rows]
    )


def unannounced(orphans: Lives) -> InetSockets:
    """Return what is known of sockets whose announcement is missing."""
    sockets = InetSockets.allocate(len(orphans))
    for column in dataclasses.fields(InetSockets):
        getattr(sockets, column.name)[...] = 0
    sockets.activity[...] = NEVER
    sockets.protocol[:] = IPPROTO_TCP
    for name in ("cookie", "family", "local", "remote", "local_port", "remote_port"):
        getattr(sockets, name)[...] = getattr(orphans, name)
    return sockets
