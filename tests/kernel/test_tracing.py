"""A private tracefs and an instance in it: what is read, what is lost, what is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sockrec.errors import KernelError
from sockrec.kernel import syscalls, tracefs
from sockrec.kernel.host import boot_us
from sockrec.kernel.tracefs import Folder, open_tracefs, remove_leftovers
from sockrec.kernel.tracing import Tracer
from tests.support.netns import Namespace
from tests.support.short_lived import boot_ns, connect, listening, until

STATE = "sock/inet_sock_set_state"


@pytest.fixture
def root() -> Iterator[Folder]:
    folder = open_tracefs()
    yield folder
    folder.close()


def test_tracefs_is_opened_without_mounting_it_anywhere(root: Folder) -> None:
    def mounts() -> list[str]:
        """Those of network namespaces come and go: other tests make them meanwhile."""
        return [
            line for line in Path("/proc/self/mountinfo").read_text().splitlines() if " nsfs " not in line
        ]

    before = mounts()
    another = open_tracefs()
    assert {"events", "instances", "trace_clock"} <= set(another.names())
    another.close()
    assert mounts() == before


def test_an_instance_is_there_as_long_as_its_tracer(root: Folder) -> None:
    with Tracer() as tracer:
        (name,) = _instances(root, os.getpid())
        tracer.enable(STATE, "protocol==6")
        with Tracer():
            assert len(_instances(root, os.getpid())) == 2
        assert _instances(root, os.getpid()) == [name]
    assert not _instances(root, os.getpid())


def test_events_come_in_order_with_their_times(netns: Namespace) -> None:
    with Tracer() as tracer, netns.entered(), listening() as listener:
        tracer.enable(STATE, f"sport=={listener.getsockname()[1]}")
        before = boot_ns()
        made = connect(listener, "127.0.0.1", 500)
        after = boot_ns()
        time.sleep(0.01)
        trace = tracer.read()
    events = trace.events[STATE]
    # The server's end: SYN_RECV, ESTABLISHED, CLOSE_WAIT, LAST_ACK, CLOSE.
    assert len(events) == 5 * len(made)
    assert (np.diff(events.times) >= 0).all()
    # The tracer reads the clock without a lock (ktime_get_boot_fast_ns): off by less than a microsecond.
    assert before - 1000 <= events.times[0]
    assert events.times[-1] <= after + 1000
    assert events.times[-1] <= trace.until * 1000
    for each, start in zip(made, range(0, len(events), 5), strict=True):
        assert each.began - 1000 <= events.times[start]
        assert events.times[start + 4] <= each.ended + 1000
        assert (events.records["dport"][start : start + 5] == each.client_port).all()
    assert trace.lost == 0


def test_what_is_newer_than_the_reading_comes_with_the_next(netns: Namespace) -> None:
    """Readings on the way, each up to its `until`: together they are one ordered row of events."""
    times = []
    with Tracer() as tracer, netns.entered(), listening() as listener:
        tracer.enable(STATE, f"sport=={listener.getsockname()[1]}")
        since = 0
        for _ in range(60):
            connect(listener, "127.0.0.1", 10)
            trace = tracer.read()
            found = trace.events[STATE].times
            times += found.tolist()
            assert ((found > since * 1000) & (found <= trace.until * 1000)).all()
            since = trace.until
        time.sleep(0.01)
        times += tracer.read().events[STATE].times.tolist()
    assert len(times) == 60 * 10 * 5
    assert times == sorted(times)


def test_a_burst_that_does_not_fit_is_counted(netns: Namespace) -> None:
    with Tracer(buffer_kib=64) as tracer, netns.entered(), listening() as listener:
        tracer.enable(STATE, f"sport=={listener.getsockname()[1]}")
        assert tracer.read().lost == 0
        before = boot_us()
        made = connect(listener, "127.0.0.1", 3000)
        after = boot_us()
        time.sleep(0.01)
        trace = tracer.read()
        seen = len(trace.events[STATE])
        assert 0 < seen < 5 * len(made)
        assert trace.lost == 5 * len(made) - seen
        assert trace.since <= before < after <= trace.ended_at
        # And goes on without a loss.
        connect(listener, "127.0.0.1", 20)
        time.sleep(0.01)
        again = tracer.read()
    assert (len(again.events[STATE]), again.lost) == (100, 0)


def test_an_unknown_tracepoint_or_filter_is_an_error() -> None:
    with Tracer() as tracer:
        with pytest.raises(KernelError, match="tracepoint sock/none can't be enabled: No such file"):
            tracer.enable("sock/none")
        with pytest.raises(KernelError, match="can't be enabled: Invalid argument"):
            tracer.enable(STATE, "colour==6")
        assert tracer.read().events == {}


def _instances(root: Folder, pid: int) -> list[str]:
    return [name for name in root.names("instances") if name.startswith(f"sockrec-{pid}-")]


DIES = """
import os, sys, time
from sockrec.kernel.tracing import Tracer
tracer = Tracer()
tracer.enable("sock/inet_sock_set_state")
print("ready", flush=True)
time.sleep(600)
"""


def test_a_killed_recorder_leaves_no_work_and_no_memory_and_the_next_one_tidies_up(root: Folder) -> None:
    process = subprocess.Popen([sys.executable, "-c", DIES], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        (name,) = _instances(root, process.pid)
        held = int(root.read(f"instances/{name}/buffer_total_size_kb").split()[0])
        assert held > 1000
        # A recorder that is alive keeps its own.
        assert name not in remove_leftovers(root)
        assert name in root.names("instances")
    finally:
        process.kill()
        process.stdout.close()
    # A zombie's files are closed; its number is not free yet.
    until(lambda: root.read(f"instances/{name}/tracing_on") == "0\n")
    assert int(root.read(f"instances/{name}/buffer_total_size_kb").split()[0]) < held / 10
    process.wait()
    with Tracer():
        assert name not in root.names("instances")


def test_others_instances_are_left_alone(root: Folder) -> None:
    """Of a live process, or not a recorder's."""
    process = subprocess.Popen(["sleep", "60"])
    names = [f"sockrec-{process.pid}-01234567", "sockrec-x", "sockrec-0999999999-not-ours"]
    for name in names:
        os.mkdir(f"instances/{name}", dir_fd=root.fd)
    try:
        assert not set(names) & set(remove_leftovers(root))
        assert set(names) <= set(root.names("instances"))
    finally:
        for name in names:
            os.rmdir(f"instances/{name}", dir_fd=root.fd)
        process.kill()
        process.wait()


def test_what_a_dead_one_with_our_number_left_goes(root: Folder) -> None:
    """In a container that is started again the recorder has the number that it had."""
    left = f"sockrec-{os.getpid()}-01234567"
    os.mkdir(f"instances/{left}", dir_fd=root.fd)
    with Tracer():
        (ours,) = _instances(root, os.getpid())
        assert ours != left
        assert ours not in remove_leftovers(root), "it is in use"


def test_recorders_that_start_at_once_do_not_trip_over_each_others_tidying(root: Folder) -> None:
    """Each finds the same leftovers, and only one can remove them."""
    names = [f"sockrec-{number}-01234567" for number in range(5_000_000, 5_000_040)]  # above the largest pid
    for name in names:
        os.mkdir(f"instances/{name}", dir_fd=root.fd)
    failures: list[BaseException] = []

    def tidy() -> None:
        try:
            remove_leftovers(root)
        except BaseException as error:  # noqa: BLE001 - raised again in the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=tidy) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if failures:
        raise failures[0]
    assert not set(names) & set(root.names("instances"))


UNPRIVILEGED = """
import os
from sockrec.errors import KernelError
from sockrec.kernel.tracing import Tracer
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
try:
    Tracer()
except KernelError as error:
    print(error)
print(len(os.listdir("/proc/self/fd")))
"""


def test_without_root_it_says_so_in_one_line_and_holds_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", UNPRIVILEGED], capture_output=True, text=True, timeout=60)
    said, descriptors = done.stdout.splitlines()
    assert said == "tracefs is not available: Operation not permitted"
    assert int(descriptors) <= 4, done.stderr


def test_a_mounted_tracefs_serves_where_a_private_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["mount", "-t", "tracefs", "nodev", tmp_path], check=True)
    try:
        monkeypatch.setattr(syscalls, "FSOPEN", 9999)
        with pytest.raises(KernelError, match="tracefs is not available: Function not implemented"):
            open_tracefs()
        monkeypatch.setattr(tracefs, "_MOUNTED", ("/nonexistent", str(tmp_path)))
        with Tracer() as tracer:
            tracer.enable(STATE)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_signal_in_the_middle_of_a_reading_loses_nothing(netns: Namespace) -> None:
    with Tracer() as tracer, netns.entered(), listening() as listener:
        tracer.enable(STATE, f"sport=={listener.getsockname()[1]}")
        old = signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        try:
            count = 0
            for _ in range(20):
                connect(listener, "127.0.0.1", 20)
                count += len(tracer.read().events[STATE])
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)
        time.sleep(0.01)
        count += len(tracer.read().events[STATE])
    assert count == 20 * 20 * 5


MANY = """
import time
from sockrec.kernel.tracing import Tracer
until, made = time.monotonic() + 2, 0
while time.monotonic() < until:
    with Tracer(buffer_kib=8):
        made += 1
print(made)
"""


def test_recorders_of_several_pid_namespaces_do_not_take_each_others_for_dead(root: Folder) -> None:
    """In containers all have the same PID, 1, and none sees the others' processes."""
    command = ["unshare", "-p", "-f", "--mount-proc", "--kill-child", sys.executable, "-c", MANY]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    told = [process.communicate(timeout=60) for process in running]
    assert all(int(out) > 1 and not err for out, err in told), told
    assert not _instances(root, 1)
