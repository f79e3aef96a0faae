"""When the network namespace is read: at a pace of its own, and as soon as the kernel announces a change."""

from __future__ import annotations

from typing import Final

from sockrec.kernel.host import boot_us
from sockrec.kernel.network import NetworkReader
from sockrec.recorder.network import NetworkLedger

# What is announced again and again (a route that flaps among 100,000) is not read all the time: after a
# reading that took a millisecond the next announcement waits for 50.
_REST_TIMES: Final = 50


class NetworkWatch:
    """Reads the calling thread's network namespace into a ledger, all of it every `slow_us`."""

    def __init__(self, ledger: NetworkLedger, slow_us: int) -> None:
        self._ledger = ledger
        self._slow_us = slow_us
        self._reader = NetworkReader()
        self._due_us = self._rests_until_us = 0

    @property
    def unavailable(self) -> tuple[str, ...]:
        """What can't be read, or is not announced, a line each; whole after a first reading."""
        return self._reader.unavailable

    def at_sample(self, *, due: bool) -> None:
        """Read everything if it is time to, or `due` says so."""
        now_us = boot_us()
        if due or now_us >= self._due_us:
            self._ledger.observe(self._reader.read())
            # Of two samples the one that is nearer.
            self._due_us = now_us + self._slow_us - min(self._slow_us // 2, 100_000)

    def between_samples(self) -> None:
        """Read what was announced to have changed, if anything was."""
        now_us = boot_us()
        if now_us < self._rests_until_us:
            return
        reading = self._reader.read_announced()
        if reading is None:
            self._ledger.still(self._reader.announces, now_us)
            return
        self._ledger.observe(reading)
        self._rests_until_us = boot_us() + _REST_TIMES * (reading.ended_us - reading.began_us)

    def close(self) -> None:
        """Close the kernel's sockets."""
        self._reader.close()
