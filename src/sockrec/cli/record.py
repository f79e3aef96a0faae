"""`sockrec record`: records until stopped."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sockrec.recorder.recorder import Recorder, Status

_STOPPERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A command that was asked to end and does not is left behind after this long.
_PATIENCE_S = 10


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        "record",
        context_settings={"allow_interspersed_args": False},
    )(record)


def record(
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- COMMAND ...]", help="Run a command, and record while it runs."),
    ] = None,
    capture: Annotated[
        Path | None,
        typer.Option("--capture", "-C", help="Folder to record into; made if it is missing."),
    ] = None,
    interval: Annotated[
        str, typer.Option(help="At most this long between two samples (50ms or more).")
    ] = "1s",
    for_: Annotated[str | None, typer.Option("--for", help="Stop after this long: 90s, 10m, 2h.")] = None,
    sync: Annotated[str, typer.Option(help="At most this much is lost in a power cut.")] = "1s",
) -> None:
    """Record every socket of this host until stopped.

    Ctrl-C or SIGTERM ends the recording cleanly, after one last sample. With a COMMAND, recording
    lasts as long as the command and ends with its exit status. Recording into a capture that
    exists goes on where it ended; the time between is a gap.
    """
    from sockrec.errors import UsageError
    from sockrec.model import durations
    from sockrec.recorder.recorder import Options, Recorder
    from sockrec.store import layout, locate

    if command and shutil.which(command[0]) is None:
        raise UsageError(f"there is no command {command[0]!r} to run")
    options = Options(
        interval_us=durations.parse(interval),
        for_us=None if for_ is None else durations.parse(for_),
        sync_us=durations.parse(sync),
        command=tuple(command or ()),
    )
    recording = layout.new_recording(time.time_ns() // 1000)
    folder = locate.locate_for_recording(recording, capture)
    recorder = Recorder(folder, options, recording)
    live = _LiveLine(recorder, folder) if sys.stderr.isatty() else None
    _warn(recorder)
    ran = _Command(options.command, recorder)
    previous = {number: signal.signal(number, ran.on_signal) for number in _STOPPERS}
    try:
        recorder.run(live.show if live else lambda _: None, ran.start)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if live:
            live.finish()
    raise typer.Exit(ran.status())


def _warn(recorder: Recorder) -> None:
    """Say what this recording won't see."""
    for lack in recorder.lacks:
        print(f"sockrec: {lack}", file=sys.stderr)  # noqa: T201


class _LiveLine:
    """The line on a terminal that each sample rewrites."""

    def __init__(self, recorder: Recorder, folder: Path) -> None:
        self._recorder = recorder
        self._heard = True
        self._say(f"recording into {folder}; Ctrl-C stops\n")

    def show(self, status: Status) -> None:
        """Rewrite the line."""
        from sockrec.render import live

        text = live.line(
            elapsed_us=status.elapsed_us,
            samples=status.samples,
            sockets=status.sockets,
            changes=status.changes,
            size_bytes=status.bytes,
            cpu_percent=status.cpu_percent,
            ticks_missed=status.ticks_missed,
            incomplete=status.incomplete,
            width=shutil.get_terminal_size().columns,
        )
        self._say(f"\r\x1b[K{text}")

    def finish(self) -> None:
        """Leave the last line standing, with what is on disk in the end."""
        self.show(self._recorder.status)
        self._say("\n")

    def _say(self, text: str) -> None:
        if not self._heard:
            return
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:  # the terminal is gone; the recording is not
            self._heard = False


class _Command:
    """The command that is recorded while it runs, if there is one."""

    def __init__(self, words: tuple[str, ...], recorder: Recorder) -> None:
        self._words = words
        self._recorder = recorder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; recording stops when it ends."""
        if self._words and not self._recorder.stop.is_set():
            self._process = subprocess.Popen(self._words)
            threading.Thread(target=self._wait, args=(self._process,), daemon=True).start()

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Stop recording. Ctrl-C reached the command too; other signals are passed on to it."""
        process = self._process
        if process is not None and process.returncode is None:
            if number != signal.SIGINT:
                process.send_signal(number)
            threading.Timer(_PATIENCE_S, self._recorder.stop.set).start()
        else:
            self._recorder.stop.set()

    def status(self) -> int:
        """Return the command's exit status as a shell would, 0 if there was none to end."""
        code = self._process.poll() if self._process else None
        if code is None:
            return 0
        return code if code >= 0 else 128 - code

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self._recorder.stop.set()
