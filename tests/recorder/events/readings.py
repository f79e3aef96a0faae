"""What a reading shows, as the ledger lays it out, and what events tell of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sockrec.recorder import observed
from sockrec.recorder.events.exact import Exact, Moments
from sockrec.recorder.seen import Condition, Ints, Observed
from tests.recorder.events.support import ANCHOR, NETNS, Change, inet, numbers, transitions_of


def at(boot_us: int) -> int:
    """Return a moment of CLOCK_BOOTTIME, microseconds, as it is recorded."""
    return ANCHOR + boot_us


def reading(*sockets: dict[str, Any]) -> Observed:
    """Return a reading of some sockets."""
    return observed.of_inet(inet([{"inode": 0, "uid": 0} | one for one in sockets]), ())


def seen(*sockets: dict[str, Any]) -> tuple[Ints, Condition]:
    """Return the identities of some sockets and what they are in."""
    found = reading(*sockets)
    return found.key, found.condition


def moments(*known: tuple[int, int, int]) -> Moments:
    """Return moments given as key, state, CLOCK_BOOTTIME microseconds."""
    found = Moments()
    for key, state, boot_us in known:
        found.add(numbers([key]), numbers([state]), numbers([at(boot_us)]))
    return found


def exact(
    *changes: Change,
    complete_since: int = 0,
    left: Moments | None = None,
    closed: Moments | None = None,
    remnants: tuple[Moments, ...] = (),
    announced: Moments | None = None,
    told: tuple[int, ...] = (),
    namespace_of: Callable[[int, int], int | None] = lambda *_: None,
) -> Exact:
    """Return what is known of a reading; times of the changes are nanoseconds, others CLOCK_BOOTTIME us."""
    return Exact(
        anchor_us=ANCHOR,
        netns=NETNS,
        changes=transitions_of(changes),
        complete_since=at(complete_since),
        left=left or Moments(),
        closed=closed or Moments(),
        remnants=remnants,
        announced=announced or Moments(),
        announced_pairs=Moments(),
        told=numbers(told),
        half_closed=set(),
        namespace_of=namespace_of,
    )


def ask_entered(
    found: Exact, *sockets: dict[str, Any], after: int = 100, until: int = 200, fresh: bool = True
) -> tuple[list[int | None], list[bool]]:
    """Return when each socket came into its state, CLOCK_BOOTTIME microseconds, and what is inferred."""
    key, condition = seen(*sockets)
    n = len(key)
    times, inferred = found.entered(key, condition, np.full(n, fresh), np.full(n, at(after)), at(until))
    return _boot(times), inferred.tolist()


def ask_leave(
    found: Exact, *sockets: dict[str, Any], after: int = 100, until: int = 200
) -> tuple[list[int | None], list[bool]]:
    """Return by when each socket left its state, CLOCK_BOOTTIME microseconds, and what is exact."""
    key, condition = seen(*sockets)
    times, sure = found.leave(key, condition, np.full(len(key), at(after)), at(until))[:2]
    return _boot(times), sure.tolist()


def _boot(times: Ints) -> list[int | None]:
    return [None if time < 0 else time - ANCHOR for time in times.tolist()]
