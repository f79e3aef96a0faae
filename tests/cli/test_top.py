"""`sockrec top`: the queues that ss shows, told later."""

from __future__ import annotations

import re
import socket
from contextlib import ExitStack
from pathlib import Path

from tests.support.command import answer, recording, sockrec, wait_for_samples
from tests.support.netns import Namespace


def test_queues_are_those_that_ss_shows(netns: Namespace, tmp_path: Path) -> None:
    """Three wait for accept; one peer does not read."""
    capture = tmp_path / "cap"
    with ExitStack() as stack:
        with netns.entered():
            server = stack.enter_context(socket.create_server(("10.0.0.5", 7071), backlog=7))
            jammed = stack.enter_context(socket.create_server(("10.0.0.5", 7072)))
            for _ in range(3):
                stack.enter_context(socket.create_connection(("10.0.0.5", 7071)))
            client = stack.enter_context(socket.create_connection(("10.0.0.5", 7072)))
        taken = stack.enter_context(jammed.accept()[0])
        client.setblocking(False)
        sent = 0
        while True:
            try:
                sent += client.send(b"x" * 65_536)
            except BlockingIOError:
                break
        with recording(netns, capture):
            wait_for_samples(capture, 3)
            shown = netns.run("ss", "-tanH").stdout.splitlines()
        del server, taken
    queues = {tuple(line.split()[3:5]): tuple(map(int, line.split()[1:3])) for line in shown}
    (read,) = (queue for ends, queue in queues.items() if ends[0] == "10.0.0.5:7072" and queue[0])
    rows = answer("top", "-C", capture, "--by", "recv-q", "--by", "send-q")
    by = {name: [row for row in rows if row["measure"] == name] for name in ("recv-q", "send-q")}
    assert [(row["value"], row["local_port"], row["state"]) for row in by["recv-q"]] == [
        (read[0], 7072, "ESTABLISHED"),
        (3, 7071, "LISTEN"),
    ]
    assert by["recv-q"][1]["backlog_limit"] == 7
    (row,) = by["send-q"]
    assert row["value"] + read[0] == sent
    assert row["remote_port"] == 7072

    done = sockrec("top", "-C", capture, "--by", "recv-q")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"\n *3 of 7  \d\d:\d\d:\d\d\.\d{3}  tcp 10\.0\.0\.5:7071 +LISTEN ", done.stdout)
    titles = [
        line.split(":")[0] for line in sockrec("top", "-C", capture).stdout.splitlines() if ": " in line
    ]
    assert titles[:2] == ["Recv-Q", "Send-Q"]
    assert "| 3 of 7 |" in sockrec("top", "-C", capture, "-f", "markdown").stdout


def test_bad_input_is_one_line_and_silence_is_status_1(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    with recording(netns, capture):
        pass
    for words, status in (((), 1), (("--by", "colour"), 2), (("--limit", "0"), 2), (("--host", "nobody"), 2)):
        done = sockrec("top", "-C", capture, *words)
        assert (done.returncode, done.stdout) == (status, ""), (words, done)
        assert re.fullmatch(r"sockrec: [^\n]+\n", done.stderr), done.stderr
