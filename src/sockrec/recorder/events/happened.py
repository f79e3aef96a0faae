"""What is to be written of one drain of the event sources."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sockrec.kernel.arrays import InetSockets
from sockrec.kernel.process_events import Exec
from sockrec.recorder.events.causes import Cause, ProcessEnd
from sockrec.recorder.events.lives import Lives
from sockrec.recorder.events.owners import Owned
from sockrec.recorder.seen import Ints, Mask, Rows


@dataclass(frozen=True, slots=True)
class Lost:
    """Events of a source were lost between two moments, in recorded microseconds.

    A `count` of None: all from then on.
    """

    what: str
    count: int | None
    not_before: int
    not_after: int


@dataclass(slots=True)
class Closed:
    """Sockets that ended, n of them: what was announced, what was traced, who held them.

    Times are recorded microseconds. `counted` marks those whose `sockets` are what was announced;
    of the others only the cookie is. `lives` of those that were not traced are blank.
    """

    sockets: InetSockets
    lives: Lives
    counted: Mask
    not_before: Ints
    not_after: Ints
    owned: Owned

    def __len__(self) -> int:
        return len(self.not_after)


@dataclass(frozen=True, slots=True)
class StoppedListening:
    """A row of `Closed` that was a listener, with its cause."""

    closed: Closed
    row: int
    cause: Cause


@dataclass(slots=True)
class Happened:
    """What is to be written of one drain; `plain` are the rows of `closed` that were no listeners."""

    closed: Closed | None = None
    plain: Rows = field(default_factory=lambda: np.empty(0, np.intp))
    listeners: list[StoppedListening] = field(default_factory=list)
    processes: list[ProcessEnd] = field(default_factory=list)
    execs: list[tuple[Exec, str | None]] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)

    @property
    def events_lost(self) -> int:
        """How many events were lost, as far as that is known."""
        return sum(lost.count or 0 for lost in self.lost)

    @property
    def nothing(self) -> bool:
        """Say whether there is no row to write."""
        return not (len(self.plain) or self.listeners or self.processes or self.execs or self.lost)
