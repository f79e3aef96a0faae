"""The recorder's CPU budget: when it may take a full sample, and what one is expected to cost.

The budget is an average over a period, so two things are decided together. How much: all that the
process spent within the last period counts, and is forgotten when it is a period old. How even:
while little more than half of that is spent, samples may follow each other as they come; from there on
what is left is spread so that it lasts until the oldest spending is forgotten. A token bucket alone
would allow twice the share in its first period, and an account of the last period alone would be
emptied in seconds and leave the rest of it unseen.
"""

from __future__ import annotations

from collections import deque
from typing import Final

# A period is accounted for in this many pieces, however often something is spent.
_PIECES: Final = 600

# The part of the limit that may be spent as it comes. More than the half that is a strain, so that
# walking owners less is tried before samples become fewer.
_EVEN_FROM: Final = 0.6


class Budget:
    """A share of one core, on average over `over_us` microseconds; all times CLOCK_BOOTTIME microseconds.

    Starts full. Once spending is over the limit nothing more is allowed until it is back below: any
    `over_us` long has at most `share * over_us` and the one sample that went over.
    """

    def __init__(self, share: float, now_us: int, over_us: int = 60_000_000) -> None:
        self._share = share
        self._over_us = over_us
        self._limit = share * over_us
        self._piece_us = max(1, over_us // _PIECES)
        # (end of the piece, CPU microseconds), the oldest first, and their sum.
        self._account: deque[tuple[int, int]] = deque()
        self._spent = 0
        # What has been put aside for the next sample while they are spread out.
        self._saved = 0.0
        self._saved_us = now_us

    def spend(self, now_us: int, cpu_us: int) -> None:
        """Take the CPU time that the process used since the last call."""
        self._forget(now_us)
        self._saved = max(0.0, self._saved - cpu_us)
        # By the end of its piece: forgotten late rather than early, so that never more is allowed.
        piece_us = -(-now_us // self._piece_us) * self._piece_us
        if self._account and self._account[-1][0] == piece_us:
            self._account[-1] = (piece_us, self._account[-1][1] + cpu_us)
        else:
            self._account.append((piece_us, cpu_us))
        self._spent += cpu_us

    def allows(self, now_us: int, cost_us: float) -> bool:
        """Return whether a sample expected to cost that much may be taken now.

        One that costs next to nothing, of the listening sockets alone, is asked for as 0 and always allowed.
        """
        if cost_us <= 0:
            return True
        self._forget(now_us)
        pace = self._pace(now_us, cost_us)
        # Twice, so that nothing is lost by being asked only at ticks.
        self._saved = min(self._saved + pace * (now_us - self._saved_us), 2 * cost_us)
        self._saved_us = now_us
        if self._spent > self._limit:
            return False
        return self._spent + cost_us <= self._limit * _EVEN_FROM or self._saved >= cost_us

    def strained(self, now_us: int) -> bool:
        """Return whether more than half is spent: time to walk owners less, before samples become fewer."""
        self._forget(now_us)
        return self._spent > self._limit / 2

    def exhausted(self, now_us: int) -> bool:
        """Return whether all is spent."""
        self._forget(now_us)
        return self._spent > self._limit

    def _forget(self, now_us: int) -> None:
        while self._account and self._account[0][0] <= now_us - self._over_us:
            self._spent -= self._account.popleft()[1]

    def _pace(self, now_us: int, cost_us: float) -> float:
        """Return the share of a core that can be spent evenly from now on.

        At no moment to come may more than the limit and one sample lie within a period.
        """
        pace = self._share
        left = self._limit + cost_us - self._spent
        for piece_us, cpu_us in self._account:
            pace = min(pace, left / (piece_us + self._over_us - now_us))
            left += cpu_us
        return max(0.0, pace)


class Cost:
    """What a sample is expected to cost, in CPU microseconds: an exponentially weighted mean.

    It follows a fall faster than a rise: one sample that cost much says little about the next, and
    while samples are rare a cost that fell must not take minutes to be believed.
    """

    _RISING: Final = 0.2
    _FALLING: Final = 0.5
    # The first sample reads every process and writes every row; the next ones cost a fraction.
    _AFTER_FIRST: Final = 0.25

    def __init__(self) -> None:
        self.expected_us: float = 0.0
        """0 before the first sample."""
        self._samples = 0

    def add(self, cpu_us: int) -> None:
        """Take what a sample did cost."""
        self._samples += 1
        if self._samples == 1:
            self.expected_us = cpu_us * self._AFTER_FIRST
        elif self._samples == 2:
            self.expected_us = float(cpu_us)
        else:
            weight = self._RISING if cpu_us > self.expected_us else self._FALLING
            self.expected_us += weight * (cpu_us - self.expected_us)
