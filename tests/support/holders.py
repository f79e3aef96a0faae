"""Processes that hold sockets when told to, and who holds what by a plain walk of everything."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

from tests.support.netns import Namespace

HOLDER = """
import os, signal, socket, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
channel = socket.socket(fileno=int(sys.argv[1]))
held = {}
def keep(s):
    held[os.fstat(s.fileno()).st_ino] = s
    return os.fstat(s.fileno()).st_ino
for line in sys.stdin:
    verb, *numbers = line.split()
    numbers = [int(number) for number in numbers]
    answer = []
    if verb == 'open':
        answer = [keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(numbers[0])]
    elif verb == 'listen':
        s = socket.create_server((sys.argv[2], 0))
        answer = [keep(s), s.getsockname()[1]]
    elif verb == 'connect':
        answer = [keep(socket.create_connection((sys.argv[2], numbers[0])))]
    elif verb == 'close':
        for inode in numbers:
            held.pop(inode).close()
    elif verb == 'fork':
        pid = os.fork()
        if not pid:
            os.close(0), os.close(1)
            signal.sigwait([signal.SIGUSR1])
            os.closerange(0, 4096)
            signal.pause()
        answer = [pid]
    elif verb == 'send':
        socket.send_fds(channel, [b'x'], [held[numbers[0]].fileno()])
    elif verb == 'receive':
        answer = [keep(socket.socket(fileno=fd)) for fd in socket.recv_fds(channel, 1, 1)[1]]
    print(*answer, flush=True)
"""


class Holder:
    """A process that opens, closes, shares and passes sockets when told to."""

    def __init__(self, channel: socket.socket | None = None, namespace: Namespace | None = None) -> None:
        mine, his = socket.socketpair()
        own = channel or his
        args = [sys.executable, "-I", "-c", HOLDER, str(own.fileno())]
        args.append("10.0.0.5" if namespace else "127.0.0.1")
        self.process = subprocess.Popen(
            namespace.command(*args) if namespace else args,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[own.fileno()],
        )
        self.pid = self.process.pid
        self.forks: list[int] = []
        mine.close()
        his.close()
        self.do("ready")

    def do(self, verb: str, *numbers: int) -> list[int]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(verb, *numbers, file=self.process.stdin, flush=True)
        answer = [int(word) for word in self.process.stdout.readline().split()]
        if verb == "fork":
            self.forks += answer
        return answer

    def kill(self, pid: int) -> None:
        """Kill a forked child and wait until /proc no longer has it (its parent has the kernel reap it)."""
        self.forks.remove(pid)
        os.kill(pid, signal.SIGKILL)
        for _ in range(500):
            if not Path(f"/proc/{pid}").exists():
                return
            time.sleep(0.01)
        raise AssertionError(f"process {pid} does not go away")

    def end(self) -> None:
        for pid in list(self.forks):
            self.kill(pid)
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait(10)
        if self.process.stdout:
            self.process.stdout.close()


def truth() -> dict[int, tuple[int, ...]]:
    """Return every holder of every socket, by following every descriptor of every process."""
    found: dict[int, set[int]] = {}
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            for link in folder.iterdir():
                try:
                    status = link.stat()
                except OSError:
                    continue
                if stat.S_ISSOCK(status.st_mode):
                    found.setdefault(status.st_ino, set()).add(int(folder.parent.name))
        except OSError:
            continue
    return {inode: tuple(sorted(pids)) for inode, pids in found.items()}
