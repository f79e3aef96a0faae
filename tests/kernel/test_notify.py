"""The service manager is told in its own protocol, is never waited for, and what it missed comes later."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sockrec.kernel.notify import ServiceManager


@contextmanager
def manager_at(address: str) -> Iterator[socket.socket]:
    """Listen where $NOTIFY_SOCKET will point to, as systemd does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address)
        listening.setblocking(False)
        yield listening


def heard(listening: socket.socket) -> list[str]:
    """Return the messages that wait."""
    messages = []
    while True:
        try:
            messages.append(listening.recv(65536).decode())
        except BlockingIOError:
            return messages


@pytest.mark.parametrize("abstract", [False, True])
def test_it_says_what_sd_notify_says(tmp_path: Path, abstract: bool) -> None:
    name = f"{tmp_path}/notify"
    with manager_at(f"\0{name}" if abstract else name) as listening:
        manager = ServiceManager({"NOTIFY_SOCKET": f"@{name}" if abstract else name})
        manager.ready()
        manager.status("two\nlines of\tgrüße")
        manager.stopping()
        assert heard(listening) == ["READY=1", "STATUS=two lines of grüße", "STOPPING=1"]
        assert manager.trouble is None
        manager.close()
        manager.ready()
        assert heard(listening) == []


def test_without_a_manager_nothing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    manager = ServiceManager()
    assert not manager.listens
    manager.ready()
    assert manager.trouble is None
    with manager_at(f"{tmp_path}/notify") as listening:
        monkeypatch.setenv("NOTIFY_SOCKET", f"{tmp_path}/notify")
        ServiceManager().ready()
        ServiceManager({}).ready()
        assert heard(listening) == ["READY=1"], "only who was given the socket"


def test_a_manager_that_is_busy_is_not_waited_for_and_misses_nothing(tmp_path: Path) -> None:
    with manager_at(f"{tmp_path}/notify") as listening:
        manager = ServiceManager({"NOTIFY_SOCKET": f"{tmp_path}/notify", "WATCHDOG_USEC": "1"})
        others = 0
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.setblocking(False)
            try:
                while True:
                    others += other.sendto(b"x", f"{tmp_path}/notify")
            except BlockingIOError:
                pass
        manager.ready()
        manager.status("old")
        manager.status("new")
        manager.alive()
        assert heard(listening) == ["x"] * others
        manager.stopping()
        (message,) = heard(listening)
        assert message.split("\n") == ["READY=1", "STATUS=new", "WATCHDOG=1", "STOPPING=1"]
        manager.status("last")
        assert heard(listening) == ["STATUS=last"], "what was heard is not said again"


def test_one_that_is_gone_is_told_again_when_it_is_back(tmp_path: Path) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": f"{tmp_path}/notify"})
    manager.ready()
    assert manager.trouble is not None
    assert "No such file" in manager.trouble
    with manager_at(f"{tmp_path}/notify") as listening:
        manager.status("well")
        assert heard(listening) == ["READY=1\nSTATUS=well"]
    assert manager.trouble is None


def test_a_status_is_never_too_long_for_systemd(tmp_path: Path) -> None:
    """It drops messages of more than 4096 bytes, and bytes that are no UTF-8."""
    with manager_at(f"{tmp_path}/notify") as listening:
        manager = ServiceManager({"NOTIFY_SOCKET": f"{tmp_path}/notify"})
        manager.status("\U0001f600" * 5000)
        manager.status("a\udcffb")
        long, escaped = heard(listening)
        assert 1000 < len(long.encode()) < 4096
        assert escaped == "STATUS=a\\udcffb"


@pytest.mark.parametrize(
    ("environment", "watches"),
    [
        ({}, False),
        ({"WATCHDOG_USEC": "0"}, False),
        ({"WATCHDOG_USEC": "soon"}, False),
        ({"WATCHDOG_USEC": "60000000"}, True),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, True),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid() + 1)}, False),
    ],
)
def test_the_watchdog_hears_at_its_own_pace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], watches: bool
) -> None:
    now = 1000.0
    monkeypatch.setattr("sockrec.kernel.notify.time.monotonic", lambda: now)
    with manager_at(f"{tmp_path}/notify") as listening:
        manager = ServiceManager({"NOTIFY_SOCKET": f"{tmp_path}/notify", **environment})
        assert manager.watches == watches
        for now in (1000.0, 1029.9, 1030.0, 1059.9, 1060.1):  # noqa: B007 - read by the clock above
            manager.alive()
        assert heard(listening) == ["WATCHDOG=1"] * (3 if watches else 0)
    assert not ServiceManager(environment).watches, "nobody listens"
