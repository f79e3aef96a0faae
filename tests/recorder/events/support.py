"""Events made by hand: state changes, ends, traces, announcements, and a host of made-up processes."""

from __future__ import annotations

import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest

from sockrec.kernel import endings, host, process_events, processes, tasks, transitions
from sockrec.kernel.arrays import FIELD, I64, NULL, InetSockets
from sockrec.kernel.connector import ProcessExits
from sockrec.kernel.destroyed import Destroyed
from sockrec.kernel.exits import Exit
from sockrec.kernel.process_events import ProcessEvents, ThreadExits
from sockrec.kernel.processes import Process
from sockrec.kernel.tasks import Task
from sockrec.kernel.tracing import SETTLED_US, Events, Trace, Tracer
from sockrec.kernel.transitions import Cookies, Transitions
from sockrec.recorder.events.sources import Drained, Sources

NETNS = 4_026_531_840
ELSEWHERE = 4_026_532_999
ANCHOR = 1_700_000_000_000_000
CLOSE, SYN_SENT, SYN_RECV, ESTABLISHED, FIN_WAIT1, FIN_WAIT2, TIME_WAIT = 7, 2, 3, 1, 4, 5, 6
CLOSE_WAIT, LAST_ACK, LISTEN = 8, 9, 10
US = "10.0.0.5"
PEER = "10.0.0.9"
INTERRUPT = 0x10


@dataclass(frozen=True)
class Change:
    """One state change; `time` in nanoseconds."""

    time: int
    skaddr: int
    old: int
    new: int
    local_port: int = 4000
    remote_port: int = 80
    thread: int = -1
    local: str = US
    remote: str = PEER


def raw(address: str) -> npt.NDArray[np.uint8]:
    """Return an address as 16 bytes."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return np.frombuffer(socket.inet_pton(family, address).ljust(16, b"\0"), np.uint8)


def addresses(texts: Sequence[str]) -> npt.NDArray[np.uint8]:
    return np.array([raw(text) for text in texts], np.uint8).reshape(-1, 16)


def numbers(values: Sequence[int]) -> I64:
    return np.array(values, np.int64)


def transitions_of(changes: Sequence[Change]) -> Transitions:
    return Transitions(
        times=numbers([one.time for one in changes]),
        skaddr=numbers([one.skaddr for one in changes]),
        old_state=np.array([one.old for one in changes], np.uint8),
        new_state=np.array([one.new for one in changes], np.uint8),
        family=np.array([10 if ":" in one.local else 2 for one in changes], np.uint8),
        local=addresses([one.local for one in changes]),
        remote=addresses([one.remote for one in changes]),
        local_port=np.array([one.local_port for one in changes], np.int32),
        remote_port=np.array([one.remote_port for one in changes], np.int32),
        thread=numbers([one.thread for one in changes]),
    )


def cookies_of(ends: Sequence[tuple[int, int, int]]) -> Cookies:
    """Return ends given as time, kernel address, cookie."""
    table = np.array(ends, np.int64).reshape(-1, 3)
    return Cookies(table[:, 0], table[:, 1], table[:, 2])


def thread_exits(exits: Sequence[tuple[int, int, bytes]], others: Collection[int] = ()) -> ThreadExits:
    """Return ends of threads given as time, thread, name; all but `others` were the last of their process."""
    return ThreadExits(
        numbers([time for time, _, _ in exits]),
        numbers([thread for _, thread, _ in exits]),
        np.array([comm for _, _, comm in exits], "S16"),
        np.array([thread not in others for _, thread, _ in exits], np.bool_),
    )


def process_exits(exits: Sequence[tuple[int, int, int, int]]) -> ProcessExits:
    """Return announced exits, given as time, thread, process and status."""
    rows = np.array(exits, np.int64).reshape(-1, 4).T
    return ProcessExits(rows[0], rows[1], rows[2], rows[3], 0, 0, 0, 0, 0)


_ENDPOINTS = [
    ("family", "u2"), ("saddr", "u1", 4), ("saddr_v6", "V16"), ("daddr", "u1", 4), ("daddr_v6", "V16"),
    ("sport", "u2"), ("dport", "u2"),
]  # fmt: skip
_COMMON = [("common_pid", "i4"), ("common_flags", "u1")]


@dataclass
class Script:
    """What the kernel tells in one drain; times in nanoseconds, of announcements in microseconds."""

    changes: list[Change] = field(default_factory=list)
    ends: list[tuple[int, int, int]] = field(default_factory=list)
    resets_received: list[tuple[int, int]] = field(default_factory=list)
    resets_sent: list[tuple[int, int]] = field(default_factory=list)
    errors: list[tuple[int, int, Change]] = field(default_factory=list)
    """Time, errno, and a change of the same endpoints."""
    thread_exits: list[tuple[int, int, bytes]] = field(default_factory=list)
    threads: Collection[int] = ()
    """Those of them that were not the last of their process."""
    prepares: list[tuple[int, int]] = field(default_factory=list)
    execs: list[tuple[int, int, int, str]] = field(default_factory=list)
    """Time, pid, thread, path."""
    trace_lost: int = 0
    announced: list[dict[str, Any]] = field(default_factory=list)
    announced_lost: int = 0
    announced_until: int | None = None
    read_by: int | None = None
    exits: list[Exit] = field(default_factory=list)
    announced_exits: list[tuple[int, int, int, int]] = field(default_factory=list)
    """Time, thread, process, status."""
    failed: list[tuple[str, str]] = field(default_factory=list)

    def trace(self, since: int, until: int) -> Trace:
        """Return it as a trace read at a moment, microseconds: it is whole up to a little before."""
        changes = _records(
            [one.time for one in self.changes],
            [*_COMMON, ("skaddr", "u8"), ("oldstate", "i4"), ("newstate", "i4"), *_ENDPOINTS],
            [(*_actor(one), one.skaddr, one.old, one.new, *_ends(one)) for one in self.changes],
        )
        ends = _records(
            [time for time, _, _ in self.ends],
            [*_COMMON, ("skaddr", "u8"), ("sock_cookie", "u8")],
            [(0, 0, skaddr, cookie) for _, skaddr, cookie in self.ends],
        )
        errors = _records(
            [time for time, _, _ in self.errors],
            [("error", "i4"), *_ENDPOINTS],
            [(code, *_ends(one)) for _, code, one in self.errors],
        )
        exits = _records(
            [time for time, _, _ in self.thread_exits],
            [("pid", "i4"), ("comm", "S16"), ("group_dead", "u1")],
            [(thread, comm, thread not in self.threads) for _, thread, comm in self.thread_exits],
        )
        prepares = _records(
            [time for time, _ in self.prepares], _COMMON[:1], [(thread,) for _, thread in self.prepares]
        )
        return Trace(
            {
                transitions.STATE_CHANGE: changes,
                transitions.DESTROY: ends,
                endings.RECEIVED: _addressed(self.resets_received),
                endings.SENT: _addressed(self.resets_sent),
                endings.ERROR: errors,
                process_events.EXIT: exits,
                process_events.PREPARE_EXEC: prepares,
                process_events.EXEC: self._execs(),
            },
            since,
            until - SETTLED_US,
            until,
            self.trace_lost,
        )

    def _execs(self) -> Events:
        found = _records(
            [time for time, *_ in self.execs],
            [("pid", "i4"), ("old_pid", "i4"), ("filename", "u4")],
            [(pid, thread, len(path.encode()) << 16) for _, pid, thread, path in self.execs],
        )
        found.raw = np.zeros((len(self.execs), 64), np.uint8)
        for row, (*_, path) in zip(found.raw, self.execs, strict=True):
            row[: len(path.encode())] = np.frombuffer(path.encode(), np.uint8)
        return found

    def destroyed(self, since: int, until: int) -> Destroyed:
        """Return its announcements, fetched by `read_by` or else at the end."""
        by = until if self.read_by is None else self.read_by
        upto = until if self.announced_until is None else self.announced_until
        sockets = inet(self.announced)
        read_by = np.full(len(sockets), by, np.int64)
        return Destroyed(sockets, read_by, since, upto, until, self.announced_lost)


def _actor(one: Change) -> tuple[int, int]:
    return (one.thread, 0) if one.thread >= 0 else (0, INTERRUPT)


def _ends(one: Change) -> tuple[Any, ...]:
    six = ":" in one.local
    return (
        10 if six else 2, raw(one.local)[:4], raw(one.local).tobytes(), raw(one.remote)[:4],
        raw(one.remote).tobytes(), one.local_port, one.remote_port,
    )  # fmt: skip


def _addressed(found: list[tuple[int, int]]) -> Events:
    return _records([time for time, _ in found], [("skaddr", "u8")], [(skaddr,) for _, skaddr in found])


def _records(times: list[int], fields: Sequence[tuple[Any, ...]], rows: list[tuple[Any, ...]]) -> Events:
    records = np.zeros(len(rows), np.dtype(list(fields)))
    for place, row in enumerate(rows):
        for (name, *_), value in zip(fields, row, strict=True):
            if name.endswith("_v6"):
                value = np.void(value)
            records[name][place] = value
    return Events(numbers(times), records, np.zeros((len(rows), 0), np.uint8))


def inet(rows: Sequence[dict[str, Any]]) -> InetSockets:
    """Return internet sockets, by default connected ones of TCP without counters."""
    sockets = InetSockets.allocate(len(rows))
    sockets.activity[...] = NULL
    for place, given in enumerate(rows):
        row: dict[str, Any] = {
            "protocol": 6, "state": CLOSE, "cookie": 1, "local": US, "remote": PEER,
            "local_port": 4000, "remote_port": 80, "ifindex": 0, "uid": NULL, "inode": NULL,
        } | given  # fmt: skip
        row["family"] = 10 if ":" in row["local"] else 2
        for name in ("local", "remote"):
            getattr(sockets, name)[place] = raw(row.pop(name))
        for name, value in row.items():
            if name in FIELD:
                sockets.activity[FIELD[name], place] = value
            else:
                getattr(sockets, name)[place] = value
    return sockets


class _AnyTracer:
    """A tracer on which everything can be enabled."""

    def enable(self, name: str, condition: str = "") -> None:
        """Do nothing."""


class Scripted(Sources):
    """Sources that give what they are told: a `Script` a drain, and nothing once there are no more.

    `now` is the clock, CLOCK_BOOTTIME microseconds: a drain tells of all until then.
    """

    def __init__(self, *, tracer: bool = True, destroyed: bool = True) -> None:
        self.unavailable: list[str] = []
        self.tracer = cast("Tracer", _AnyTracer()) if tracer else None
        self.destroyed = cast("Any", object()) if destroyed else None
        self.processes = ProcessEvents(self.tracer) if self.tracer is not None else None
        self.watch = None
        self.connector = None
        self.has_threads = True
        self.now = 1_000_000
        self.next: list[Script] = []
        self.watched: list[list[int]] = []
        self._since = self.now

    def drain(self) -> Drained:
        script = self.next.pop(0) if self.next else Script()
        since, self._since = self._since, self.now
        for what, _ in script.failed:
            if what == "state changes":
                self.tracer = None
            elif what == "destroyed sockets":
                self.destroyed = None
        return Drained(
            destroyed=None if self.destroyed is None else script.destroyed(since, self.now),
            trace=None if self.tracer is None else script.trace(since, self.now),
            exits=script.exits,
            announced_exits=process_exits(script.announced_exits),
            failed=script.failed,
        )

    def open(self) -> None:
        """Stay as they are: closing them closes nothing."""

    def pause(self) -> None:
        """Give nothing until opened again."""
        self.close()

    def close(self) -> None:
        """Close nothing."""

    def keep(self, pids: list[int]) -> None:
        self.watched.append(pids)


@dataclass
class Host:
    """Made-up processes in place of /proc: threads by number, programs by pid."""

    threads: dict[int, Task] = field(default_factory=dict)
    programs: dict[int, str] = field(default_factory=dict)
    looked_up: int = 0

    def add(
        self,
        pid: int,
        program: str,
        *,
        netns: int | None = NETNS,
        thread: int | None = None,
        started: int = 0,
    ) -> None:
        number = pid if thread is None else thread
        self.threads[number] = Task(number, pid, program[:15], netns, started)
        self.programs[pid] = program

    def remove(self, pid: int) -> None:
        self.threads = {number: task for number, task in self.threads.items() if task.pid != pid}
        self.programs.pop(pid, None)

    def task(self, thread: int) -> Task | None:
        self.looked_up += 1
        return self.threads.get(thread)

    def process(self, pid: int, _anchor_us: int | None = None) -> Process | None:
        program = self.programs.get(pid)
        if program is None:
            return None
        return Process(pid, 0, 1, 0, program[:15], (program,), None, None, None, None)


def made_up(monkeypatch: pytest.MonkeyPatch) -> Host:
    """Replace /proc by an empty host."""
    found = Host()
    monkeypatch.setattr(tasks, "read", found.task)
    monkeypatch.setattr(processes, "read", found.process)
    return found


def clock(monkeypatch: pytest.MonkeyPatch, sources: Scripted) -> None:
    """Let the boot clock be that of the sources."""
    monkeypatch.setattr(host, "boot_us", lambda: sources.now)


def connection(skaddr: int, opened: int, ended: int, **rest: Any) -> list[Change]:
    """Return the changes of a client's connection that it closes itself; times in nanoseconds."""
    step = (ended - opened) // 4
    states = (CLOSE, SYN_SENT, ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE)
    first = Change(opened, skaddr, CLOSE, CLOSE, **rest)
    return [
        replace(first, time=opened + step * n, old=old, new=new)
        for n, (old, new) in enumerate(pairwise(states))
    ]
