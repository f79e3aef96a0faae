"""Owners and processes over time, with real processes and sockets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import sockrec
from sockrec.kernel import host
from sockrec.recorder.ownership import EndedProcess, Ownership
from sockrec.recorder.seen import Ints, Times
from tests.support import programs
from tests.support.command import answer, recording, wait_for_samples
from tests.support.holders import Holder
from tests.support.netns import Namespace

TITLE = """
import ctypes, socket, sys
kept = socket.create_server(("10.0.0.5", 7071))
print("ready", flush=True)
sys.stdin.readline()
# What setproctitle does: write another title over argv, where the kernel reads it from.
stat = open("/proc/self/stat").read().rpartition(")")[2].split()
start, end = int(stat[45]), int(stat[46])
ctypes.memset(start, 0, end - start)
ctypes.memmove(start, b"worker: idle", 12)
print("done", flush=True)
sys.stdin.readline()
"""


def _number(ownership: Ownership, inode: int, before: int, changed: Ints) -> int:
    one = np.array([inode])
    same = np.array([before >= 0])
    return int(ownership.number(one, np.array([1]), np.array([before]), same, changed)[0])


def test_an_owner_sticks_when_its_process_exits() -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", "import socket; s=socket.socket(); print(s.fileno(), flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    descriptor = int(holder.stdout.readline())
    inode = Path(f"/proc/{holder.pid}/fd/{descriptor}").stat().st_ino
    ownership = Ownership(host.anchor_us())
    changed = ownership.update(np.array([inode]), Times(1, 2), host.boot_us())
    number = _number(ownership, inode, -1, changed)
    assert ownership.owners[number].known == "held"
    assert ownership.owners[number].pid == holder.pid
    assert [row.process.pid for row in ownership.begun] == [holder.pid]
    holder.kill()
    holder.communicate()
    for sample in range(2, 5):
        changed = ownership.update(np.array([inode]), Times(10 * sample, 10 * sample + 1), host.boot_us())
        number = _number(ownership, inode, number, changed)
        if ownership.ended:
            assert (ownership.ended[0].ended_as, ownership.ended[0].row) == ("closed", 0)
    owner = ownership.owners[number]
    assert (owner.known, owner.pid, owner.holders) == ("last", holder.pid, (holder.pid,))
    # In TIME_WAIT the socket has no inode any more: the owner stays.
    assert _number(ownership, 0, number, np.array([inode])) == number


def test_a_process_ends_when_it_is_gone_though_it_held_nothing_any_more() -> None:
    holder = Holder()
    (inode,) = holder.do("open", 1)
    ownership = Ownership(host.anchor_us())
    changed = ownership.update(np.array([inode]), Times(1, 2), host.boot_us())
    _number(ownership, inode, -1, changed)
    holder.do("close", inode)
    ownership.update(np.array([], np.int64), Times(11, 12), host.boot_us())
    assert ownership.ended == []
    holder.end()
    ownership.update(np.array([], np.int64), Times(21, 22), host.boot_us())
    listed_us = ownership.ended[0].ended_by
    assert abs(listed_us - time.time_ns() // 1000) < 1_000_000, "when it was looked for, not the sockets"
    assert ownership.ended == [EndedProcess(0, 11, listed_us, "closed")]


def test_sockets_that_nobody_holds_are_told_apart_by_their_state_and_last_owner() -> None:
    """Without an inode: in TIME_WAIT nobody can have it; in SYN_RECV the kernel still keeps it."""
    syn_recv, time_wait = 3, 6
    first, second = Holder(), Holder()
    inodes = np.array(sorted(holder.do("open", 1)[0] for holder in (first, second)))
    ownership = Ownership(host.anchor_us())
    changed = ownership.update(inodes, Times(1, 2), host.boot_us())
    new, states = np.array([-1, -1]), np.array([1, 1])
    held = ownership.number(inodes, states, new, new >= 0, changed)
    changed = ownership.update(np.array([], np.int64), Times(11, 12), host.boot_us())
    before = np.array([-1, -1, *held, *held, -1])
    states = np.array([syn_recv, time_wait, *[time_wait] * 4, syn_recv])
    number = ownership.number(np.zeros(7, np.int64), states, before, before > 9, changed)
    owners = [ownership.owners[one] for one in number.tolist()]
    assert [owner.known for owner in owners] == ["kernel", "exited", *["last"] * 4, "kernel"]
    assert [owner.pid for owner in owners[2:6]] == [ownership.owners[one].pid for one in held] * 2
    assert {owner.pid for owner in owners[2:6]} == {first.pid, second.pid}
    first.end()
    second.end()


def test_time_wait_keeps_the_owner_and_netstat_shows_none(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    with netns.entered():
        listener = socket.create_server(("10.0.0.5", 7071))
        client = socket.create_connection(("10.0.0.5", 7071))
        server, _ = listener.accept()
        with recording(netns, capture):
            wait_for_samples(capture, 3)
            client.close()
            server.close()
            wait_for_samples(capture, 6)
        listener.close()
    (row,) = answer("sql", "-C", capture, "SELECT pid, owner, inode FROM sockets WHERE state = 'TIME_WAIT'")
    assert row["inode"] == 0
    assert row["owner"] == "last"
    assert row["pid"] is not None
    with sockrec.open(capture) as opened:
        (line,) = [line for line in opened.netstat("end", "-tanp").splitlines() if "TIME_WAIT" in line]
    assert line.split()[-1] == "-"


def test_a_new_title_is_another_process_row_and_no_change_of_the_socket(
    netns: Namespace, tmp_path: Path
) -> None:
    capture = tmp_path / "cap"
    process = programs.start(netns, "master-process-with-room", TITLE, stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    with recording(netns, capture):
        wait_for_samples(capture, 2)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"
        wait_for_samples(capture, 5)
    process.stdin.close()
    programs.end(process)
    rows = answer(
        "sql", "-C", capture, "SELECT argv[1] AS name, begun_as, ended_as FROM processes ORDER BY first_seen"
    )
    assert [row["name"] for row in rows] == ["master-process-with-room", "worker: idle"]
    assert [(row["begun_as"], row["ended_as"]) for row in rows] == [
        ("found", "changed"),
        ("changed", "stopped"),
    ]
    (row,) = answer("sql", "-C", capture, "SELECT count(*) AS n FROM sockets WHERE state = 'LISTEN'")
    assert row["n"] == 1
    with sockrec.open(capture) as opened:
        assert f"{process.pid}/master-process-with-room"[:19] in opened.netstat("start", "-ltnp")
        assert "/worker: idle" in opened.netstat("end", "-ltnp")


def test_every_holder_is_kept_and_the_lowest_is_named(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    forking = """
import os, socket, time
kept = socket.create_server(("10.0.0.5", 7071))
for _ in range(3):
    if os.fork() == 0:
        time.sleep(600)
print("ready", flush=True)
time.sleep(600)
"""
    process = programs.start(netns, "prefork", forking)
    with recording(netns, capture):
        wait_for_samples(capture, 3)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    pids = sorted([process.pid, *map(int, children)])
    (row,) = answer("sql", "-C", capture, "SELECT pid, holders FROM sockets WHERE state = 'LISTEN'")
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    programs.end(process)
    assert row == {"pid": pids[0], "holders": pids}
