"""State changes of real TCP sockets, against what the sockets themselves know."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sockrec.kernel import transitions
from sockrec.kernel.arrays import NULL
from sockrec.kernel.destroyed import DestroyedSource
from sockrec.kernel.tasks import Tasks
from sockrec.kernel.tracing import Trace, Tracer
from sockrec.kernel.transitions import Cookies, Transitions
from sockrec.model.states import NAMES, NUMBERS
from tests.support import programs
from tests.support.netns import Namespace
from tests.support.short_lived import boot_ns, connect, cookie_of, listening, until

CLIENT = ["CLOSE", "SYN_SENT", "ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "CLOSE"]
# The tracepoint tells of the whole machine: an address that no test running beside this one has.
ONLY_HERE = "127.83.0.5"
SERVER = ["LISTEN", "SYN_RECV", "ESTABLISHED", "CLOSE_WAIT", "LAST_ACK", "CLOSE"]


@pytest.fixture
def tracer() -> Iterator[Tracer]:
    with Tracer() as made:
        assert transitions.enable(made) == ""
        made.read()
        yield made


class Log:
    """All that was read, of the whole host."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer
        self.parts: list[tuple[Transitions, Cookies]] = []
        self.lost = 0

    def read(self) -> None:
        trace: Trace = self.tracer.read()
        self.parts.append((transitions.transitions(trace), transitions.cookies(trace)))
        self.lost += trace.lost

    def settle(self) -> None:
        time.sleep(0.02)
        self.read()

    @property
    def changes(self) -> Transitions:
        names = Transitions.__dataclass_fields__
        return Transitions(*(np.concatenate([getattr(t, n) for t, _ in self.parts]) for n in names))

    @property
    def cookies(self) -> Cookies:
        names = Cookies.__dataclass_fields__
        return Cookies(*(np.concatenate([getattr(c, n) for _, c in self.parts]) for n in names))


def path_of(changes: Transitions) -> list[str]:
    """Return the states that one socket went through."""
    assert (changes.new_state[:-1] == changes.old_state[1:]).all()
    return [NAMES[int(n)] for n in [changes.old_state[0], *changes.new_state]]


def test_every_step_of_every_connection_is_seen_and_tied_to_its_cookie(
    tracer: Tracer, netns: Namespace
) -> None:
    log = Log(tracer)
    with netns.entered(), listening() as listener:
        made = []
        for _ in range(25):
            made += connect(listener, "127.0.0.1", 200)
            log.read()
        log.settle()
        port = listener.getsockname()[1]
    assert log.lost == 0
    changes = log.changes
    tied = transitions.tie(changes, log.cookies)
    order = np.argsort(tied, kind="stable")
    first, last = (np.searchsorted(tied[order], edge) for edge in (tied, tied + 1))
    rows = {int(tied[i]): order[first[i] : last[i]] for i in range(len(tied))}
    here = threading.get_native_id()
    looked_at = 0
    for each in made:
        client, server = (changes.take(rows[cookie]) for cookie in (each.client, each.server))
        # Whoever looks at our /proc/PID/fd as we close has the file last: he closes it, later than we meant.
        if not set(client.thread.tolist() + server.thread.tolist()) <= {here, -1}:
            looked_at += 1
            continue
        assert path_of(client) == CLIENT
        assert path_of(server) == SERVER
        assert client.local_port.tolist() == [0] + [each.client_port] * 4
        assert set(client.remote_port.tolist()) == {port}
        assert set(server.local_port.tolist()) == {port}
        assert set(server.remote_port.tolist()) == {each.client_port}
        assert len(set(client.skaddr.tolist())) == 1
        for end in (client, server):
            assert each.began - 1000 <= end.times[0] <= end.times[-1] <= each.ended + 1000
            assert (end.family == socket.AF_INET).all()
            assert {raw.tobytes() for raw in end.remote} == {socket.inet_aton("127.0.0.1") + bytes(12)}
        # connect() and close() run in our thread; what packets do, mostly in interrupts.
        assert client.thread[[0, 2]].tolist() == [here, here]
    assert looked_at < len(made) / 100
    born = changes.take((changes.new_state == NUMBERS["SYN_RECV"]) & (changes.local_port == port))
    assert (born.thread == -1).mean() > 0.9


def test_the_shortest_connections_are_seen_with_their_process(tracer: Tracer, netns: Namespace) -> None:
    """Processes that connect, close and are gone before anybody could look at them."""
    log = Log(tracer)
    with netns.entered(), listening() as listener:
        port = listener.getsockname()[1]
        pids = []
        for _ in range(20):
            script = f"exec 3<>/dev/tcp/127.0.0.1/{port}"
            process = subprocess.Popen(["bash", "-c", script])
            listener.accept()[0].close()
            assert process.wait(10) == 0
            pids.append(process.pid)
        log.settle()
    changes = log.changes
    opened = changes.take((changes.new_state == NUMBERS["SYN_SENT"]) & (changes.remote_port == port))
    assert opened.thread.tolist() == pids


def test_ipv6_and_mapped_addresses(tracer: Tracer, netns: Namespace) -> None:
    log = Log(tracer)
    with netns.entered(), socket.socket(socket.AF_INET6) as listener:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("::", 0))
        listener.listen()
        port = listener.getsockname()[1]
        connect(listener, "::1", 1)
        connect(listener, "10.0.0.5", 1)
        log.settle()
    changes = log.changes
    changes = changes.take((changes.local_port == port) & (changes.new_state == NUMBERS["ESTABLISHED"]))
    assert changes.family.tolist() == [socket.AF_INET6] * 2
    mapped = socket.inet_pton(socket.AF_INET6, "::ffff:10.0.0.5")
    assert [raw.tobytes() for raw in changes.local] == [socket.inet_pton(socket.AF_INET6, "::1"), mapped]
    assert [raw.tobytes() for raw in changes.remote] == [socket.inet_pton(socket.AF_INET6, "::1"), mapped]


def test_a_listeners_end_is_exact_and_names_its_thread(tracer: Tracer, netns: Namespace) -> None:
    log = Log(tracer)
    moments = []
    with netns.entered():
        for _ in range(100):
            listener = socket.create_server(("127.0.0.1", 0))
            connect(listener, "127.0.0.1", 1)
            cookie = cookie_of(listener)
            before = boot_ns()
            listener.close()
            moments.append((cookie, before, boot_ns()))
        log.settle()
    changes = log.changes
    tied = transitions.tie(changes, log.cookies)
    for cookie, before, after in moments:
        of_it = changes.take(tied == cookie)
        assert path_of(of_it) == ["CLOSE", "LISTEN", "CLOSE"]
        assert before - 1000 <= of_it.times[1] <= after + 1000
        assert set(of_it.thread.tolist()) == {threading.get_native_id()}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_closes_its_listener_itself(
    tracer: Tracer, netns: Namespace, number: signal.Signals
) -> None:
    log = Log(tracer)
    process = programs.start(netns, "victim", programs.LISTENER, "10.0.0.5:7071")
    log.settle()
    process.send_signal(number)
    process.wait()
    programs.end(process)
    log.settle()
    changes = log.changes
    ended = changes.take((changes.thread == process.pid) & (changes.local_port == 7071))
    assert path_of(ended) == ["CLOSE", "LISTEN", "CLOSE"]


def test_two_namespaces_with_the_same_addresses_are_told_apart(tracer: Tracer, netns: Namespace) -> None:
    """The same four numbers at the same time on both sides: the cookie decides, the process hints."""
    log = Log(tracer)
    sides = {}
    with Namespace() as other:
        with netns.entered():
            source = DestroyedSource()
        barrier = threading.Barrier(2, timeout=30)
        failures: list[BaseException] = []

        def run(namespace: Namespace) -> None:
            try:
                with namespace.entered(), listening(ONLY_HERE, 7071) as listener:
                    cookies = set()
                    for port in range(20000, 20200):
                        barrier.wait()
                        cookies |= _one(listener, port)
                    sides[namespace.name] = (threading.get_native_id(), cookies)
                    tasks = Tasks()
                    task = tasks.find(threading.get_native_id(), boot_ns())
                    assert task is not None
                    assert task.pid == os.getpid()
                    assert task.network_namespace == Path(namespace.path).stat().st_ino
            except BaseException as error:  # noqa: BLE001 - raised again in the test's own thread
                failures.append(error)
                barrier.abort()

        threads = [threading.Thread(target=run, args=(each,)) for each in (netns, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        if failures:
            raise failures[0]
        heard: set[int] = set()

        def all_heard() -> bool:
            heard.update(source.read().sockets.cookie.tolist())
            return len(heard) >= 401

        until(all_heard)
        source.close()
        log.settle()
    changes = log.changes
    tied = transitions.tie(changes, log.cookies)
    (ours_thread, ours), (theirs_thread, theirs) = sides[netns.name], sides[other.name]
    assert not ours & theirs
    assert ours < heard
    assert not theirs & heard
    here = np.frombuffer(socket.inet_aton(ONLY_HERE), np.uint8)
    same = (changes.remote_port == 7071) & (changes.local[:, :4] == here).all(axis=1)
    assert same.sum() == 2 * 200 * 5
    assert set(changes.thread[same & np.isin(tied, list(ours))].tolist()) <= {ours_thread, -1}
    assert set(changes.thread[same & np.isin(tied, list(theirs))].tolist()) <= {theirs_thread, -1}
    assert np.isin(tied[same], [*ours, *theirs]).all()


def _one(listener: socket.socket, port: int) -> set[int]:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind((ONLY_HERE, port))
        client.connect((ONLY_HERE, 7071))
        server, _ = listener.accept()
        cookies = {cookie_of(client), cookie_of(server)}
    server.close()
    return cookies


def test_a_reset_is_a_change_to_close_with_addresses(tracer: Tracer, netns: Namespace) -> None:
    """What the announcement of the destroyed socket has lost by then."""
    log = Log(tracer)
    with netns.entered(), listening("10.0.0.5") as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        port = client.getsockname()[1]
        cookie = cookie_of(client)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
        client.close()
        server.close()
        log.settle()
    changes = log.changes.take(transitions.tie(log.changes, log.cookies) == cookie)
    assert path_of(changes) == ["CLOSE", "SYN_SENT", "ESTABLISHED", "CLOSE"]
    assert changes.local_port[-1] == port
    assert changes.local[-1, :4].tobytes() == socket.inet_aton("10.0.0.5")


def test_living_sockets_and_used_again_addresses_are_not_tied_to_others_cookies() -> None:
    def changes(*rows: tuple[int, int]) -> Transitions:
        times, addresses = (np.array(column, np.int64) for column in zip(*rows, strict=True))
        none = np.zeros(len(rows), np.uint8)
        ends = np.zeros((len(rows), 16), np.uint8)
        ports = np.zeros(len(rows), np.int32)
        return Transitions(times, addresses, none, none, none, ends, ends, ports, ports, times)

    def ends(*rows: tuple[int, int, int]) -> Cookies:
        columns = zip(*rows, strict=True) if rows else ((), (), ())
        return Cookies(*(np.array(column, np.int64) for column in columns))

    made = changes((10, 7), (11, -8), (20, 7), (30, 7), (31, 9), (40, 7))
    tied = transitions.tie(made, ends((20, 7, 100), (35, 7, 101), (5, -8, 102), (1, 9, 103)))
    # A change at the very time of the end comes before it.
    assert tied.tolist() == [100, NULL, 100, 101, NULL, NULL]
    assert transitions.tie(made, ends()).tolist() == [NULL] * 6
    assert transitions.tie(changes((1, 1)).take(np.zeros(1, bool)), ends((1, 1, 1))).tolist() == []


def test_other_protocols_are_filtered_out(tracer: Tracer, netns: Namespace) -> None:
    """MPTCP's own sockets come by the same tracepoint."""
    log = Log(tracer)
    with netns.entered(), socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as multipath:
        multipath.bind(("127.0.0.1", 0))
        multipath.listen()
        port = multipath.getsockname()[1]
        log.settle()
    changes = log.changes
    # The TCP socket that carries it does.
    assert path_of(changes.take(changes.local_port == port)) == ["CLOSE", "LISTEN"]


MISSING = """
from sockrec.errors import KernelError
from sockrec.kernel import transitions
from sockrec.kernel.tracing import Tracer
transitions.DESTROY = "tcp/none"
with Tracer() as tracer:
    print(transitions.enable(tracer))
    print(len(transitions.cookies(tracer.read())))
"""


def test_without_cookies_it_says_what_is_lost() -> None:
    done = subprocess.run([sys.executable, "-c", MISSING], capture_output=True, text=True, timeout=60)
    assert done.stdout == (
        "tracepoint tcp/none can't be enabled: No such file or directory: "
        "state changes are tied to sockets by addresses only\n0\n"
    ), done.stderr
