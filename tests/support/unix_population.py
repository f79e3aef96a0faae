"""UNIX sockets of every type and state, and their rows read from /proc/net/unix without sockrec's readers.

Layout: unix_seq_show in net/unix/af_unix.c.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from sockrec.model.unix_row import UnixRow
from tests.support.netns import Namespace

TYPES = (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET)
HARMLESS = (
    b"plain", b"with blank", b" leads", b"  two leads and more", b"tab\tbed", b"\ttab", b"umlaut-\xc3\xa4",
    b"latin-\xe4\xff\xfe", b"trail ", b"form\x0cfeed", b"vertical\x0btab", b"return\rcarriage", b"l" * 100,
    b"%s%n%d", b"'quoted\"", b"[ ACC ]",
)  # fmt: skip
HOSTILE = (
    b"esc\x1b[2J", b"bell\x07", b"del\x7f", b"c1-\x9b2J", b"c1-\xc2\x9b", b"line\nbreak", b"\nleads", b"\n\n",
    b"ends\n", b"rtl-\xe2\x80\xae", b"bs\x08\x08", b"\x01", b"a\n b c d e f", b" \n",
)  # fmt: skip
_ROW = re.compile(
    rb"^[0-9a-f]+: ([0-9A-F]{8}) 00000000 ([0-9A-F]{8}) ([0-9A-F]{4}) ([0-9A-F]{2}) +(\d+)(?: |$)",
    re.MULTILINE,
)
_TYPES = {1: "STREAM", 2: "DGRAM", 5: "SEQPACKET"}
_STATES = {1: "UNCONN", 2: "CONNECTING", 3: "ESTABLISHED", 4: "DISCONNECTING"}
# Its own sockets; then connections that nobody has room for, in a process that nothing interrupts.
_CHILD = """
import os, socket, sys, threading
kept = []
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
    one = socket.socket(socket.AF_UNIX, kind)
    one.bind("\\0child" + str(kind))
    if kind != socket.SOCK_DGRAM:
        one.listen(5)
    kept.append(one)
    kept.extend(socket.socketpair(socket.AF_UNIX, kind))
print("ready", flush=True)
for line in sys.stdin:
    kind, name = line.split()
    late = socket.socket(socket.AF_UNIX, int(kind))
    threading.Thread(target=late.connect, args=("\\0" + name,), daemon=True).start()
os._exit(0)
"""


class UnixPopulation:
    """A hundred and more UNIX sockets in a namespace, and a folder for their names."""

    def __init__(self, namespace: Namespace, folder: Path, seed: int, names: tuple[bytes, ...]) -> None:
        self._namespace, self._folder, self._names = namespace, folder, names
        self._draw = random.Random(seed)
        self._kept: list[socket.socket] = []
        self._blocked = 0
        self._number = 0
        self._child = namespace.popen(
            sys.executable, "-c", _CHILD, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self) -> UnixPopulation:
        assert self._child.stdout is not None
        assert self._child.stdout.readline() == "ready\n"
        home = Path.cwd()
        os.chdir(self._folder)
        try:
            with self._namespace.entered():
                self._make()
        finally:
            os.chdir(home)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self._kept:
            one.close()
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait(10)
        assert self._child.stdout is not None
        self._child.stdout.close()

    def _address(self, name: bytes) -> bytes:
        """Return a name of its own like this one: a file's, or an abstract one."""
        self._number += 1
        if self._draw.random() < 0.5:
            return b"\0" + name + (b"\0%d" if self._draw.random() < 0.5 else b"%d") % self._number
        return name + b"%d" % self._number

    def _socket(self, kind: int) -> socket.socket:
        one = socket.socket(socket.AF_UNIX, kind)
        self._kept.append(one)
        return one

    def _bound(self, kind: int, address: bytes) -> socket.socket:
        one = self._socket(kind)
        one.bind(address)
        return one

    def _make(self) -> None:
        for name in self._names:
            for kind in self._draw.sample(TYPES, 2):
                bound = self._bound(kind, self._address(name))
                if kind != socket.SOCK_DGRAM and self._draw.random() < 0.5:
                    bound.listen(4)
        for length in (106, 107):
            self._bound(socket.SOCK_STREAM, b"p" * length)
            self._bound(socket.SOCK_DGRAM, b"\0" + b"a" * length)
        for kind in TYPES:
            self._socket(kind)
            self._bound(kind, b"")  # the kernel draws a name: @00001
            self._pairs(kind)
        for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
            self._connections(kind, b"server-%d" % kind)
            self._connections(kind, b"\0server-%d" % kind)
        receiver = self._bound(socket.SOCK_DGRAM, b"\0receiver")
        for _ in range(3):
            self._socket(socket.SOCK_DGRAM).connect(b"\0receiver")
        receiver.close()

    def _pairs(self, kind: int) -> None:
        for ending in ("none", "half", "both", "peer gone", "gone with data"):
            left, right = socket.socketpair(socket.AF_UNIX, kind)
            self._kept.append(left)
            if ending == "half":
                left.shutdown(socket.SHUT_WR)
            elif ending == "both":
                left.shutdown(socket.SHUT_RDWR)
            if ending == "gone with data":
                right.send(b"x" * 100)
            if ending.startswith(("peer", "gone")):
                right.close()
            else:
                self._kept.append(right)

    def _connections(self, kind: int, address: bytes) -> None:
        """Make connections: accepted, waiting for it, with their client gone, and one too many to wait."""
        server = self._bound(kind, address)
        server.listen(3)
        for number in range(6):
            client = self._socket(kind)
            client.connect(address)
            if number < 2:
                accepted, _ = server.accept()
                self._kept.append(accepted)
                if number:
                    accepted.shutdown(socket.SHUT_RD)
            elif number == 3:
                client.close()
        if address.startswith(b"\0"):
            assert self._child.stdin is not None
            self._child.stdin.write(f"{int(kind)} {address[1:].decode()}\n")
            self._child.stdin.flush()
            self._blocked += 1

    def rows(self) -> list[UnixRow]:
        """Return the rows of the namespace in the kernel's order, with the owners among test and child."""
        owners: dict[int, tuple[int, str]] = {}
        for pid in sorted((os.getpid(), self._child.pid)):
            argv0 = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):
                    target = str(descriptor.readlink())
                    if target.startswith("socket:["):
                        owners.setdefault(int(target[8:-1]), (pid, argv0))
        return rows_in(self._namespace, owners)

    def settle(self) -> list[UnixRow]:
        """Return the rows once the connections that can't be accepted are waiting."""
        until = time.monotonic() + 10
        while True:
            if sum(row.state == "DISCONNECTING" for row in self.rows()) == self._blocked:
                return self.rows()
            assert time.monotonic() < until, "no connection is waiting"
            time.sleep(0.01)


def rows_in(namespace: Namespace, owners: dict[int, tuple[int, str]]) -> list[UnixRow]:
    """Return the rows of a namespace's /proc/net/unix; `owners` have pid and argv[0] by inode."""
    with namespace.entered():
        text = Path("/proc/thread-self/net/unix").read_bytes()
    text = text[text.index(b"\n") + 1 :]
    found = list(_ROW.finditer(text))
    ends = [*(row.start() for row in found[1:]), len(text)]
    rows = []
    for row, end in zip(found, ends, strict=True):
        refcount, flags, kind, state = (int(row[group], 16) for group in range(1, 5))
        inode = int(row[5])
        named = text[row.end() - 1 : row.end()] == b" "
        pid, argv0 = owners.get(inode, (None, ""))
        rows.append(
            UnixRow(
                refcount=refcount,
                type=_TYPES.get(kind, str(kind)),
                state="LISTEN" if flags else _STATES[state],
                inode=inode,
                path=text[row.end() : end - 1].decode("utf-8", "surrogateescape") if named else None,
                pid=pid,
                argv0=argv0,
                owner="held" if pid is not None else "kernel",
            )
        )
    return rows
