"""Who held a socket that ended: as the last sample saw it, as it connected, or as its listener is held."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from socket import IPPROTO_TCP
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sockrec.kernel.sockets import Reading
from sockrec.kernel.transitions import Transitions
from sockrec.model.states import CLOSE, FIN_WAIT2, LISTEN, TIME_WAIT
from sockrec.recorder.events.lives import CLIENT, Lives
from sockrec.recorder.events.people import People, untold
from sockrec.recorder.ledger import Ledger
from sockrec.recorder.observed import INET_ROW
from sockrec.recorder.ownership import Owner
from sockrec.recorder.seen import NEVER, Ints, Mask

# Sockets that no reading shows any more, and that nobody closed yet.
_LIMBO: Final = 1 << 16
_FRESH: Final = 4096
# Longer than a busy kernel takes to announce what they are left of.
_REMNANTS_KEPT_US: Final = 2_000_000
_ANY: Final = (0, 0)


@dataclass(frozen=True, slots=True)
class Named:
    """A process as the events table names it, and how it is known to be the one."""

    pid: int | None = None
    program: str | None = None
    evidence: str | None = None
    holders: tuple[int, ...] = ()


@dataclass(slots=True)
class Owned:
    """Who held each of n sockets, as an index of `names`.

    `sampled`: whether a reading saw it, in use; if so `state` is what it was last seen in, and `last_seen`
    when, in recorded microseconds; else they are 0 and NEVER.
    """

    sampled: Mask
    state: Ints
    last_seen: Ints
    owner: Ints
    names: list[Named]

    def of(self, row: int) -> Named:
        """Return the owner of one of them."""
        return self.names[int(self.owner[row])]


class Holders:
    """Looks owners up in the ledger, in what has left it, and among listeners that no sample saw yet."""

    def __init__(self, ledger: Ledger, people: People, netns: int) -> None:
        self._ledger = ledger
        self._people = people
        self._netns = netns
        self._limbo: OrderedDict[int, tuple[int, Owner, int, bool]] = OrderedDict()
        self._limbo_remnants: deque[tuple[int, list[int]]] = deque()
        self._fresh: OrderedDict[int, tuple[int, Named]] = OrderedDict()
        self._read_before = 0
        self._unknown: list[tuple[int, int, int]] = []
        self._remnants: Ints = np.empty(0, np.int64)
        self._remnants_read: deque[tuple[int, Ints]] = deque()
        self._reading: tuple[int, Ints] | None = None
        self._listeners: dict[int, list[tuple[int, int, Owner]]] | None = None

    def listening(self, changes: Transitions) -> bool:
        """Learn of processes that began to listen; say whether there are new ones of this namespace.

        Of one that is gone already the exit is in the trace's next part: it is looked for then once more.
        """
        if not self._people.numbers_tell:
            return False
        new = False
        begun = np.flatnonzero(changes.new_state == LISTEN)
        columns = (column[begun].tolist() for column in (changes.local_port, changes.thread, changes.times))
        now = list(zip(*columns, strict=True))
        again, self._unknown = self._unknown, []
        for place, (port, thread, time) in enumerate([*again, *now]):
            actor = self._people.find(thread, time)
            if untold(actor) and place >= len(again) and thread > 0:
                self._unknown.append((port, thread, time))
            if actor is None or actor.network_namespace != self._netns:
                continue
            self._fresh[port] = time, Named(actor.pid, actor.program, "inferred")
            self._fresh.move_to_end(port)
            if len(self._fresh) > _FRESH:
                self._fresh.popitem(last=False)
            new = True
        return new

    def observed(self, began_us: int, told: Ints, remnants: Ints, *, whole: bool) -> None:
        """Note that the ledger took in a reading, `whole` or not; of the cookies `told` all is said.

        Of the sockets `remnants`, the reading saw only what is left of them: their ends may be announced
        some readings later.
        """
        self._remnants_read.append((began_us, remnants))
        while self._remnants_read[0][0] < began_us - _REMNANTS_KEPT_US:
            self._remnants_read.popleft()
        self._remnants = np.concatenate([some for _, some in self._remnants_read])
        self._listeners, self._reading = None, None
        if whole:
            self._forget_fresh()
            self._read_before = began_us * 1000
        self._keep_gone(began_us, told)

    def reading(self, reading: Reading) -> None:
        """Learn of the sockets in a reading that the ledger has yet to take in, those in use."""
        sockets = reading.inet
        left = _remnant(sockets.state, sockets.inode)
        left |= (sockets.state == CLOSE) & (sockets.protocol == IPPROTO_TCP)
        cookie = sockets.cookie[~left] if left.any() else sockets.cookie
        self._reading = (reading.began_us * 1000, cookie)

    def seen(self, cookie: Ints, ended: Ints) -> Mask:
        """Mark the sockets that the last reading saw; `ended` in nanoseconds, or NEVER for not known."""
        mask: Mask = self._ledger.inet.find(cookie) >= 0
        if len(self._remnants) and mask.any():
            mask[mask] = ~np.isin(cookie[mask], self._remnants)
        if self._reading is None:
            return mask
        began, read = self._reading
        rows = np.flatnonzero(~mask & ((ended >= began) | (ended == NEVER)))
        if len(rows):
            # These are few, and what was read is much: it is looked up among them.
            few = np.sort(cookie[rows])
            place = np.minimum(np.searchsorted(few, read), len(few) - 1)
            mask[rows] = np.isin(cookie[rows], few[place[few[place] == read]])
        return mask

    def watched(self) -> list[int]:
        """Return the processes whose ends are worth knowing: who listens first, then all other holders."""
        holders = [named.pid for _, named in self._fresh.values() if named.pid is not None]
        for rows in self._by_port().values():
            for _, _, owner in rows:
                holders += owner.holders
        return list(dict.fromkeys([*holders, *self._ledger.ownership.pids]))

    def knows(self, cookie: Ints, ended: Ints) -> Mask:
        """Mark the sockets that a reading saw, and of which not all is said yet; `ended` as for `seen`."""
        mask = self.seen(cookie, ended)
        if self._limbo:
            mask |= np.fromiter((key in self._limbo for key in cookie.tolist()), np.bool_, len(cookie))
        return mask

    def fill_endpoints(self, lives: Lives) -> None:
        """Take the endpoints of sockets of which no event told them from what a reading saw."""
        rows = np.flatnonzero(lives.family == 0)
        places = self._ledger.inet.find(lives.cookie[rows])
        rows, places = rows[places >= 0], places[places >= 0]
        condition = self._ledger.inet.condition
        for name in ("family", "local_port", "remote_port"):
            getattr(lives, name)[rows] = condition[INET_ROW[name]][places]
        for name in ("local", "remote"):
            halves = [condition[INET_ROW[f"{name}_{half}"]][places] for half in ("high", "low")]
            getattr(lives, name)[rows] = np.stack(halves, axis=1).view(np.uint8)

    def of(self, cookie: Ints, lives: Lives) -> Owned:
        """Return the owners of sockets that ended; forgets those it had kept."""
        roster = self._ledger.inet
        owner = np.full(len(cookie), -1)
        state, last_seen = np.zeros(len(cookie), np.int64), np.full(len(cookie), NEVER)
        places = roster.find(cookie)
        sampled = self.seen(cookie, lives.closed)
        seen = np.flatnonzero((places >= 0) & sampled)
        unused = np.zeros(len(cookie), np.bool_)
        unused[seen] = ~roster.used[places[seen]]
        state[seen] = roster.condition[INET_ROW["state"]][places[seen]]
        # A sample that saw it in TIME_WAIT does not tell that it was open.
        open_ = seen[state[seen] != TIME_WAIT]
        last_seen[open_] = roster.last_seen[places[open_]]
        numbers, first, index = np.unique(
            roster.condition[INET_ROW["owner"]][places[seen]], return_index=True, return_inverse=True
        )
        owners, times = self._ledger.ownership.owners, lives.closed[seen][first].tolist()
        names = [self._named(owners[number], at) for number, at in zip(numbers.tolist(), times, strict=True)]
        owner[seen] = index
        if self._limbo:
            for row in np.flatnonzero(~sampled).tolist():
                kept = self._limbo.pop(int(cookie[row]), None)
                if kept is not None:
                    sampled[row], owner[row] = True, len(names)
                    state[row], keeper, last_seen[row], used = kept
                    unused[row] = not used
                    names.append(self._named(keeper, int(lives.closed[row])))
        sampled |= lives.ours
        unheld = np.array([named.pid is None for named in names] + [True])
        self._infer(np.flatnonzero(unheld[owner]), lives, owner, names)
        names.append(Named())
        owner[owner < 0] = len(names) - 1
        # Seen before it connected or listened, or after: of what it was then, events alone tell.
        unused &= lives.opened != NEVER
        sampled[unused], state[unused], last_seen[unused] = False, 0, NEVER
        return Owned(sampled, state, last_seen, owner, names)

    def unnamed(self, lives: Lives, rows: Ints) -> Mask:
        """Mark those of the rows of which it can't be told now, but later, who connected, or who listened."""
        if not self._people.numbers_tell:
            return np.zeros(len(rows), np.bool_)
        mask: Mask = lives.role[rows] == CLIENT
        listened = np.isin(lives.local_port[rows], [port for port, _, _ in self._unknown]) & ~mask
        threads, first, index = np.unique(lives.opener[rows[mask]], return_index=True, return_inverse=True)
        times = lives.opened[rows[mask]][first].tolist()
        gone = [
            thread > 0 and untold(self._people.find(thread, at))
            for thread, at in zip(threads.tolist(), times, strict=True)
        ]
        mask[mask] = np.array(gone, np.bool_)[index]
        return mask | listened

    def _forget_fresh(self) -> None:
        """Forget who began to listen before the reading before this one.

        Not of whom no reading tells: who closes a listener while it is read is not found to hold it.
        """
        rows = self._by_port()
        for port, (time, _) in list(self._fresh.items()):
            known = all(owner.pid is not None for _, _, owner in rows.get(port, ()))
            if time < self._read_before and known:
                del self._fresh[port]

    def _keep_gone(self, began_us: int, told: Ints) -> None:
        """Keep who held what the last reading did not find any more, until its end is announced.

        A socket that was reset may stay open for hours. Of what samples saw in TIME_WAIT the end was
        announced long ago, or is at once.
        """
        gone = self._ledger.inet.gone
        left = np.flatnonzero(~np.isin(gone.key, told) & ~np.isin(gone.key, self._remnants))
        owners = self._ledger.ownership.owners
        kept = (gone.key, gone.state, gone.owner, gone.last_seen, gone.used)
        for key, state, owner, last_seen, used in zip(
            *(column[left].tolist() for column in kept), strict=True
        ):
            self._limbo[key] = (state, owners[owner], last_seen, used)
            if len(self._limbo) > _LIMBO:
                self._limbo.popitem(last=False)
        remnants = gone.key[left][_remnant(gone.state[left], gone.inode[left])]
        self._limbo_remnants.append((began_us, remnants.tolist()))
        while self._limbo_remnants[0][0] < began_us - _REMNANTS_KEPT_US:
            for key in self._limbo_remnants.popleft()[1]:
                self._limbo.pop(key, None)

    def _named(self, owner: Owner, at_ns: int) -> Named:
        """Return who held a socket by samples; its exit names a process that was gone before it was read."""
        program = owner.program
        if owner.pid is not None and program is None:
            actor = self._people.find(owner.pid, at_ns)
            program = None if actor is None else actor.program
        return Named(owner.pid, program, None if owner.pid is None else "sample", owner.holders)

    def _infer(self, rows: Ints, lives: Lives, owner: Ints, names: list[Named]) -> None:
        """Find the owners of sockets that no sample named: who connected, or who listens."""
        client = lives.role[rows] == CLIENT
        connected = rows[client]
        threads, first, index = np.unique(lives.opener[connected], return_index=True, return_inverse=True)
        found = np.full(len(threads), -1)
        times = lives.opened[connected][first].tolist()
        for place, (thread, at) in enumerate(zip(threads.tolist(), times, strict=True)):
            actor = self._people.find(thread, at)
            if actor is not None and actor.pid is not None:
                found[place] = len(names)
                names.append(Named(actor.pid, actor.program, "event"))
        owner[connected] = np.where(found[index] >= 0, found[index], owner[connected])
        accepted = rows[~client]
        high, low = (np.ascontiguousarray(lives.local[accepted]).view(np.int64)[:, n] for n in (0, 1))
        ports = lives.local_port[accepted]
        places, index = np.unique(np.stack((ports, high, low)), axis=1, return_inverse=True)
        found = np.full(places.shape[1], -1)
        for place, (port, one_high, one_low) in enumerate(places.T.tolist()):
            named = self._listener(port, one_high, one_low)
            if named is not None:
                found[place] = len(names)
                names.append(named)
        index = index.ravel()
        owner[accepted] = np.where(found[index] >= 0, found[index], owner[accepted])

    def _listener(self, port: int, high: int, low: int) -> Named | None:
        """Return who listens on a port, on that address rather than on any."""
        rows = self._by_port().get(port, [])
        exact = [row for row in rows if row[:2] == (high, low)]
        for _, _, holder in exact or [row for row in rows if row[:2] == _ANY]:
            if holder.pid is not None:
                return Named(holder.pid, holder.program, "inferred", holder.holders)
        _, named = self._fresh.get(port, (0, None))
        return named

    def _by_port(self) -> dict[int, list[tuple[int, int, Owner]]]:
        if self._listeners is None:
            condition = self._ledger.inet.condition
            places = np.flatnonzero(
                (condition[INET_ROW["state"]] == LISTEN) & (condition[INET_ROW["protocol"]] == IPPROTO_TCP)
            )
            columns = (
                condition[INET_ROW[name]][places].tolist()
                for name in ("local_port", "local_high", "local_low", "owner")
            )
            owners = self._ledger.ownership.owners
            self._listeners = {}
            for port, high, low, owner in zip(*columns, strict=True):
                self._listeners.setdefault(port, []).append((high, low, owners[owner]))
        return self._listeners


def _remnant(state: NDArray[Any], inode: NDArray[Any]) -> Mask:
    """Mark what is left of sockets that closed. One in FIN_WAIT2 may still be a socket, without a holder."""
    mask: Mask = (state == TIME_WAIT) | ((state == FIN_WAIT2) & (inode == 0))
    return mask
