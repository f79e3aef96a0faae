"""Why a listener ended, and how processes that held sockets did."""

from __future__ import annotations

import os
import signal as signals
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from sockrec.kernel.connector import ProcessExits
from sockrec.kernel.exits import Exit
from sockrec.kernel.process_events import EXEC_CLOSES_WITHIN, Exec, OomKill, Signal, ThreadExits
from sockrec.recorder.events.people import Actor, People, untold

# A parent that reaps its child at once leaves its status in the kernel; others take their time.
PATIENCE_US: Final = 1_000_000
# A program that ends by itself closes first: whether it did is known soon after.
_EXITS_SOON_US: Final = 200_000
Value = TypeVar("Value")

# The end that a trace tells, and the one that a pidfd does, are of one process if no further apart.
_SAME_END_US: Final = 500_000
# A host that makes thousands of processes a second has so many within a second's patience.
_KEPT: Final = 1 << 15
_THREADS_KEPT: Final = 7
_EXECS_KEPT: Final = 7
_OOM_KILLS_WITHIN_NS: Final = 60_000_000_000
_SIGNAL_KILLS_WITHIN_NS: Final = 5_000_000_000
# Execs whose beginning was not seen closed their sockets at most so long before they were done.
_EXEC_TAKES_NS: Final = 10_000_000
# A process gives up its files so shortly before it ends.
_ENDS_WITHIN_NS: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Cause:
    """How it came to an end, in the words of the events table."""

    word: str | None = None
    pid: int | None = None
    program: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    by_pid: int | None = None
    by_program: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Closing:
    """A listener that ended: when (CLOCK_BOOTTIME nanoseconds), by which thread, and who held it.

    Without a thread (`None`), it ended between two moments, and its holders' ends must tell.
    """

    not_before: int
    not_after: int
    thread: int | None
    holders: tuple[int, ...]
    pid: int | None
    program: str | None


@dataclass(frozen=True, slots=True)
class _Announced:
    """A thread of a process exited at `time`, CLOCK_BOOTTIME nanoseconds, with that wait(2) status."""

    time: int
    pid: int
    status: int


@dataclass(frozen=True, slots=True)
class ProcessEnd:
    """A watched process ended, between two moments, CLOCK_BOOTTIME nanoseconds."""

    pid: int
    not_before: int
    not_after: int
    cause: Cause


class Causes:
    """Remembers what happened to processes lately. `program_of` names a process that holds sockets."""

    def __init__(self, people: People, program_of: Callable[[int], str | None]) -> None:
        self._people = people
        self._program_of = program_of
        self._thread_exits: OrderedDict[int, int] = OrderedDict()
        self._execs: OrderedDict[int, tuple[Exec, ...]] = OrderedDict()
        self._signals: OrderedDict[int, Signal] = OrderedDict()
        self._oom: OrderedDict[int, int] = OrderedDict()
        self._ends: OrderedDict[int, Exit] = OrderedDict()
        self._announced: OrderedDict[int, _Announced] = OrderedDict()
        self._announced_of: OrderedDict[int, tuple[tuple[int, _Announced], ...]] = OrderedDict()
        self._last_threads: OrderedDict[int, int] = OrderedDict()
        self._told_ends: OrderedDict[int, int] = OrderedDict()
        self._inferred_ends: list[ProcessEnd] = []
        self._programs: OrderedDict[int, str | None] = OrderedDict()
        self._untold: dict[int, Exit] = {}
        self._until = 0

    def observe(
        self,
        exits: ThreadExits,
        execs: list[Exec],
        signals_: list[Signal],
        oom_kills: list[OomKill],
        until_ns: int,
    ) -> None:
        """Take in what the trace tells of processes, whole up to a moment."""
        self.known_until(until_ns)
        columns = (exits.times, exits.thread, exits.last)
        for time, thread, last in zip(*(column.tolist() for column in columns), strict=True):
            _put(self._thread_exits, thread, time)
            if last:
                _put(self._last_threads, thread, time)
        for one in execs:
            for number in {one.thread, one.pid}:
                _put(self._execs, number, (*self._execs.get(number, ())[-_EXECS_KEPT:], one))
        for sent in signals_:
            if sent.taken:
                _put(self._signals, sent.target, sent)
        for kill in oom_kills:
            _put(self._oom, kill.pid, kill.time)

    def known_until(self, until_ns: int) -> None:
        """Note that all that the trace tells of processes up to a moment was taken in."""
        self._until = until_ns

    def announced(self, exits: ProcessExits) -> None:
        """Take in how threads exited, each with its process: those that nobody watched among them."""
        columns = (exits.times, exits.thread, exits.pid, exits.status)
        for time, thread, pid, status in zip(*(column.tolist() for column in columns), strict=True):
            told = _Announced(time, pid, status)
            _put(self._announced, thread, told)
            # The last thread's is the process's: of one that makes many, the others go.
            _put(self._announced_of, pid, (*self._announced_of.get(pid, ())[-_THREADS_KEPT:], (thread, told)))
        self._people.belonged(exits.times.tolist(), exits.thread.tolist(), exits.pid.tolist())

    def ended(self, ends: list[Exit]) -> None:
        """Take in the ends of watched processes."""
        for end in ends:
            before = self._ends.get(end.pid)
            again = before is not None and before.not_before == end.not_before
            _put(self._ends, end.pid, end)
            if not again:
                actor = self._people.find(end.pid, end.not_after * 1000)
                program = self._program_of(end.pid) or (actor.program if actor else None)
                _put(self._programs, end.pid, program)
            told = self._told_ends.get(end.pid)
            if told is None or told < end.not_before - _SAME_END_US:
                self._untold[end.pid] = end

    def process_ends(self, now_us: int, *, at_once: bool = False) -> list[ProcessEnd]:
        """Return the processes that ended and of which no more will be known."""
        told, self._inferred_ends = self._inferred_ends, []
        for pid, end in list(self._untold.items()):
            traced = not self._until or self._until >= end.not_after * 1000
            patient = end.status is None or not traced or self._sender_to_come(pid, end.not_after * 1000)
            if patient and now_us < end.not_after + PATIENCE_US and not at_once:
                continue
            del self._untold[pid]
            _put(self._told_ends, pid, end.not_after)
            first, last = end.not_before * 1000, end.not_after * 1000
            exact = self._thread_exits.get(pid)
            # It begins to exit before its pidfd tells.
            if exact is not None and first - _SAME_END_US * 1000 <= exact <= last:
                first = last = exact
            told.append(ProcessEnd(pid, first, last, self._of_process(pid, self._programs.get(pid), last)))
        return told

    def of(self, closing: Closing, now_us: int, *, at_once: bool = False) -> Cause | None:
        """Return why a listener ended; None where that may still become known."""
        patient = not at_once and now_us * 1000 < closing.not_after + PATIENCE_US * 1000
        if closing.thread is None:
            return self._by_holders(closing, patient)
        if patient and self._until < closing.not_after + EXEC_CLOSES_WITHIN:
            return None
        if not self._people.numbers_tell:
            return self._around(closing, patient)
        thread, time = closing.thread, closing.not_after
        actor = self._people.find(thread, time)
        called = self._exec_at(thread, time)
        if called is not None:
            name = self._name(called.pid, closing, actor)
            return Cause("exec", called.pid, name, detail=called.path)
        exited = self._thread_exits.get(thread)
        if exited is not None and exited <= time:
            return self._by_exit(closing, actor, thread, exited, patient)
        if patient and thread > 0 and untold(actor):
            return None
        if actor is None:
            return Cause(None, closing.pid, closing.program)
        if actor.pid == os.getpid():
            # Who looks at a descriptor in /proc/PID/fd holds its file for a moment: if it is given up
            # meanwhile, the one who looked is its last user, and never meant to close it.
            return self._around(closing, patient)
        if actor.pid is not None and closing.holders and actor.pid not in closing.holders:
            return Cause(
                "other process", closing.pid, closing.program, by_pid=actor.pid, by_program=actor.program
            )
        # A thread that is gone: it was one of the holder's, as nobody else can close what he holds.
        closer = actor.pid or closing.pid
        if closer is None:
            return Cause("close", None, actor.program)
        return self._closed(closer, self._name(closer, closing, actor), time, now_us, at_once=at_once)

    def _around(self, closing: Closing, patient: bool) -> Cause | None:
        """Say what its holders did about then, as the thread that closed it says nothing."""
        first, last = closing.not_before - _ENDS_WITHIN_NS, closing.not_after + _ENDS_WITHIN_NS
        cause = self._by_holders(replace(closing, not_before=first, not_after=last), patient)
        if cause is None or cause.word is not None or closing.pid is None:
            return cause
        return Cause("close", closing.pid, closing.program)

    def _exec_at(self, thread: int, at_ns: int) -> Exec | None:
        """Return the exec that closed a socket then: its thread called it, or is the pid that it became."""
        for one in self._execs.get(thread, ()):
            since = one.preparing or one.done - _EXEC_TAKES_NS
            if since <= at_ns <= one.done + EXEC_CLOSES_WITHIN:
                return one
        return None

    def _by_exit(
        self, closing: Closing, actor: Actor | None, thread: int, exited: int, patient: bool
    ) -> Cause | None:
        """Say how the process ended that took the listener with it; None to wait for its status."""
        time = closing.not_after
        told = self._announced.get(thread)
        status: int | None
        if told is not None and told.time >= exited:
            # The last user of a file closes it: its own status is the process's.
            pid, status = told.pid, told.status
        else:
            pid = (actor.pid if actor else None) or self._dying(thread, closing.holders)
            status = self._status(pid, time)
        if patient and (status is None or self._sender_to_come(pid, time)):
            return None
        cause = self._of_status(pid, self._name(pid, closing, actor), time, status)
        self._tell_end(pid, exited, cause)
        return cause

    def _tell_end(self, pid: int, exited: int, cause: Cause) -> None:
        """Tell of the end of a process too that was not watched."""
        if pid not in self._told_ends and pid not in self._untold:
            _put(self._told_ends, pid, exited // 1000)
            self._inferred_ends.append(ProcessEnd(pid, exited, exited, cause))

    def _closed(
        self, pid: int, program: str | None, at_ns: int, now_us: int, *, at_once: bool
    ) -> Cause | None:
        """Say that a process closed it, and how it ended if it did so right then."""
        at_us = at_ns // 1000
        cause = Cause("close", pid, program)
        status = self._exit_of(pid, program, at_ns, at_ns + _EXITS_SOON_US * 1000)
        end = self._ends.get(pid)
        ended = end is not None and at_us <= end.not_after <= at_us + PATIENCE_US
        if status is None and end is not None and ended:
            status = end.status
        if status is None and not at_once:
            until = end.not_after + PATIENCE_US if end is not None and ended else at_us + _EXITS_SOON_US
            if now_us < until:
                return None
        if status is None:
            return cause
        number = status & 0x7F
        return replace(cause, signal=number) if number else replace(cause, exit_code=status >> 8 & 0xFF)

    def _exit_of(self, pid: int, program: str | None, first_ns: int, last_ns: int) -> int | None:
        """Return the status of a process whose last thread was announced to exit between two moments."""
        for thread, told in self._announced_of.get(pid, ()):
            if thread in self._last_threads and first_ns <= told.time <= last_ns:
                exited = self._last_threads[thread]
                self._tell_end(pid, exited, self._of_status(pid, program, exited, told.status))
                return told.status
        return None

    def _by_holders(self, closing: Closing, patient: bool) -> Cause | None:
        """Infer the cause from the ends of all that held it; if one of them lives on, nothing is known."""
        ends = [end for pid in closing.holders if (end := self._ends.get(pid)) is not None]
        within = [
            end
            for end in ends
            if end.not_before * 1000 <= closing.not_after and end.not_after * 1000 >= closing.not_before
        ]
        if not within or len(ends) < len(closing.holders):
            # The process may be over in a moment: its sockets close first.
            return None if patient else Cause(None, closing.pid, closing.program)
        last = max(within, key=lambda end: end.not_after)
        at = min(closing.not_after, last.not_after * 1000)
        if patient and (last.status is None or self._sender_to_come(last.pid, at)):
            return None
        return self._of_process(last.pid, self._name(last.pid, closing, None), at)

    def _dying(self, pid: int, holders: tuple[int, ...]) -> int:
        """Return the process that a thread belonged to, which is not always the one of its number."""
        if not holders or pid in holders:
            return pid
        dying = [holder for holder in holders if holder in self._ends]
        return dying[-1] if dying else (holders[0] if len(holders) == 1 else pid)

    def _status(self, pid: int, at_ns: int) -> int | None:
        """Return how a process ended that closed a socket then: it did so before it had ended."""
        end = self._ends.get(pid)
        return None if end is None or end.not_after * 1000 < at_ns else end.status

    def _name(self, pid: int, closing: Closing, actor: Actor | None) -> str | None:
        if pid == closing.pid and closing.program is not None:
            return closing.program
        return self._programs.get(pid) or self._program_of(pid) or (actor.program if actor else None)

    def _signal(self, pid: int, at_ns: int) -> Signal | None:
        """Return the signal that may have ended a process then."""
        sent = self._signals.get(pid)
        return sent if sent is not None and 0 <= at_ns - sent.time <= _SIGNAL_KILLS_WITHIN_NS else None

    def _sender_to_come(self, pid: int, at_ns: int) -> bool:
        """Say whether who sent that is gone, and its exit yet to be told."""
        sent = self._signal(pid, at_ns)
        if sent is None or sent.sender is None:
            return False
        return untold(self._people.find(sent.sender, sent.time))

    def _of_process(self, pid: int, program: str | None, at_ns: int) -> Cause:
        return self._of_status(pid, program, at_ns, self._status(pid, at_ns))

    def _of_status(self, pid: int, program: str | None, at_ns: int, status: int | None) -> Cause:
        """Return how a process ended that had that wait(2) status, None if it is not known."""
        sent = self._signal(pid, at_ns)
        if status is None:
            if sent is None or sent.number != signals.SIGKILL:
                return Cause("exit", pid, program)
            return self._killed(Cause("signal", pid, program, signal=sent.number), sent, at_ns)
        number = status & 0x7F
        if not number:
            return Cause("exit", pid, program, exit_code=status >> 8 & 0xFF)
        by = sent if sent is not None and sent.number == number else None
        return self._killed(Cause("signal", pid, program, signal=number), by, at_ns)

    def _killed(self, cause: Cause, sent: Signal | None, at_ns: int) -> Cause:
        victim = self._oom.get(cause.pid or 0)
        if victim is not None and 0 <= at_ns - victim <= _OOM_KILLS_WITHIN_NS:
            return replace(cause, word="oom")
        sender = None if sent is None or sent.sender is None else self._people.find(sent.sender, sent.time)
        if sender is None or sender.pid == cause.pid:
            return cause
        return replace(cause, by_pid=sender.pid, by_program=sender.program)


def _put(held: OrderedDict[int, Value], key: int, value: Value) -> None:
    held[key] = value
    held.move_to_end(key)
    if len(held) > _KEPT:
        held.popitem(last=False)
