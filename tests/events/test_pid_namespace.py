"""A recorder in a container: the kernel's events name processes by numbers that mean others in there."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.events.recorded import one, rows
from tests.support.command import CLEAN, SOCKREC, UNBUDGETED, wait_for_samples
from tests.support.netns import Namespace

pytestmark = pytest.mark.moments

# Process 1 of the namespace. The number that its child has outside is given to another in here.
INSIDE = """
import json, os, signal, socket, subprocess, sys, time

def child(program, *words):
    argv = [program, "-c", CHILD, *words]
    return subprocess.Popen(argv, executable=sys.executable, stdin=-1, stdout=-1, text=True)

CHILD = '''
import socket, sys
listeners = {int(port): socket.create_server(("127.0.0.1", int(port))) for port in sys.argv[1:]}
print("ready", flush=True)
for line in sys.stdin:
    verb, port = line.split()
    if verb == "close":
        listeners.pop(int(port)).close()
    elif verb == "connect":
        socket.create_connection(("127.0.0.1", int(port))).close()
    print("done", flush=True)
'''
server = socket.create_server(("127.0.0.1", 7000))
actor, victim = child("actor", "7100"), child("victim", "7200")
for process in (actor, victim):
    assert process.stdout.readline() == "ready\\n"
print(json.dumps([actor.pid, victim.pid]), flush=True)
number = int(sys.stdin.readline())
with open("/proc/sys/kernel/ns_last_pid", "w") as last:
    last.write(str(number - 1))
decoy = child("decoy")
assert decoy.pid == number, decoy.pid
assert decoy.stdout.readline() == "ready\\n"
recorder = subprocess.Popen(json.loads(sys.argv[1]), stderr=-1, text=True)
print("recording", flush=True)
sys.stdin.readline()
for order in ("connect 7000", "close 7100"):
    print(order, file=actor.stdin, flush=True)
    assert actor.stdout.readline() == "done\\n"
victim.kill()
victim.wait()
print("done", flush=True)
sys.stdin.readline()
recorder.send_signal(signal.SIGINT)
print(json.dumps(recorder.communicate(timeout=60)[1]), recorder.returncode, flush=True)
for process in (actor, decoy):
    process.kill()
"""


def _number_outside(inside: int, of: int) -> int:
    """Return our number of a process, found by its number in the namespace of a process's child."""
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
            numbers = re.findall(r"^NSpid:((?:\t\d+)+)$", text, re.MULTILINE)[0].split()
            namespace = (status.parent / "ns/pid").readlink()
        except (OSError, IndexError):
            continue
        if numbers[-1] == str(inside) and len(numbers) > 1:
            here = Path(f"/proc/{of}/ns/pid_for_children").readlink()
            if namespace == here:
                return int(numbers[0])
    raise AssertionError(f"no process has the number {inside} in there")


def test_nobody_is_blamed_for_what_a_namesake_outside_did(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    record = [SOCKREC, "record", "-C", str(capture), "--interval", "100ms", *UNBUDGETED]
    command = ["unshare", "-p", "-f", "--mount-proc", "--kill-child", sys.executable, "-c", INSIDE]
    with netns.popen(
        *command, json.dumps(record), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=CLEAN
    ) as inside:
        assert inside.stdin is not None
        assert inside.stdout is not None

        def order(word: str | int) -> str:
            print(word, file=inside.stdin, flush=True)
            assert inside.stdout is not None
            return inside.stdout.readline()

        actor, victim = json.loads(inside.stdout.readline())
        decoy = _number_outside(actor, inside.pid)
        assert order(decoy) == "recording\n"
        wait_for_samples(capture, 3)
        assert order("act") == "done\n"
        time.sleep(2)
        said, status = order("stop").rsplit(" ", 1)
    assert int(status) == 0
    assert "can't tell which process connected or closed" in said
    blamed = rows(
        capture,
        f"SELECT * FROM events WHERE {decoy} IN (pid, by_pid) OR 'decoy' IN (program, by_program)",
    )
    assert blamed == []
    (client,) = rows(capture, "SELECT pid, program, opened_evidence FROM connections WHERE role = 'client'")
    assert client == {"pid": None, "program": None, "opened_evidence": "event"}
    told = "SELECT pid, program, cause, signal, by_pid, evidence FROM events WHERE kind = 'stopped listening'"
    assert one(capture, f"{told} AND local_port = 7100") == {
        "pid": actor, "program": "actor", "cause": "close", "signal": None, "by_pid": None,
        "evidence": "event",
    }  # fmt: skip
    assert one(capture, f"{told} AND local_port = 7200") == {
        "pid": victim, "program": "victim", "cause": "signal", "signal": signal.SIGKILL, "by_pid": None,
        "evidence": "event",
    }  # fmt: skip
