"""A recorder that runs as long as the viewer does."""

from __future__ import annotations

import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Final

from sockrec.errors import CaptureError, KernelError, SockrecError, UsageError
from sockrec.store import layout, locate

_PATIENCE_S: Final = 15.0
_MOST_TOLD: Final = 20_000
# What is recorded "while it runs": says that the first sample is taken, and ends with the viewer.
_COMMAND: Final = ("sh", "-c", "echo; exec cat >/dev/null")
_PREFIX: Final = "sockrec: "


class Recorder:
    """`sockrec record` as a child, from its first sample on; use it in a `with` statement.

    It records a command that waits for the viewer's end of a pipe to close: however the viewer ends, the
    recording ends cleanly. Raises a `SockrecError` with what the recorder said if it can't record.
    """

    def __init__(self, capture: Path | None, interval: str) -> None:
        recording = layout.new_recording(time.time_ns() // 1000)
        self.capture = locate.locate_for_recording(recording, capture)
        self._interval = interval
        self._told: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the recorder ends
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Recorder:
        """Start it, and wait for its first sample."""
        words = ("record", "-C", str(self.capture), "--interval", self._interval, "--", *_COMMAND)
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "sockrec", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._told,
            # Ctrl-C on the terminal is the viewer's.
            start_new_session=True,
        )
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            self._await(process, process.stdout)
        except BaseException:
            self._end()
            raise
        return self

    def _await(self, process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
        ready, _, _ = select.select([said], [], [], _PATIENCE_S)
        if not ready:
            raise KernelError(f"the recorder took no sample within {_PATIENCE_S:.0f} s")
        if not said.read(1):
            raise self._failed(process)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it, and wait until all is on disk."""
        self._end()

    def problem(self) -> str:
        """Return what is to be told of it: that it has ended; '' while it records."""
        if self._process is None or self._process.poll() is None:
            return ""
        return f"the recorder has ended: {self._last() or 'it says nothing'}"

    @property
    def notices(self) -> list[str]:
        """What it said: what it can't see here, for example."""
        self._told.seek(0)
        text = self._told.read(_MOST_TOLD).decode("utf-8", "replace")
        return [line.removeprefix(_PREFIX) for line in text.splitlines() if line.strip()]

    def _last(self) -> str:
        return next(reversed(self.notices), "")

    def _failed(self, process: subprocess.Popen[bytes]) -> SockrecError:
        status = process.wait()
        why = self._last() or f"the recorder ended with status {status}"
        kinds = {kind.exit_status: kind for kind in (UsageError, CaptureError, KernelError)}
        return kinds.get(status, KernelError)(why)

    def _end(self) -> None:
        if self._process is not None:
            for end in (self._process.stdin, self._process.stdout):
                if end is not None:
                    end.close()
            self._process.wait()
        self._told.close()
