"""A recorder's events without a kernel: scripted sources, a ledger, and readings made by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from sockrec.kernel.arrays import UnixSockets
from sockrec.kernel.sockets import Reading
from sockrec.recorder import observed
from sockrec.recorder.events.exact import Exact
from sockrec.recorder.events.happened import Happened
from sockrec.recorder.events.log import EventLog
from sockrec.recorder.ledger import Ledger
from sockrec.recorder.observed import INET_ROW
from sockrec.recorder.ownership import Owner
from sockrec.recorder.roster import EVENT, INFERRED, SAMPLE, Step
from sockrec.recorder.seen import NEVER, Ints, Times
from tests.recorder.events.support import ANCHOR, NETNS, Host, Script, Scripted, clock, inet, made_up

READING_US = 1000
EVIDENCE = {SAMPLE: "sample", EVENT: "event", INFERRED: "inferred"}


def boot(recorded: int) -> int | None:
    """Return a recorded moment as CLOCK_BOOTTIME microseconds, None for never."""
    return None if recorded == NEVER else recorded - ANCHOR


@dataclass(frozen=True)
class Told:
    """A row of `closed` as a test reads it; times in CLOCK_BOOTTIME microseconds."""

    cookie: int
    not_before: int | None
    not_after: int | None
    opened: int | None
    sampled: bool
    pid: int | None
    counted: bool


@dataclass
class Stage:
    """One recording; `host` has its processes."""

    sources: Scripted
    host: Host
    ledger: Ledger = field(default_factory=lambda: Ledger(ANCHOR, None))
    step: Step | None = None
    exact: Exact | None = None

    def __post_init__(self) -> None:
        self.log = EventLog(self.sources, self.ledger, NETNS)
        self.ledger.ownership.owners.append(Owner(None, None, (), "kernel"))

    def drain(self, after_us: int = 0, *scripts: Script, last: bool = False) -> Happened:
        """Let time go by, and drain what a script says."""
        self.sources.now += after_us
        self.sources.next += scripts
        return self.log.drain(last=last)

    def began_long_ago(self) -> None:
        """Take a first sample two seconds before: what is announced from now on has ended since."""
        now = self.sources.now
        self.sources.now -= 2_000_000
        self.sample(0)
        self.sources.now = now

    def sample(self, after_us: int, *sockets: dict[str, Any], script: Script | None = None) -> Happened:
        """Let time go by until a reading begins; drain, and take it into the ledger.

        A socket's `owner` is a pid.
        """
        self.sources.now += after_us
        began, ended = self.sources.now, self.sources.now + READING_US
        self.sources.now = ended + 1500
        rows = [{"inode": 0, "uid": 0} | socket for socket in sockets]
        pids = [row.pop("owner", None) for row in rows]
        found = Reading(inet(rows), UnixSockets.empty(), began, ended, (), frozenset())
        if script is not None:
            self.sources.next.append(script)
        happened = self.log.drain(found)
        self.exact = self.log.exact()
        seen, match = self.ledger.inet.match(observed.of_inet(found.inet, ()))
        for place, pid in enumerate(pids):
            seen.condition[INET_ROW["owner"]][place] = self._owner(pid)
        times = Times(began + ANCHOR, ended + ANCHOR)
        self.step = self.ledger.inet.observe(seen, match, times, self.exact)
        self.log.observed(began, self.exact, whole=True)
        return happened

    def begun(self, key: int) -> tuple[str, int | None, int | None, str]:
        """Return how and when a row of a socket began in the last sample, and how that is known."""
        assert self.step is not None
        for one in self.step.begun:
            for row, place in enumerate(one.places.tolist()):
                if int(self.ledger.inet.key[place]) == key:
                    after = None if one.begun_after is None else boot(int(one.begun_after[row]))
                    told = SAMPLE if one.told is None else int(one.told[row])
                    return one.begun_as, after, boot(int(one.first_seen[row])), EVIDENCE[told]
        raise KeyError(key)

    def ended(self) -> list[tuple[str, int | None, int | None, str]]:
        """Return how and when rows ended in the last sample, and how that is known."""
        assert self.step is not None
        return [
            (one.ended_as, boot(last), boot(by), EVIDENCE[SAMPLE if one.told is None else int(one.told[row])])
            for one in self.step.ended
            for row, (last, by) in enumerate(zip(one.last_seen.tolist(), one.ended_by.tolist(), strict=True))
        ]

    def _owner(self, pid: int | None) -> int:
        if pid is None:
            return 0
        owner = Owner(pid, self.host.programs.get(pid), (pid,), "held")
        owners = self.ledger.ownership.owners
        if owner not in owners:
            owners.append(owner)
        return owners.index(owner)


def closed(happened: Happened) -> list[Told]:
    """Return the rows of connections that closed."""
    found = happened.closed
    if found is None:
        return []
    return [
        Told(
            int(found.sockets.cookie[row]),
            boot(int(found.not_before[row])),
            boot(int(found.not_after[row])),
            _us(found.lives.opened, row),
            bool(found.owned.sampled[row]),
            found.owned.of(row).pid,
            bool(found.counted[row]),
        )
        for row in happened.plain.tolist()
    ]


def _us(times: Ints, row: int) -> int | None:
    return None if times[row] == NEVER else int(times[row]) // 1000


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Give a recording with all sources, that begins at 1,000,000 us."""
    return make(monkeypatch)


def make(monkeypatch: pytest.MonkeyPatch, **sources: bool) -> Stage:
    """Return a recording with some sources."""
    made = Scripted(**sources)
    clock(monkeypatch, made)
    return Stage(made, made_up(monkeypatch))
