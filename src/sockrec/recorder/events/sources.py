"""The event sources of a recording: each there or not, each with a word on what is lost without it."""

from __future__ import annotations

import resource
from dataclasses import dataclass, field

from sockrec.errors import KernelError
from sockrec.kernel import endings, host, transitions
from sockrec.kernel.connector import ProcessConnector, ProcessExits
from sockrec.kernel.destroyed import RECEIVE_BUFFER, Destroyed, DestroyedSource
from sockrec.kernel.exits import LIMIT, Exit, ExitWatch
from sockrec.kernel.process_events import ProcessEvents
from sockrec.kernel.tracefs import Folder, open_tracefs
from sockrec.kernel.tracing import Trace, Tracer

# Of the descriptors that this process may have, so many at most watch other processes.
_DESCRIPTORS_SHARE = 4


@dataclass(slots=True)
class Drained:
    """What all sources gave since they were drained before; None for a source that is not there.

    `failed` names the sources that broke, with what they said: they give no more.
    """

    destroyed: Destroyed | None = None
    trace: Trace | None = None
    exits: list[Exit] = field(default_factory=list)
    announced_exits: ProcessExits | None = None
    failed: list[tuple[str, str]] = field(default_factory=list)


class Sources:
    """All event sources that this kernel and our privileges give.

    `unavailable` has a line for each thing that they don't. `buffer_bytes` is the room of each source,
    None for what they take by themselves. They are of the network namespace that the calling thread is in.
    `has_threads`: whether threads have the same numbers in the trace and in /proc, as they do in the
    initial PID namespace alone.
    """

    def __init__(self, buffer_bytes: int | None = None) -> None:
        self.unavailable: list[str] = []
        self.destroyed: DestroyedSource | None = None
        self.tracer: Tracer | None = None
        self.processes: ProcessEvents | None = None
        self.watch: ExitWatch | None = None
        self.connector: ProcessConnector | None = None
        self._tracefs: Folder | None = None
        self.has_threads = host.pid_namespace() == host.INITIAL_PID_NAMESPACE
        self._buffer_bytes = buffer_bytes
        self._limit = min(LIMIT, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _DESCRIPTORS_SHARE)
        self.open()

    def open(self) -> None:
        """Open them all, or again after `pause`: that takes no privileges that only the start has."""
        self.unavailable = []
        try:
            self.destroyed = DestroyedSource(self._buffer_bytes or RECEIVE_BUFFER)
        except KernelError as error:
            self.unavailable.append(str(error))
        self._trace(self._buffer_bytes)
        self._watch()
        if self.tracer is not None and self.connector is not None:
            self.connector.read()  # what happened since is left out
        elif self.tracer is not None:
            # Alone it tells nothing: who closed a socket is the trace's to say.
            try:
                self.connector = ProcessConnector()
            except KernelError as error:
                self.unavailable.append(str(error))

    def drain(self) -> Drained:
        """Return what happened since the last call, without waiting."""
        drained = Drained()
        # The trace last: what was announced has happened, so that its moments are there.
        if self.destroyed is not None:
            try:
                drained.destroyed = self.destroyed.read()
            except KernelError as error:
                self._give_up(self.destroyed, "destroyed sockets", error, drained)
                self.destroyed = None
        if self.tracer is not None:
            try:
                drained.trace = self.tracer.read()
            except (KernelError, OSError) as error:
                self._give_up(self.tracer, "state changes", error, drained)
                self.tracer = None
        if self.connector is not None:
            try:
                drained.announced_exits = self.connector.read()
            except KernelError as error:
                self._give_up(self.connector, "exits of processes", error, drained)
                self.connector = None
        if self.watch is not None:
            drained.exits = self.watch.read()
        return drained

    def keep(self, pids: list[int]) -> None:
        """Watch the ends of these processes, the first of them where they are too many."""
        if self.watch is None:
            return
        try:
            self.watch.keep(pids[: self._limit])
        except KernelError as error:
            self.unavailable.append(f"{error}: why processes end is not known any more")
            self.watch.close()
            self.watch = None

    def pause(self) -> None:
        """Close them until `open`, but for what only the start may ask for: tracefs, the connector."""
        for source in (self.destroyed, self.tracer, self.watch):
            if source is not None:
                source.close()
        self.destroyed = self.tracer = self.watch = None

    def close(self) -> None:
        """Close them all."""
        if self._tracefs is not None:
            self._tracefs.close()
            self._tracefs = None
        for source in (self.destroyed, self.tracer, self.connector, self.watch):
            if source is not None:
                source.close()
        self.destroyed = self.tracer = self.connector = self.watch = None

    def _trace(self, buffer_bytes: int | None) -> None:
        try:
            if self._tracefs is None:
                self._tracefs = open_tracefs()
            self.tracer = Tracer(None if buffer_bytes is None else max(1, buffer_bytes >> 10), self._tracefs)
            missing = [transitions.enable(self.tracer), *endings.enable(self.tracer)]
            if self.has_threads:
                self.processes = ProcessEvents(self.tracer)
                missing += self.processes.unavailable
        except KernelError as error:
            if self.tracer is not None:
                self.tracer.close()
                self.tracer = None
            self.unavailable.append(
                f"no state changes ({error}): moments are known to the interval only, and not who closed"
            )
            return
        self.unavailable += [line for line in missing if line]
        if not self.has_threads:
            self.unavailable.append(
                "in a PID namespace of its own, a recorder can't tell which process connected or closed"
            )

    def _watch(self) -> None:
        try:
            self.watch = ExitWatch(self._limit)
        except KernelError as error:
            self.unavailable.append(f"{error}: why processes end is not known")
            return
        if self.watch.unavailable:
            self.unavailable.append(self.watch.unavailable)

    def _give_up(
        self,
        source: DestroyedSource | Tracer | ProcessConnector,
        what: str,
        error: Exception,
        drained: Drained,
    ) -> None:
        drained.failed.append((what, str(error)))
        self.unavailable.append(f"{what} could not be read any more: {error}")
        source.close()
