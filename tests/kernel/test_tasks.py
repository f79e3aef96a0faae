"""Threads looked up by their numbers: whose they are, and that a number used again is not taken for them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sockrec.errors import KernelError
from sockrec.kernel import tasks
from sockrec.kernel.tasks import Task, Tasks
from tests.support import programs
from tests.support.netns import Namespace
from tests.support.short_lived import boot_ns


def test_a_thread_leads_to_its_process() -> None:
    found: list[Task | None] = []
    thread = threading.Thread(target=lambda: found.append(tasks.read(threading.get_native_id())))
    thread.start()
    thread.join()
    (task,) = found
    assert task is not None
    assert task.thread != task.pid == os.getpid()
    assert task.network_namespace == Path("/proc/self/ns/net").stat().st_ino
    assert task.started <= boot_ns()


def test_a_process_in_another_namespace(netns: Namespace) -> None:
    process = programs.start(netns, "a) name (b", programs.LISTENER, "10.0.0.5:7071")
    try:
        task = Tasks().find(process.pid, boot_ns())
    finally:
        programs.end(process)
    assert task is not None
    assert task.network_namespace == netns.path.stat().st_ino
    assert task.network_namespace != Path("/proc/self/ns/net").stat().st_ino


def test_one_that_started_after_the_event_is_another() -> None:
    before = boot_ns() - 50_000_000
    process = subprocess.Popen(["sleep", "600"])
    known = Tasks()
    assert known.find(process.pid, before) is None
    assert known.find(process.pid, boot_ns()) is not None
    process.kill()
    process.wait()


def test_the_dead_are_remembered_until_forgotten() -> None:
    process = subprocess.Popen(["sleep", "600"])
    known = Tasks()
    task = known.find(process.pid, boot_ns())
    process.kill()
    process.wait()
    assert known.find(process.pid, boot_ns()) == task is not None
    known.forget(process.pid)
    assert known.find(process.pid, boot_ns()) is None
    known.forget(process.pid)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_KEPT", 2)
    processes = [subprocess.Popen(["sleep", "600"]) for _ in range(3)]
    known = Tasks()
    for process in processes:
        assert known.find(process.pid, boot_ns()) is not None
        process.kill()
        process.wait()
    assert [known.find(process.pid, boot_ns()) is None for process in processes] == [True, False, False]


def test_a_zombie_has_no_namespace_any_more() -> None:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    task = tasks.read(process.pid)
    process.wait()
    assert task is not None
    assert task.network_namespace is None


def test_what_is_no_proc_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_contents", lambda *_: "1 (x) " + "0 " * 30)
    with pytest.raises(KernelError, match="no Tgid line"):
        tasks.read(os.getpid())
