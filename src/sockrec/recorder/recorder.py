"""One recording: a sample at each tick, from the first to the one taken as it stops."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from sockrec.errors import UsageError
from sockrec.kernel import host, names, priority
from sockrec.kernel.sockets import Reading, SocketReader
from sockrec.model.tables import FORMAT_VERSION
from sockrec.recorder.events.exact import Exact
from sockrec.recorder.events.log import EventLog
from sockrec.recorder.events.sources import Sources
from sockrec.recorder.ledger import Ledger
from sockrec.recorder.stop import Stop
from sockrec.recorder.thrift import Thrift, cpu_us
from sockrec.recorder.ticks import Ticks
from sockrec.recorder.writer import Writer
from sockrec.store import layout, recordings
from sockrec.store.lock import RecorderLock
from sockrec.version import __version__

LEAST_INTERVAL_US: Final = 50_000
# A listener that is gone is known to be at the end of a reading. Where one of all sockets takes longer
# than ticks come early, the listeners are read first, so that an answer stays within one interval.
_LONG_READING_US: Final = 20_000


@dataclass(frozen=True, slots=True)
class Options:
    """How to record: times in microseconds, `cpu_share` of one core; None for no limit.

    `counters_us` is the least time between two writings of one socket's counters; None for never.
    `events`: whether to ask for them; `event_buffer`: bytes of room for each source, None for enough.
    """

    interval_us: int = 1_000_000
    for_us: int | None = None
    sync_us: int = 1_000_000
    command: tuple[str, ...] = ()
    cpu_share: float | None = 0.05
    memory_bytes: int | None = None
    counters_us: int | None = 60_000_000
    events: bool = True
    event_buffer: int | None = None

    def __post_init__(self) -> None:
        if self.interval_us < LEAST_INTERVAL_US:
            raise UsageError(f"an interval of {self.interval_us / 1000:g} ms is too short; the least is 50ms")
        if self.for_us is not None and self.for_us <= 0:
            raise UsageError("--for must be longer than nothing")


@dataclass(slots=True)
class Status:
    """Where a recording stands, for its live line and its last word."""

    elapsed_us: int = 0
    samples: int = 0
    sockets: Counter[str] = field(default_factory=Counter)
    changes: int = 0
    events: int = 0
    events_lost: int = 0
    bytes: int = 0
    cpu_percent: float = 0.0
    ticks_missed: int = 0
    incomplete: int = 0
    interval_us: int = 0


class Recorder:
    """Records this host's sockets, as the calling thread's network namespace has them, into a capture.

    Raises `CaptureError` if another recorder writes this host's part of the capture, or if it can't
    be written, `KernelError` if the kernel's sockets can't be read. `startup_us`: CPU time that its
    process took before, to be taken off its budget.
    """

    def __init__(self, capture: Path, options: Options, recording: str, startup_us: int = 0) -> None:
        self.options = options
        self.status = Status()
        self.stop = Stop()
        self._recording = recording
        self._layout = layout.Layout(capture)
        self._host = host.hostname()
        self._lock = RecorderLock(self._layout, self._host)
        self._reader = SocketReader()
        self._boot_us = host.boot_us()
        self._anchor_us = host.anchor_us()
        self._ledger = Ledger(self._anchor_us, options.counters_us)
        self._netns = host.network_namespace()
        self._sources = Sources(options.event_buffer) if options.events else None
        self._events = None if self._sources is None else EventLog(self._sources, self._ledger, self._netns)
        self._thrift = Thrift(options.cpu_share, startup_us)
        self._missed = self._passed_over = self._listener_readings = 0
        self._events_lost = 0
        self._reading_us = 0
        self._uids: set[int] = set()
        self.halted: str | None = None
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

    @property
    def untold(self) -> list[str]:
        """Which events this recording does not get, a line each, with what is lost by it."""
        if self._sources is None:
            return ["events were not asked for: moments are known to the interval, short connections missed"]
        return list(self._sources.unavailable)

    def run(
        self,
        on_sample: Callable[[Status], None] = lambda _: None,
        on_begun: Callable[[], None] = lambda: None,
    ) -> Status:
        """Record until `stop` is set or the time is up; the last sample is taken then.

        `on_begun` is called once, after the first sample is safe; `on_sample` after each.
        """
        writer = Writer(self._layout, self._host, self._facts, self._ledger, self.options.sync_us / 1e6)
        ticks = Ticks(self.options.interval_us, self.options.for_us, self.stop)
        try:
            self._lock.announce(self._facts["recording"])
            self._write_facts()
            while True:
                writer.rotate_if_due()
                self._tick(writer, ticks)
                if self._ledger.uids != self._uids:
                    self._write_facts()
                on_sample(self.status)
                if ticks.last or self._too_large():
                    break
                if not ticks.number:
                    on_begun()
                ticks.wait(None if self._events is None else lambda: self._drain(writer))
            self._drain(writer, last=True)
            writer.write(self._ledger.finish())
            self._facts |= {"ended_us": host.boot_us() + self._anchor_us, "ended_as": "stopped"}
            self._write_facts()
        finally:
            writer.close()
            self.status.bytes = writer.bytes
            self._reader.close()
            if self._sources is not None:
                self._sources.close()
            self._lock.close()
        return self.status

    def _tick(self, writer: Writer, ticks: Ticks) -> None:
        """Take a sample; or, if the CPU budget does not allow one, read the listeners alone."""
        self._missed += ticks.missed
        resync = self._events is not None and self._events.resync
        if self._thrift.wants_all(ticks.number) or resync or ticks.last:
            if self._reading_us > _LONG_READING_US:
                self._read_listeners(writer)
            self._sample(writer, ticks)
        else:
            self._passed_over += 1
            self._read_listeners(writer)
        self._thrift.account(ticks.number)
        self.status.cpu_percent = self._thrift.percent
        self.status.elapsed_us = ticks.elapsed_us

    def _drain(self, writer: Writer, reading: Reading | None = None, *, last: bool = False) -> None:
        """Write down what happened since this was last called; at the `last` time, all of it.

        A `reading` that the ledger has yet to take in tells which sockets it will know.
        """
        events = self._events
        if events is None:
            return
        if last:
            self._settle(host.boot_us())
        spent_us, untold = cpu_us(), len(self.untold)
        happened = [events.drain(reading, last=last)]
        if self._thrift.events_too_dear and not events.paused:
            events.pause()
        elif events.paused and self._thrift.events_cheap_again:
            happened.append(events.resume())
        for some in happened:
            self.status.events += writer.write_events(some)
        self.status.events_lost += events.take_lost()
        self._thrift.spend_on_events(spent_us)
        if len(self.untold) > untold:
            self._write_facts()

    def _settle(self, boot_us: int) -> None:
        """Wait the millisecond that it takes until all that happened by a moment can be drained."""
        if self._events is not None:
            time.sleep(self._events.settles_in_us(boot_us) / 1e6)

    def _exact(self, reading: Reading, writer: Writer) -> Exact | None:
        """Return what events tell of a reading's changes."""
        if self._events is None:
            return None
        self._settle(reading.ended_us)
        self._drain(writer, reading)
        return self._events.exact()

    def _read_listeners(self, writer: Writer) -> None:
        reading = self._reader.read_listeners()
        if reading is not None:
            exact = self._exact(reading, writer)
            changes = self._ledger.observe_listeners(reading, exact)
            if self._events is not None and exact is not None:
                self._events.observed(reading.began_us, exact, whole=False)
            writer.write(changes)
            self.status.changes += changes.count
            self._listener_readings += 1

    def _sample(self, writer: Writer, ticks: Ticks) -> None:
        thrift, status = self._thrift, self.status
        strained = thrift.strained
        reading = self._reader.read()
        exact = self._exact(reading, writer)
        changes = self._ledger.observe(reading, strained, exact)
        if self._events is not None and exact is not None:
            self._events.observed(reading.began_us, exact, whole=True)
        thrift.sampled(ticks.number)
        self._reading_us = reading.ended_us - reading.began_us
        interval_us = self.options.interval_us * (1 + self._passed_over)
        budget = "interval lengthened" if self._passed_over else "owners walked less" if strained else None
        writer.write(
            changes,
            {
                "number": status.samples,
                "began_at": changes.times.began,
                "ended_at": changes.times.ended,
                "boot_us": reading.began_us,
                "interval_us": interval_us,
                "sockets": len(reading.inet),
                "unix_sockets": len(reading.unix),
                "changes": changes.count,
                "complete": not reading.incomplete,
                "incomplete_why": "; ".join(reading.incomplete) or None,
                "ticks_missed": self._missed,
                "listener_readings": self._listener_readings,
                "budget": budget,
                "events_lost": status.events_lost - self._events_lost,
                "cpu_us": thrift.since_sample(),
                "clock_step_us": host.wall_us() - host.boot_us() - self._anchor_us,
            },
        )
        status.samples += 1
        status.sockets = self._ledger.count_states()
        status.changes += changes.count
        status.bytes = writer.bytes
        status.ticks_missed += self._missed
        status.incomplete += bool(reading.incomplete)
        status.interval_us = interval_us
        self._missed = self._passed_over = self._listener_readings = 0
        self._events_lost = status.events_lost

    def _too_large(self) -> bool:
        """Say whether it takes more memory than allowed, after giving back what it can."""
        limit = self.options.memory_bytes
        if limit is None or priority.resident_bytes() <= limit:
            return False
        priority.release()
        size = priority.resident_bytes()
        if size > limit:
            self.halted = (
                f"stopped: it took {size >> 20} MiB of memory, and --max-memory allows {limit >> 20}"
            )
        return size > limit

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
            "netns": self._netns,
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
        self._facts["unavailable"] = self._lacks + self.untold + self.unavailable
        self._uids = set(self._ledger.uids)
        self._facts["names"]["users"] = names.users(self._uids)
        recordings.write_recording(self._layout.recording(self._host, self._facts["recording"]), self._facts)


def _lacks() -> list[str]:
    missing = sorted({"cap_sys_ptrace", "cap_dac_read_search"} - set(host.capabilities()))
    if not missing:
        return []
    names_ = " and ".join(name.upper() for name in missing)
    return [f"without {names_} the holders of other users' sockets stay unknown: run as root to see them"]
