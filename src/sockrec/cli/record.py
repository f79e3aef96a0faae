"""`sockrec record`: records until stopped."""

from __future__ import annotations

import enum
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sockrec.recorder.recorder import Recorder, Status

_STOPPERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A command that was asked to end and does not is left behind after this long.
_PATIENCE_S = 10


class Priority(enum.StrEnum):
    """Who goes first when the host is busy."""

    LOW = "low"
    NORMAL = "normal"


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
    counters_interval: Annotated[
        str,
        typer.Option(
            help="Write a socket's byte, segment and round-trip counters, while they move, "
            "at most so often; 0s: in each sample; never: only what netstat shows."
        ),
    ] = "1m",
    for_: Annotated[str | None, typer.Option("--for", help="Stop after this long: 90s, 10m, 2h.")] = None,
    sync: Annotated[str, typer.Option(help="At most this much is lost in a power cut.")] = "1s",
    max_cpu: Annotated[
        str,
        typer.Option(help="At most this much of one core, averaged over a minute; off for no limit."),
    ] = "5%",
    max_memory: Annotated[
        str, typer.Option(help="At most this much memory: 512MiB, 1GiB; off for no limit.")
    ] = "1GiB",
    events: Annotated[
        bool,
        typer.Option(
            help="Ask for what happens between two samples: exact moments, short connections, causes."
        ),
    ] = True,
    event_buffer: Annotated[
        str | None, typer.Option(help="Room for events that wait, of each source; by default 32MiB or more.")
    ] = None,
    priority: Annotated[
        Priority, typer.Option(help="CPU and disk: behind everybody else, or in line with them.")
    ] = Priority.LOW,
) -> None:
    """Record every socket of this host until stopped.

    Ctrl-C or SIGTERM ends the recording cleanly, after one last sample. With a COMMAND, recording
    lasts as long as the command and ends with its exit status. Recording into a capture that
    exists goes on where it ended; the time between is a gap.

    Where all sockets cost more than --max-cpu allows, they are read less often than each interval;
    those that listen are still read each time.
    """
    from sockrec.errors import KernelError, UsageError
    from sockrec.kernel.priority import lower
    from sockrec.model import amounts, durations
    from sockrec.recorder.recorder import Options, Recorder
    from sockrec.store import layout, locate

    if command and shutil.which(command[0]) is None:
        raise UsageError(f"there is no command {command[0]!r} to run")
    options = Options(
        interval_us=durations.parse(interval),
        for_us=None if for_ is None else durations.parse(for_),
        sync_us=durations.parse(sync),
        command=tuple(command or ()),
        cpu_share=amounts.parse_share(max_cpu, os.cpu_count() or 1),
        memory_bytes=amounts.parse_bytes(max_memory),
        events=events,
        event_buffer=None if event_buffer is None else amounts.parse_bytes(event_buffer),
        counters_us=None if counters_interval == "never" else durations.parse(counters_interval),
    )
    recording = layout.new_recording(time.time_ns() // 1000)
    folder = locate.locate_for_recording(recording, capture)
    recorder = Recorder(folder, options, recording, startup_us=time.process_time_ns() // 1000)
    live = _LiveLine(recorder, folder) if sys.stderr.isatty() else None
    _warn(recorder.lacks)
    if events:
        _warn(recorder.untold)
    ran = _Command(options.command, recorder)
    if priority is Priority.LOW:
        _warn(lower())
    previous = {number: signal.signal(number, ran.on_signal) for number in _STOPPERS}
    try:
        recorder.run(live.show if live else lambda _: None, ran.start)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if live:
            live.finish()
    if recorder.halted:
        raise KernelError(recorder.halted)
    raise typer.Exit(ran.status())


def _note(status: Status, interval_us: int) -> str:
    """Say on the live line that samples are further apart than was asked for."""
    from sockrec.model import durations

    if status.interval_us <= interval_us:
        return ""
    return f"CPU budget: all sockets every {durations.show(status.interval_us)}"


def _warn(lacks: list[str]) -> None:
    """Say what this recording won't see, or do."""
    for lack in lacks:
        print(f"sockrec: {lack}", file=sys.stderr)  # noqa: T201


class _LiveLine:
    """The line on a terminal that each sample rewrites."""

    def __init__(self, recorder: Recorder, folder: Path) -> None:
        self._recorder = recorder
        self._heard = True
        self._told = False
        self._say(f"recording into {folder}; Ctrl-C stops\n")

    def show(self, status: Status) -> None:
        """Rewrite the line; after the first sample, say first what this kernel does not give."""
        if status.samples == 1 and not self._told:
            self._told = True
            self._say("".join(f"sockrec: {line}\n" for line in self._recorder.unavailable))
        from sockrec.render import live

        text = live.line(
            elapsed_us=status.elapsed_us,
            samples=status.samples,
            sockets=status.sockets,
            changes=status.changes,
            events=status.events,
            events_lost=status.events_lost,
            size_bytes=status.bytes,
            cpu_percent=status.cpu_percent,
            ticks_missed=status.ticks_missed,
            incomplete=status.incomplete,
            note=_note(status, self._recorder.options.interval_us),
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
    """The command that is recorded while it runs, if there is one.

    It has the priority that the recorder has when this is made: a thread made then starts it, and a
    child has its thread's.
    """

    def __init__(self, words: tuple[str, ...], recorder: Recorder) -> None:
        self._words = words
        self._recorder = recorder
        self._process: subprocess.Popen[bytes] | None = None
        if words:
            self._starter = ThreadPoolExecutor(1, thread_name_prefix="sockrec-command")
            self._starter.submit(lambda: None).result()  # its thread is made by the first that it has to do

    def start(self) -> None:
        """Start it; recording stops when it ends."""
        if self._words and not self._recorder.stop.is_set():
            self._process = self._starter.submit(subprocess.Popen, self._words).result()
            self._starter.shutdown(wait=False)
            threading.Thread(target=self._wait, args=(self._process,), daemon=True).start()
            if self._recorder.stop.is_set():  # a signal came while it was being started
                self._process.terminate()

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
