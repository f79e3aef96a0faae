"""Network namespaces that tests make for themselves, with sockets and processes inside."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _setns(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Namespace:
    """A network namespace with loopback up, and addresses of its own on it.

    `with namespace.entered():` moves the calling thread into it; `namespace.command(...)` gives
    the argument list that runs a program there.
    """

    def __init__(self, addresses: Sequence[str] = ("10.0.0.5/24",)) -> None:
        self.name = f"sr-{uuid.uuid4().hex[:10]}"
        self.path = Path("/run/netns") / self.name
        _ip("netns", "add", self.name)
        _ip("-n", self.name, "link", "set", "lo", "up")
        for address in addresses:
            nodad = ["nodad"] if ":" in address else []
            _ip("-n", self.name, "address", "add", address, "dev", "lo", *nodad)
        # The kernel's own thread makes IPv6 addresses reachable, in its own time.
        inet6 = [one.partition("/")[0] for one in addresses if ":" in one]
        for address in ["::1", *inet6] if inet6 else []:
            self.wait_for_route(address)

    def wait_for_route(self, address: str, *words: str) -> None:
        """Wait until an IPv6 address is reachable, as `ip route get` with these words says."""
        until = time.monotonic() + 20
        while self.run("ip", "-6", "route", "get", address, *words).returncode:
            if time.monotonic() > until:
                raise TimeoutError(f"{address} is not reachable in {self.name}")
            time.sleep(0.01)

    def command(self, *args: str | os.PathLike[str]) -> list[str]:
        """Return the argument list that runs a program in this namespace."""
        return ["nsenter", f"--net={self.path}", *(os.fspath(word) for word in args)]

    def run(self, *args: str | os.PathLike[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program there to its end, with its output as text."""
        return subprocess.run(self.command(*args), capture_output=True, text=True, **options)

    def popen(self, *args: str | os.PathLike[str], **options: Any) -> subprocess.Popen[str]:
        """Start a program there."""
        return subprocess.Popen(self.command(*args), text=True, **options)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Move the calling thread into the namespace, and back."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(self.path, os.O_RDONLY)
        try:
            _setns(there)
            yield
        finally:
            _setns(home)
            os.close(there)
            os.close(home)

    def close(self) -> None:
        """Remove the namespace; it lives on until its last process and socket are gone."""
        _ip("netns", "del", self.name)

    def __enter__(self) -> Namespace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
