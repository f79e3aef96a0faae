"""One recording: a sample at each tick, from the first to the one taken as it stops."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from sockrec.errors import CaptureError
from sockrec.kernel import host, priority
from sockrec.kernel.sockets import Reading, SocketReader
from sockrec.recorder.events.exact import Exact
from sockrec.recorder.events.log import EventLog
from sockrec.recorder.events.sources import Sources
from sockrec.recorder.facts import Facts
from sockrec.recorder.ledger import Ledger
from sockrec.recorder.network import NetworkLedger
from sockrec.recorder.network_watch import NetworkWatch
from sockrec.recorder.options import Options, Status
from sockrec.recorder.resolver import Resolver
from sockrec.recorder.stop import Stop
from sockrec.recorder.thrift import Thrift, cpu_us
from sockrec.recorder.ticks import Ticks
from sockrec.recorder.upkeep import Upkeep, part_us
from sockrec.recorder.writer import Writer
from sockrec.store import layout
from sockrec.store.lock import RecorderLock

# A listener that is gone is known to be at the end of a reading. Where one of all sockets takes longer
# than ticks come early, the listeners are read first, so that an answer stays within one interval.
_LONG_READING_US: Final = 20_000


class Recorder:
    """Records this host's sockets, as the calling thread's network namespace has them, into a capture.

    Raises `CaptureError` if another recorder writes this host's part of the capture, or if it can't
    be written, `KernelError` if the kernel's sockets can't be read. `startup_us`: CPU time that its
    process took before, to be taken off its budget. `open_sources`: opens the event sources, given the room
    of each, where that takes more privileges than the calling thread has.
    """

    def __init__(
        self,
        capture: Path,
        options: Options,
        recording: str,
        startup_us: int = 0,
        open_sources: Callable[[int | None], Sources] = Sources,
    ) -> None:
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
        self._network = NetworkLedger(self._anchor_us)
        self._watch = NetworkWatch(self._network, options.slow_us)
        self._resolver = Resolver() if options.resolve else None
        self._netns = host.network_namespace()
        self._started_us = self._boot_us + self._anchor_us
        self._sources = open_sources(options.event_buffer) if options.events else None
        self._events = None if self._sources is None else EventLog(self._sources, self._ledger, self._netns)
        self._thrift = Thrift(options.cpu_share, startup_us)
        self._missed = self._passed_over = self._listener_readings = 0
        self._sample_number = self._dropped = 0
        self._events_lost = 0
        self._reading_us = 0
        self.halted: str | None = None
        self._lacks = _lacks()
        self._notices: SimpleQueue[str] = SimpleQueue()
        self._facts_failed = self._dear_told = False
        self._upkeep = Upkeep(
            self._layout, self._host, options, lambda: host.boot_us() + self._anchor_us, self._notices.put
        )
        self._facts = Facts(
            self._layout.recording(self._host, recording), recording, self._host, self._started_us, options
        )

    @property
    def lacks(self) -> list[str]:
        """What missing privileges keep from this recording, a line each."""
        return self._lacks

    @property
    def unavailable(self) -> list[str]:
        """What this kernel does not give it, a line each; whole once the first sample is taken."""
        unasked = 0 if self._resolver is None else self._resolver.unasked
        unnamed = [f"the names of {unasked} addresses were not asked for: they were too many"] * bool(unasked)
        return [*self._reader.unavailable, *self._watch.unavailable, *unnamed]

    @property
    def untold(self) -> list[str]:
        """Which events this recording does not get, a line each, with what is lost by it."""
        if self._sources is None:
            return ["events were not asked for: moments are known to the interval, short connections missed"]
        return list(self._sources.unavailable)

    def keep(self) -> None:
        """Keep what is there as a capture of its own; a signal handler may call it."""
        self._upkeep.kept.signalled()

    def run(
        self,
        on_sample: Callable[[Status], None] = lambda _: None,
        on_begun: Callable[[], None] = lambda: None,
        on_notice: Callable[[str], None] = lambda _: None,
        on_alive: Callable[[], None] | None = None,
    ) -> Status:
        """Record until `stop` is set or the time is up; the last sample is taken then.

        `on_begun` is called once, after the first sample is safe; `on_sample` after each; `on_notice` with
        what the disk and the budget do to the recording, a line each; `on_alive` ten times a second between
        two samples.
        Raises `CaptureError` if the capture can't be written at the start, or if at the end not all of it is.
        """
        with ExitStack() as opened:
            opened.callback(self._lock.close)
            opened.callback(self._reader.close)
            opened.callback(self._watch.close)
            if self._sources is not None:
                opened.callback(self._sources.close)
            self._lock.announce(self._recording)
            self._writer = self._begin(self._facts)
            opened.callback(self._finish, on_notice)
            ticks = Ticks(self.options.interval_us, self.options.for_us, self.stop)
            self._upkeep.begin(self._recording)
            while True:
                self._writer.rotate_if_due()
                if self._writer.over:
                    self._begin_again()
                self._tick(ticks)
                self._upkeep.poll(self._writer, self.status.samples, last=ticks.last)
                self._keep_facts()
                self._tell(on_notice)
                on_sample(self.status)
                if ticks.last or self._too_large():
                    break
                if not ticks.number:
                    on_begun()
                ticks.wait(self._while_waiting(on_alive))
            self._drain(last=True)
            self._writer.write(self._ledger.finish())
            self._facts.end(host.boot_us() + self._anchor_us, "stopped")
            self._keep_facts()
        return self.status

    def _while_waiting(self, on_alive: Callable[[], None] | None) -> Callable[[], None]:
        """Return what is to be done ten times a second between two ticks."""

        def attend() -> None:
            self._drain()
            self._watch.between_samples()
            self._writer.write_network()
            self._writer.sync_if_due()
            self._upkeep.poll(self._writer, self.status.samples)
            if on_alive is not None:
                on_alive()

        return attend

    def _begin(self, facts: Facts) -> Writer:
        """Begin a recording of these facts; raises `CaptureError`, and nothing of it is left then."""
        # Before there is a journal: parts that nothing describes would look as if something was lost.
        facts.write(self._ledger.uids)
        try:
            return Writer(
                self._layout,
                self._host,
                facts.values,
                self._ledger,
                self._network,
                self.options.sync_us / 1e6,
                part_us=part_us(self.options),
                buffer_bytes=self.options.disk_buffer,
                after_seal=self._upkeep.sealed,
                tell=self._notices.put,
            )
        except CaptureError:
            facts.withdraw()
            raise

    def _begin_again(self) -> None:
        """Once the disk works again after samples were dropped, go on as another recording.

        To readers it is as if the recorder had not run meanwhile.
        """
        dropped, facts = self._writer, self._facts
        now_us = host.boot_us() + self._anchor_us
        recording = layout.new_recording(now_us)
        again = facts.again(self._layout.recording(self._host, recording), recording, now_us)
        try:
            self._writer = self._begin(again)
        except CaptureError:
            return  # it is tried again at the next tick
        self._facts = again
        self._dropped, self._sample_number = dropped.dropped, 0
        self._notices.put(f"the disk takes what is recorded again: {dropped.lost}")
        self._lock.announce(recording)
        self._upkeep.begin(recording)
        facts.end(now_us, "dropped")
        facts.keep_up(self._ledger.uids)

    @property
    def _afresh(self) -> bool:
        """Whether the next sample is the first of a recording that goes on where another had to end."""
        return not self._sample_number and self.status.samples > 0

    def _finish(self, on_notice: Callable[[str], None]) -> None:
        try:
            self._writer.close()
        finally:
            self._upkeep.close()
            self.status.bytes = self._writer.bytes
            self._tell(on_notice)

    def _tell(self, on_notice: Callable[[str], None]) -> None:
        """Hand on what the disk does."""
        self.status.disk = self._writer.trouble
        while not self._notices.empty():
            on_notice(self._notices.get())

    def _keep_facts(self) -> None:
        """Keep the recordings row up to date; a disk that refuses is asked again at the next tick."""
        self._facts.values["unavailable"] = self._lacks + self.untold + self.unavailable
        if self._upkeep.removed != self._facts.values.get("removed"):
            self._facts.values["removed"] = self._upkeep.removed
            self._facts.changed()
        if self._resolver is not None and self._resolver.collect():
            self._facts.name_hosts(self._resolver.names)
        error = self._facts.keep_up(self._ledger.uids)
        if error is not None and not self._facts_failed:
            self._notices.put(f"{error}; it is tried again")
        self._facts_failed = error is not None

    def _tick(self, ticks: Ticks) -> None:
        """Take a sample; or, if the CPU budget does not allow one, read the listeners alone."""
        self._missed += ticks.missed
        resync = self._events is not None and self._events.resync
        if self._thrift.wants_all(ticks.number) or resync or self._afresh or ticks.last:
            if self._reading_us > _LONG_READING_US and not self._afresh:
                self._read_listeners()
            self._sample(ticks)
        else:
            self._passed_over += 1
            self._read_listeners()
        self._thrift.account(ticks.number)
        percent = self._thrift.listeners_percent
        if percent is not None and not self._dear_told:
            self._dear_told = True
            self._notices.put(
                f"reading the listeners at every interval takes {percent:.1f} % of a core, more than"
                " --max-cpu allows for all: with a longer --interval it takes less"
            )
        self.status.cpu_percent = self._thrift.percent
        self.status.elapsed_us = ticks.elapsed_us

    def _drain(self, reading: Reading | None = None, *, last: bool = False) -> None:
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
            self.status.events += self._writer.write_events(some)
            self.status.events_lost += some.events_lost
        self.status.events_lost += self._writer.take_dropped_events()
        self._thrift.spend_on_events(spent_us)
        if len(self.untold) > untold:
            self._facts.changed()

    def _settle(self, boot_us: int) -> None:
        """Wait the millisecond that it takes until all that happened by a moment can be drained."""
        if self._events is not None:
            time.sleep(self._events.settles_in_us(boot_us) / 1e6)

    def _exact(self, reading: Reading) -> Exact | None:
        """Return what events tell of a reading's changes."""
        if self._events is None:
            return None
        self._settle(reading.ended_us)
        self._drain(reading)
        return self._events.exact()

    def _read_listeners(self) -> None:
        reading = self._reader.read_listeners()
        if reading is not None:
            exact = self._exact(reading)
            changes = self._ledger.observe_listeners(reading, exact)
            if self._events is not None and exact is not None:
                self._events.observed(reading.began_us, exact, whole=False)
            self._writer.write(changes)
            self.status.changes += changes.count
            self._listener_readings += 1

    def _sample(self, ticks: Ticks) -> None:
        thrift, status = self._thrift, self.status
        strained = thrift.strained
        # Before the sockets: what is known at a sample is what its own reading found.
        self._watch.at_sample(due=ticks.last)
        reading = self._reader.read()
        self._missed += ticks.late(reading.began_us)
        exact = self._exact(reading)
        changes = self._ledger.observe(reading, strained, exact)
        if self._afresh:
            changes = self._ledger.find_again(changes.times)
            self._network.carry(changes.times.ended, "found")
        if self._resolver is not None:
            self._resolver.meet(self._ledger.addresses_begun(changes))
        if self._events is not None and exact is not None:
            self._events.observed(reading.began_us, exact, whole=True)
        thrift.sampled(ticks.number)
        self._reading_us = reading.ended_us - reading.began_us
        interval_us = self.options.interval_us * (1 + self._passed_over)
        budget = "interval lengthened" if self._passed_over else "owners walked less" if strained else None
        self._writer.write(
            changes,
            {
                "number": self._sample_number,
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
                "samples_dropped": self._dropped,
                "listener_readings": self._listener_readings,
                "budget": budget,
                "events_lost": status.events_lost - self._events_lost,
                "cpu_us": thrift.since_sample(),
                "network_read_at": self._network.read_at,
                "clock_step_us": host.wall_us() - host.boot_us() - self._anchor_us,
            },
        )
        status.samples += 1
        self._sample_number += 1
        status.sockets = self._ledger.count_states()
        status.changes += changes.count
        status.bytes = self._writer.bytes
        status.ticks_missed += self._missed
        status.incomplete += bool(reading.incomplete)
        status.interval_us = interval_us
        self._missed = self._passed_over = self._listener_readings = self._dropped = 0
        self._events_lost = status.events_lost

    def _too_large(self) -> bool:
        """Say whether it takes more disk or memory than allowed, after giving back what it can."""
        if self._upkeep.halted is not None:
            self.halted = self._upkeep.halted
            return True
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


def _lacks() -> list[str]:
    missing = sorted({"cap_sys_ptrace", "cap_dac_read_search"} - set(host.capabilities()))
    if not missing:
        return []
    names_ = " and ".join(name.upper() for name in missing)
    return [f"without {names_} the holders of other users' sockets stay unknown: run as root to see them"]
