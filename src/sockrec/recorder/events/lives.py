"""The life of each TCP socket that ended, from its state changes: when, which side, how."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from sockrec.kernel import endings
from sockrec.kernel.arrays import I32, U8
from sockrec.kernel.transitions import Transitions
from sockrec.model.states import CLOSE, ESTABLISHED, LISTEN, SYN_RECV, SYN_SENT
from sockrec.recorder import endpoints
from sockrec.recorder.events import marks
from sockrec.recorder.events.chains import Finished
from sockrec.recorder.seen import NEVER, Ints, Mask, Rows

CLIENT: Final = 1
SERVER: Final = 2
_ROLE: Final = np.zeros(256, np.uint8)
_ROLE[[SYN_SENT, SYN_RECV]] = CLIENT, SERVER


@dataclass(slots=True)
class Lives:
    """One row for each TCP socket that ended, n of them; times are CLOCK_BOOTTIME nanoseconds or `NEVER`.

    `opened` is SYN sent or received, or when it began to listen; `closed` its last change to CLOSE.
    `opener` and `closer` are the threads of those, -1 where an interrupt or nobody known did it.
    `last_state` is the one before CLOSE, `ended` when the kernel gave the socket up, `interrupted` whether
    in an interrupt; `cause` a code of `endings.CAUSES`. A socket that was used for several connections is
    told of with its last. `ours` marks those whose earlier changes a reading had matched.
    """

    cookie: Ints
    opened: Ints
    established: Ints
    closed: Ints
    role: U8
    listened: Mask
    opener: Ints
    closer: Ints
    cause: U8
    last_state: U8
    ended: Ints
    interrupted: Mask
    family: U8
    local: U8
    remote: U8
    local_port: I32
    remote_port: I32
    ours: Mask

    def __len__(self) -> int:
        return len(self.cookie)

    @property
    def pairs(self) -> Ints:
        """Their endpoints as numbers."""
        return endpoints.of_pairs(self.family, self.local, self.remote, self.local_port, self.remote_port)

    def take(self, rows: Rows | Mask) -> Lives:
        """Return some of the rows."""
        return Lives(*(getattr(self, each.name)[rows] for each in fields(self)))

    def put(self, rows: Rows, others: Lives) -> None:
        """Replace some of the rows."""
        for each in fields(self):
            getattr(self, each.name)[rows] = getattr(others, each.name)

    @classmethod
    def blank(cls, cookie: Ints) -> Lives:
        """Return lives of which nothing is known."""
        n = len(cookie)

        def never() -> Ints:
            return np.full(n, NEVER)

        def small() -> U8:
            return np.zeros(n, np.uint8)

        return cls(
            cookie=cookie,
            opened=never(),
            established=never(),
            closed=never(),
            role=small(),
            listened=small().astype(np.bool_),
            opener=np.full(n, -1),
            closer=np.full(n, -1),
            cause=small(),
            last_state=small(),
            ended=never(),
            interrupted=small().astype(np.bool_),
            family=small(),
            local=np.zeros((n, 16), np.uint8),
            remote=np.zeros((n, 16), np.uint8),
            local_port=np.zeros(n, np.int32),
            remote_port=np.zeros(n, np.int32),
            ours=small().astype(np.bool_),
        )

    @classmethod
    def concat(cls, parts: list[Lives]) -> Lives:
        """Return the rows of all parts."""
        return cls(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)))


def lives(finished: Finished, interrupted: Mask, *, whole_since: int = NEVER) -> Lives:
    """Return the lives of the sockets that ended, `interrupted` marking those that did in an interrupt.

    Of those opened since `whole_since` no change can be missing; of all others neither, if it is `NEVER`.
    """
    ends, changes = finished.ends, finished.changes
    found = Lives.blank(ends.cookie)
    found.closed, found.ended = ends.times.copy(), ends.times
    found.interrupted, found.ours = interrupted, finished.known
    if not len(changes):
        return found
    order = np.argsort(ends.cookie, kind="stable")
    starts = np.flatnonzero(np.diff(finished.cookie, prepend=finished.cookie[0] - 1))
    where = order[np.searchsorted(ends.cookie[order], finished.cookie[starts])]
    old, new = changes.old_state, changes.new_state
    real = new < marks.FIRST
    born = real & ((new == SYN_SENT) | (new == LISTEN) | ((old == LISTEN) & (new == SYN_RECV)))
    birth = _last(born, starts)
    group = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(changes)))
    since = np.arange(len(changes)) >= np.maximum(birth, 0)[group]
    shut = _last((new == CLOSE) & since, starts)
    settled = _last((new == ESTABLISHED) & since, starts)
    named = _last(real & since & (changes.remote_port != 0), starts)
    named = np.where(named >= 0, named, np.where(birth >= 0, birth, shut))
    place, row = where[named >= 0], named[named >= 0]
    for column in ("family", "local", "remote", "local_port", "remote_port"):
        getattr(found, column)[place] = getattr(changes, column)[row]
    place, row = where[birth >= 0], birth[birth >= 0]
    found.opened[place], found.opener[place] = changes.times[row], changes.thread[row]
    found.role[place] = _ROLE[new[row]]
    found.listened[place] = new[row] == LISTEN
    found.established[where[settled >= 0]] = changes.times[settled[settled >= 0]]
    place, row = where[shut >= 0], shut[shut >= 0]
    found.closed[place], found.closer[place] = changes.times[row], changes.thread[row]
    found.last_state[place] = old[row]
    found.listened[place] |= old[row] == LISTEN
    whole = (found.opened[place] >= whole_since) | (whole_since == NEVER)
    behind = np.append(starts[1:], len(changes))[shut >= 0]
    found.cause[place] = _causes(changes, row, starts[shut >= 0], behind, real, whole)
    return found


def _causes(changes: Transitions, shut: Rows, starts: Rows, behind: Rows, real: Mask, whole: Mask) -> U8:
    """Return how connections ended: their last changes are at `shut`, their chains in [starts, behind)."""
    rows = np.arange(len(changes))
    before = np.maximum.accumulate(np.where(real, rows, -1))
    previous = before[np.maximum(shut - 1, 0)]
    received, sent = (
        np.concatenate(([0], np.cumsum(changes.new_state == mark)))
        for mark in (marks.RESET_RECEIVED, marks.RESET_SENT)
    )
    first = np.maximum(previous, starts)
    errors = np.where(changes.new_state == marks.ERROR, rows, -1)
    last_error = np.maximum.accumulate(errors)[behind - 1]
    error = np.where(last_error > shut, changes.remote_port[np.maximum(last_error, 0)], 0).astype(np.int32)
    return endings.causes(
        changes.take(shut),
        received[shut] - received[first] > 0,
        sent[behind] - sent[first] > 0,
        error,
        whole=whole,
    )


def _last(mask: Mask, starts: Rows) -> Rows:
    """Return the last marked row of each group, -1 where none is."""
    found: Rows = np.maximum.reduceat(np.where(mask, np.arange(len(mask)), -1), starts)
    return found
