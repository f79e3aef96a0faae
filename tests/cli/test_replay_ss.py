"""What ss showed, recorded and replayed at the end: sockets of every kind and state, judged by ss."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sockrec.catalog import open_catalog
from tests.support import warm
from tests.support.command import CLEAN, SOCKREC, count_samples, recording, sockrec, wait_for_samples
from tests.support.netns import Namespace
from tests.support.ss_judge import lines_of
from tests.support.ss_recorded import FLAG_SETS, MOST_MOVED, compare, told
from tests.support.ss_stage import stage


class Recorded:
    """A capture of the stage, and what ss printed right before it was ended and right after, by flags."""

    def __init__(self, capture: Path) -> None:
        self.capture = capture
        self.before: dict[str, list[str]] = {}
        self.after: dict[str, list[str]] = {}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    made = Recorded(tmp_path_factory.mktemp("ss") / "cap")
    pace = ("--slow-interval", "1s", "--counters-interval", "0s")
    with stage() as sockets:
        with recording(sockets.namespace, made.capture, *pace, interval="200ms"):
            wait_for_samples(made.capture, 12)
            made.before = told(sockets.namespace)
            # A sample in which no child of ours, just forked, holds all these sockets too.
            wait_for_samples(made.capture, count_samples(made.capture) + 2)
        made.after = told(sockets.namespace)
    return made


def replay(capture: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    done = warm.run(["replay", "-C", str(capture), "--style", "ss", *words], CLEAN)
    return subprocess.CompletedProcess(words, done.status, done.out, done.err)


@pytest.mark.parametrize("flags", FLAG_SETS)
def test_what_ss_showed_at_the_end(recorded: Recorded, flags: str) -> None:
    """What was the same before and after must be the same; times that pass must lie between the two."""
    done = replay(recorded.capture, "--at", "end", *shlex.split(flags))
    assert (done.returncode, done.stderr) == (0, b"")
    ours = lines_of(done.stdout)
    assert compare(recorded.before[flags], recorded.after[flags], ours) <= len(ours) * MOST_MOVED


def test_the_flags_show_what_they_ask_for(recorded: Recorded) -> None:
    """Else the comparison above would compare nothing."""
    text = {flags: "\n".join(lines) for flags, lines in recorded.after.items()}
    assert "skmem:(r" in text["-xanm"]
    assert re.search(r'users:\(\("[^"]+",pid=\d+,fd=\d+\),\(', text["-tanp"])
    assert "fwmark:0x2a" in text["-tane"]
    assert re.search(r"cgroup:/sr-\d+/a b", text["-tane"])
    assert re.search(r"\breno wscale.* pacing_rate \d+bps/100000000bps", text["-tani"])
    assert re.search(r" (<--|-->)$", text["-xane"], re.MULTILINE)
    assert re.search(r" <-> ino:\d+ dev:", text["-xane"])
    for flags in ("-tan state established", "-tan state time-wait", "-tan 'fwmark = 0x2a'", "-xanp"):
        assert len(recorded.after[flags]) > 1, flags


def test_a_reader_that_has_had_enough(recorded: Recorded) -> None:
    words = shlex.join([SOCKREC, "replay", "-C", str(recorded.capture), "--style", "ss", "-an"])
    done = subprocess.run(
        ["bash", "-c", f"{words} | head -1; exit ${{PIPESTATUS[0]}}"], capture_output=True, env=CLEAN
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"Netid")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-q"], "-q"),
        (["--nonsense"], "--nonsense"),
        (["-tan", "state", "asleep"], "asleep"),
        (["-tan", "sport", "="], "sport"),
        (["-K"], "-K"),
        (["-A", "netlink"], "netlink"),
        (["-tan", "dport = :no-such-service"], "no-such-service"),
    ],
)
def test_what_ss_does_not_know(recorded: Recorded, words: Sequence[str], said: str) -> None:
    done = replay(recorded.capture, *words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert said in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_an_unknown_style(recorded: Recorded) -> None:
    done = sockrec("replay", "-C", recorded.capture, "--style", "lsof")
    assert done.returncode == 2
    assert "netstat" in done.stderr


def test_a_capture_of_before() -> None:
    """What no recorder of then wrote is left out, and said once; the rest is there."""
    capture = Path(__file__).parent.parent / "captures" / "v3" / "sealed"
    done = replay(capture, "-tanemip", "--from", "start", "--to", "end", "--speed", "max")
    assert done.returncode == 0
    assert done.stderr.count(b"not recorded: they are left out") == 1
    shown = done.stdout.decode()
    assert "LISTEN" in shown
    assert not re.search("skmem|cgroup|users:|fwmark|<->", shown)


def test_what_changes_while_it_is_recorded(netns: Namespace, tmp_path: Path) -> None:
    """Settings make rows of their own; a cgroup is known by its path; a descriptor by process and number."""
    capture = tmp_path / "cap"
    usual = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()

    def more() -> None:
        wait_for_samples(capture, count_samples(capture) + 2)

    with netns.entered(), closing(socket.socket()) as listener:
        listener.bind(("10.0.0.5", 7071))
        listener.listen(5)
        with recording(netns, capture, "--counters-interval", "0s", interval="50ms"):
            more()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 77)
            more()
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
            more()
            with (
                closing(socket.create_connection(("10.0.0.5", 7071))) as client,
                closing(listener.accept()[0]),
            ):
                client.send(b"x")
                more()
                client.shutdown(socket.SHUT_RD)
                more()
                sent = time.time()
                fd = client.fileno()
            one, other = socket.socketpair(socket.AF_UNIX)
            with one, other:
                more()
                one.shutdown(socket.SHUT_WR)
                more()
    first, last = (replay(capture, "--at", at, "-ltnei").stdout.decode() for at in ("start", "end"))
    assert "fwmark" not in first
    assert f" {usual} " in first
    assert "fwmark:0x4d" in last
    assert " reno " in last
    every = replay(capture, "--from", "start", "--to", "end", "--speed", "max", "-Hltn").stdout.decode()
    assert every.count("10.0.0.5:7071") == every.count("\n") == count_samples(capture)
    with open_catalog(capture) as catalog:

        def ask(sql: str) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in catalog.rows(sql)]

        assert ask(
            "SELECT mark, congestion, state FROM sockets WHERE state = 'LISTEN' AND begun_as <> 'carried'"
            " ORDER BY first_seen"
        ) == [(0, usual, "LISTEN"), (77, usual, "LISTEN"), (77, "reno", "LISTEN")]
        rows = ask(
            "SELECT DISTINCT shutdown, cgroup, fd_pids, fds FROM sockets WHERE remote_port = 7071"
            " AND state = 'ESTABLISHED' ORDER BY 1"
        )
        assert [row[0] for row in rows] == [0, 1]
        assert [row[2:] for row in rows] == [([os.getpid()], [fd])] * 2
        assert all(row[1].startswith("/") for row in rows)
        # Both ends know of it.
        assert {row[0] for row in ask("SELECT shutdown FROM unix_sockets WHERE type = 'STREAM'")} >= {0, 1, 2}
        assert ask("SELECT count(*) FROM listeners") == [(1,)]
        ((at,),) = ask(
            "SELECT max(epoch(last_data_sent_at)) FROM activity JOIN sockets USING (socket_id)"
            " WHERE remote_port = 7071"
        )
        assert sent - 5 < at < sent
        # A listener's counters stand still: none of its rows is for them.
        assert ask(
            "SELECT snd_cwnd, count(*) FROM activity JOIN sockets USING (socket_id) WHERE state = 'LISTEN'"
            " AND sockets.begun_as = 'found' AND snd_cwnd IS NOT NULL GROUP BY 1"
        ) == [(10, 1)]
