"""`sockrec record`: records until stopped."""

from __future__ import annotations

import contextlib
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
    from sockrec.recorder.options import Status
    from sockrec.recorder.recorder import Recorder

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
    slow_interval: Annotated[
        str,
        typer.Option(help="Read interfaces, routes, groups and protocol statistics this often."),
    ] = "10s",
    counters_interval: Annotated[
        str,
        typer.Option(
            help="Write a socket's byte, segment and round-trip counters, while they move, "
            "at most so often; 0s: in each sample; never: only what netstat shows."
        ),
    ] = "1m",
    resolve: Annotated[
        bool, typer.Option("--resolve", help="Ask DNS for the host names of addresses, beside the recording.")
    ] = False,
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
    disk_buffer: Annotated[
        str,
        typer.Option(
            help="Memory for what is recorded while the disk is full or fails; beyond it samples are dropped."
        ),
    ] = "64MiB",
    max_size: Annotated[
        str | None,
        typer.Option(help="Keep below this much disk: 500MiB, 2GiB. The oldest parts go first."),
    ] = None,
    max_age: Annotated[str | None, typer.Option(help="Remove what is older than this: 24h, 7d.")] = None,
    thin_after: Annotated[
        str | None,
        typer.Option(help="Of what is older than this, queues and counters once a minute are enough."),
    ] = None,
    ring: Annotated[
        str | None,
        typer.Option(help="Keep only the last 10m, say; 'sockrec keep', or SIGUSR1, saves them."),
    ] = None,
    priority: Annotated[
        Priority, typer.Option(help="CPU and disk: behind everybody else, or in line with them.")
    ] = Priority.LOW,
    check: Annotated[bool, typer.Option("--check", hidden=True)] = False,
) -> None:
    """Record every socket of this host until stopped.

    Ctrl-C or SIGTERM ends the recording cleanly, after one last sample. With a COMMAND, recording
    lasts as long as the command and ends with its exit status. Recording into a capture that
    exists goes on where it ended; the time between is a gap.

    Where all sockets cost more than --max-cpu allows, they are read less often than each interval;
    those that listen are still read each time.
    """
    from sockrec.cli._manager import Told
    from sockrec.errors import KernelError, UsageError
    from sockrec.kernel import capabilities
    from sockrec.kernel.priority import lower
    from sockrec.model import amounts, durations
    from sockrec.recorder import privileges
    from sockrec.store import layout, locate

    if command and shutil.which(command[0]) is None:
        raise UsageError(f"there is no command {command[0]!r} to run")
    recording = layout.new_recording(time.time_ns() // 1000)
    folder = locate.locate_for_recording(recording, capture)
    # One thread keeps all that we may do: the sources of events are opened by it, and the command started.
    starter = ThreadPoolExecutor(1, thread_name_prefix="sockrec-start")
    starter.submit(lambda: None).result()  # its thread is made by the first that it has to do
    if not check:
        _warn(capabilities.keep_only(privileges.needed(folder, command=bool(command))))
    # Not before: numpy and pyarrow start threads of their own, which have what this one has then.
    from sockrec.recorder.events.sources import Sources
    from sockrec.recorder.options import Options
    from sockrec.recorder.recorder import Recorder

    options = Options(
        interval_us=durations.parse(interval),
        for_us=None if for_ is None else durations.parse(for_),
        sync_us=durations.parse(sync),
        command=tuple(command or ()),
        cpu_share=amounts.parse_share(max_cpu, os.cpu_count() or 1),
        memory_bytes=amounts.parse_bytes(max_memory),
        events=events,
        event_buffer=None if event_buffer is None else amounts.parse_bytes(event_buffer),
        disk_buffer=_needed("--disk-buffer", amounts.parse_bytes(disk_buffer)),
        max_bytes=None if max_size is None else amounts.parse_bytes(max_size),
        max_age_us=None if max_age is None else durations.parse(max_age),
        thin_after_us=None if thin_after is None else durations.parse(thin_after),
        ring_us=None if ring is None else durations.parse(ring),
        resolve=resolve,
        slow_us=durations.parse(slow_interval),
        counters_us=None if counters_interval == "never" else durations.parse(counters_interval),
    )
    if check:
        raise typer.Exit
    startup_us = time.process_time_ns() // 1000
    recorder = Recorder(
        folder, options, recording, startup_us, lambda room: starter.submit(Sources, room).result()
    )
    live = _LiveLine(recorder, folder) if sys.stderr.isatty() else None
    _warn(recorder.lacks)
    if events:
        _warn(recorder.untold)
    ran, told = _Command(options.command, recorder, starter), Told(recorder, _tell)
    if priority is Priority.LOW:
        _warn(lower())

    def on_sample(status: Status) -> None:
        told.sampled(status)
        if live:
            live.show(status)

    def on_begun() -> None:
        told.begun()
        ran.start()

    def on_signal(number: int, frame: FrameType | None) -> None:
        told.stopping()
        ran.on_signal(number, frame)

    previous = {number: signal.signal(number, on_signal) for number in _STOPPERS}
    previous[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, lambda *_: recorder.keep())
    try:
        recorder.run(on_sample, on_begun, live.tell if live else _tell, told.on_alive)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if live:
            live.finish()
    if recorder.halted:
        raise KernelError(recorder.halted)
    raise typer.Exit(ran.status())


def _needed(option: str, amount: int | None) -> int:
    """Return an amount that there is no doing without."""
    from sockrec.errors import UsageError

    if amount is None:
        raise UsageError(f"{option} needs an amount, as 64MiB")
    return amount


def _note(status: Status, interval_us: int) -> str:
    """Say on the live line that samples are further apart than was asked for."""
    from sockrec.model import durations

    if status.interval_us <= interval_us:
        return ""
    return f"CPU budget: all sockets every {durations.show(status.interval_us)}"


def _warn(lacks: list[str]) -> None:
    """Say what this recording won't see, or do."""
    for lack in lacks:
        _tell(lack)


def _tell(notice: str) -> None:
    from sockrec.render.escape import terminal

    # A terminal or a log that is gone must not end the recording.
    with contextlib.suppress(OSError):
        print(f"sockrec: {terminal(notice)}", file=sys.stderr, flush=True)  # noqa: T201


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
            alarm=status.disk or "",
            note=_note(status, self._recorder.options.interval_us),
            width=shutil.get_terminal_size().columns,
        )
        self._say(f"\r\x1b[K{text}")

    def tell(self, notice: str) -> None:
        """Say something above the line."""
        from sockrec.render.escape import terminal

        self._say(f"\r\x1b[Ksockrec: {terminal(notice)}\n")

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

    A child has its thread's priority and privileges: `starter`, made before the recorder lowered its own,
    starts it, and is given up then.
    """

    def __init__(self, words: tuple[str, ...], recorder: Recorder, starter: ThreadPoolExecutor) -> None:
        self._words = words
        self._recorder = recorder
        self._process: subprocess.Popen[bytes] | None = None
        self._starter = starter
        if not words:
            starter.shutdown()

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
            patience = threading.Timer(_PATIENCE_S, self._recorder.stop.set)
            patience.daemon = True
            patience.start()
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
