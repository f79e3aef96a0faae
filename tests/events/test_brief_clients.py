"""Programs that connect or listen once and are gone a moment later: who they were is known all the same."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.events.recorded import recorded, rows
from tests.support.netns import Namespace

pytestmark = pytest.mark.moments

COUNT = 1000
# Each closes its connection and exits at once; who has which port is known by the process's number.
CLIENTS = """
import json, os, socket, sys
clients = {}
with socket.create_server(("127.0.0.1", 9100), backlog=16) as listener:
    for port in range(20000, 20000 + int(sys.argv[1])):
        pid = os.fork()
        if not pid:
            client = socket.socket()
            client.bind(("127.0.0.1", port))
            client.connect(("127.0.0.1", 9100))
            client.close()
            os._exit(0)
        listener.accept()[0].close()
        os.waitpid(pid, 0)
        clients[port] = pid
print(json.dumps(clients))
"""


def record(netns: Namespace, capture: Path, program: str) -> dict[int, int]:
    """Record while a program's children come and go; return who had each port, as it tells."""
    with recorded(netns, capture, interval="50ms") as recorder:
        running = netns.popen(sys.executable, "-c", program, str(COUNT), stdout=subprocess.PIPE)
        truth = json.loads(running.communicate(timeout=60)[0])
        recorder.more_samples(2)
    return {int(port): pid for port, pid in truth.items()}


def test_each_connection_has_its_process(netns: Namespace, tmp_path: Path) -> None:
    """Some exit just after a part of the trace was taken: their exits are in the next one."""
    capture = tmp_path / "cap"
    truth = record(netns, capture, CLIENTS)
    found = rows(capture, "SELECT local_port, pid, program FROM connections WHERE role = 'client'")
    assert {row["local_port"]: row["pid"] for row in found} == truth
    assert len(found) == COUNT
    assert {row["program"] for row in found} == {Path(sys.executable).name}


# Each listens, closes and exits at once.
LISTENERS = """
import json, os, socket, sys
listeners = {}
for port in range(10000, 10000 + int(sys.argv[1])):
    pid = os.fork()
    if not pid:
        with socket.create_server(("127.0.0.1", port)):
            pass
        os._exit(3)
    os.waitpid(pid, 0)
    listeners[port] = pid
print(json.dumps(listeners))
"""


def test_each_listener_has_its_process_and_its_cause(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    truth = record(netns, capture, LISTENERS)
    found = rows(
        capture,
        "SELECT local_port, pid, program, cause, exit_code FROM events WHERE kind = 'stopped listening'",
    )
    assert {row["local_port"]: row["pid"] for row in found} == truth
    assert len(found) == COUNT
    assert {row["program"] for row in found} == {Path(sys.executable).name}
    assert {(row["cause"], row["exit_code"]) for row in found} == {("close", 3)}


# Each thread has a name of its own, as a pool's have. It connects and is gone; another one closes a listener
# that was made by a third.
THREADS = """
import ctypes, json, os, socket, sys, threading
def brief(work):
    def run():
        ctypes.CDLL(None).prctl(15, b"worker")
        work()
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
def connect(port):
    with socket.socket() as client:
        client.bind(("127.0.0.1", port))
        client.connect(("127.0.0.1", 9100))
def listen(port):
    made.append(socket.create_server(("127.0.0.1", port)))
made = []
ports = range(20000, 20000 + int(sys.argv[1]))
with socket.create_server(("127.0.0.1", 9100), backlog=16) as listener:
    for port in ports:
        brief(lambda: connect(port))
        listener.accept()[0].close()
        brief(lambda: listen(port - 10000))
        brief(made.pop().close)
print(json.dumps(dict.fromkeys(ports, os.getpid())))
"""


def test_what_brief_threads_do_is_told_of_their_process(netns: Namespace, tmp_path: Path) -> None:
    """By its name, not by theirs."""
    capture = tmp_path / "cap"
    (pid,) = set(record(netns, capture, THREADS).values())
    whose = {"pid": pid, "program": Path(sys.executable).name}
    found = rows(capture, "SELECT pid, program FROM connections WHERE role = 'client'")
    assert found == [whose] * COUNT
    found = rows(
        capture,
        "SELECT pid, program, cause, by_pid FROM events "
        "WHERE kind = 'stopped listening' AND local_port <> 9100",
    )
    assert found == [whose | {"cause": "close", "by_pid": None}] * COUNT


def test_what_a_sample_saw_only_before_its_use(netns: Namespace, tmp_path: Path) -> None:
    """A sample saw two sockets bound; one connects, the other listens, and both are closed by the next."""
    capture = tmp_path / "cap"
    with recorded(netns, capture, interval="2s") as recorder, netns.entered():
        listener, client = socket.socket(), socket.socket()
        for end, port in ((listener, 9100), (client, 20000)):
            end.bind(("127.0.0.1", port))
        recorder.more_samples(1)
        listener.listen()
        client.connect(("127.0.0.1", 9100))
        server, _ = listener.accept()
        for end in (client, server, listener):
            end.close()
        recorder.more_samples(2)
    seen = rows(capture, "SELECT DISTINCT local_port, state FROM sockets WHERE remote_port = 0 ORDER BY 1")
    assert seen == [{"local_port": 9100, "state": "CLOSE"}, {"local_port": 20000, "state": "CLOSE"}]
    connections = rows(
        capture,
        "SELECT role, local_port, remote_port, opened_evidence, closed_evidence FROM connections ORDER BY 1",
    )
    assert [tuple(row.values()) for row in connections] == [
        ("client", 20000, 9100, "event", "event"),
        ("server", 9100, 20000, "event", "event"),
    ]
    told = rows(
        capture,
        "SELECT kind, evidence, pid FROM events WHERE local_port = 9100 AND kind LIKE '%listening' "
        "ORDER BY kind",
    )
    assert [tuple(row.values()) for row in told] == [
        ("listening", "event", os.getpid()),
        ("stopped listening", "event", os.getpid()),
    ]
