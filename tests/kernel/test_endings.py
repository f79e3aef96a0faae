"""How real connections end, told for both ends, against what the programs did and saw."""

from __future__ import annotations

import errno
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from sockrec.kernel import endings, transitions
from sockrec.kernel.arrays import FIELD, InetSockets
from sockrec.kernel.destroyed import DestroyedSource
from sockrec.kernel.endings import CAUSES
from sockrec.kernel.tracing import Tracer
from sockrec.model.states import CLOSE, NAMES, NUMBERS
from tests.support.netns import Namespace
from tests.support.short_lived import cookie_of, listening, until

NO_LINGER = struct.pack("ii", 1, 0)


class Lab:
    """All that is told of the sockets of some namespaces."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer
        self.sources: list[DestroyedSource] = []

    def hear(self, namespace: Namespace) -> None:
        with namespace.entered():
            self.sources.append(DestroyedSource(1 << 20))

    def ends(self, *cookies: int) -> list[str]:
        """Tell of each socket its last state before CLOSE, the cause, bytes written and come in if known."""
        parts: list[InetSockets] = []
        until(lambda: self._announced(parts, cookies))
        time.sleep(0.005)
        sockets, trace = InetSockets.concat(parts), self.tracer.read()
        assert trace.lost == 0
        changes, ends = transitions.transitions(trace), transitions.cookies(trace)
        received, sent = endings.resets_received(trace), endings.resets_sent(trace)
        errors = endings.errors(trace)
        at = endings.sockets_of(errors, changes)
        places = [int(np.flatnonzero(ends.cookie == cookie)[0]) for cookie in cookies]
        rows, clients, seen = [], [], []
        for skaddr, over in zip(ends.skaddr[places], ends.times[places], strict=True):
            began = max(ends.times[(ends.skaddr == skaddr) & (ends.times < over)], default=0)
            mine = (changes.skaddr == skaddr) & (changes.times > began) & (changes.times <= over)
            (path,) = np.nonzero(mine)
            *_, before, row = path[: np.flatnonzero(changes.new_state[path] == CLOSE)[-1] + 1]
            since, closed = changes.times[before], changes.times[row]
            rows.append(row)
            clients.append(NUMBERS["SYN_SENT"] in changes.new_state[path])
            told = errors.error[(at == skaddr) & (errors.times >= closed) & (errors.times <= over)]
            seen.append((
                skaddr in received.skaddr[(received.times > since) & (received.times <= closed)],
                skaddr in sent.skaddr[(sent.times > since) & (sent.times <= over)],
                told[0] if len(told) else 0,
            ))  # fmt: skip
        last = changes.take(np.array(rows))
        found = [int(np.flatnonzero(sockets.cookie == cookie)[0]) for cookie in cookies]
        acked, came, recv_q, send_q = (
            sockets.activity[FIELD[name], found]
            for name in ("bytes_acked", "bytes_received", "recv_q", "send_q")
        )
        cause = endings.causes(last, *(np.array(column) for column in zip(*seen, strict=True)))
        cause = endings.unanswered(cause, last.old_state, send_q)
        written = endings.bytes_written(last.old_state, np.array(clients), acked, send_q)
        inside = endings.ended_in_interrupt(trace)[places]
        came = endings.bytes_from_peer(last, cause, ends.times[places], inside, came, recv_q)
        return [
            f"{NAMES[state]}: {CAUSES[code]}" + (f", {out} {in_}" if port else "")
            for state, code, out, in_, port in zip(
                *(each.tolist() for each in (last.old_state, cause, written, came)),
                sockets.remote_port[found].tolist(),
                strict=True,
            )
        ]

    def _announced(self, parts: list[InetSockets], cookies: tuple[int, ...]) -> bool:
        parts += [source.read().sockets for source in self.sources]
        return set(cookies) <= {int(cookie) for part in parts for cookie in part.cookie}


@pytest.fixture
def lab(netns: Namespace) -> Iterator[Lab]:
    with Tracer() as tracer, netns.entered():
        assert transitions.enable(tracer) == ""
        assert endings.enable(tracer) == []
        made = Lab(tracer)
        made.hear(netns)
        yield made
        for source in made.sources:
            source.close()


def pair(address: str = "10.0.0.5") -> tuple[socket.socket, socket.socket, int, int]:
    """Connect; the client says 1000 bytes, the server 3000. Returns both ends and their cookies."""
    with listening(address) as listener:
        client = socket.create_connection((address, listener.getsockname()[1]), timeout=10)
        server, _ = listener.accept()
    server.settimeout(10)
    say(client, server, 1000)
    say(server, client, 3000)
    return client, server, cookie_of(client), cookie_of(server)


def say(one: socket.socket, other: socket.socket, size: int) -> None:
    one.sendall(b"x" * size)
    assert len(other.recv(size, socket.MSG_WAITALL)) == size


def half_close(one: socket.socket, other: socket.socket) -> None:
    one.shutdown(socket.SHUT_WR)
    assert other.recv(1) == b""


def reset(one: socket.socket, _other: socket.socket) -> None:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    one.close()


def read_to_the_end(one: socket.socket, _other: socket.socket) -> None:
    assert one.recv(5, socket.MSG_WAITALL) == b"more"


def destroy(one: socket.socket, _other: socket.socket) -> None:
    sought = f"sport = :{one.getsockname()[1]}"
    subprocess.run(["ss", "-K", "-tn", sought], check=True, capture_output=True)
    one.close()


ACTIONS: dict[str, Callable[[socket.socket, socket.socket], None]] = {
    "closes": lambda one, _: one.close(),
    "acknowledges": lambda *_: time.sleep(0.1),  # delayed, and so alone
    "half-closes": half_close,
    "resets": reset,
    "destroyed": destroy,
    "sends": lambda one, _: one.sendall(b"more"),
    "says": lambda one, other: say(one, other, 4),
    "reads": read_to_the_end,
}
FIRST, SECOND = "FIN_WAIT2: closed by us", "LAST_ACK: closed by the peer"
CUT, WAS_CUT = "ESTABLISHED: reset by us", "ESTABLISHED: reset by the peer"
# What client and server do, and what is told of each.
CASES = (
    ("C closes S closes", f"{FIRST}, 1000 3000", f"{SECOND}, 3000 1000"),
    ("S closes C closes", f"{SECOND}, 1000 3000", f"{FIRST}, 3000 1000"),
    # The client's end is over before the server's FIN: there is none to count.
    ("C closes S acknowledges S closes", f"{FIRST}, 1000 3000", f"{SECOND}, 3000 1000"),
    ("C half-closes S sends S closes C reads C closes", f"{FIRST}, 1000 3004", f"{SECOND}, 3004 1000"),
    ("C half-closes S sends S closes C closes", f"{FIRST}, 1000 3004", f"{SECOND}, 3004 1000"),
    ("C half-closes S says C closes S closes", f"{FIRST}, 1000 3004", f"{SECOND}, 3004 1000"),
    ("C sends S closes C closes", f"{WAS_CUT}, 1004 3000", f"{CUT}, 3000 1004"),
    (
        "C half-closes S sends C closes S closes",
        "FIN_WAIT2: reset by us, 1000 3004",
        "CLOSE_WAIT: reset by the peer, 3004 1000",
    ),
    # Disconnected, it has lost its counters.
    ("C resets S closes", CUT, f"{WAS_CUT}, 3000 1000"),
    # A remnant answers for the client.
    (
        "C closes S acknowledges S sends S closes",
        f"{FIRST}, 1000 3000",
        "CLOSE_WAIT: reset by the peer, 3004 1000",
    ),
    ("C destroyed S closes", f"{CUT}, 1000 3000", f"{WAS_CUT}, 3000 1000"),
)


@pytest.mark.parametrize(("steps", "client_end", "server_end"), CASES)
def test_both_ends_of_a_connection(lab: Lab, steps: str, client_end: str, server_end: str) -> None:
    client, server, *cookies = pair()
    words = iter(steps.split())
    for who, what in zip(words, words, strict=True):
        ACTIONS[what](*((client, server) if who == "C" else (server, client)))
    assert lab.ends(*cookies) == [client_end, server_end]


def test_ipv6(lab: Lab) -> None:
    client, server, *cookies = pair("::1")
    reset(client, server)
    server.close()
    assert lab.ends(*cookies) == [CUT, f"{WAS_CUT}, 3000 1000"]


def test_data_after_our_close_while_ours_is_on_its_way(lab: Lab) -> None:
    """The kernel traces a reset received that is none, and the one that it sends after the socket's end."""
    client, server, *cookies = pair()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    more = client.send(b"x" * 1_000_000)
    client.close()
    server.sendall(b"too late")
    server.close()
    ours, theirs = lab.ends(*cookies)
    assert ours == f"FIN_WAIT1: reset by us, {1000 + more} 3000"
    assert theirs.startswith(f"{WAS_CUT}, 3008 ")


def other_cookie(sought: str) -> int:
    """Return the cookie of a socket that nobody here holds."""
    found = subprocess.run(["ss", "-Htne", sought], check=True, capture_output=True, text=True).stdout
    return int(found.partition(" sk:")[2].split()[0], 16)


def test_a_killed_program_closes(lab: Lab, netns: Namespace) -> None:
    script = "import socket; s = socket.create_connection(('10.0.0.5', 7077)); s.recv(1)"
    with listening("10.0.0.5", 7077) as listener:
        process = netns.popen(sys.executable, "-S", "-c", script)
        try:
            server, _ = listener.accept()
            cookies = other_cookie("dport = :7077"), cookie_of(server)
        finally:
            process.kill()
            process.wait()
    assert server.recv(1) == b""
    server.close()
    assert lab.ends(*cookies) == [f"{FIRST}, 0 0", f"{SECOND}, 0 0"]


def test_a_listener_that_goes_resets_what_it_did_not_accept(lab: Lab) -> None:
    with listening("10.0.0.5", 7078) as listener:
        client = socket.create_connection(listener.getsockname())
        cookies = cookie_of(client), other_cookie("sport = :7078")
    client.close()
    assert lab.ends(*cookies) == [f"{WAS_CUT}, 0 0", CUT]


@pytest.mark.parametrize("address", ["10.0.0.5", "::1", "::ffff:10.0.0.5"])
@pytest.mark.parametrize("blocking", [True, False])
def test_refused(lab: Lab, address: str, blocking: bool) -> None:
    """Twice on one socket."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as client:
        client.setblocking(blocking)
        for _ in range(2):
            assert client.connect_ex((address, 1)) in (errno.ECONNREFUSED, errno.EINPROGRESS)
        cookie = cookie_of(client)
    (told,) = lab.ends(cookie)
    assert told.startswith("SYN_SENT: refused")


def test_no_port_left_is_no_close(lab: Lab, netns: Namespace) -> None:
    with listening("10.0.0.5") as listener:
        netns.run("sysctl", "-w", "net.ipv4.ip_local_port_range=60999 60999", check=True)
        with socket.create_connection(listener.getsockname()), socket.socket() as client:
            assert client.connect_ex(listener.getsockname()) == errno.EADDRNOTAVAIL
            cookie = cookie_of(client)
    (told,) = lab.ends(cookie)
    assert told.startswith("SYN_SENT: None")


class Cable:
    """A cable to another namespace: a router that answers for some nets and swallows others."""

    def __init__(self, here: Namespace, far: Namespace) -> None:
        self.sides = ((here, "v0", "10.7.0.1", "10.7.0.2"), (far, "v1", "10.7.0.2", "10.7.0.1"))
        self.far = far
        run(here, f"ip link add v0 type veth peer name v1 netns {far.name}")
        for side, device, address, _ in self.sides:
            run(side, f"ip address add {address}/24 dev {device}")
            run(side, f"ip link set {device} up")
        run(here, "ip route add 10.66.0.0/16 via 10.7.0.2")
        run(here, "sysctl -w net.ipv4.tcp_orphan_retries=1")
        run(far, "sysctl -w net.ipv4.ip_forward=1")
        run(far, "ip route add unreachable 10.66.1.0/24")
        run(far, "ip route add blackhole 10.66.2.0/24")

    def pair(self) -> tuple[socket.socket, socket.socket]:
        with self.far.entered():
            listener = socket.create_server(("10.7.0.2", 0))
        with listener:
            client = socket.create_connection(listener.getsockname(), timeout=10)
            return client, listener.accept()[0]

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """Let both sides send to nobody."""
        for side, device, _, peer in self.sides:
            run(side, f"ip neigh replace {peer} lladdr 02:00:00:00:00:99 nud permanent dev {device}")
        try:
            yield
        finally:
            for side, device, _, peer in self.sides:
                run(side, f"ip neigh del {peer} dev {device}")


def run(side: Namespace, command: str) -> str:
    return side.run(*command.split(), check=True).stdout


@pytest.fixture
def cable(netns: Namespace) -> Iterator[Cable]:
    with Namespace(()) as far:
        yield Cable(netns, far)


def connecting(address: str) -> socket.socket:
    client = socket.socket()
    client.setblocking(False)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 300)
    assert client.connect_ex((address, 9)) == errno.EINPROGRESS
    return client


def error_of(end: socket.socket) -> int:
    return end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def nothing_waits(cable: Cable) -> bool:
    """Say whether no socket of the near side waits for anything any more."""
    return not run(cable.sides[0][0], "ss -Htan state connected exclude time-wait").strip()


def test_nobody_answers(lab: Lab, cable: Cable) -> None:
    """All wait for their timers at the same time: about two seconds."""
    silent, unreachable, aborted = (connecting(f"10.66.{net}.1") for net in (2, 1, 2))
    given_up, _given_up = cable.pair()
    given_up.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 300)
    probed, _probed = cable.pair()
    for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT):
        probed.setsockopt(socket.IPPROTO_TCP, option, 1)
    probed.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    closed, _closed = cable.pair()
    last, first = cable.pair()
    first.close()
    assert last.recv(1) == b""
    ends = [silent, unreachable, aborted, given_up, probed, closed, last]
    cookies = [cookie_of(end) for end in ends]
    with cable.deaf():
        given_up.sendall(b"x" * 100)
        closed.sendall(b"x" * 100)
        for end in (aborted, closed, last):
            end.close()
        until(lambda: nothing_waits(cable))
        failed = [error_of(end) for end in (silent, unreachable, given_up, probed)]
    for end in ends:
        end.close()
    assert failed == [errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ETIMEDOUT, errno.ETIMEDOUT]
    assert lab.ends(*cookies) == [
        "SYN_SENT: timed out, 0 0",
        "SYN_SENT: unreachable, 0 0",
        "SYN_SENT: closed by us, 0 0",
        "ESTABLISHED: timed out, 100 0",
        "ESTABLISHED: timed out, 0 0",
        "FIN_WAIT1: timed out, 100 0",
        "LAST_ACK: timed out, 0 0",
    ]
    for end in (_given_up, _probed, _closed):
        end.close()


def test_both_close_at_once(lab: Lab, cable: Cable) -> None:
    client, server = cable.pair()
    lab.hear(cable.far)
    say(client, server, 10)
    cookies = cookie_of(client), cookie_of(server)
    with cable.deaf():
        client.close()
        server.close()
    ends = lab.ends(*cookies)
    states, told = zip(*(end.split(": ") for end in ends), strict=True)
    assert "CLOSING" in states
    assert told == ("closed by us, 10 0", "closed by us, 0 10")


def test_what_may_be_missing_proves_nothing(lab: Lab) -> None:
    client, server, *_ = pair()
    reset(client, server)
    server.close()
    time.sleep(0.02)
    ends = transitions.transitions(lab.tracer.read())
    ends = ends.take((ends.new_state == CLOSE) & (ends.old_state == NUMBERS["ESTABLISHED"])).take(
        np.arange(2)
    )
    no, none = np.zeros(2, np.bool_), np.zeros(2, np.int32)
    ends.thread[:] = 1
    for state, told, without in (
        ("LISTEN", None, None),
        ("ESTABLISHED", None, None),
        ("CLOSE_WAIT", None, None),
        ("FIN_WAIT1", "timed out", None),
        ("SYN_SENT", "closed by us", None),
        ("LAST_ACK", "closed by the peer", "closed by the peer"),
    ):
        ends.old_state[:] = NUMBERS[state]
        assert [CAUSES[code] for code in endings.causes(ends, no, no, none)] == [told] * 2
        assert [CAUSES[code] for code in endings.causes(ends, no, no, none, whole=False)] == [without] * 2
    # Either of the two tells a refusal; a reset that a listener sends is another's.
    for state, received, sent, error, told in (
        ("SYN_SENT", True, False, 0, "refused"),
        ("SYN_SENT", False, False, errno.ECONNREFUSED, "refused"),
        ("LISTEN", False, True, 0, None),
    ):
        ends.old_state[:] = NUMBERS[state]
        code = endings.causes(ends, no | received, no | sent, none + error)[0]
        assert CAUSES[code] == told


def test_an_error_belongs_to_the_socket_that_just_ended(lab: Lab) -> None:
    """IP_RECVERR reports errors of connections that go on."""
    client, server, *_ = pair()
    reset(client, server)
    server.close()
    time.sleep(0.02)
    changes = transitions.transitions(lab.tracer.read())
    rows = changes.take(np.isin(changes.old_state, (NUMBERS["ESTABLISHED"], NUMBERS["SYN_RECV"])))
    ends = (rows.family, rows.local, rows.remote, rows.local_port, rows.remote_port)
    errors = endings.SocketErrors(rows.times + 1, np.ones(len(rows), np.int32), *ends)
    closed = rows.new_state == CLOSE
    assert sorted(closed) == [False, True, True]
    assert endings.sockets_of(errors, changes).tolist() == np.where(closed, rows.skaddr, 0).tolist()


def test_what_this_kernel_lacks_is_said_in_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a filter by a field that it lacks is done without."""
    monkeypatch.setattr(endings, "_CONDITIONS", {
        "tcp/none": ("",), endings.SENT: ("colour==1", "skaddr!=0"), "sock/none": ("",),
    })  # fmt: skip
    monkeypatch.setattr(endings, "_LOST", {"tcp/none": "the one", "sock/none": "the other"})
    with Tracer() as tracer:
        transitions.enable(tracer)
        why = "can't be enabled: No such file or directory: it is not known"
        assert endings.enable(tracer) == [
            f"tracepoint tcp/none {why} the one",
            f"tracepoint sock/none {why} the other",
        ]
        trace = tracer.read()
    assert list(trace.events)[2:] == [endings.SENT]
    assert not len(endings.resets_received(trace))
    assert not len(endings.resets_sent(trace))
    assert not len(endings.errors(trace))
    assert not len(endings.sockets_of(endings.errors(trace), transitions.transitions(trace)))
