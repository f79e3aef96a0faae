"""Exits as the process connector tells them, from a network namespace that is not the initial one."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sockrec.errors import KernelError
from sockrec.kernel import connector
from sockrec.kernel.connector import ProcessConnector, ProcessExits
from sockrec.kernel.host import boot_us, network_namespace
from tests.support.netns import Namespace
from tests.support.short_lived import until

THREAD = """
import threading
told = threading.Event()
thread = threading.Thread(target=told.wait)
thread.start()
print(thread.native_id, flush=True)
told.set()
thread.join()
"""
LEADER_FIRST = """
import ctypes, os, platform, threading, time
def outlive():
    time.sleep(0.1)
    os._exit(6)
thread = threading.Thread(target=outlive)
thread.start()
print(thread.native_id, flush=True)
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 5)
"""
EXEC_BY_THREAD = """
import os, threading, time
thread = threading.Thread(target=os.execv, args=("/bin/sh", ["sh", "-c", "exit 4"]))
thread.start()
time.sleep(60)
"""
REFUSED = """
import os
from sockrec.errors import KernelError
from sockrec.kernel.connector import ProcessConnector
from sockrec.kernel.host import network_namespace
def state():
    return network_namespace(), len(os.listdir("/proc/self/fd"))
before = state()
try:
    ProcessConnector()
except KernelError as error:
    print(error)
print(before == state())
"""


class Collector:
    """Keeps what was read: (thread, pid, status) and times, by thread."""

    def __init__(self, source: ProcessConnector) -> None:
        self.source = source
        self.readings: list[ProcessExits] = []

    def read(self) -> list[tuple[int, int, int]]:
        self.readings.append(self.source.read())
        return self.rows

    @property
    def rows(self) -> list[tuple[int, int, int]]:
        return [
            row
            for one in self.readings
            for row in zip(one.thread.tolist(), one.pid.tolist(), one.status.tolist(), strict=True)
        ]

    def of(self, pid: int, count: int = 1) -> list[tuple[int, int]]:
        """Wait for exits of a process; return (thread, status) of each."""
        until(lambda: sum(row[1] == pid for row in self.read()) >= count)
        return [(thread, status) for thread, group, status in self.rows if group == pid]

    def time_of(self, thread: int) -> int:
        (found,) = (
            int(one.times[row]) for one in self.readings for row in (one.thread == thread).nonzero()[0]
        )
        return found


@pytest.fixture
def heard(netns: Namespace) -> Iterator[Collector]:
    with netns.entered(), ProcessConnector() as source:
        yield Collector(source)


def forked(code: int = 0, seconds: float = 0) -> int:
    pid = os.fork()
    if pid == 0:
        time.sleep(seconds)
        os._exit(code)
    return pid


@pytest.mark.parametrize(
    ("end", "expected"),
    [("exit 3", 3 << 8), ("kill -KILL $$", 9), ("ulimit -c 0; kill -SEGV $$", 11), ("exit 255", 255 << 8)],
)
def test_a_status_is_that_of_wait(heard: Collector, end: str, expected: int) -> None:
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    child = os.posix_spawn("/bin/sh", ["sh", "-c", end], os.environ)
    _, status = os.waitpid(child, 0)
    assert heard.of(child) == [(child, status)] == [(child, expected)]
    assert before < heard.time_of(child) < time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert heard.readings[-1].late_by == 0


def test_a_core_dump_is_marked_as_in_wait(heard: Collector, tmp_path: Path) -> None:
    child = subprocess.Popen(["sh", "-c", "ulimit -c unlimited; kill -SEGV $$"], cwd=tmp_path)
    pid, status = os.waitpid(child.pid, 0)
    child.returncode = status
    assert status & 0x7F == 11
    assert heard.of(pid) == [(pid, status)]


def test_a_process_that_lives_a_millisecond(heard: Collector) -> None:
    began = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    pids = [forked(7, 0.001) for _ in range(20)]
    for pid in pids:
        os.waitpid(pid, 0)
    for pid in pids:
        assert heard.of(pid) == [(pid, 7 << 8)]
        assert heard.time_of(pid) > began + 1_000_000


def test_a_process_that_its_parent_has_not_reaped(heard: Collector) -> None:
    pid = forked(5)
    assert heard.of(pid) == [(pid, 5 << 8)]
    assert os.waitpid(pid, 0) == (pid, 5 << 8)


def test_a_thread_comes_with_its_process(heard: Collector) -> None:
    child = subprocess.run([sys.executable, "-S", "-c", THREAD], capture_output=True, text=True, check=True)
    thread = int(child.stdout)
    until(lambda: any(row[0] == thread for row in heard.read()))
    ((pid, status),) = ((group, code) for number, group, code in heard.rows if number == thread)
    assert pid != thread
    assert status == 0
    assert (pid, 0) in heard.of(pid, 2)


def test_a_first_thread_that_ends_before_its_process(heard: Collector) -> None:
    child = subprocess.Popen([sys.executable, "-S", "-c", LEADER_FIRST], stdout=subprocess.PIPE, text=True)
    out, _ = child.communicate(timeout=10)
    assert child.returncode == 6
    assert heard.of(child.pid, 2) == [(child.pid, 5 << 8), (int(out), 6 << 8)]


def test_an_exec_by_another_thread_looks_like_an_exit(heard: Collector) -> None:
    child = subprocess.Popen([sys.executable, "-S", "-c", EXEC_BY_THREAD])
    assert child.wait(timeout=10) == 4
    assert heard.of(child.pid, 2) == [(child.pid, 0), (child.pid, 4 << 8)]


def test_only_exits_come_and_the_reading_says_what_it_covers(heard: Collector) -> None:
    first = heard.source.read()
    for _ in range(50):
        os.waitpid(forked(), 0)
    threads = {thread for thread, *_ in heard.read()}
    second = heard.readings[-1]
    assert len(threads) == len(second) >= 50
    assert first.until == second.since <= second.until <= second.ended_at <= boot_us()
    assert second.lost == 0


def test_losses_are_counted(netns: Namespace) -> None:
    with netns.entered(), ProcessConnector(receive_buffer=8192) as source:
        collector = Collector(source)
        pids = [forked() for _ in range(300)]
        for pid in pids:
            os.waitpid(pid, 0)
        seen = {thread for thread, *_ in collector.read()}
        lost = collector.readings[0].lost
        missed = len(set(pids) - seen)
        assert missed > 200
        # Others' exits may be among them; each of ours is told or counted.
        assert missed <= lost
        # What others do may fill so small a buffer again; of those that it does not, one is told.
        for _ in range(100):
            after = forked(2)
            os.waitpid(after, 0)
            time.sleep(0.01)
            told = [row for row in collector.read() if row[1] == after]
            if told or not collector.readings[-1].lost:
                break
        assert told == [(after, after, 2 << 8)]


def test_one_that_is_closed_or_killed_leaves_the_others_alone(heard: Collector) -> None:
    with ProcessConnector():
        pass
    script = "import os, sys; from sockrec.kernel.connector import ProcessConnector; ProcessConnector(); "
    environment = os.environ | {"PYTHONPATH": str(Path(connector.__file__).parents[2])}
    killed = subprocess.run([sys.executable, "-c", script + "os.kill(os.getpid(), 9)"], env=environment)
    assert killed.returncode == -9
    for source in (heard, None):
        with ProcessConnector() as later:
            collector = source or Collector(later)
            pid = forked(3)
            os.waitpid(pid, 0)
            assert collector.of(pid) == [(pid, 3 << 8)]
        heard.source.read()


def test_the_descriptor_polls_readable(heard: Collector) -> None:
    heard.read()
    os.waitpid(forked(), 0)
    assert select.select([heard.source], [], [], 5)[0] == [heard.source]


def test_nothing_of_the_caller_changes(netns: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def state() -> tuple[int, set[str], int]:
        with os.scandir("/proc/self/fd") as entries:
            found = {f"{each.name}: {os.path.realpath(each.path)}" for each in entries}
        return network_namespace(), found, threading.active_count()

    with netns.entered():
        before = state()
        with ProcessConnector():
            assert network_namespace() == before[0] == netns.path.stat().st_ino
        assert state() == before
        # A namespace without the kernel's end of the connector, and none at all.
        for path in (netns.path, "/nowhere"):
            monkeypatch.setattr(connector, "_INITIAL_NAMESPACE", path)
            with pytest.raises(KernelError, match="exits of processes are not announced"):
                ProcessConnector()
            assert state() == before


@pytest.mark.parametrize(
    ("prefix", "reason"),
    [
        (("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"), "initial network namespace: Op"),
        (
            ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"),
            "initial network namespace: Permission denied",
        ),
        (("unshare", "--user", "--map-root-user"), "initial network namespace: "),
        (("unshare", "--pid", "--fork"), "initial user and PID namespaces"),
    ],
)
def test_refused_with_one_line(netns: Namespace, prefix: tuple[str, ...], reason: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(connector.__file__).parents[2])}
    command = netns.command(*prefix, str(Path(sys.executable)), "-c", REFUSED)
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=30, check=True)
    line, unchanged = run.stdout.splitlines()
    assert line.startswith("exits of processes are not announced (")
    assert reason in line
    assert line.endswith("is not known")
    assert unchanged == "True"
    assert run.stderr == ""
