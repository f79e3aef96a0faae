"""Who did it: the processes behind the threads that tracepoints name, the dead among them too."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Final

from sockrec.errors import KernelError
from sockrec.kernel import processes
from sockrec.kernel.process_events import Exec, ThreadExits
from sockrec.kernel.tasks import Tasks

_KEPT: Final = 4096
# A host that makes a process for each connection has too many to be looked at: their names then come
# from their exits.
_LOOKED_UP_A_TIME: Final = 64
# What a thread had open is closed so long after its exit at most, nanoseconds.
_CLOSES_WITHIN: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Actor:
    """A process as it can be named: `program` as netstat has it, or the kernel's name of a dead one.

    `pid` is None for a thread that is gone, and was not the last of a process that nobody had looked at,
    until its exit is announced; `program` for a process that was gone before it could be read, until its
    exit is traced: it is not `whole` until then. `program` is None too where it may not be read, or was
    another one at the time.
    """

    pid: int | None
    program: str | None
    network_namespace: int | None
    whole: bool = True


def untold(actor: Actor | None) -> bool:
    """Say whether it was gone when it was looked for: its exit, which is yet to be read, may tell more."""
    return actor is None or not actor.whole


@dataclass(frozen=True, slots=True)
class _Dead:
    """A thread that ended at `time`, CLOCK_BOOTTIME nanoseconds; `named` by its process, or by its comm."""

    time: int
    actor: Actor
    named: bool


class People:
    """Finds out who a thread was at a moment (CLOCK_BOOTTIME nanoseconds).

    `numbers_tell`: whether the trace numbers threads as /proc does; if not, nobody is known.
    """

    def __init__(self, *, numbers_tell: bool = True) -> None:
        self.numbers_tell = numbers_tell
        self._tasks = Tasks()
        self._programs: OrderedDict[tuple[int, int], tuple[str | None, bool]] = OrderedDict()
        self._dead: OrderedDict[int, _Dead] = OrderedDict()
        self._belonged: OrderedDict[int, tuple[int, int]] = OrderedDict()
        self._became: OrderedDict[int, Exec] = OrderedDict()
        self._left = _LOOKED_UP_A_TIME

    def begin(self) -> None:
        """Begin with another part of the trace: as many may be looked up again as for one."""
        self._left = _LOOKED_UP_A_TIME

    def observe(self, exits: ThreadExits, execs: list[Exec]) -> None:
        """Learn of threads that ended and of processes that are other programs by now."""
        columns = (exits.times, exits.thread, exits.comm, exits.last)
        for time, thread, comm, last in zip(*(column.tolist() for column in columns), strict=True):
            known = self._tasks.find(thread, time) if self._tasks.knows(thread) else None
            announced, process = self._belonged.pop(thread, (0, 0))
            pid = process if announced >= time else thread if last else None
            program, namespace = None, None
            if known is not None:
                pid, namespace = known.pid, known.network_namespace
                program, _ = self._programs.get((known.pid, known.started), (None, False))
            name = program or comm.decode("utf-8", "backslashreplace")
            actor = Actor(pid, name, namespace, whole=pid is not None)
            self._dead[thread] = _Dead(time, actor, program is not None)
            self._dead.move_to_end(thread)
            if len(self._dead) > _KEPT:
                self._dead.popitem(last=False)
            self._tasks.forget(thread)
        for one in execs:
            self._tasks.forget(one.thread)
            self._tasks.forget(one.pid)
            for key in [key for key in self._programs if key[0] == one.pid]:
                del self._programs[key]
            self._became[one.pid] = one
            self._became.move_to_end(one.pid)
            if len(self._became) > _KEPT:
                self._became.popitem(last=False)

    def belonged(self, times: list[int], threads: list[int], pids: list[int]) -> None:
        """Learn which processes dead threads were of, before or after the trace has their exits."""
        for time, thread, pid in zip(times, threads, pids, strict=True):
            dead = self._dead.get(thread)
            if dead is None:
                self._belonged[thread] = time, pid
                if len(self._belonged) > _KEPT:
                    self._belonged.popitem(last=False)
            elif dead.actor.pid != pid:
                self._dead[thread] = replace(dead, actor=replace(dead.actor, pid=pid, whole=True))

    def find(self, thread: int, at_ns: int) -> Actor | None:
        """Return who had this thread number then; None if that can't be told any more, or not yet."""
        if thread <= 0 or not self.numbers_tell:
            return None
        dead = self._died(thread, at_ns)
        if dead is None:
            return self._living(thread, at_ns)
        pid = dead.actor.pid
        if dead.named or pid is None or pid == thread:
            return dead.actor
        # A thread has a name of its own: it is told as its process, if that is known.
        main = self._died(pid, at_ns)
        process = self._living(pid, at_ns) if main is None else main.actor
        if process is None or process.program is None:
            return dead.actor
        return Actor(pid, process.program, dead.actor.network_namespace or process.network_namespace)

    def _died(self, thread: int, at_ns: int) -> _Dead | None:
        """Return the end of a thread that is gone, if it was it that had this number then."""
        dead = self._dead.get(thread)
        return dead if dead is not None and dead.time >= at_ns - _CLOSES_WITHIN else None

    def _living(self, thread: int, at_ns: int) -> Actor | None:
        """Return a thread as /proc has it."""
        if not self._tasks.knows(thread):
            if not self._left:
                return None
            self._left -= 1
        try:
            task = self._tasks.find(thread, at_ns)
        except KernelError:  # hidden from us: known by its number alone
            return Actor(thread, None, None)
        if task is None:
            return None
        # What it was before an exec that is over can't be seen any more.
        became = self._became.get(task.pid)
        if became is not None and became.done > at_ns:
            program, whole = became.comm, True
        else:
            program, whole = self._program(task.pid, task.started)
        return Actor(task.pid, program, task.network_namespace, whole)

    def namespace_of(self, thread: int, at_ns: int) -> int | None:
        """Return the network namespace of that thread then, None if unknown."""
        actor = self.find(thread, at_ns)
        return None if actor is None else actor.network_namespace

    def _program(self, pid: int, started: int) -> tuple[str | None, bool]:
        """Return the name of a process, and whether that is all there is to know: False if it was gone."""
        key = (pid, started)
        if key not in self._programs:
            try:
                process = processes.read(pid)
            except KernelError:
                self._programs[key] = None, True
            else:
                name = None if process is None else processes.program(process)
                self._programs[key] = name, name is not None
            if len(self._programs) > _KEPT:
                self._programs.popitem(last=False)
        return self._programs[key]
