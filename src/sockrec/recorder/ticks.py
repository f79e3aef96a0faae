"""The recorder's clock: when the next sample is due, and what went by meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sockrec.kernel import host
from sockrec.recorder.stop import Stop

# Two samples shall begin less than one interval apart, so that an answer's bounds are: a tick comes
# early by more than a busy kernel is late in waking us, who go behind everybody else, and than a
# small host takes to be read.
_EARLY_SHARE: Final = 10
_EARLY_MOST_US: Final = 20_000
_MEANWHILE_US: Final = 100_000


class Ticks:
    """Ticks at a steady pace from its making on, until `stop` is set or `for_us` is over.

    A tick that was missed is counted and left out: there is never a burst to catch up.
    """

    def __init__(self, interval_us: int, for_us: int | None, stop: Stop) -> None:
        self.began_us = host.boot_us()
        self.number = 0
        self.missed = 0
        self.last = False
        self._period_us = interval_us - min(interval_us // _EARLY_SHARE, _EARLY_MOST_US)
        self._deadline_us = None if for_us is None else self.began_us + for_us
        self._stop = stop

    @property
    def elapsed_us(self) -> int:
        """Microseconds since the first tick."""
        return host.boot_us() - self.began_us

    def wait(self, meanwhile: Callable[[], object] | None = None) -> None:
        """Sleep until the next tick; `number`, `missed` and `last` then tell of it.

        `meanwhile` is called every tenth of a second.
        """
        come = self.elapsed_us // self._period_us + 1
        self.missed = max(0, come - self.number - 1)
        self.number = max(come, self.number + 1)
        due_us = self.began_us + self.number * self._period_us
        if self._deadline_us is not None and self._deadline_us <= due_us:
            due_us, self.last = self._deadline_us, True
        while meanwhile is not None and due_us - host.boot_us() > _MEANWHILE_US:
            if self._stop.wait(_MEANWHILE_US / 1e6):
                break
            meanwhile()
        self.last |= self._stop.wait(max(0, due_us - host.boot_us()) / 1e6)
        self.missed += self.late(host.boot_us())

    def late(self, boot_us: int) -> int:
        """Return how many ticks more went by until a moment; `number` is then the last of them.

        The first sample begins late for nobody: ticks are counted from it.
        """
        if not self.number:
            self.began_us = boot_us
        late = max(0, (boot_us - self.began_us) // self._period_us - self.number)
        self.number += late
        return late
