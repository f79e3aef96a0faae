"""What ss tells of sockets and netstat does not: devices, marks, cgroups, options, memory, UNIX peers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.support import all_kinds
from tests.support.all_kinds import HERE, THERE, Population
from tests.support.netns import Namespace

_SO_MARK, _SO_MAX_PACING_RATE, _MSG_FASTOPEN, _TCP_FASTOPEN, _IPPROTO_MPTCP = 36, 47, 0x20000000, 23, 262
_TCP_CONGESTION = 13
HAS_MPTCP = Path("/proc/sys/net/mptcp").exists()
# Its name ends, for ss, at the bracket; it holds its sockets twice, and so does the child of the same name.
_HOLDER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(15, b'w) "x', 0, 0, 0)
for fd in map(int, sys.argv[1:]):
    os.dup(fd)
if os.fork() == 0:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
os.write(1, b"%d\\n" % os.getpid())
signal.pause()
"""
_IN_CGROUP = """
import socket, sys
with open(sys.argv[1] + '/cgroup.procs', 'w') as file:
    file.write('0')
held = [socket.create_server(('127.0.0.1', 0)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)]
held[1].bind(('127.0.0.1', 0))
print('there', flush=True)
sys.stdin.read()
"""


class Stage:
    """Sockets of every kind in a namespace; `pids` hold them, `folder` has the paths of the UNIX ones."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.pids = [os.getpid()]
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.kinds = Population(stack)
        self.namespace: Namespace = self.kinds.here
        settings = ["net.ipv4.tcp_ecn=1", "net.ipv4.tcp_fastopen=3"]
        for setting in settings + ["net.mptcp.enabled=1"] * HAS_MPTCP:
            for namespace in (self.kinds.here, self.kinds.there):
                namespace.run("sysctl", "-qw", setting, check=True)
        self._traffic()
        all_kinds.tcp_population(self.kinds)
        all_kinds.other_population(self.kinds)
        with self.namespace.entered():
            self._options()
            self._devices()
            if HAS_MPTCP:
                self._multipath()
            self._unix()
            self._held_twice()
            self._in_cgroup()

    def _keep(self, made: socket.socket) -> socket.socket:
        return self._stack.enter_context(made)

    def _traffic(self) -> None:
        """Move data over the cable, both ways, before it begins to lose what is sent."""
        with self.kinds.there.entered():
            listener = self.kinds.listener(socket.AF_INET, THERE, 6000)
            listener.setsockopt(socket.IPPROTO_TCP, _TCP_FASTOPEN, 5)
        for algorithm in (b"reno", b"cubic", b"bbr"):
            with self.namespace.entered():
                client = self.kinds.make(socket.AF_INET, socket.SOCK_STREAM)
                client.setsockopt(socket.IPPROTO_TCP, _TCP_CONGESTION, algorithm)
                client.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, 12_500_000)
                client.connect((THERE, 6000))
            server = self._keep(listener.accept()[0])
            for _ in range(20):
                client.sendall(bytes(30_000))
                left = 30_000
                while left:
                    left -= len(server.recv(left))
                server.sendall(bytes(500))
                client.recv(500, socket.MSG_WAITALL)
        for _ in range(2):  # the first time for the cookie
            with self.namespace.entered():
                client = self.kinds.make(socket.AF_INET, socket.SOCK_STREAM)
                client.settimeout(None)  # else the call ends before the connection is there
                client.sendto(b"early", _MSG_FASTOPEN, (THERE, 6000))
            server = self._keep(listener.accept()[0])
            server.recv(5)

    def _options(self) -> None:
        near = self.kinds.listener(socket.AF_INET, HERE, 0)
        near.setsockopt(socket.SOL_SOCKET, _SO_MARK, 0x2A)
        client, _ = self.kinds.connected(near)
        client.setsockopt(socket.SOL_SOCKET, _SO_MARK, 0xFF)
        client.shutdown(socket.SHUT_RD)
        only6 = self.kinds.make(socket.AF_INET6, socket.SOCK_STREAM)
        only6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        only6.bind(("::", 0))
        only6.listen()
        datagrams = self.kinds.make(socket.AF_INET6, socket.SOCK_DGRAM)
        datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        datagrams.bind(("::", 0))
        for port in (22, 443, 53):
            self.kinds.listener(socket.AF_INET, HERE, port)
            self.kinds.make(socket.AF_INET, socket.SOCK_DGRAM).bind((HERE, port))

    def _devices(self) -> None:
        for family, kind, address in (
            (socket.AF_INET, socket.SOCK_STREAM, ""),
            (socket.AF_INET6, socket.SOCK_STREAM, "::"),
            (socket.AF_INET, socket.SOCK_DGRAM, HERE),
            (socket.AF_INET6, socket.SOCK_DGRAM, "::"),
        ):
            made = self.kinds.make(family, kind)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"cable0")
            made.bind((address, 0))
            if kind == socket.SOCK_STREAM:
                made.listen(3)
        shown = self.namespace.run("ip", "-6", "-o", "address", "show", "dev", "cable0", "scope", "link")
        local = next(word for word in shown.stdout.split() if word.startswith("fe80")).partition("/")[0]
        scope = socket.if_nametoindex("cable0")

        def bound() -> bool:
            with suppress(OSError):  # until the kernel has made sure that nobody else has this address
                listener.bind((local, 0, 0, scope))
                return True
            return False

        listener = self.kinds.make(socket.AF_INET6, socket.SOCK_STREAM)
        all_kinds.until(bound)
        listener.listen()
        client = self.kinds.make(socket.AF_INET6, socket.SOCK_STREAM)
        client.connect((local, listener.getsockname()[1], 0, scope))

    def _multipath(self) -> None:
        listener = self._keep(socket.socket(socket.AF_INET, socket.SOCK_STREAM, _IPPROTO_MPTCP))
        listener.bind((HERE, 0))
        listener.listen()
        client = self._keep(socket.socket(socket.AF_INET, socket.SOCK_STREAM, _IPPROTO_MPTCP))
        client.connect(listener.getsockname())
        server = self._keep(listener.accept()[0])
        client.send(b"both ways")
        server.recv(9)
        server.send(b"and back")
        client.recv(8)

    def _unix(self) -> None:
        for number, kind in enumerate((socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM)):
            one, other = (self._keep(end) for end in socket.socketpair(socket.AF_UNIX, kind))
            one.send(b"unread")
            if kind != socket.SOCK_DGRAM:
                other.shutdown(socket.SHUT_WR)
            self._keep(socket.socket(socket.AF_UNIX, kind))
            for name in (str(self.folder / f"Path {number}"), f"\0abstract{number}\0\0end", ""):
                bound = self._keep(socket.socket(socket.AF_UNIX, kind))
                bound.bind(name)  # "": the kernel draws a name
                if kind != socket.SOCK_DGRAM:
                    bound.listen(5)
                client = self._keep(socket.socket(socket.AF_UNIX, kind))
                client.connect(bound.getsockname())
                if kind == socket.SOCK_DGRAM:
                    client.send(b"datagram")
                elif number == 0:
                    self._keep(bound.accept()[0])

    def _held_twice(self) -> None:
        listener = self.kinds.listener(socket.AF_INET, "127.0.0.1")
        one, _ = (self._keep(end) for end in socket.socketpair())
        process = self._stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", _HOLDER, str(listener.fileno()), str(one.fileno())],
                stdout=subprocess.PIPE,
                text=True,
                pass_fds=[listener.fileno(), one.fileno()],
            )
        )
        self._stack.callback(process.kill)
        assert process.stdout is not None
        self.pids += [int(process.stdout.readline()) for _ in range(2)]

    def _in_cgroup(self) -> None:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
        mount = next(Path(words[1]) for words in mounts if words[2] == "cgroup2")
        outer = mount / f"sr-{os.getpid()}"
        for folder in (outer, outer / "a b"):
            folder.mkdir()
            self._stack.callback(folder.rmdir)
        process = self._stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", _IN_CGROUP, str(outer / "a b")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        self.pids.append(process.pid)
        self.cgroup = f"/{outer.name}/a b"
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"


@contextmanager
def stage() -> Iterator[Stage]:
    """Give the stage; its sockets, processes and namespaces end with it."""
    with ExitStack() as stack:
        yield Stage(stack)
