"""`sockrec traffic`: the bytes that programs know they sent, to the byte."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

from tests.support import programs
from tests.support.command import answer, recording, sockrec, wait_for_samples
from tests.support.netns import Namespace

SERVER = """
import socket, sys, threading
server = socket.create_server(("10.0.0.5", int(sys.argv[1])), backlog=64)
reply = b"y" * int(sys.argv[2])
print("ready", flush=True)

def serve(one):
    size = int(one.recv(8, socket.MSG_WAITALL))
    one.recv(size, socket.MSG_WAITALL)
    one.sendall(reply)
    one.recv(1)

while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""
CLIENT = """
import socket, sys
open("/proc/self/comm", "w").write(sys.argv[1])
port, size, answer, times = map(int, sys.argv[2:])
print("ready", flush=True)
for _ in range(times):
    with socket.create_connection(("10.0.0.5", port)) as one:
        one.sendall(f"{size:08}".encode() + b"x" * size)
        one.recv(answer, socket.MSG_WAITALL)
"""


def exchanged(netns: Namespace, capture: Path) -> None:
    """Send 3 x 1,000 bytes to a web server that answers with 5,000, and 20,000 to a database."""
    running = [
        programs.start(netns, "httpd", SERVER, "80", "5000"),
        programs.start(netns, "database", SERVER, "5432", "100"),
    ]
    with netns.entered():
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("10.0.0.5", 5300))
    with datagrams, recording(netns, capture):
        for name, words in (("browser", ("80", "1000", "5000", "3")), ("app", ("5432", "20000", "100", "1"))):
            client = programs.start(netns, name, CLIENT, name, *words)
            assert client.wait(20) == 0
            programs.end(client)
        wait_for_samples(capture, 8)
    for program in running:
        programs.end(program)


def test_bytes_are_those_that_were_sent(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    exchanged(netns, capture)

    def asked(*words: str) -> list[dict[str, Any]]:
        done = sockrec("traffic", "-C", capture, "-f", "json", *words)
        assert done.returncode == 0
        assert re.fullmatch(r"sockrec: not counted: \d+ UDP sockets?, [^\n]+\n", done.stderr), done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    database, web = asked()
    assert (database["service"], database["port"], database["connections"]) == ("postgresql", 5432, 1)
    assert (database["bytes_sent"], database["bytes_received"]) == (100, 20_008)
    assert (web["service"], web["port"], web["connections"]) == ("http", 80, 3)
    assert (web["bytes_sent"], web["bytes_received"], web["bytes"]) == (15_000, 3_024, 18_024)
    assert abs(web["share"] - 18_024 / (18_024 + 20_108)) < 1e-9
    by_program = {row["program"]: row for row in asked("--by", "program")}
    assert (by_program["browser"]["bytes_sent"], by_program["browser"]["bytes_received"]) == (3_024, 15_000)
    assert set(by_program) == {"httpd", "database", "browser", "app"}
    (peer,) = asked("--by", "peer")
    assert (peer["peer"], peer["bytes"]) == ("10.0.0.5", 18_024 + 20_108)
    assert sum(row["bytes"] for row in asked("--every", "100ms")) == peer["bytes"]
    assert [row["service"] for row in asked("--limit", "1")] == ["postgresql"]

    shown = sockrec("traffic", "-C", capture)
    assert shown.stdout.splitlines()[0].split() == [
        *("service", "port", "connections", "sent", "received", "total", "share")
    ]
    assert re.search(r"http +80 +3 +15 kB +3\.02 kB +18 kB +47\.3 % +#{9}\n", shown.stdout)
    assert "1 more: --limit 0 shows all" in sockrec("traffic", "-C", capture, "--limit", "1").stdout
    assert "| http | 80 |" in sockrec("traffic", "-C", capture, "-f", "markdown").stdout
    steps = sockrec("traffic", "-C", capture, "--every", "1m", "--by", "port").stdout
    assert re.search(r"\n\d\d:\d\d:00 +5432 +server +1 ", steps)


def test_bad_input_is_one_line_and_silence_is_status_1(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    with recording(netns, capture):
        pass
    for words, status in (
        ((), 1),
        (("--by", "colour"), 2),
        (("--from", "end", "--to", "start"), 2),
        (("--every", "0s"), 2),
        (("--limit", "-1"), 2),
        (("--host", "nobody"), 2),
    ):
        done = sockrec("traffic", "-C", capture, *words)
        assert (done.returncode, done.stdout) == (status, ""), (words, done)
        assert re.fullmatch(r"(sockrec: not counted: [^\n]+\n)?sockrec: [^\n]+\n", done.stderr), done.stderr
    assert answer("sql", "-C", capture, "SELECT count(*) AS n FROM connections") == [{"n": 0}]
