"""Exits, execs, signals and OOM kills at their moments: tracepoints of a Tracer, of the whole host.

All numbers are of the initial PID namespace: a recorder in another one can't match them with its /proc.

What order says, for one thread: a socket closed after the thread's exit event was closed by the exit. One
that an exec closes (FD_CLOEXEC) goes on the thread's way back to user space: after `preparing` and at
most `EXEC_CLOSES_WITHIN` after `done`, before the new program can do much. All else is close(2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from sockrec.errors import KernelError
from sockrec.kernel.arrays import I64
from sockrec.kernel.tracing import IN_INTERRUPT, Trace, Tracer

EXIT: Final = "sched/sched_process_exit"
PREPARE_EXEC: Final = "sched/sched_prepare_exec"
EXEC: Final = "sched/sched_process_exec"
RENAME: Final = "task/task_rename"
SIGNAL: Final = "signal/signal_generate"
OOM: Final = "oom/mark_victim"

# Of the signals that end a process by default, those that somebody sends or a fault raises; not the
# timers' and SIGPIPE, which busy programs get by the thousand: their exit status tells of those.
_CONDITIONS: Final = {SIGNAL: "sig<=12 || sig==15 || sig==24 || sig==25 || sig==31"}
_LOST: Final = {
    EXIT: "when and by which thread a process ended",
    PREPARE_EXEC: "whether an exec closed a socket",
    EXEC: "execs",
    RENAME: "what a process was called before an exec",
    SIGNAL: "who sent a signal",
    OOM: "kills for want of memory",
}
EXEC_CLOSES_WITHIN: Final = 1_000_000
"""Nanoseconds: usually a few thousand; a program takes longer to be loaded."""

_EXEC_RENAMES_WITHIN: Final = 1_000_000_000
# siginfo_t.si_code of what processes send: kill(2), sigqueue(3), tgkill(2).
_SENT: Final = (0, -1, -6)


@dataclass(slots=True)
class ThreadExits:
    """Ends of threads, in the order of their times, each array of length n.

    `times` are CLOCK_BOOTTIME nanoseconds: when the thread began to exit, before its files are closed.
    `comm` is its name, as bytes. `last` marks the last thread of its process, which need not be the one whose
    number is the pid; where the kernel does not say (before Linux 6.16), every row is False.
    """

    times: I64
    thread: I64
    comm: npt.NDArray[np.bytes_]
    last: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True, slots=True)
class Exec:
    """A process replaced its program by `path`.

    `thread` called it and became `pid`. `preparing`, None where that was not seen, and `done` are
    CLOCK_BOOTTIME nanoseconds. `comm` is the kernel's name of it before, None if not seen.
    """

    preparing: int | None
    done: int
    pid: int
    thread: int
    path: str
    comm: str | None = None


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal was generated at `time` (CLOCK_BOOTTIME nanoseconds) for thread `target`.

    `whole_process`: for all its threads, `target` being any of them. `code` is siginfo_t's si_code.
    `sender` is the thread that sent it, None where the kernel did: a fault, a terminal, memory.
    `taken` is False where it was ignored or pending already.
    """

    time: int
    number: int
    code: int
    target: int
    target_comm: str
    whole_process: bool
    sender: int | None
    taken: bool


@dataclass(frozen=True, slots=True)
class OomKill:
    """The OOM killer chose process `pid` at `time`, CLOCK_BOOTTIME nanoseconds."""

    time: int
    pid: int


class ProcessEvents:
    """Enables these tracepoints of a tracer. `unavailable` says what this kernel lacks, a line each."""

    def __init__(self, tracer: Tracer) -> None:
        self.unavailable: list[str] = []
        self._preparing: dict[int, int] = {}
        self._renamed: dict[int, tuple[int, str]] = {}
        for name, what in _LOST.items():
            try:
                tracer.enable(name, _CONDITIONS.get(name, ""))
            except KernelError as error:
                self.unavailable.append(f"{error}: it is not known {what}")

    def execs(self, trace: Trace) -> list[Exec]:
        """Return the execs of one reading; call it for each, in their order."""
        moments: list[tuple[int, int, int, int, str]] = []
        if (events := trace.events.get(PREPARE_EXEC)) is not None:
            for time, thread in zip(
                events.times.tolist(), events.records["common_pid"].tolist(), strict=True
            ):
                moments.append((time, 0, thread, thread, ""))
        if (events := trace.events.get(RENAME)) is not None:
            for time, pid, comm in zip(
                events.times.tolist(),
                events.records["pid"].tolist(),
                events.records["oldcomm"].tolist(),
                strict=True,
            ):
                moments.append((time, 1, pid, pid, comm.decode("utf-8", "backslashreplace")))
        if (events := trace.events.get(EXEC)) is not None:
            records = events.records
            moments += zip(
                events.times.tolist(),
                [2] * len(events),
                records["pid"].tolist(),
                records["old_pid"].tolist(),
                events.text("filename"),
                strict=True,
            )
        found = []
        for time, kind, pid, thread, text in sorted(moments):
            if kind == 0:
                self._preparing[thread] = time
            elif kind == 1:
                self._renamed[pid] = time, text
            else:
                preparing = self._preparing.pop(thread, None)
                renamed, comm = self._renamed.pop(pid, (time - _EXEC_RENAMES_WITHIN, ""))
                known = comm if renamed > time - _EXEC_RENAMES_WITHIN else None
                found.append(Exec(preparing, time, pid, thread, text, known))
        # Most of these are names that programs gave themselves.
        oldest = trace.until * 1000 - _EXEC_RENAMES_WITHIN
        self._renamed = {pid: named for pid, named in self._renamed.items() if named[0] > oldest}
        # Execs that fail so late that it kills the process leave theirs behind.
        for thread in exits(trace).thread.tolist() if self._preparing else ():
            self._preparing.pop(thread, None)
        return found


def exits(trace: Trace) -> ThreadExits:
    """Return the ends of threads of one reading."""
    events = trace.events.get(EXIT)
    if events is None:
        none = np.empty(0, np.int64)
        return ThreadExits(none, none, np.empty(0, "S16"), none.astype(bool))
    records = events.records
    known = "group_dead" in (records.dtype.names or ())
    return ThreadExits(
        times=events.times,
        thread=records["pid"].astype(np.int64),
        comm=records["comm"].copy(),
        last=records["group_dead"] != 0 if known else np.zeros(len(events), bool),
    )


def signals(trace: Trace) -> list[Signal]:
    """Return the signals of one reading that end a process unless it handles them."""
    events = trace.events.get(SIGNAL)
    if events is None:
        return []
    records = events.records
    columns = ("sig", "code", "pid", "comm", "group", "result", "common_pid", "common_flags")
    return [
        Signal(
            time=time,
            number=number,
            code=code,
            target=target,
            target_comm=comm.decode("utf-8", "backslashreplace"),
            whole_process=bool(group),
            sender=thread if code in _SENT and not flags & IN_INTERRUPT else None,
            taken=result == 0,
        )
        for time, number, code, target, comm, group, result, thread, flags in zip(
            events.times.tolist(), *(records[name].tolist() for name in columns), strict=True
        )
    ]


def oom_kills(trace: Trace) -> list[OomKill]:
    """Return the OOM kills of one reading."""
    events = trace.events.get(OOM)
    if events is None:
        return []
    pids = events.records["pid"].tolist()
    return [OomKill(time, pid) for time, pid in zip(events.times.tolist(), pids, strict=True)]
