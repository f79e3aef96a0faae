"""Ends of real processes, children of others too, with what ended them."""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sockrec.errors import KernelError
from sockrec.kernel import exits
from sockrec.kernel.exits import Exit, ExitWatch
from sockrec.kernel.host import boot_us
from tests.support import programs
from tests.support.netns import Namespace
from tests.support.short_lived import until

# A parent that starts a process; a line on its input ends that, the next one reaps it, the end ends all.
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-S", "-c", sys.argv[1]], stdin=subprocess.PIPE)
print(child.pid, flush=True)
sys.stdin.readline()
child.stdin.close()
sys.stdin.readline()
child.wait()
print("reaped", flush=True)
sys.stdin.readline()
"""
WAIT = "import os, signal, sys; sys.stdin.read(); "


class Family:
    """A process that is no child of ours, and its parent, which reaps it only when told to."""

    def __init__(self, end: str) -> None:
        self.parent = subprocess.Popen(
            [sys.executable, "-S", "-c", PARENT, WAIT + end],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = int(self._read())

    def end(self) -> None:
        self._write()

    def reap(self) -> None:
        self._write()
        assert self._read() == "reaped\n"

    def _write(self) -> None:
        assert self.parent.stdin is not None
        self.parent.stdin.write("\n")
        self.parent.stdin.flush()

    def _read(self) -> str:
        assert self.parent.stdout is not None
        return self.parent.stdout.readline()

    def close(self) -> None:
        self.parent.communicate(timeout=10)


@contextmanager
def family(end: str) -> Iterator[Family]:
    made = Family(end)
    try:
        yield made
    finally:
        made.close()


def next_exits(watch: ExitWatch, count: int = 1) -> list[Exit]:
    found: list[Exit] = []

    def enough() -> bool:
        found.extend(watch.read())
        return len(found) >= count

    until(enough)
    return found


ENDS = {
    "os._exit(0)": (0, None),
    "os._exit(3)": (3, None),
    "os._exit(255)": (255, None),
    "os.kill(os.getpid(), signal.SIGKILL)": (None, signal.SIGKILL),
    "os.kill(os.getpid(), signal.SIGSEGV)": (None, signal.SIGSEGV),
    "import ctypes; ctypes.string_at(0)": (None, signal.SIGSEGV),
    "os.abort()": (None, signal.SIGABRT),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("reaped_first", [True, False], ids=["reaped", "zombie"])
def test_the_status_of_a_strangers_process_is_read(end: str, reaped_first: bool) -> None:
    with family(end) as other, ExitWatch() as watch:
        assert watch.unavailable == ""
        assert watch.keep([other.pid]) == set()
        assert watch.read() == []
        other.end()
        if reaped_first:
            other.reap()
        (found,) = next_exits(watch)
        assert (found.pid, found.code, found.signal) == (other.pid, *ENDS[end])
        assert watch.read() == []


def test_bounds_enclose_the_end() -> None:
    with ExitWatch() as watch:
        process = subprocess.Popen(["sleep", "600"])
        begun = boot_us()
        watch.keep([process.pid])
        assert watch.read() == []
        before = boot_us()
        process.kill()
        process.wait()
        after = boot_us()
        (found,) = watch.read()
        assert begun <= found.not_before <= before
        assert found.not_before <= after
        assert found.not_after >= before
        assert found.not_after <= boot_us()
        # The next one's begin where this reading began.
        second = subprocess.Popen(["true"])
        watch.keep([second.pid])
        second.wait()
        (again,) = next_exits(watch)
        assert found.not_after <= again.not_before <= again.not_after


def test_a_holder_of_a_listener_that_is_killed(netns: Namespace) -> None:
    process = programs.start(netns, "myapp", programs.LISTENER, "10.0.0.5:7071")
    with ExitWatch() as watch:
        watch.keep([process.pid])
        process.send_signal(signal.SIGSEGV)
        (found,) = next_exits(watch)
        programs.end(process)
    assert (found.pid, found.signal, found.code) == (process.pid, signal.SIGSEGV, None)


def test_it_wakes_whoever_polls_it() -> None:
    process = subprocess.Popen(["sleep", "600"])
    with ExitWatch() as watch:
        watch.keep([process.pid])
        assert select.select([watch], [], [], 0)[0] == []
        process.kill()
        assert select.select([watch], [], [], 10)[0] == [watch]
        assert [each.signal for each in watch.read()] == [signal.SIGKILL]
        process.wait()
        assert select.select([watch], [], [], 0)[0] == []


def test_a_status_that_we_may_not_see_comes_when_the_parent_reaps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without CAP_SYS_PTRACE /proc/PID/stat shows a status of 0, whatever it is: not to be believed."""
    monkeypatch.setattr(exits, "capabilities", lambda: ())
    with family("os._exit(0)") as other, ExitWatch() as watch:
        watch.keep([other.pid])
        other.end()
        (first,) = next_exits(watch)
        assert (first.status, first.code, first.signal) == (None, None, None)
        assert watch.keep([]) == watch.keep([]) == set()
        assert watch.read() == []
        other.reap()
        (second,) = next_exits(watch)
        assert second.code == 0
        assert (second.not_before, second.not_after) == (first.not_before, first.not_after)
        assert watch.read() == []


def test_without_pidfd_info_it_says_so_and_claims_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exits, "_GET_INFO", 0)  # no ioctl of a pidfd
    with family("os._exit(7)") as other, ExitWatch() as watch:
        assert watch.unavailable.startswith(
            "exit codes and signals of other users' processes are not known ("
        )
        assert "\n" not in watch.unavailable
        watch.keep([other.pid])
        other.end()
        other.reap()
        (found,) = next_exits(watch)
        assert found.status is None
        assert watch.read() == []
    with family("os._exit(7)") as other, ExitWatch() as watch:
        watch.keep([other.pid])
        other.end()
        assert [each.code for each in next_exits(watch)] == [7]  # a zombie's, from /proc


def test_processes_that_are_gone_or_too_many_are_named() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    living = [subprocess.Popen(["sleep", "600"]) for _ in range(3)]
    pids = sorted(process.pid for process in living)
    with ExitWatch(limit=2) as watch:
        assert watch.keep([*pids, gone.pid]) == {gone.pid, pids[2]}
        assert watch.keep([pids[2]]) == {pids[2]}
        assert watch.keep([pids[2]]) == set()  # the others went at the second call without them
        for process in living:
            process.kill()
        assert [each.pid for each in next_exits(watch)] == [pids[2]]
    for process in living:
        process.wait()


def test_an_end_is_not_missed_because_the_listener_went_first() -> None:
    """The recorder sees no listener any more, and does not ask for its holder: the end comes all the same."""
    with family("os._exit(5)") as other, ExitWatch() as watch:
        watch.keep([other.pid])
        watch.keep([])
        other.end()
        other.reap()
        watch.keep([])
        assert [each.code for each in next_exits(watch)] == [5]
        watch.keep([os.getpid()])
        watch.keep([])
        watch.keep([os.getpid()])
        assert watch.keep([os.getpid()]) == set()


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_many_holders_take_a_descriptor_each_and_give_it_back() -> None:
    open_before = _descriptors()
    with ExitWatch() as watch:
        pids = [os.fork() or os._exit(9) for _ in range(200)]
        assert watch.keep(pids) == set()
        found = next_exits(watch, 200)
        for pid in pids:
            os.waitpid(pid, 0)
        assert {each.pid: each.code for each in found} == dict.fromkeys(pids, 9)
        assert _descriptors() == open_before + 1  # the epoll
    assert _descriptors() == open_before


def test_no_descriptors_left_is_an_error() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitWatch() as watch:
        resource.setrlimit(resource.RLIMIT_NOFILE, (watch.fileno() + 1, hard))
        try:
            with pytest.raises(KernelError, match=r"process \d+ can't be watched: Too many open files"):
                watch.keep(range(1, 20))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
