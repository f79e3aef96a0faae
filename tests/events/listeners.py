"""Programs that listen and stop, and write down when: CLOCK_REALTIME just before and just after."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tests.events.recorded import MILLISECOND, at
from tests.support.loads.run import python_named
from tests.support.netns import Namespace
from tests.support.programs import HOME

# Listens on one port after the other, or on one again and again, each time for as long as it is told to.
SERIES = """
import json, socket, sys, time
for port, milliseconds in json.loads(sys.stdin.readline()):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("10.0.0.5", port))
    times = [time.time_ns()]
    listener.listen()
    times.append(time.time_ns())
    time.sleep(milliseconds / 1000)
    times.append(time.time_ns())
    listener.close()
    times.append(time.time_ns())
    print(json.dumps([port, *times]), flush=True)
    time.sleep(milliseconds / 3000)
sys.stdin.readline()
"""

# Listens, and ends that as told, once there is a line to read. What it prints then are moments.
VICTIM = """
import ctypes, json, os, resource, signal, socket, sys, threading, time
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
port, how = int(sys.argv[1]), sys.argv[2]
listener = socket.create_server(("10.0.0.5", port))

def timed(end):
    times = [time.time_ns()]
    end()
    times.append(time.time_ns())
    print(json.dumps(times), flush=True)

def in_thread(end):
    thread = threading.Thread(target=end)
    thread.start()
    thread.join()

def inherited(end):
    # The first holder lets go; whoever was forked holds it on.
    told, tell = os.pipe()
    child = os.fork()
    if child:
        print(child, flush=True)
        sys.stdin.readline()
        listener.close()
        os.write(tell, b"x")
    else:
        os.close(tell)
        os.read(told, 1)
        timed(end)
        os.read(told, 1)  # until the first holder has gone
        os._exit(0)

if how == "inherited":
    inherited(listener.close)
    sys.stdin.readline()
else:
    print("ready", flush=True)
    sys.stdin.readline()
    if how == "close":
        timed(listener.close)
    elif how == "thread":
        timed(lambda: in_thread(listener.close))
    elif how == "shutdown":
        timed(lambda: listener.shutdown(socket.SHUT_RDWR))
    elif how == "exit":
        os._exit(3)
    elif how == "sys.exit":
        sys.exit(3)
    elif how == "thread exits":
        in_thread(lambda: os._exit(4))
    elif how == "fault":
        ctypes.string_at(0)
    elif how == "exec":
        os.execv("/bin/sleep", ["sleep", "600"])
    elif how == "memory":
        kept = []
        while True:
            kept.append(bytearray(os.urandom(1 << 16)) * 16)
    sys.stdin.readline()
"""

# What the program imports comes first: another user may not be let into Python's folder. A process that has
# changed its user is closed to that user's other processes unless it says otherwise (PR_SET_DUMPABLE).
_BECOME = """
import ctypes, json, os, resource, signal, socket, sys, threading, time
os.setgroups([])
os.setgid({uid})
os.setuid({uid})
ctypes.CDLL(None).prctl(4, 1)
"""


@dataclass(frozen=True, slots=True)
class Period:
    """One period of listening: it began and ended between the two moments of each."""

    port: int
    began: tuple[datetime, datetime]
    ended: tuple[datetime, datetime]


def assert_exact(row: dict[str, Any], truth: tuple[datetime, datetime]) -> None:
    """Expect an answer of `when` that is exact, and right to a millisecond."""
    assert row["exact"] is True, row
    assert row["not_before"] == row["not_after"], row
    assert row["evidence"] == "event", row
    assert truth[0] - MILLISECOND <= row["not_before"] <= truth[1] + MILLISECOND, (row, truth)


def assert_enclosed(
    row: dict[str, Any], truth: tuple[datetime, datetime], reading: timedelta = MILLISECOND
) -> None:
    """Expect bounds within which the truth can lie, exact or not.

    `reading` is how long one may have taken that alone saw it: its end stands for both its moments.
    """
    assert row["not_before"] is None or row["not_before"] <= truth[1] + reading, (row, truth)
    assert row["not_after"] >= truth[0] - MILLISECOND, (row, truth)


class Program:
    """A Python program in a namespace under a name of its own, which prints lines and is told to go on."""

    def __init__(
        self, folder: Path, namespace: Namespace, name: str, source: str, *words: str, uid: int = 0
    ) -> None:
        source = (_BECOME.format(uid=uid) if uid else "") + source
        command = [str(python_named(folder, name)), "-S", "-c", source, *words]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = namespace.popen(*command, env=HOME, **pipes)
        self.pid = self.process.pid
        self.name = name

    def say(self, text: str = "") -> None:
        """Write a line to it."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        """Read a line from it."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def hear_moments(self) -> tuple[datetime, datetime]:
        """Read when something happened."""
        before, after = json.loads(self.hear())
        return at(before), at(after)

    def end(self) -> None:
        """Kill it and wait."""
        self.process.kill()
        self.process.communicate(timeout=20)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def listen_in_series(program: Program, series: list[tuple[int, float]]) -> list[Period]:
    """Have a `SERIES` program listen on ports for so many milliseconds each, and return when it did."""
    program.say(json.dumps(series))
    periods = []
    for _ in series:
        port, *times = json.loads(program.hear())
        moments = [at(time) for time in times]
        periods.append(Period(port, (moments[0], moments[1]), (moments[2], moments[3])))
    return periods
