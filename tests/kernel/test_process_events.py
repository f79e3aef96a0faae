"""Exits, execs, signals and OOM kills at their moments, next to the sockets that they close."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sockrec.kernel import process_events, transitions
from sockrec.kernel.process_events import (
    EXEC_CLOSES_WITHIN,
    Exec,
    OomKill,
    ProcessEvents,
    Signal,
    ThreadExits,
)
from sockrec.kernel.tracing import Tracer
from sockrec.model.states import NUMBERS
from tests.support import programs
from tests.support.netns import Namespace
from tests.support.short_lived import boot_ns, until


class Log:
    """All that happened on the host since this was made."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer
        self.source = ProcessEvents(tracer)
        transitions.enable(tracer)
        self.execs: list[Exec] = []
        self.signals: list[Signal] = []
        self.oom_kills: list[OomKill] = []
        self.exits: list[tuple[int, int, bytes, bool]] = []
        self.closed: list[tuple[int, int, int]] = []

    def read(self) -> None:
        trace = self.tracer.read()
        assert trace.lost == 0
        self.execs += self.source.execs(trace)
        self.signals += process_events.signals(trace)
        self.oom_kills += process_events.oom_kills(trace)
        ends: ThreadExits = process_events.exits(trace)
        self.exits += zip(
            ends.times.tolist(), ends.thread.tolist(), ends.comm.tolist(), ends.last.tolist(), strict=True
        )
        changes = transitions.transitions(trace)
        closed = changes.take(
            (changes.old_state == NUMBERS["LISTEN"]) & (changes.new_state == NUMBERS["CLOSE"])
        )
        self.closed += zip(
            closed.times.tolist(), closed.thread.tolist(), closed.local_port.tolist(), strict=True
        )

    def settle(self) -> None:
        time.sleep(0.02)
        self.read()

    def end_of(self, thread: int) -> int:
        """Return when a thread, the last of its process, began to exit."""
        (found,) = [time for time, number, _, last in self.exits if number == thread and last]
        return found

    def close_of(self, port: int, thread: int) -> int:
        """Return when a thread ended the listener on a port."""
        (found,) = [time for time, closer, number in self.closed if (number, closer) == (port, thread)]
        return found


@pytest.fixture
def log() -> Iterator[Log]:
    with Tracer() as tracer:
        made = Log(tracer)
        assert made.source.unavailable == []
        yield made


def test_a_kill_names_its_sender_and_comes_before_the_exit_and_the_close(log: Log, netns: Namespace) -> None:
    victim = programs.start(netns, "victim", programs.LISTENER, "10.0.0.5:7071")
    before = boot_ns()
    victim.kill()
    victim.wait()
    after = boot_ns()
    programs.end(victim)
    log.settle()
    (sent,) = [each for each in log.signals if each.target == victim.pid]
    assert (sent.number, sent.code, sent.whole_process, sent.taken) == (signal.SIGKILL, 0, True, True)
    assert sent.sender == threading.get_native_id()
    ended = log.end_of(victim.pid)
    closed = log.close_of(7071, victim.pid)
    assert before - 1000 <= sent.time < ended < closed <= after + 1000


def test_a_fault_has_no_sender(log: Log, netns: Namespace) -> None:
    crash = "import ctypes, socket; s = socket.create_server(('10.0.0.5', 7072)); ctypes.string_at(0)"
    process = netns.popen(sys.executable, "-S", "-c", crash)
    assert process.wait(30) == -signal.SIGSEGV
    log.settle()
    (raised,) = [each for each in log.signals if each.target == process.pid and each.number == signal.SIGSEGV]
    assert raised.sender is None
    assert raised.code > 0
    assert raised.target_comm.startswith("python")
    closed = log.close_of(7072, process.pid)
    assert raised.time < log.end_of(process.pid) < closed


def test_a_process_that_exits_or_closes_is_told_from_its_order(log: Log, netns: Namespace) -> None:
    ends = "import socket, sys, os, time; s = socket.create_server(('10.0.0.5', {})); {}; os._exit(3)"
    exited = netns.popen(sys.executable, "-S", "-c", ends.format(7073, "0"))
    closed = netns.popen(sys.executable, "-S", "-c", ends.format(7074, "s.close(); time.sleep(0.01)"))
    assert (exited.wait(30), closed.wait(30)) == (3, 3)
    log.settle()
    moment = log.close_of(7073, exited.pid)
    assert log.end_of(exited.pid) < moment
    moment = log.close_of(7074, closed.pid)
    assert moment < log.end_of(closed.pid)
    assert not [each for each in log.signals if each.target in (exited.pid, closed.pid)]


def test_an_exec_closes_a_listener_on_its_way_out(log: Log, netns: Namespace) -> None:
    script = (
        "import os, socket; s = socket.create_server(('10.0.0.5', 7075)); os.execv('/bin/true', ['true'])"
    )
    process = netns.popen(sys.executable, "-S", "-c", script)
    assert process.wait(30) == 0
    log.settle()
    done = [each for each in log.execs if each.pid == process.pid][-1]
    assert done.path == "/bin/true"
    assert done.thread == process.pid
    assert done.comm in {Path(sys.executable).name[:15], Path(sys.executable).resolve().name[:15]}
    moment = log.close_of(7075, process.pid)
    assert done.preparing is not None
    assert done.preparing < moment < done.done + EXEC_CLOSES_WITHIN


def test_an_exec_of_another_thread_keeps_the_pid(log: Log) -> None:
    script = (
        "import os, threading, time\n"
        "t = threading.Thread(target=lambda: (print(threading.get_native_id(), flush=True),"
        " os.execv('/bin/true', ['true'])))\n"
        "t.start()\n"
        "time.sleep(30)\n"
    )
    process = subprocess.Popen([sys.executable, "-S", "-c", script], stdout=subprocess.PIPE, text=True)
    thread = int(process.communicate(timeout=30)[0])
    log.settle()
    done = [each for each in log.execs if each.pid == process.pid][-1]
    assert (done.path, done.thread) == ("/bin/true", thread)
    assert done.preparing is not None


def test_long_paths_and_many_execs_stay_apart(log: Log, tmp_path: Path) -> None:
    """Records of many lengths next to each other."""
    paths = []
    for size in (1, 30, 90, 150, 200):
        link = tmp_path / (f"{size}-" + "ü" * (size // 2))
        link.symlink_to("/bin/true")
        paths.append(str(link))
    pids = {}
    for path in paths * 4:
        process = subprocess.Popen([path])
        process.wait()
        pids[process.pid] = path
    log.settle()
    found = {each.pid: each.path for each in log.execs if each.pid in pids}
    assert found == pids


def test_names_of_threads_that_ended(log: Log) -> None:
    script = (
        "import ctypes, os, threading\n"
        "def run():\n"
        " print(threading.get_native_id(), flush=True)\n"
        " ctypes.CDLL(None).prctl(15, b'worker one', 0, 0, 0)\n"
        "t = threading.Thread(target=run)\n"
        "t.start()\n"
        "while len(os.listdir('/proc/self/task')) > 1: pass\n"
    )
    process = subprocess.Popen([sys.executable, "-S", "-c", script], stdout=subprocess.PIPE, text=True)
    thread = int(process.communicate(timeout=30)[0])
    log.settle()
    assert [(comm, last) for _, number, comm, last in log.exits if number == thread] == [
        (b"worker one", False)
    ]
    assert [last for _, number, _, last in log.exits if number == process.pid] == [True]


def test_an_ignored_signal_is_not_taken(log: Log) -> None:
    script = (
        "import signal, sys; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    time.sleep(0.01)
    assert process.poll() is None
    process.communicate(timeout=10)
    log.settle()
    (sent,) = [each for each in log.signals if each.target == process.pid]
    assert (sent.number, sent.taken) == (signal.SIGTERM, False)


@contextmanager
def little_memory() -> Iterator[Path]:
    """Give the cgroup.procs of a fresh memory cgroup of 32 MiB."""
    name = f"sockrec-test-{uuid.uuid4().hex[:10]}"
    old = Path("/sys/fs/cgroup/memory")
    folder = (old if old.exists() else Path("/sys/fs/cgroup")) / name
    folder.mkdir()
    try:
        limit = "memory.limit_in_bytes" if old.exists() else "memory.max"
        (folder / limit).write_text(str(32 << 20))
        yield folder / "cgroup.procs"
    finally:
        until(lambda: not (folder / "cgroup.procs").read_text())
        folder.rmdir()


def test_an_oom_kill_is_known_as_one(log: Log) -> None:
    script = "import sys; sys.stdin.readline(); kept = [bytearray(b'x' * (1 << 20)) for _ in range(256)]"
    with little_memory() as members:
        process = subprocess.Popen([sys.executable, "-S", "-c", script], stdin=subprocess.PIPE)
        members.write_text(str(process.pid))
        process.communicate(b"\n", timeout=60)
    assert process.returncode == -signal.SIGKILL
    log.settle()
    (kill,) = [each for each in log.oom_kills if each.pid == process.pid]
    assert kill.time < log.end_of(process.pid)
    killed = [each for each in log.signals if each.target == process.pid and each.number == signal.SIGKILL]
    assert killed
    assert all(each.sender is None for each in killed)


def test_what_this_kernel_lacks_is_said_in_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {f"none/{name.partition('/')[2]}": what for name, what in process_events._LOST.items()}
    monkeypatch.setattr(process_events, "_LOST", names)
    with Tracer() as tracer:
        source = ProcessEvents(tracer)
        assert len(source.unavailable) == len(names)
        assert source.unavailable[4] == (
            "tracepoint none/signal_generate can't be enabled: No such file or directory: "
            "it is not known who sent a signal"
        )
        trace = tracer.read()
        assert source.execs(trace) == []
        assert process_events.signals(trace) == []
        assert process_events.oom_kills(trace) == []
        assert len(process_events.exits(trace)) == 0


def test_execs_that_fail_leave_nothing_behind(log: Log, tmp_path: Path) -> None:
    path = tmp_path / "no-program"
    path.write_bytes(b"\x7fnot a program")
    path.chmod(0o700)
    for _ in range(20):
        with pytest.raises(OSError, match="Exec format error"):
            subprocess.run([path], check=True)
    # Somebody else's may be on its way at that moment: the tracepoints tell of the whole machine.
    for _ in range(100):
        log.settle()
        if not log.source._preparing:
            break
    assert log.source._preparing == {}


def test_a_socket_that_somebody_else_destroys(log: Log, netns: Namespace) -> None:
    """`ss -K` closes others' sockets in its own thread: the thread is not the holder."""
    holder = programs.start(netns, "holder", programs.LISTENER, "10.0.0.5:7076")
    try:
        killer = netns.popen("ss", "-K", "-ltn", "sport = :7076", stdout=subprocess.DEVNULL)
        assert killer.wait(10) == 0
        log.settle()
        assert log.close_of(7076, killer.pid)
        assert holder.poll() is None
    finally:
        programs.end(holder)
