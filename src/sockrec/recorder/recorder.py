"""One recording: a sample at each tick, from the first to the one taken as it stops."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from sockrec.errors import UsageError
from sockrec.kernel import host, names
from sockrec.kernel.sockets import Reading, SocketReader
from sockrec.model.tables import FORMAT_VERSION
from sockrec.recorder.ledger import Ledger
from sockrec.recorder.writer import Writer
from sockrec.store import layout, recordings
from sockrec.store.lock import RecorderLock
from sockrec.version import __version__

LEAST_INTERVAL_US: Final = 50_000
# Two samples shall begin less than one interval apart, so that an answer's bounds are: a tick comes
# early by more than the kernel is late in waking us and than a small host takes to be read.
_EARLY_SHARE: Final = 20
_EARLY_MOST_US: Final = 10_000


@dataclass(frozen=True, slots=True)
class Options:
    """How to record; all times in microseconds."""

    interval_us: int = 1_000_000
    for_us: int | None = None
    sync_us: int = 1_000_000
    command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.interval_us < LEAST_INTERVAL_US:
            raise UsageError(f"an interval of {self.interval_us / 1000:g} ms is too short; the least is 50ms")
        if self.for_us is not None and self.for_us <= 0:
            raise UsageError("--for must be longer than nothing")

    @property
    def period_us(self) -> int:
        """From one tick to the next."""
        return self.interval_us - min(self.interval_us // _EARLY_SHARE, _EARLY_MOST_US)


@dataclass(slots=True)
class Status:
    """Where a recording stands, for its live line and its last word."""

    elapsed_us: int = 0
    samples: int = 0
    sockets: Counter[str] = field(default_factory=Counter)
    changes: int = 0
    bytes: int = 0
    cpu_percent: float = 0.0
    ticks_missed: int = 0
    incomplete: int = 0


class Recorder:
    """Records this host's sockets, as the calling thread's network namespace has them, into a capture.

    Raises `CaptureError` if another recorder writes this host's part of the capture, or if it can't
    be written, `KernelError` if the kernel's sockets can't be read.
    """

    def __init__(self, capture: Path, options: Options, recording: str) -> None:
        self.options = options
        self.status = Status()
        self.stop = threading.Event()
        self._recording = recording
        self._layout = layout.Layout(capture)
        self._host = host.hostname()
        self._lock = RecorderLock(self._layout, self._host)
        self._reader = SocketReader()
        self._boot_us = host.boot_us()
        self._anchor_us = host.anchor_us()
        self._ledger = Ledger(self._anchor_us)
        self._cpu_us = 0
        self._lacks = _lacks()
        self._facts = self._describe()

    @property
    def lacks(self) -> list[str]:
        """What missing privileges keep from this recording, a line each."""
        return self._lacks

    @property
    def unavailable(self) -> list[str]:
        """What this kernel does not give it, a line each; whole once the first sample is taken."""
        return list(self._reader.unavailable)

    def run(
        self,
        on_sample: Callable[[Status], None] = lambda _: None,
        on_begun: Callable[[], None] = lambda: None,
    ) -> Status:
        """Record until `stop` is set or the time is up; the last sample is taken then.

        `on_begun` is called once, after the first sample is safe; `on_sample` after each.
        """
        writer = Writer(self._layout, self._host, self._facts, self._ledger, self.options.sync_us / 1e6)
        self._boot_us = host.boot_us()
        deadline = None if self.options.for_us is None else self._boot_us + self.options.for_us
        last = tick = missed = 0
        try:
            self._lock.announce(self._facts["recording"])
            self._write_facts()
            while True:
                writer.rotate_if_due()
                self._take(self._reader.read(), writer, missed)
                on_sample(self.status)
                if last:
                    break
                if self.status.samples == 1:
                    on_begun()
                tick, missed = self._next(tick)
                last = self._wait(self._boot_us + tick * self.options.period_us, deadline)
            self._facts |= {"ended_us": host.boot_us() + self._anchor_us, "ended_as": "stopped"}
            self._write_facts()
        finally:
            writer.close()
            self.status.bytes = writer.bytes
            self._reader.close()
            self._lock.close()
        return self.status

    def _take(self, reading: Reading, writer: Writer, missed: int) -> None:
        changes = self._ledger.observe(reading)
        status = self.status
        cpu_us = time.process_time_ns() // 1000
        writer.write(
            changes,
            {
                "number": status.samples,
                "began_at": changes.times.began,
                "ended_at": changes.times.ended,
                "boot_us": reading.began_us,
                "interval_us": self.options.interval_us,
                "sockets": len(reading.inet),
                "unix_sockets": len(reading.unix),
                "changes": changes.count,
                "complete": not reading.incomplete,
                "incomplete_why": "; ".join(reading.incomplete) or None,
                "ticks_missed": missed,
                "cpu_us": cpu_us - self._cpu_us,
                "clock_step_us": host.wall_us() - host.boot_us() - self._anchor_us,
            },
        )
        elapsed = host.boot_us() - self._boot_us
        status.cpu_percent = 100 * (cpu_us - self._cpu_us) / max(1, elapsed - status.elapsed_us)
        status.elapsed_us = elapsed
        status.samples += 1
        status.sockets = self._ledger.count_states()
        status.changes += changes.count
        status.bytes = writer.bytes
        status.ticks_missed += missed
        status.incomplete += bool(reading.incomplete)
        self._cpu_us = cpu_us

    def _next(self, tick: int) -> tuple[int, int]:
        """Return the next tick still to come, and how many went by meanwhile."""
        come = (host.boot_us() - self._boot_us) // self.options.period_us + 1
        return max(come, tick + 1), max(0, come - tick - 1)

    def _wait(self, due_us: int, deadline_us: int | None) -> bool:
        """Sleep until a tick is due; return whether the sample now taken is the last."""
        until = due_us if deadline_us is None else min(due_us, deadline_us)
        stopped = self.stop.wait(max(0, until - host.boot_us()) / 1e6)
        return stopped or (deadline_us is not None and deadline_us <= due_us)

    def _describe(self) -> dict[str, Any]:
        """Begin the recordings row: what a reader elsewhere must know of this host and run."""
        return {
            "format_version": FORMAT_VERSION,
            "sockrec_version": __version__,
            "recording": self._recording,
            "host": self._host,
            "kernel": host.kernel_release(),
            "machine": host.machine(),
            "boot_id": host.boot_id(),
            "time_zone": host.time_zone(),
            "netns": host.network_namespace(),
            "started_us": self._boot_us + self._anchor_us,
            "ended_us": None,
            "ended_as": None,
            "options": asdict(self.options),
            "privileges": host.privileges(),
            "unavailable": [],
            "names": {"services": names.services(), "protocols": names.protocols(), "hosts": names.hosts()},
        }

    def _write_facts(self) -> None:
        """Write the recordings row, with the names of the users met so far."""
        self._facts["unavailable"] = self._lacks + list(self._reader.unavailable)
        self._facts["names"]["users"] = names.users(self._ledger.uids)
        recordings.write_recording(self._layout.recording(self._host, self._facts["recording"]), self._facts)


def _lacks() -> list[str]:
    missing = sorted({"cap_sys_ptrace", "cap_dac_read_search"} - set(host.capabilities()))
    if not missing:
        return []
    names_ = " and ".join(name.upper() for name in missing)
    return [f"without {names_} the holders of other users' sockets stay unknown: run as root to see them"]
