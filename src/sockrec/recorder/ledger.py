"""The ledger: the recorder's memory of every live socket, which turns readings into changes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from socket import AF_INET6, IPPROTO_TCP
from typing import Final

import numpy as np

from sockrec.kernel.arrays import ACTIVITY_FIELDS, MEMORY_FIELDS, UnixSockets
from sockrec.kernel.cgroups import Cgroups
from sockrec.kernel.sockets import NUMBERS, Reading
from sockrec.model import states, tables
from sockrec.recorder import observed
from sockrec.recorder.activity import Fields, Moved
from sockrec.recorder.columns import address_texts
from sockrec.recorder.observed import INET_CONDITION, INET_ROW, UNIX_CONDITION, UNIX_ROW
from sockrec.recorder.ownership import BegunProcess, EndedProcess, Ownership
from sockrec.recorder.roster import Exact, Roster, Step
from sockrec.recorder.seen import NEVER, Ints, Match, Observed, Times

_UNIX_QUEUES: Final = ("refcount", "recv_q", "send_q", "backlog_limit")
UNIX_ACTIVITY: Final = (*_UNIX_QUEUES, *MEMORY_FIELDS)
# None yet (it waits for room in a queue), SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET.
_UNIX_TYPES: Final = (0, 1, 2, 5)
_DEADLINE: Final = ACTIVITY_FIELDS.index("timer_deadline")
_INET_FIELDS: Final = Fields.named(
    ACTIVITY_FIELDS,
    tables.ALWAYS_WRITTEN,
    tables.WRITTEN_AT_ONCE,
    tables.COUNTED_IF_KNOWN,
    "timer_deadline",
    tables.WRITTEN_ALONG,
)
_UNIX_FIELDS: Final = Fields.named(
    UNIX_ACTIVITY,
    (*_UNIX_QUEUES, "drops"),
    present=("rcvbuf",),
    companions=tuple(name for name in tables.WRITTEN_ALONG if name in UNIX_ACTIVITY),
)
_NOTHING: Final = Step((), (), Moved.none(_INET_FIELDS))


@dataclass(frozen=True, slots=True)
class Changes:
    """All that one sample changed, in the ledger's own numbers; `recorder.rows` makes tables of it."""

    times: Times
    inet: Step
    unix: Step
    processes_begun: list[BegunProcess]
    processes_ended: list[EndedProcess]

    @property
    def nothing(self) -> bool:
        """Say whether there is no row to write."""
        spans = (self.inet.ended, self.inet.begun, self.unix.ended, self.unix.begun)
        return not any((*spans, len(self.inet.moved), len(self.unix.moved), self.processes_ended))

    @property
    def count(self) -> int:
        """Rows of sockets begun or ended."""
        return self.inet.changes + self.unix.changes


class Ledger:
    """Every live socket and its owner.

    `anchor_us` is the wall clock minus the boot clock when the recording began: all times it hands
    on are the boot clock plus that. `counters_us` is the least time between two writings of one
    socket's counters; None for never.
    """

    def __init__(self, anchor_us: int, counters_us: int | None) -> None:
        self.anchor_us = anchor_us
        self.inet = Roster(
            len(INET_CONDITION),
            _INET_FIELDS,
            inode_row=INET_ROW["inode"],
            owner_row=INET_ROW["owner"],
            state_row=INET_ROW["state"],
            pace_us=counters_us,
        )
        self.unix = Roster(
            len(UNIX_CONDITION),
            _UNIX_FIELDS,
            inode_row=UNIX_ROW["inode"],
            owner_row=UNIX_ROW["owner"],
            state_row=UNIX_ROW["state"],
            pace_us=counters_us,
        )
        self.ownership = Ownership(anchor_us)
        self.cgroups = Cgroups()
        self.uids: set[int] = set()
        self.paths: list[str | None] = []
        self._path_numbers: dict[str | None, int] = {}

    def observe(self, reading: Reading, thrifty: bool = False, exact: Exact | None = None) -> Changes:
        """Take in one reading of all sockets; `thrifty` walks fewer processes for their owners.

        `exact` knows what events tell of its changes.
        """
        times = Times(reading.began_us + self.anchor_us, reading.ended_us + self.anchor_us)
        doubtful = {NUMBERS[name] for name in reading.failed if name in NUMBERS}
        inet = observed.of_inet(reading.inet, doubtful)
        deadline = inet.activity[_DEADLINE]
        deadline[deadline != NEVER] += self.anchor_us
        inet, inet_match = self.inet.match(inet)
        unix, unix_match = self.unix.match(self._unix(reading))
        changed = self.ownership.update(self._inodes(inet, unix), times, reading.ended_us, thrifty)
        steps = []
        for roster, seen, match, row in (
            (self.inet, inet, inet_match, INET_ROW),
            (self.unix, unix, unix_match, UNIX_ROW),
        ):
            self._own(roster, seen, match, row, changed)
            steps.append(roster.observe(seen, match, times, exact if roster is self.inet else None))
            self._meet_users(roster.condition[row["uid"]], steps[-1])
        return Changes(times, steps[0], steps[1], self.ownership.begun, self.ownership.ended)

    def observe_listeners(self, reading: Reading, exact: Exact | None = None) -> Changes:
        """Take in a reading of the listening TCP sockets alone; nothing is said of the others."""
        times = Times(reading.began_us + self.anchor_us, reading.ended_us + self.anchor_us)
        seen = observed.of_listeners(reading.inet)
        if reading.failed:
            self.inet.observe_nothing()
            return Changes(times, _NOTHING, _NOTHING, [], [])
        step = self.inet.observe_same(seen, times)
        if step is not None:
            return Changes(times, step, _NOTHING, [], [])
        seen, match = self.inet.match(seen)
        alive = self._inodes(seen, None)
        changed = self.ownership.update(alive, times, reading.ended_us, thrifty=True)
        self._own(self.inet, seen, match, INET_ROW, changed)
        step = self.inet.observe(seen, match, times, exact)
        self._meet_users(self.inet.condition[INET_ROW["uid"]], step)
        return Changes(times, step, _NOTHING, self.ownership.begun, self.ownership.ended)

    def find_again(self, times: Times) -> Changes:
        """Begin a new recording with the sample just taken: everything is found in it."""
        return replace(self.carry(times.ended, "found"), times=times)

    def carry(self, began: int, begun_as: str = "carried") -> Changes:
        """Begin a new journal part at the sample that began then: everything again, whole."""
        used = np.concatenate(
            (self.inet.condition[INET_ROW["owner"]], self.unix.condition[UNIX_ROW["owner"]])
        )
        processes, renumber = self.ownership.carry(used, began, begun_as)
        for roster, row in ((self.inet, INET_ROW), (self.unix, UNIX_ROW)):
            owner = roster.condition[row["owner"]]
            owner[:] = renumber[owner]
        self._forget_paths()
        self.cgroups.forget_all_but(np.unique(self.inet.condition[INET_ROW["cgroup"]]).tolist())
        inet, unix = (
            Step((), (roster.carry(began, begun_as),), roster.activity.carry(roster.key, began))
            for roster in (self.inet, self.unix)
        )
        return Changes(Times(began, began), inet, unix, processes, [])

    def addresses_begun(self, changes: Changes) -> set[str]:
        """Return the addresses of the internet sockets that a sample found new."""
        new = [begun.places for begun in changes.inet.begun if begun.begun_as in ("found", "opened")]
        if not new:
            return set()
        places = np.concatenate(new)
        column = {name: self.inet.condition[row][places] for name, row in INET_ROW.items()}
        ipv6 = column["family"] == AF_INET6
        ends = [(column[f"{side}_high"], column[f"{side}_low"]) for side in ("local", "remote")]
        return {text for high, low in ends for text in address_texts(high, low, ipv6)}

    def finish(self) -> Changes:
        """Return what was held back: the counters that moved since they were last written."""
        inet, unix = (Step((), (), one.activity.finish(one.key)) for one in (self.inet, self.unix))
        return Changes(Times(0, 0), inet, unix, [], [])

    def count_states(self) -> Counter[str]:
        """Return how many internet sockets are in each state, UDP and raw ones by their protocol."""
        tcp = self.inet.condition[INET_ROW["protocol"]] == IPPROTO_TCP
        counts = Counter({"datagram": int((~tcp).sum()), "unix": len(self.unix)})
        for number, count in enumerate(np.bincount(self.inet.condition[INET_ROW["state"]][tcp]).tolist()):
            if count:
                counts[states.NAMES.get(number, str(number))] += count
        return +counts

    def _unix(self, reading: Reading) -> Observed:
        sockets = reading.unix
        queues = (sockets.refcount, sockets.recv_q, sockets.send_q, sockets.backlog_limit)
        activity = np.vstack((*queues, sockets.memory))
        doubtful = _UNIX_TYPES if "unix" in reading.failed else ()
        return observed.of_unix(sockets, activity, self._number_paths(sockets), doubtful)

    def _number_paths(self, sockets: UnixSockets) -> Ints:
        numbers = np.empty(len(sockets), np.int64)
        for place, path in enumerate(sockets.paths(np.arange(len(sockets)))):
            number = self._path_numbers.setdefault(path, len(self.paths))
            if number == len(self.paths):
                self.paths.append(path)
            numbers[place] = number
        return numbers

    def _forget_paths(self) -> None:
        """Number anew only the paths still in use, so that gone ones take no memory for ever."""
        column = self.unix.condition[UNIX_ROW["path"]]
        used, column[:] = np.unique(column, return_inverse=True)
        self.paths = [self.paths[number] for number in used.tolist()]
        self._path_numbers = {path: number for number, path in enumerate(self.paths)}

    def _inodes(self, inet: Observed, unix: Observed | None) -> Ints:
        """Return the inodes of all sockets alive, unique: those seen, and those that were not looked at."""
        parts = [inet.condition[INET_ROW["inode"]]]
        if unix is not None:
            parts.append(unix.condition[UNIX_ROW["inode"]])
        if unix is None or inet.doubtful or unix.doubtful:
            parts += [self.inet.condition[INET_ROW["inode"]], self.unix.condition[UNIX_ROW["inode"]]]
        inodes: Ints = np.sort(np.concatenate(parts))
        # np.unique hashes: 20 times the time of the sort.
        alive: Ints = inodes[(inodes > 0) & (np.diff(inodes, prepend=0) != 0)]
        return alive

    def _meet_users(self, uid: Ints, step: Step) -> None:
        for begun in step.begun:
            self.uids.update(number for number in set(uid[begun.places].tolist()) if number != NEVER)

    def _own(self, roster: Roster, seen: Observed, match: Match, row: dict[str, int], changed: Ints) -> None:
        """Fill in the owner's number of every socket read."""
        inode, state = seen.condition[row["inode"]], seen.condition[row["state"]]
        before = np.where(match.known, match.was(roster.condition[row["owner"]]), -1)
        same = match.was(roster.condition[row["inode"]]) == inode
        seen.condition[row["owner"]][:] = self.ownership.number(inode, state, before, same, changed)
