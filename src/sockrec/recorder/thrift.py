"""How the recorder keeps its own CPU budget: when it reads all sockets, and when the listeners alone."""

from __future__ import annotations

import time
from typing import Final

from sockrec.kernel import host
from sockrec.recorder.budget import Budget, Cost

# The first sample reads every process: its cost is taken off the budget in this time, not at once.
# Else it would take so much of the first minute that the second sample came a third of a minute later.
_FIRST_OVER_US: Final = 300_000_000
# Events cost what the host does, and to leave them out is a loss: they may take so many times the share
# before that.
_EVENTS_TIMES: Final = 5
# A budget lets one sample go over in each of its periods, and what the end takes (the last sample, sealing)
# comes after it: the rest is kept for them.
_SHARE_USED: Final = 0.92
# Listeners read at a short interval may take the whole share: a sample that is cheap enough is taken all
# the same, so that no capture lacks minutes.
_MINUTE_US: Final = 60_000_000
_CHEAP: Final = 0.5
# Listeners are read at every tick, whatever that takes: judged over so long.
_LISTENERS_OVER_US: Final = 20_000_000


class Thrift:
    """Accounts for this process's CPU time against a share of one core; None for no limit.

    Strained, it asks for cheaper owners first; when that is not enough, for samples further apart.
    `startup_us` was spent before: it counts as the first sample does.
    """

    def __init__(self, share: float | None, startup_us: int = 0) -> None:
        self._budget = None if share is None else Budget(share * _SHARE_USED, host.boot_us())
        self._events = None if share is None else Budget(share * _EVENTS_TIMES, host.boot_us())
        self._cost = Cost()
        self._spent_us = self._sample_spent_us = cpu_us()
        self._began_us = self._at_us = self._sampled_us = host.boot_us()
        self._cheap_us = 0.0 if share is None else _CHEAP * share * _MINUTE_US
        self._share = share
        self._thread_us = thread_us()
        self._listeners_us = self._listeners_over_us = 0
        self._sampled_tick = 0
        self._startup_us = startup_us
        self._events_us = 0
        self._first_us: int | None = None
        self._first_paid_us = 0
        self.percent = 0.0

    @property
    def strained(self) -> bool:
        """Whether less than half of the budget is left."""
        return self._budget is not None and self._budget.strained(host.boot_us())

    def spend_on_events(self, began_us: int) -> None:
        """Take what was spent since the process had used `began_us` of CPU time (`cpu_us`) as for events."""
        if self._events is not None:
            took_us = cpu_us() - began_us
            self._events.spend(host.boot_us(), took_us)
            self._events_us += took_us

    @property
    def events_too_dear(self) -> bool:
        """Whether events took more than they may."""
        return self._events is not None and self._events.exhausted(host.boot_us())

    @property
    def events_cheap_again(self) -> bool:
        """Whether less than half of what they may take was spent on events of late."""
        return self._events is None or not self._events.strained(host.boot_us())

    @property
    def listeners_percent(self) -> float | None:
        """What ticks without a sample take of a core, if that alone is more than the share; else None."""
        if self._share is None or self._listeners_over_us < _LISTENERS_OVER_US:
            return None
        share = self._listeners_us / self._listeners_over_us
        return 100 * share if share > self._share else None

    def wants_all(self, tick: int) -> bool:
        """Say whether all sockets may be read at this tick: once a minute, if that takes half the share."""
        if self._budget is None or not tick:
            return True
        now_us = host.boot_us()
        allowed = self._budget.allows(now_us, self._cost.expected_us)
        return allowed or (
            now_us - self._sampled_us >= _MINUTE_US and self._cost.expected_us <= self._cheap_us
        )

    def sampled(self, tick: int) -> None:
        """Note that all sockets were read at this tick."""
        self._sampled_tick, self._sampled_us = tick, host.boot_us()

    def since_sample(self) -> int:
        """Return the CPU time since this was last asked, microseconds: since the sample before."""
        spent_us = cpu_us()
        since, self._sample_spent_us = spent_us - self._sample_spent_us, spent_us
        return since

    def account(self, tick: int) -> None:
        """Take what was spent since the last tick off the budget; it tells what a sample costs."""
        now_us, spent_us, in_thread_us = host.boot_us(), cpu_us(), thread_us()
        # Samples do not become fewer for events, which have a budget of their own.
        took_us = spent_us - self._spent_us - self._events_us
        if tick == self._sampled_tick:
            self._cost.add(took_us)
        else:
            # What seals beside it is not for the listeners.
            self._listeners_us += in_thread_us - self._thread_us - self._events_us
            self._listeners_over_us += now_us - self._at_us
        self._events_us = 0
        if self._first_us is None:
            self._first_us = self._startup_us + took_us
        elif self._budget is not None:
            due_us = self._first_us * min(1.0, (now_us - self._began_us) / _FIRST_OVER_US)
            repaid_us = round(due_us) - self._first_paid_us
            self._first_paid_us += repaid_us
            self._budget.spend(now_us, took_us + repaid_us)
        self.percent = 100 * (spent_us - self._spent_us) / max(1, now_us - self._at_us)
        self._spent_us, self._at_us, self._thread_us = spent_us, now_us, in_thread_us


def cpu_us() -> int:
    """Return the CPU time of this process with all its threads, microseconds."""
    return time.process_time_ns() // 1000


def thread_us() -> int:
    """Return the CPU time of the calling thread, microseconds."""
    return time.thread_time_ns() // 1000
