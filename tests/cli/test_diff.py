"""`sockrec diff`: two moments of one capture, of two, of two hosts."""

from __future__ import annotations

import csv
import io
import json
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.events.recorded import recorded
from tests.support import programs
from tests.support.command import answer, recording, sockrec, wait_for_samples
from tests.support.netns import Namespace

CLIENTS = """
import socket, sys, time
kept = [socket.create_connection(("10.0.0.5", int(sys.argv[1]))) for _ in range(int(sys.argv[2]))]
print("ready", flush=True)
time.sleep(600)
"""
SERVED = """
import socket, time
server = socket.create_server(("10.0.0.5", 7070), backlog=64)
print("ready", flush=True)
kept = []
while True:
    kept.append(server.accept())
"""


def deployed(netns: Namespace, capture: Path) -> dict[str, Any]:
    """Record a small deploy; return the pids of who took part."""
    with ExitStack() as stack:

        def run(name: str, source: str, *words: str) -> Any:
            program = programs.start(netns, name, source, *words)
            stack.callback(programs.end, program)
            return program

        run("stays", programs.LISTENER, "10.0.0.5:7001")
        run("server", SERVED)
        moves = run("moves", programs.LISTENER, "127.0.0.1:7002")
        goes = run("goes", programs.LISTENER, "10.0.0.5:7003")
        again = run("again", programs.LISTENER, "10.0.0.5:7004")
        few = run("client", CLIENTS, "7070", "2")
        with recording(netns, capture):
            for program in (moves, goes, again, few):
                programs.end(program)
            run("moves", programs.LISTENER, "0.0.0.0:7002")
            run("comes", programs.LISTENER, "10.0.0.5:7005")
            anew = run("again", programs.LISTENER, "10.0.0.5:7004")
            run("client", CLIENTS, "7070", "5")
            wait_for_samples(capture, _samples(capture) + 2)
        return {"again": (again.pid, anew.pid)}


def _samples(capture: Path) -> int:
    (row,) = answer("sql", "-C", capture, "SELECT count(*) AS n FROM samples")
    return int(row["n"])


def test_a_deploy_shows_what_it_changed_and_nothing_else(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    pids = deployed(netns, capture)
    rows = answer("diff", "-C", capture, "start", "end")
    listeners = [row for row in rows if row["kind"] == "listener"]
    assert [(row["what"], row["program"], row["address"], row["port"]) for row in listeners] == [
        ("closed", "goes", "10.0.0.5", 7003),
        ("moved", "moves", "0.0.0.0", 7002),
        ("changed", "again", "10.0.0.5", 7004),
        ("opened", "comes", "10.0.0.5", 7005),
    ]
    assert listeners[1]["detail"].startswith("was on 127.0.0.1:7002; restarted: pid ")
    before, after = pids["again"]
    assert (listeners[2]["pids_before"], listeners[2]["pids_after"]) == ([before], [after])
    (made,) = (row for row in rows if row["kind"] == "outbound")
    assert (made["program"], made["address"], made["port"]) == ("client", "10.0.0.5", 7070)
    assert (made["before"], made["after"], made["same"]) == (2, 5, 0)
    # What was closed by its clients may wait in CLOSE_WAIT: its server never looks at it.
    (taken,) = (row for row in rows if row["kind"] == "inbound")
    assert (taken["program"], taken["address"], taken["port"], taken["after"]) == ("server", None, 7070, 7)

    shown = sockrec("diff", "-C", capture)
    assert (shown.returncode, shown.stderr) == (0, "")
    title, blank, heads, *lines = shown.stdout.splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d [\d:.]+\S+ on \S+ -> \d{4}-\d\d-\d\d [\d:.]+\S+ on \S+", title)
    assert (blank, heads.split()) == ("", ["what", "service", "program", "before", "after", "detail"])
    assert len(lines) == len(rows)
    restart = (
        f"changed tcp 10.0.0.5:7004 again again[{before}] again[{after}] restarted: pid {before} -> {after}"
    )
    assert restart in [" ".join(line.split()) for line in lines]
    markdown = sockrec("diff", "-C", capture, "-f", "markdown").stdout
    assert "| moved | tcp 0.0.0.0:7002 | moves |" in markdown
    read = list(csv.DictReader(io.StringIO(sockrec("diff", "-C", capture, "-f", "csv").stdout)))
    assert [row["what"] for row in read] == [row["what"] for row in rows]
    lines = sockrec("diff", "-C", capture, "-f", "jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == rows

    back = answer("diff", "-C", capture, "end", "start")
    whats = {(row["port"], row["what"]) for row in back if row["kind"] == "listener"}
    assert whats == {(7003, "opened"), (7002, "moved"), (7004, "changed"), (7005, "closed")}

    same = sockrec("diff", "-C", capture, "end", "end")
    assert (same.returncode, same.stdout) == (1, "")
    assert re.fullmatch(r"sockrec: nothing differs between [^\n]+\n", same.stderr)


def test_two_captures_and_two_hosts(netns: Namespace, tmp_path: Path) -> None:
    first, second, both = tmp_path / "before", tmp_path / "after", tmp_path / "both"
    for capture, host, address in ((first, "a", "127.0.0.1:7001"), (second, "b", "0.0.0.0:7001")):
        service = programs.start(netns, "myapp", programs.LISTENER, address)
        under = ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', host)
        for into in (capture, both):
            with recorded(netns, into, interval="100ms", under=under):
                pass
        programs.end(service)
    (moved,) = answer("diff", "-C", first, "--with", second)
    assert (moved["what"], moved["address"]) == ("moved", "0.0.0.0")
    (before,), (after,) = moved["pids_before"], moved["pids_after"]
    assert moved["detail"] == f"was on 127.0.0.1:7001; restarted: pid {before} -> {after}"
    assert answer("diff", "-C", both, "--host", "a", "--with-host", "b") == [moved]
    done = sockrec("diff", "-C", both)
    assert (done.returncode, done.stdout) == (2, "")
    assert "name one with --host: a, b" in done.stderr


def test_bad_input_is_one_line(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    with recording(netns, capture):
        pass
    for words, status in (
        (("yesterday-ish",), 2),
        (("2001-01-01T00:00:00Z",), 2),
        (("--with", tmp_path / "none"), 3),
        (("--host", "nobody"), 2),
        (("-f", "yaml"), 2),
    ):
        done = sockrec("diff", "-C", capture, *words)
        assert (done.returncode, done.stdout) == (status, ""), words
        assert re.fullmatch(r"sockrec: [^\n]+\n", done.stderr), done.stderr
