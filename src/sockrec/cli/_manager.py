"""What the service manager, if one started this, is told of a recording."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sockrec.kernel.notify import ServiceManager

if TYPE_CHECKING:
    from sockrec.recorder.options import Status
    from sockrec.recorder.recorder import Recorder

# Each status goes over the bus to whoever listens there.
_STATUS_EACH_S = 10.0


class Told:
    """The service manager, told what `systemctl status` shows and what its watchdog waits for.

    `say` is called once with a line if it can't be told. A recorder that runs a command tells nothing: the
    manager, if there is one, waits for the command's own word.
    """

    def __init__(self, recorder: Recorder, say: Callable[[str], object]) -> None:
        self._recorder = recorder
        self._say = say
        self._manager = ServiceManager({} if recorder.options.command else None)
        self._told_at = -float("inf")
        self._disk: str | None = None
        self._complained = False

    @property
    def on_alive(self) -> Callable[[], None] | None:
        """What to call as long as sampling goes on between two samples too; None if nobody waits for it."""
        return self._manager.alive if self._manager.watches else None

    def begun(self) -> None:
        """Say that the first sample is safe."""
        self._manager.ready()
        self._complain()

    def sampled(self, status: Status) -> None:
        """Say that sampling goes on and, now and then or when the disk fails or recovers, how."""
        if not self._manager.listens:
            return
        self._manager.alive()
        now = time.monotonic()
        if now - self._told_at >= _STATUS_EACH_S or status.disk != self._disk:
            self._told_at, self._disk = now, status.disk
            self._manager.status(self._line(status))
        self._complain()

    def stopping(self) -> None:
        """Say that it ends. For signal handlers."""
        self._manager.stopping()

    def _line(self, status: Status) -> str:
        from sockrec.render.status import status as line

        recorder = self._recorder
        return line(
            samples=status.samples,
            sockets=status.sockets,
            events=status.events,
            events_lost=status.events_lost,
            size_bytes=status.bytes,
            cpu_percent=status.cpu_percent,
            disk=status.disk,
            lacks=[*recorder.lacks, *recorder.untold, *recorder.unavailable],
        )

    def _complain(self) -> None:
        if self._manager.trouble and not self._complained:
            self._complained = True
            self._say(self._manager.trouble)
