"""`record` under a service manager: what it tells systemd, and when it stops telling."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.command import CLEAN, SOCKREC, answer, wait_for_samples
from tests.support.netns import Namespace

WATCHDOG_S = 1.0


class Manager:
    """The end of $NOTIFY_SOCKET that systemd has."""

    def __init__(self, address: str, namespace: Namespace) -> None:
        # Abstract names are those of a network namespace.
        with namespace.entered():
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.bind(address)
        named = f"@{address[1:]}" if address.startswith("\0") else address
        self.environment = CLEAN | {"NOTIFY_SOCKET": named, "WATCHDOG_USEC": f"{WATCHDOG_S * 1e6:.0f}"}

    def next(self, seconds: float = 20) -> str:
        """Return the next message; '' if none comes in time."""
        self._socket.settimeout(seconds)
        try:
            return self._socket.recv(65536).decode()
        except TimeoutError:
            return ""

    def until(self, what: str, seconds: float = 20) -> list[str]:
        """Return all messages up to one that has a line `what`."""
        messages: list[str] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            messages += [line for line in self.next(max(0.01, end - time.monotonic())).split("\n") if line]
            if what in messages:
                return messages
        raise AssertionError(f"no {what} in {messages}")

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, netns: Namespace, tmp_path: Path) -> Iterator[Manager]:
    address = f"{tmp_path}/notify"
    made = Manager(f"\0{address}" if request.param == "abstract" else address, netns)
    yield made
    made.close()


@contextmanager
def running(
    namespace: Namespace, *words: str | Path, env: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """Run a program that is gone at the end of the block, whatever happens in it."""
    with namespace.popen(*words, env=env, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("manager", ["path"], indirect=True)
def test_it_is_ready_when_the_first_sample_is_on_disk(
    netns: Namespace, tmp_path: Path, manager: Manager
) -> None:
    calls = tmp_path / "calls"
    trace = ("strace", "-f", "-y", "-s", "64", "-e", "trace=pwritev2,pwrite64,fdatasync,sendto")
    record = (SOCKREC, "record", "-C", tmp_path / "cap", "--sync", "0s", "--for", "300ms")
    done = netns.run(*trace, "-o", calls, *record, env=manager.environment, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    lines = calls.read_text().splitlines()
    (ready,) = [number for number, line in enumerate(lines) if '"READY=1' in line]
    # The header of the journal, twice in one, and the first sample: each written, then synced.
    done_before = re.findall(r"(write|sync)\S*\(\d+<[^>]*\.journal>", "\n".join(lines[:ready]))
    runs = re.sub(r"(.)\1+", r"\1", "".join("w" if what == "write" else "s" for what in done_before))
    assert runs.startswith("wsws"), done_before


def test_it_says_how_it_goes_and_that_it_lives_and_ends(
    netns: Namespace, tmp_path: Path, manager: Manager
) -> None:
    capture = tmp_path / "cap"
    command = (SOCKREC, "record", "-C", capture, "--interval", "10s")
    with running(netns, *command, env=manager.environment) as process:
        first = manager.until("READY=1")
        assert [line for line in first if line.startswith("READY")] == ["READY=1"]
        (status,) = [line for line in first if line.startswith("STATUS=")]
        wait_for_samples(capture, 1)
        (sample,) = answer("sql", "-C", capture, "SELECT sockets + unix_sockets AS n FROM samples")
        assert sample["n"] == 2, "the two ends of this"
        assert re.match(r"STATUS=Recording: 1 sample, 2 sockets now, \d+ events?, [\d.]+ [kM]?B in", status)
        for line in answer("sql", "-C", capture, "SELECT unavailable FROM recordings")[0]["unavailable"]:
            assert line in status, "what it does not see is said"
        # It lives between two samples too, ten seconds apart: told twice in each period at least.
        for _ in range(6):
            assert manager.next(WATCHDOG_S * 0.9) == "WATCHDOG=1"
        os.kill(process.pid, signal.SIGSTOP)
        while manager.next(0.05):
            pass
        assert manager.next(2 * WATCHDOG_S) == "", "one that does nothing does not say that it lives"
        os.kill(process.pid, signal.SIGCONT)
        assert "WATCHDOG=1" in manager.next(5)
        process.send_signal(signal.SIGTERM)
        assert manager.until("STOPPING=1")[-1] == "STOPPING=1"
        _, complaints = process.communicate(timeout=30)
    assert (process.returncode, complaints) == (0, "")


STUCK = """
import sys, time
from sockrec.kernel.sockets import SocketReader
read, count = SocketReader.read, 0
def stuck(reader):
    global count
    count += 1
    time.sleep(600 if count == 3 else 0)
    return read(reader)
SocketReader.read = stuck
from sockrec.cli import main
main()
"""


@pytest.mark.parametrize("manager", ["path"], indirect=True)
def test_a_sampling_that_is_stuck_is_not_said_to_live(
    netns: Namespace, tmp_path: Path, manager: Manager
) -> None:
    """Other threads run on: only the loop itself may say it. The watchdog's SIGABRT tells where it was."""
    command = ("python3", "-c", STUCK, "record", "-C", tmp_path / "cap", "--interval", "400ms")
    python = Path(SOCKREC).parent / command[0]
    environment = manager.environment | {"PYTHONFAULTHANDLER": "1"}
    with running(netns, python, *command[1:], env=environment) as process:
        manager.until("READY=1")
        end = time.monotonic() + 10
        silent = False
        while not silent and time.monotonic() < end:
            silent = manager.next(2 * WATCHDOG_S) == ""
        process.send_signal(signal.SIGABRT)
        _, complaints = process.communicate(timeout=30)
    assert silent
    assert process.returncode == -signal.SIGABRT
    assert "in stuck" in complaints


@pytest.mark.parametrize("manager", ["path"], indirect=True)
def test_with_a_command_it_is_the_command_s_to_tell(
    netns: Namespace, tmp_path: Path, manager: Manager
) -> None:
    script = 'echo "$NOTIFY_SOCKET" "$WATCHDOG_USEC"'
    words = (SOCKREC, "record", "-C", tmp_path / "cap", "--", "sh", "-c", script)
    done = netns.run(*words, env=manager.environment, timeout=60)
    period = manager.environment["WATCHDOG_USEC"]
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{manager.environment['NOTIFY_SOCKET']} {period}\n"
    assert manager.next(0.1) == ""


def test_a_manager_that_is_gone_is_said_once_and_ends_nothing(netns: Namespace, tmp_path: Path) -> None:
    words = (SOCKREC, "record", "-C", tmp_path / "cap", "--interval", "100ms", "--for", "1s")
    for address, complaints in (
        (f"{tmp_path}/nobody", r"sockrec: the service manager [^\n]*No such file[^\n]*\n"),
        ("", ""),
    ):
        environment = CLEAN | {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "100000"}
        done = netns.run(*words, env=environment, timeout=60)
        assert done.returncode == 0
        assert re.fullmatch(complaints, done.stderr), done.stderr
