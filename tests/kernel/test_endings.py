"""How real connections end, told for both ends, against what the programs did and saw."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.kernel.endings_lab import Lab, lab, pair, reset, say
from tests.support.netns import Namespace
from tests.support.short_lived import cookie_of, listening

__all__ = ["lab"]


def half_close(one: socket.socket, other: socket.socket) -> None:
    one.shutdown(socket.SHUT_WR)
    assert other.recv(1) == b""


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
