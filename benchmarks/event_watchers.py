"""Who watches short connections come and go: sockrec, bare loops, bpftrace; each until it is told to stop."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import pyarrow.compute as pc
import pyarrow.parquet as pq

import sockrec
from benchmarks.startup import SOCKREC
from benchmarks.timing import BenchmarkError

PORT: Final = 7071
_SECONDS: Final = 30
# What is queued when the load ends is still to be read: everybody does so ten times a second.
_SETTLE_SECONDS: Final = 0.5
_CPUCLOCK_SCHED: Final = 2
_LOOP: Final = str(Path(__file__).with_name("recv_loop.py"))
# Its words come through one pipe, so `ready` is printed by a probe that is attached with the others.
_PROGRAM: Final = f"""
tracepoint:sock:inet_sock_set_state /args->sport == {PORT} || args->dport == {PORT}/ {{
    printf("%llu %d %s %s %d %s %d %d %d\\n", nsecs, pid, comm, ntop(args->saddr), args->sport,
        ntop(args->daddr), args->dport, args->oldstate, args->newstate);
}}
interval:ms:300 /!@ready/ {{ @ready = 1; printf("ready\\n"); }}
interval:s:300 {{ exit(); }}
"""
_TRACEFS: Final = 'mount -t tracefs tracefs /sys/kernel/tracing && exec bpftrace -q -e "$0"'


class AbsentError(BenchmarkError):
    """A watcher is not on this machine, or can't do its work here."""


def cpu_of(pid: int) -> float:
    """Return the CPU seconds that a process has used, all threads, those that ended too."""
    return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)


class Watcher(ABC):
    """A process that watches, from `with` on; `cpu` is what it used from `mark` to its end, in seconds.

    `seen` is how many destroyed sockets it told of, None if that is not known.
    """

    cpu = 0.0
    seen: int | None = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._marked = 0.0
        self._process = self._start()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def mark(self) -> None:
        """Count CPU time from now on."""
        self._marked = cpu_of(self.pid)

    def finish(self) -> None:
        """Let it take in what is left, end it, and take note of what it used."""
        time.sleep(_SETTLE_SECONDS)
        self._stop()
        until = time.monotonic() + _SECONDS
        while True:
            pid, status, used = os.wait4(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > until:
                raise BenchmarkError(f"{type(self).__name__} did not end within {_SECONDS} s")
            time.sleep(0.01)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        if self._process.returncode:
            raise BenchmarkError(f"{type(self).__name__} ended with {self._process.returncode}")
        self.cpu = used.ru_utime + used.ru_stime - self._marked
        self._count()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        if self._process.returncode is None:
            self._process.kill()
            self._process.wait()

    @abstractmethod
    def _start(self) -> subprocess.Popen[bytes]: ...

    @abstractmethod
    def _stop(self) -> None: ...

    @abstractmethod
    def _count(self) -> None: ...


class Recorder(Watcher):
    """`sockrec record` as a command, with words of one's own; its end seals what it wrote."""

    words: tuple[str, ...] = ()
    events = True

    def _start(self) -> subprocess.Popen[bytes]:
        self.capture = self.folder / "capture"
        shutil.rmtree(self.capture, ignore_errors=True)
        # The command is started once the first sample is safe, and ends the recording with its own end.
        command = ["sh", "-c", "echo ready && exec cat >/dev/null"]
        words = [SOCKREC, "record", "-C", str(self.capture), *self.words, "--", *command]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        _await(process, process.stdout)
        return process

    def _stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _count(self) -> None:
        # What was written, not what a view makes of it: it has been sealed by now.
        files = sorted((self.capture / "events").rglob("*.parquet")) if self.events else []
        kinds = [pq.read_table(path, columns=["kind"], partitioning=None)["kind"] for path in files]
        self.seen = sum(pc.sum(pc.equal(kind, "closed")).as_py() or 0 for kind in kinds)

    def rows(self) -> tuple[int, int, dict[str, int]]:
        """Return how many clients' ends `events` tells of, servers' ends, and losses by what was lost."""
        ends = f"""SELECT count(*) FILTER (remote_port = {PORT}), count(*) FILTER (local_port = {PORT})
            FROM events WHERE kind = 'closed'"""
        lost = """SELECT detail, sum(coalesce("count", 1)) FROM events WHERE kind = 'lost' GROUP BY detail"""
        with sockrec.open(self.capture) as opened:
            (client, server), *_ = opened.sql(ends).fetchall()
            losses = {what: int(count) for what, count in opened.sql(lost).fetchall()}
        return client, server, losses

    def bytes(self) -> int:
        """Return how long the capture is."""
        return sum(path.stat().st_size for path in self.capture.rglob("*") if path.is_file())

    def memory_kib(self) -> dict[str, int]:
        """Return what it has resident now, and the most that it had."""
        lines = (line.split() for line in Path(f"/proc/{self.pid}/status").read_text().splitlines())
        return {line[0]: int(line[1]) for line in lines if line[0] in ("VmRSS:", "VmHWM:")}


class Unbudgeted(Recorder):
    """One that never takes fewer samples, whatever it costs: only so two can be compared."""

    words = ("--max-cpu", "off")


class WithoutEvents(Recorder):
    """The same, without event sources."""

    words = ("--max-cpu", "off", "--no-events")
    events = False


class BlockingLoop(Watcher):
    """A Python loop that blocks for each message."""

    way = "blocking"

    def _start(self) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-I", "-S", _LOOP, self.way]
        process = subprocess.Popen(words, stdout=subprocess.PIPE)
        _await(process, process.stdout)
        return process

    def _stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def _count(self) -> None:
        assert self._process.stdout is not None
        self.seen = int(self._process.stdout.read())


class DrainedLoop(BlockingLoop):
    """A Python loop that takes what there is ten times a second."""

    way = "drained"


class Bpftrace(Watcher):
    """A line for each state change of these connections, into a file."""

    def _start(self) -> subprocess.Popen[bytes]:
        if shutil.which("bpftrace") is None:
            raise AbsentError("bpftrace is not installed")
        self._output, errors = self.folder / "bpftrace.txt", self.folder / "bpftrace.err"
        with self._output.open("wb") as output, errors.open("wb") as said:
            words = ["unshare", "-m", "sh", "-c", _TRACEFS, _PROGRAM]
            process = subprocess.Popen(words, stdout=output, stderr=said)
        until = time.monotonic() + _SECONDS
        while b"ready\n" not in self._output.read_bytes():
            if process.poll() is not None or time.monotonic() > until:
                process.kill()
                process.wait()
                lines = errors.read_text("utf-8", "replace").split("\n")
                raise AbsentError(f"bpftrace does not work here: {lines[0] or 'it said nothing'}")
            time.sleep(0.02)
        return process

    def _stop(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def _count(self) -> None:
        with self._output.open("rb") as lines:
            self.seen = sum(line.endswith(b" 7\n") for line in lines)


def _await(process: subprocess.Popen[bytes], stream: IO[bytes] | None) -> None:
    """Wait for the word `ready` of a process."""
    assert stream is not None
    ready, _, _ = select.select([stream], [], [], _SECONDS)
    if not ready or stream.readline() != b"ready\n":
        process.kill()
        process.wait()
        raise BenchmarkError(f"{process.args!r} did not get ready; its last words stand above")
