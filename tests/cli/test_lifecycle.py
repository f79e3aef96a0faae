"""`sockrec lifecycle`: what two sockets went through, next to what was done to them."""

from __future__ import annotations

import re
import socket
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support.command import answer, count_samples, recording, sockrec, wait_for_samples
from tests.support.netns import Namespace
from tests.support.short_lived import cookie_of

MILLISECOND = timedelta(milliseconds=1)
# Tracepoints tell of all namespaces: what other tests do at this time has other addresses.
ONLY_HERE = "127.84.0.5"


def now() -> datetime:
    return datetime.now(UTC)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_connection_half_closed_and_closed(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    with netns.entered():
        listener = socket.create_server((ONLY_HERE, 7071))
    with listener, recording(netns, capture):
        with netns.entered():
            opened = now()
            client = socket.create_connection((ONLY_HERE, 7071))
        server = listener.accept()[0]
        established = now()
        # One sample at least sees it so: the next that begins, whole.
        wait_for_samples(capture, count_samples(capture) + 2)
        halved = now()
        client.shutdown(socket.SHUT_WR)
        # The kernel sends and answers in its own time.
        time.sleep(0.5)
        done = now()
        cookies = cookie_of(client), cookie_of(server)
        closing = now()
        server.close()
        client.close()
        time.sleep(0.3)
        closed = now()
    ours, theirs = (answer("lifecycle", "-C", capture, "--socket", str(cookie)) for cookie in cookies)
    assert (ours[-1]["how"], theirs[-1]["how"]) == ("closed by us", "closed by the peer")
    # FIN_WAIT1 and LAST_ACK last for microseconds: no sample falls into them, but events tell of them.
    truth = {
        "SYN_SENT": (opened, established),
        "SYN_RECV": (opened, established),
        "ESTABLISHED": (opened, established),
        "FIN_WAIT1": (halved, done),
        "FIN_WAIT2": (halved, done),
        "CLOSE_WAIT": (halved, done),
        "LAST_ACK": (closing, closed),
        "CLOSED": (closing, closed),
    }
    for steps, life in (
        (ours, ["SYN_SENT", "ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "CLOSED"]),
        (theirs, ["SYN_RECV", "ESTABLISHED", "CLOSE_WAIT", "LAST_ACK", "CLOSED"]),
    ):
        assert [step["state"] for step in steps] == life
        for step in steps:
            first, last = truth[step["state"]]
            assert moment(step["not_before"]) <= last + MILLISECOND, step
            assert moment(step["not_after"]) >= first - MILLISECOND, step
        exact = [step["state"] for step in steps if step["not_before"] == step["not_after"]]
        assert {"ESTABLISHED", "CLOSED"} <= set(exact)

    shown = sockrec("lifecycle", "-C", capture, "--socket", str(cookies[1]))
    assert (shown.returncode, shown.stderr) == (0, "")
    title, *lines = shown.stdout.splitlines()
    assert re.fullmatch(rf"tcp {ONLY_HERE}:7071 - \S+:\d+, server, \S+\[\d+\], on .*", title)
    clock = r"\d\d:\d\d:\d\d\.\d+"
    assert re.fullmatch(rf"  {clock} +SYN_RECV +\d+ us", lines[0])
    assert re.fullmatch(rf"  {clock}( - {clock})? +CLOSE_WAIT   \d+ ms( to \d+ ms)?", lines[2])
    assert re.fullmatch(rf"  {clock} +LAST_ACK     \d+ us", lines[3])
    assert re.fullmatch(rf"  {clock} +CLOSED       closed by the peer", lines[4])

    ways = answer("lifecycle", "-C", capture, "--port", "7071")
    assert [(way["role"], way["state"], way["next_state"]) for way in ways] == [
        ("client", "SYN_SENT", "ESTABLISHED"),
        ("client", "ESTABLISHED", "FIN_WAIT1"),
        ("client", "FIN_WAIT1", "FIN_WAIT2"),
        ("client", "FIN_WAIT2", "CLOSED"),
        ("server", "SYN_RECV", "ESTABLISHED"),
        ("server", "ESTABLISHED", "CLOSE_WAIT"),
        ("server", "CLOSE_WAIT", "LAST_ACK"),
        ("server", "LAST_ACK", "CLOSED"),
    ]
    table = sockrec("lifecycle", "-C", capture, "-p", "7071").stdout
    assert re.search(r"\nserver +LAST_ACK +-> +CLOSED, closed by the peer +1 ", table)
    assert "| CLOSE_WAIT |" in sockrec("lifecycle", "-C", capture, "-p", "7071", "-f", "markdown").stdout


def test_bad_input_is_one_line(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    with recording(netns, capture):
        pass
    for words, status in (
        ((), 2),
        (("--port", "7071", "--socket", "1"), 2),
        (("--port", "99999"), 2),
        (("--port", "53/udp"), 2),
        (("--port", "7071"), 1),
        (("--socket", "1"), 1),
        (("--port", "7071", "--host", "nobody"), 2),
    ):
        done = sockrec("lifecycle", "-C", capture, *words)
        assert (done.returncode, done.stdout) == (status, ""), (words, done)
        assert re.fullmatch(r"sockrec: [^\n]+\n", done.stderr), done.stderr
