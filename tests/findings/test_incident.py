"""`sockrec diagnose` on a host where all of it happens at once, and on one where nothing does."""

from __future__ import annotations

import json
import re
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.support import programs
from tests.support.command import recording, sockrec, wait_for_samples
from tests.support.netns import Namespace

# Accepts, and neither reads nor closes what it accepted.
LAZY = """
import socket, sys, time
server = socket.create_server(("10.0.0.5", int(sys.argv[1])), backlog=64)
print("ready", flush=True)
kept = []
while True:
    kept.append(server.accept())
"""
# Asks for a port where nobody listens.
HOPEFUL = """
import socket, time
print("ready", flush=True)
while True:
    with socket.socket() as one:
        one.connect_ex(("10.0.0.5", 7999))
    time.sleep(0.1)
"""
SERVING = """
import socket
server = socket.create_server(("10.0.0.5", 7000))
print("ready", flush=True)
while True:
    one, _ = server.accept()
    with one:
        one.sendall(one.recv(100))
"""
# As the recording is: seconds, not minutes.
SET = ("--set", "unread.seconds=2", "--set", "unsent.seconds=2", "--set", "close-wait.seconds=2")


def asked(capture: Path, *words: str) -> list[dict[str, Any]]:
    done = sockrec("diagnose", "-C", capture, "-f", "json", *SET, *words)
    assert done.returncode == 0, done
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def _host(capture: Path) -> str:
    (folder,) = capture.glob("recordings/host=*")
    return folder.name.removeprefix("host=")


def talk(client: socket.socket) -> None:
    """Say something, and hear it."""
    client.sendall(b"hello")
    assert client.recv(100) == b"hello"


def test_an_incident_of_everything(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    with ExitStack() as stack:

        def run(name: str, source: str, *words: str) -> Any:
            program = programs.start(netns, name, source, *words)
            stack.callback(programs.end, program)
            return program

        def connected(port: int) -> socket.socket:
            with netns.entered():
                return stack.enter_context(socket.create_connection(("10.0.0.5", port), timeout=10))

        run("steady", SERVING)
        goes = run("goes", programs.LISTENER, "10.0.0.5:7001")
        narrow = run("proxy", programs.LISTENER, "127.0.0.1:7002")
        run("sleepy", programs.LISTENER, "10.0.0.5:7003")
        lazy = run("lazy", LAZY, "7004")
        with recording(netns, capture):
            run("hopeful", HOPEFUL)
            programs.end(goes)
            programs.end(narrow)
            run("proxy", programs.LISTENER, "0.0.0.0:7002")
            # Its backlog is 7: the kernel takes one more.
            for _ in range(8):
                connected(7003)
            for _ in range(10):
                connected(7004).shutdown(socket.SHUT_WR)
            jammed = connected(7004)
            jammed.setblocking(False)
            try:
                while jammed.send(b"x" * 65_536):
                    pass
            except BlockingIOError:
                pass
            for _ in range(5):
                wait_for_samples(capture, 10)
                talk(connected(7000))
            wait_for_samples(capture, 50)
    found = {one["kind"]: one for one in asked(capture, "--host", _host(capture))}
    assert set(found) == {
        *("listener-stopped", "connections-refused", "accept-queue-full", "unread", "unsent", "close-wait"),
        "listens-wider",
    }
    assert found["listener-stopped"]["numbers"]["port"] == 7001
    assert "was killed by SIGKILL" in found["listener-stopped"]["text"]
    assert found["connections-refused"]["subject"] == "hopeful to tcp 10.0.0.5:7999"
    assert found["accept-queue-full"]["numbers"]["waiting"] == 8
    assert found["unread"]["subject"].startswith(f"lazy[{lazy.pid}] tcp 10.0.0.5:7004 - ")
    assert found["unsent"]["numbers"]["reason"] == "peer does not read"
    assert (found["close-wait"]["numbers"]["pid"], found["close-wait"]["numbers"]["sockets"]) == (
        lazy.pid,
        10,
    )
    assert (found["listens-wider"]["numbers"]["before"], found["listens-wider"]["numbers"]["after"]) == (
        "127.0.0.1",
        "0.0.0.0",
    )
    for one in found.values():
        assert set(one) >= {"kind", "title", "text", "not_before", "not_after", "subject", "numbers", "sql"}
        shown = sockrec("sql", "-C", capture, one["sql"], "-f", "csv")
        assert len(shown.stdout.splitlines()) >= 2, one
    severities = [one["severity"] for one in asked(capture)]
    assert severities == sorted(severities, key=["critical", "warning", "notice"].index)

    text = sockrec("diagnose", "-C", capture, *SET)
    assert (text.returncode, text.stderr) == (0, "")
    assert re.search(
        r"^critical: port 7001 stopped listening\n  Nobody listens on tcp 10\.0\.0\.5:7001", text.stdout, re.M
    )
    assert re.search(r"^  look: sockrec port 7001$", text.stdout, re.M)
    sections = sockrec("diagnose", "-C", capture, "-f", "markdown", *SET).stdout
    assert sections.count("```sql\nSELECT ") == len(severities)


def test_a_quiet_host_has_nothing_to_tell(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    server = programs.start(netns, "steady", SERVING)
    with recording(netns, capture):
        for _ in range(8):
            with netns.entered(), socket.create_connection(("10.0.0.5", 7000)) as client:
                talk(client)
        wait_for_samples(capture, 20)
    programs.end(server)
    done = sockrec("diagnose", "-C", capture, *SET)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"sockrec: nothing found; recorded: [^\n]+\n", done.stderr)


def test_it_tells_what_it_looks_for_and_refuses_the_rest(tmp_path: Path) -> None:
    done = sockrec("diagnose", "--list")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^close-wait\n  Find each process ", done.stdout, re.M)
    assert re.search(r"^  close-wait\.sockets=10 sockets: ", done.stdout, re.M)
    for words, status in (
        (("--set", "colour=7"), 2),
        (("--from", "end", "--to", "start"), 3),
        (("-f", "yaml"), 2),
    ):
        done = sockrec("diagnose", "-C", tmp_path, *words)
        assert (done.returncode, done.stdout) == (status, ""), (words, done)
        assert re.fullmatch(r"sockrec: [^\n]+\n", done.stderr), done.stderr
