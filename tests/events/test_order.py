"""Events and samples that come in any order, and addresses, ports and namespaces that come again."""

from __future__ import annotations

import heapq
import itertools
import random
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.events.listeners import SERIES, Period, Program, assert_exact, listen_in_series
from tests.events.recorded import MILLISECOND, assert_nothing_lost, at, moment, one, recorded, rows, when
from tests.support.netns import Namespace
from tests.support.short_lived import cookie_of, listening


class Life:
    """One end of a connection: its cookie, and when it was opened and closed, each between two moments."""

    def __init__(self, cookie: int, opened: tuple[int, int]) -> None:
        self.cookie = cookie
        self.opened = opened
        self.closed = (0, 0)

    def check(self, row: dict[str, Any]) -> None:
        """Expect a row to have these moments, exactly."""
        for what, (before, after) in (("opened", self.opened), ("closed", self.closed)):
            first, last = moment(row[f"{what}_not_before"]), moment(row[f"{what}_not_after"])
            assert first is not None
            assert first == last, row
            assert at(before) - MILLISECOND <= first <= at(after) + MILLISECOND, (row, before, after)


def test_lives_of_any_length_between_samples_at_any_moment(netns: Namespace, tmp_path: Path) -> None:
    """Samples begin before, after and in the middle of what events tell: each end of each is told once."""
    capture = tmp_path / "cap"
    draw = random.Random(7)
    lives: list[Life] = []
    with recorded(netns, capture, interval="50ms") as recorder:
        with netns.entered(), listening("10.0.0.5", 9000) as listener, ExitStack() as stack:
            due: list[tuple[float, int, socket.socket, socket.socket]] = []
            until = time.monotonic() + 4
            while due or time.monotonic() < until:
                if time.monotonic() < until:
                    before = time.time_ns()
                    client = stack.enter_context(socket.create_connection(("10.0.0.5", 9000), timeout=10))
                    server = stack.enter_context(listener.accept()[0])
                    opened = (before, time.time_ns())
                    lives += [Life(cookie_of(client), opened), Life(cookie_of(server), opened)]
                    ends = time.monotonic() + draw.uniform(0, 0.12)
                    heapq.heappush(due, (ends, len(lives) - 2, client, server))
                while due and due[0][0] <= time.monotonic():
                    _, number, client, server = heapq.heappop(due)
                    closing = [time.time_ns()]
                    for end in (client, server):
                        end.close()
                        closing.append(time.time_ns())
                    lives[number].closed = (closing[0], closing[2])
                    lives[number + 1].closed = (closing[0], closing[2])
                time.sleep(0.002)
        recorder.more_samples(2)
    found = rows(capture, "SELECT * FROM connections WHERE 9000 IN (local_port, remote_port)")
    by_cookie = {row["socket_id"]: row for row in found}
    assert len(by_cookie) == len(found), "each once"
    assert set(by_cookie) == {life.cookie for life in lives}
    for number, life in enumerate(lives):
        row = by_cookie[life.cookie]
        assert row["role"] == ("server" if number % 2 else "client")
        assert row["how"] == ("closed by the peer" if number % 2 else "closed by us")
        life.check(row)
    told = rows(
        capture,
        "SELECT sampled, count(*) AS n FROM events "
        "WHERE kind = 'closed' AND 9000 IN (local_port, remote_port) GROUP BY 1",
    )
    numbers = {row["sampled"]: row["n"] for row in told}
    assert numbers[True] + numbers[False] == len(lives)
    assert min(numbers.values()) > len(lives) / 20, "both kinds are to be there"


def test_the_same_addresses_again_and_again(netns: Namespace, tmp_path: Path) -> None:
    """One pair of addresses and ports, thirty connections within a second: thirty rows, one after another."""
    capture = tmp_path / "cap"
    lives: list[Life] = []
    with recorded(netns, capture), netns.entered(), listening("10.0.0.5", 9000) as listener:
        for number in range(30):
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                client.bind(("10.0.0.5", 20000))
                before = time.time_ns()
                client.connect(("10.0.0.5", 9000))
                server, _ = listener.accept()
                life = Life(cookie_of(client), (before, time.time_ns()))
                server.sendall(bytes(number + 1))
                closing = time.time_ns()
                server.close()  # it keeps the remnant, which gives way to a newer connection
                assert len(client.recv(100, socket.MSG_WAITALL)) == number + 1
            life.closed = (closing, time.time_ns())
            lives.append(life)
            time.sleep(0.005)
    found = rows(capture, "SELECT * FROM connections WHERE local_port = 20000 ORDER BY opened_not_after")
    assert [row["socket_id"] for row in found] == [life.cookie for life in lives]
    assert [row["bytes_received"] for row in found] == list(range(1, 31))
    for row, life in zip(found, lives, strict=True):
        life.check(row)
    servers = rows(
        capture,
        "SELECT bytes_sent, opened_not_after AS opened, closed_not_before AS closed FROM connections "
        "WHERE local_port = 9000 ORDER BY opened_not_after",
    )
    assert [row["bytes_sent"] for row in servers] == list(range(1, 31))
    for row, following in itertools.pairwise(servers):
        closed, opened = moment(row["closed"]), moment(following["opened"])
        assert closed is not None
        assert opened is not None
        assert closed <= opened


def test_another_process_listens_on_the_port_at_once(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    periods: list[tuple[int, Period]] = []
    with ExitStack() as stack:
        programs = [
            stack.enter_context(Program(tmp_path, netns, f"turn{turn}", SERIES)) for turn in range(10)
        ]
        with recorded(netns, capture):
            for program in programs:
                (period,) = listen_in_series(program, [(7071, 20)])
                periods.append((program.pid, period))
    began = when(capture, "port", "7071", "started", "listening")
    ended = when(capture, "port", "7071", "stopped", "listening")
    pids = [pid for pid, _ in periods]
    assert [row["pid"] for row in began] == [row["pid"] for row in ended] == pids
    assert [row["program"] for row in ended] == [f"turn{turn}" for turn in range(10)]
    for start, stop, (_, period) in zip(began, ended, periods, strict=True):
        assert_exact(start, period.began)
        assert_exact(stop, period.ended)
    again = rows(
        capture,
        "SELECT again_not_before, again_not_after, again_pid FROM listeners WHERE local_port = 7071 "
        "ORDER BY began_not_after",
    )
    assert [row["again_pid"] for row in again] == [*pids[1:], None]
    for row, following in zip(again, began[1:], strict=False):
        assert moment(row["again_not_before"]) == moment(row["again_not_after"]) == following["not_before"]


def test_sockets_that_were_there_before_the_recorder(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    with netns.entered(), ExitStack() as stack:
        listener = stack.enter_context(listening("10.0.0.5", 9000))
        pairs = []
        for size in range(1, 11):
            client = stack.enter_context(socket.create_connection(("10.0.0.5", 9000), timeout=10))
            server = stack.enter_context(listener.accept()[0])
            client.sendall(bytes(size))
            assert len(server.recv(size, socket.MSG_WAITALL)) == size
            pairs.append((client, server))
        with recorded(netns, capture):
            lives = []
            for client, server in pairs:
                life = Life(cookie_of(client), (0, 0))
                before = time.time_ns()
                client.close()
                server.close()
                life.closed = (before, time.time_ns())
                lives.append(life)
            before = time.time_ns()
            listener.close()
            stopped = (at(before), at(time.time_ns()))
    for role, side, first in (("client", "remote_port", "us"), ("server", "local_port", "the peer")):
        found = rows(
            capture,
            f"SELECT * FROM connections WHERE {side} = 9000 ORDER BY closed_not_after",
        )
        # Which side a connection began on that was there already, only its listener tells.
        assert {row["role"] for row in found} == {"server" if role == "server" else None}
        sent, received = (
            ("bytes_sent", "bytes_received") if role == "client" else ("bytes_received", "bytes_sent")
        )
        assert [(row[sent], row[received]) for row in found] == [(size, 0) for size in range(1, 11)]
        assert {(row["opened_as"], row["how"]) for row in found} == {("found", f"closed by {first}")}
        for row, life in zip(found, lives, strict=True):
            closed = moment(row["closed_not_before"])
            assert closed == moment(row["closed_not_after"])
            assert closed is not None
            assert at(life.closed[0]) - MILLISECOND <= closed <= at(life.closed[1]) + MILLISECOND
            assert row["opened_not_before"] is None
    (stop,) = when(capture, "port", "9000", "stopped", "listening")
    assert_exact(stop, stopped)


# Connects sockets that it made in another namespace, and some of its own, each with one closed at once.
EXPATRIATE = """
import ctypes, os, socket, sys
libc = ctypes.CDLL(None)
home = os.open("/proc/self/ns/net", os.O_RDONLY)
there = os.open(sys.argv[1], os.O_RDONLY)
assert not libc.setns(there, 0x40000000)
abroad = [socket.socket() for _ in range(50)]
assert not libc.setns(home, 0x40000000)
own = [socket.socket() for _ in range(30)]
print("ready", flush=True)
sys.stdin.readline()
for sockets, size in ((abroad, 100), (own, 200)):
    for number, end in enumerate(sockets):
        end.bind(("10.0.0.5", 20000 + number))
        end.connect(("10.0.0.5", 9000))
        end.sendall(bytes(size + number))
        end.close()
print("done", flush=True)
sys.stdin.readline()
"""

# Takes connections until it is ended.
TAKER = """
import socket
listener = socket.create_server(("10.0.0.5", 9000), backlog=100)
print("ready", flush=True)
while True:
    end, _ = listener.accept()
    while end.recv(4096):
        pass
    end.close()
"""


def test_a_socket_belongs_to_the_namespace_it_was_made_in(netns: Namespace, tmp_path: Path) -> None:
    """Its process is in another one by the time it connects: there are the same addresses and ports."""
    with Namespace() as home:
        captures = {netns.name: tmp_path / "there", home.name: tmp_path / "home"}
        with (
            Program(tmp_path, netns, "taker", TAKER) as taker,
            Program(tmp_path, home, "taker", TAKER) as other,
            Program(tmp_path, home, "expat", EXPATRIATE, str(netns.path)) as expatriate,
            recorded(netns, captures[netns.name]),
            recorded(home, captures[home.name]),
        ):
            assert (taker.hear(), other.hear(), expatriate.hear()) == ("ready",) * 3
            expatriate.say()
            assert expatriate.hear() == "done"
            time.sleep(0.2)  # until the takers have read it all and closed
    for name, count, size, server in ((netns.name, 50, 100, taker), (home.name, 30, 200, other)):
        found = rows(
            captures[name],
            "SELECT role, pid, program, local_port, remote_port, bytes_sent, bytes_received FROM connections "
            "ORDER BY role, least(local_port, remote_port), greatest(local_port, remote_port)",
        )
        expected = []
        for role, pid, program in (("client", expatriate.pid, "expat"), ("server", server.pid, "taker")):
            for number in range(count):
                ports = (20000 + number, 9000) if role == "client" else (9000, 20000 + number)
                amounts = (size + number, 0) if role == "client" else (0, size + number)
                expected.append((role, pid, program, *ports, *amounts))
        assert [tuple(row.values()) for row in found] == expected
        assert one(captures[name], "SELECT count(DISTINCT netns) AS n FROM connections") == {"n": 1}
        assert_nothing_lost(captures[name])
