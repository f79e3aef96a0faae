"""What else can read all TCP sockets, from the least that it can cost to the tools people use."""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from benchmarks import timing
from benchmarks.timing import BenchmarkError, say

C_LOOP: Final = "C loop"
PYTHON_LOOP: Final = "Python recv loop"
NETSTAT: Final = "netstat -antp"

Measure = Callable[[], float]

# The dump asked for and thrown away; every descriptor's link read and thrown away.
DUMP_LOOP: Final = Path(__file__).with_name("dump_loop.c")
LINKS_LOOP: Final = Path(__file__).with_name("links_loop.c")
_PACKAGES: Final = {
    "gcc": "gcc",
    "ss": "iproute2",
    "netstat": "net-tools",
    "lsof": "lsof",
    "unshare": "util-linux",
    "bpftrace": "bpftrace",
}
_PSUTIL: Final = """
import time, psutil
began = time.process_time()
psutil.net_connections("tcp")
print(time.process_time() - began)
"""
_WINDOW: Final = 256 << 10
_NLMSG_ERROR, _NLMSG_DONE = 2, 3


def install() -> None:
    """Install what is missing where that is allowed; what stays missing is left out of the tables."""
    missing = sorted({package for command, package in _PACKAGES.items() if shutil.which(command) is None})
    if not missing:
        return
    if os.geteuid() or shutil.which("apt-get") is None:
        say(f"not there, and so left out: {' '.join(missing)}")
        return
    say(f"installing {' '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update", "-qq"], ["install", "-qq", "-y", *missing]):
        done = subprocess.run(
            ["apt-get", *words], env=environment, stdout=subprocess.DEVNULL, timeout=300, check=False
        )
        if done.returncode:
            say(f"apt-get {words[0]} failed: what is missing is left out")
            return


def compiled(source: Path, folder: Path) -> str:
    """Compile a C program into a folder; return its path.

    Raises `BenchmarkError` where it can't be: nothing can do without it.
    """
    program = str(folder / source.stem)
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise BenchmarkError("there is no C compiler: install gcc")
    subprocess.run([compiler, "-O2", "-o", program, str(source)], check=True, timeout=60)
    return program


class CLoop:
    """A C loop, compiled anew. Raises `BenchmarkError` where it can't be."""

    def __init__(self, source: Path = DUMP_LOOP) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="sockrec-bench-")
        self._program = compiled(source, Path(self._folder.name))

    def measure(self, dumps: int) -> float:
        """Return the CPU seconds of one turn, the median of a few."""
        return statistics.median(nanoseconds for nanoseconds, _ in self._run(dumps)) / 1e9

    def bytes(self) -> int:
        """Return how long a dump is, or how many links there were."""
        return self._run(1)[0][1]

    def _run(self, dumps: int) -> list[tuple[int, int]]:
        done = subprocess.run(
            [self._program, str(dumps)], stdout=subprocess.PIPE, text=True, timeout=120, check=True
        )
        return [(int(line.split()[0]), int(line.split()[1])) for line in done.stdout.splitlines()]


class PythonLoop:
    """The same in Python: one socket, one buffer, nothing decoded but where the dump ends."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._buffer = bytearray(_WINDOW)

    def measure(self, dumps: int) -> float:
        """Return the CPU seconds of one dump, the median of a few."""
        return statistics.median(timing.cpu(self._dump) for _ in range(dumps))

    def _dump(self) -> None:
        wanted = 1 << 1 | 1 << 6  # tcp_info and skmeminfo, as the C loop has them
        request = struct.pack("=BBBB48xII", socket.AF_UNSPEC, 0, 0, wanted, 0xFFFFFFFF, 0)
        self._socket.send(struct.pack("=IHHII", 16 + len(request), 18, 0x301, 1, 0) + request)
        buffer, receive = self._buffer, self._socket.recv_into
        while True:
            size = receive(buffer)
            kind = struct.unpack_from("=4xH", buffer)[0]
            if kind == _NLMSG_ERROR:
                raise BenchmarkError("the kernel refused the dump")
            if kind == _NLMSG_DONE or struct.unpack_from("=IH", buffer, size - 20) == (20, _NLMSG_DONE):
                return


def tools() -> dict[str, Measure | None]:
    """Return how to measure each tool's CPU seconds, by its name; None for one that is absent."""
    commands: dict[str, Sequence[str]] = {
        "ss -tan": ("ss", "-tan"),
        "ss -tanpi": ("ss", "-tanpi"),
        "netstat -an": ("netstat", "-an"),
        NETSTAT: ("netstat", "-antp"),
        "lsof -nP -iTCP": ("lsof", "-nP", "-iTCP"),
    }
    found: dict[str, Measure | None] = {}
    for name, words in commands.items():
        found[name] = _command(words) if shutil.which(words[0]) else None
    found["psutil.net_connections"] = _psutil if _has_psutil() else None
    return found


def _command(words: Sequence[str]) -> Measure:
    # lsof ends with 1 if it missed anything; that is no failure here.
    accept = (0, 1) if words[0] == "lsof" else (0,)
    return lambda: timing.command(words, accept=accept).cpu


def _has_psutil() -> bool:
    done = subprocess.run([sys.executable, "-c", "import psutil"], stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0


def _psutil() -> float:
    """Return the CPU seconds of the call alone: the import is not psutil's fault."""
    done = subprocess.run(
        [sys.executable, "-c", _PSUTIL], stdout=subprocess.PIPE, text=True, timeout=120, check=True
    )
    return float(done.stdout)
