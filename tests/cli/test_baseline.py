"""`sockrec baseline`: learned from a real host, compared with what became of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.support import programs
from tests.support.command import answer, recording, sockrec, wait_for_samples
from tests.support.netns import Namespace

# Connects to a port again and again, from one address of the host.
CLIENT = """
import socket, sys, time
print("ready", flush=True)
while True:
    with socket.create_connection(("10.0.0.5", int(sys.argv[1])), source_address=(sys.argv[2], 0)):
        time.sleep(0.05)
"""
SERVED = """
import socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
while True:
    server.accept()[0].close()
"""
HOSTILE = "ev\x1b[31mil\u202e"


def record(netns: Namespace, capture: Path, stack: ExitStack) -> None:
    with recording(netns, capture):
        wait_for_samples(capture, 8)
    stack.close()


def runner(netns: Namespace, stack: ExitStack) -> Any:
    def run(name: str, source: str, *words: str) -> subprocess.Popen[str]:
        program = programs.start(netns, name, source, *words)
        stack.callback(programs.end, program)
        return program

    return run


def usual(netns: Namespace, capture: Path) -> None:
    stack = ExitStack()
    run = runner(netns, stack)
    run("web", SERVED, "10.0.0.5", "7001")
    run("db", programs.LISTENER, "127.0.0.1:7002")
    run("goes", programs.LISTENER, "10.0.0.5:7003")
    run(HOSTILE, programs.LISTENER, "10.0.0.5:7004")
    run("client", CLIENT, "7001", "10.0.0.5")
    record(netns, capture, stack)


def changed(netns: Namespace, capture: Path, folder: Path) -> None:
    """The web server is another process, the database is open to all, and somebody came in."""
    stack = ExitStack()
    run = runner(netns, stack)
    run("web", SERVED, "10.0.0.5", "7001")
    run("db", programs.LISTENER, "0.0.0.0:7002")
    run(HOSTILE, programs.LISTENER, "10.0.0.5:7004")
    # A program of its own in a folder where none belongs, deleted as soon as it runs.
    file = folder / "worker"
    shutil.copy(os.path.realpath(sys.executable), file)
    process = netns.popen(
        *(str(file), "-S", "-c", programs.LISTENER, "10.0.0.5:4444"),
        stdout=subprocess.PIPE,
        env=programs.HOME,
    )
    stack.callback(programs.end, process)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    file.unlink()
    run("client", CLIENT, "7001", "10.9.0.5")
    run("beacon", CLIENT, "7001", "10.0.0.5")
    record(netns, capture, stack)


def test_what_is_usual_is_learned_and_what_is_not_is_told(tmp_path: Path) -> None:
    file, before, after = tmp_path / "host.toml", tmp_path / "before", tmp_path / "after"
    with Namespace(("10.0.0.5/24", "10.9.0.5/24")) as netns:
        usual(netns, before)
        changed(netns, after, tmp_path)
    done = sockrec("baseline", "save", "-C", before, "-o", file)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"sockrec: {file} has 4 services and 1 port that programs connect to\n"
    text = file.read_text()
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", text)
    assert 'program = "ev\\u001b[31mil\\u202e"' in text

    rows = answer("baseline", "show", file)
    assert [(row["kind"], row["port"], row["program"]) for row in rows] == [
        ("listens", 7001, "web"),
        ("listens", 7002, "db"),
        ("listens", 7003, "goes"),
        ("listens", 7004, HOSTILE),
        ("connects", 7001, "client"),
    ]
    assert (rows[0]["users"], rows[0]["addresses"], rows[0]["peers"]) == (
        ["root"],
        ["10.0.0.5"],
        ["10.0.0.0/24"],
    )
    shown = sockrec("baseline", "show", file).stdout
    assert r"ev\x1b[31mil\u202e" in shown

    same = sockrec("baseline", "diff", file, "-C", before)
    assert (same.returncode, same.stdout) == (1, "")
    assert re.fullmatch(r"sockrec: nothing differs between [^\n]+\n", same.stderr)

    told = answer("baseline", "diff", file, "-C", after)
    assert [(one["what"], one["kind"], one["port"], one["program"], one["changed"]) for one in told] == [
        ("new", "listens", 4444, "worker", []),
        ("changed", "listens", 7001, "web", ["peers"]),
        ("changed", "listens", 7002, "db", ["address"]),
        ("gone", "listens", 7003, "goes", []),
        ("new", "connects", 7001, "beacon", []),
    ]
    assert told[1]["detail"] == "peers in 10.9.0.0/24"
    assert told[2]["detail"] == "address 127.0.0.1 -> 0.0.0.0"
    assert told[2]["before"]["addresses"] == ["127.0.0.1"]
    table = sockrec("baseline", "diff", file, "-C", after)
    assert (table.returncode, table.stderr) == (0, "")
    title, blank, heads, *lines = table.stdout.splitlines()
    assert re.fullmatch(rf"{re.escape(str(file))} -> \S+, \d{{4}}-\d\d-\d\d .*", title)
    assert (blank, heads.split()) == ("", ["what", "kind", "service", "program", "detail"])
    assert " ".join(lines[0].split()) == "new listens tcp 10.0.0.5:4444 worker on 10.0.0.5 by user root"
    at_end = answer("baseline", "diff", file, "-C", after, "--at", "end")
    assert [one["port"] for one in at_end if one["kind"] == "listens"] == [4444, 7001, 7002, 7003]

    found = {one["kind"]: one for one in answer("diagnose", "-C", after, "--baseline", file)}
    assert set(found) == {"new-listener", "new-program", "deleted-executable"}
    assert found["new-program"]["numbers"]["program"] == "beacon"
    gone = found["deleted-executable"]
    assert (gone["numbers"]["ports"], gone["numbers"]["deleted"]) == ([4444], True)
    in_temporary = str(tmp_path).startswith(("/tmp/", "/var/tmp/"))
    assert gone["severity"] == ("critical" if in_temporary else "notice")
    silent = {one["kind"] for one in answer("diagnose", "-C", after)}
    assert silent == {"deleted-executable"}

    # More is learned, and then it is usual; what a person wrote stays.
    file.write_text(text.replace('program = "web"', 'program = "web"  # ours'))
    done = sockrec("baseline", "save", "-C", after, "-o", file, "--add")
    assert done.returncode == 0, done
    assert 'program = "web"  # ours' in file.read_text()
    left = answer("baseline", "diff", file, "-C", after)
    assert [(one["what"], one["port"], one["detail"]) for one in left] == [
        ("changed", 7002, "not on 127.0.0.1"),
        ("gone", 7003, ""),
    ]
    both = sockrec("baseline", "save", "-C", before, "-C", after)
    assert both.stdout == file.read_text().replace("  # ours", "")


def test_a_file_is_not_overwritten_and_bad_input_is_one_line(netns: Namespace, tmp_path: Path) -> None:
    capture, file, wrong = tmp_path / "cap", tmp_path / "host.toml", tmp_path / "wrong.toml"
    server = programs.start(netns, "web", programs.LISTENER, "10.0.0.5:7001")
    with recording(netns, capture):
        pass
    programs.end(server)
    assert sockrec("baseline", "save", "-C", capture, "-o", file).returncode == 0
    # /dev/null, as root: a file may not take its place.
    null = tmp_path / "null"
    os.mknod(null, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    assert sockrec("baseline", "save", "-C", capture, "-o", null, "--force").returncode == 0
    assert null.is_char_device()
    before = file.read_bytes()
    wrong.write_text("schema = 1\n\n[[listens]]\nprotocol = 7\n")
    into = ("save", "-C", capture, "-o")
    for words, status, says in (
        ((*into, file), 2, "--add .*--force"),
        ((*into, file, "--add", "--force"), 2, "--add"),
        (("save", "-C", capture, "--add"), 2, "--add"),
        ((*into, wrong, "--add"), 2, "line 3: port is missing"),
        ((*into, tmp_path / "none" / "host.toml"), 2, "can't write"),
        (("save", "-C", tmp_path / "none"), 3, "none"),
        (("save", "-C", capture, "--host", "nobody"), 2, "nobody"),
        (("save", "-C", capture, "--from", "end", "--to", "start"), 2, "--to is before --from"),
        (("save", "-C", capture, "--to", "2001-01-01T00:00:00Z"), 1, "nothing was recorded"),
        (("show", tmp_path / "none.toml"), 2, "can't read"),
        (("show", wrong), 2, "line 3: port is missing"),
        (("show", file, "-f", "yaml"), 2, "yaml"),
        (("diff", wrong, "-C", capture), 2, "line 3"),
        (("diff", file, "-C", capture, "--at", "end", "--to", "end"), 2, "--at"),
        (("diff", file, "-C", capture, "--at", "yesterdayish"), 2, "yesterdayish"),
    ):
        done = sockrec("baseline", *words)
        assert (done.returncode, done.stdout) == (status, ""), (words, done)
        assert re.fullmatch(r"sockrec: [^\n]+\n", done.stderr), done.stderr
        assert re.search(says, done.stderr), done.stderr
    done = sockrec("diagnose", "-C", capture, "--baseline", wrong)
    assert (done.returncode, done.stdout) == (2, "")
    assert file.read_bytes() == before
    assert sockrec("baseline", *into, file, "--force").returncode == 0
    assert file.read_bytes() == before, "the same host gives the same file"
    lines = sockrec("baseline", "show", file, "-f", "jsonl").stdout.splitlines()
    assert [json.loads(line)["port"] for line in lines] == [7001]
    assert sockrec("baseline").stdout.startswith("Usage: sockrec baseline ")
