"""`sockrec diagnose` on a host whose network goes wrong in every way that a namespace can show."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support import programs
from tests.support.command import recording, sockrec, wait_for_samples
from tests.support.interfaces import send_frames
from tests.support.netns import Namespace, _ip

pytestmark = pytest.mark.moments

# Asks an address from which no answer comes.
HOPEFUL = """
import socket, time
print("ready", flush=True)
with socket.socket() as one:
    one.settimeout(2.5)
    one.connect_ex(("10.1.0.77", 443))
with socket.socket() as one:
    one.connect_ex(("10.1.0.77", 443))
time.sleep(600)
"""
# A connection for each request, as quickly as they come.
HASTY = """
import socket, time
print("ready", flush=True)
for _ in range(85):
    with socket.create_connection(("10.0.0.5", 7000)) as one:
        one.sendall(b"x")
time.sleep(600)
"""
# Closes its half, and waits for the other.
PATIENT = """
import socket, time
kept = [socket.create_connection(("10.0.0.5", 7001)) for _ in range(20)]
for one in kept:
    one.shutdown(socket.SHUT_WR)
print("ready", flush=True)
time.sleep(600)
"""
# Never reads what comes.
DEAF = """
import socket, time
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
one.bind(("10.0.0.5", 8125))
print("ready", flush=True)
time.sleep(600)
"""
SERVING = """
import socket
server = socket.create_server(("10.0.0.5", 7000), backlog=128)
print("ready", flush=True)
while True:
    one, _ = server.accept()
    with one:
        while one.recv(100):
            pass
"""
LAZY = """
import socket, sys
address, port = sys.argv[1:]
server = socket.create_server((address, int(port)), backlog=128)
print("ready", flush=True)
kept = []
while True:
    kept.append(server.accept())
"""
READING = """
import socket
server = socket.create_server(("10.1.0.2", 7002))
print("ready", flush=True)
one, _ = server.accept()
while one.recv(100_000):
    pass
"""
# As the recording is: seconds, not minutes.
SET = {
    "connect-stuck.seconds": 3,
    "half-closed.seconds": 2,
    "slow-path.seconds": 1,
    "retransmissions.segments": 10,
}
EXPECTED = {
    "syn-flood",
    "connect-stuck",
    "ports-exhausted",
    "udp-drops",
    "interface-errors",
    "retransmissions",
    "slow-path",
    "half-closed",
}


@pytest.fixture
def far(netns: Namespace) -> Iterator[Namespace]:
    """Give another host, 10.1.0.2, at the end of a cable (v0) from 10.1.0.1; it forwards nothing."""
    with Namespace(()) as namespace:
        _ip(
            "-n",
            netns.name,
            "link",
            "add",
            "v0",
            "type",
            "veth",
            "peer",
            "name",
            "v1",
            "netns",
            namespace.name,
        )
        for one, name, address in ((netns, "v0", "10.1.0.1/24"), (namespace, "v1", "10.1.0.2/24")):
            _ip("-n", one.name, "address", "add", address, "dev", name)
            _ip("-n", one.name, "link", "set", name, "up")
        _ip("-n", netns.name, "route", "add", "default", "via", "10.1.0.2")
        # Packets to it arrive over there, and nobody takes them.
        _ip("-n", netns.name, "neigh", "add", "10.1.0.77", "lladdr", "02:00:00:00:00:77", "dev", "v0")
        yield namespace


def checksum(content: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(content) // 2}H", content))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def forged_syns(target: str, port: int, number: int) -> None:
    """Ask for connections in the name of addresses that never did."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for turn in range(number):
            ends = socket.inet_aton(f"198.51.100.{1 + turn}") + socket.inet_aton(target)
            syn = struct.pack("!HHIIBBHHH", 20_000 + turn, port, 7 * turn, 0, 5 << 4, 2, 1024, 0, 0)
            summed = checksum(ends + struct.pack("!HH", socket.IPPROTO_TCP, len(syn)) + syn)
            syn = syn[:16] + struct.pack("!H", summed) + syn[18:]
            header = struct.pack("!BBHHHBBH", 0x45, 0, 40, turn, 0, 64, socket.IPPROTO_TCP, 0)
            raw.sendto(header + ends + syn, (target, 0))


def talk(one: socket.socket, seconds: float, size: int, pause: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        one.sendall(b"x" * size)
        time.sleep(pause)


def test_a_network_of_everything(netns: Namespace, far: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    netns.run("sh", "-c", "echo 40000 40099 >/proc/sys/net/ipv4/ip_local_port_range", check=True)
    with ExitStack() as stack:

        def run(namespace: Namespace, name: str, source: str, *words: str) -> Any:
            program = programs.start(namespace, name, source, *words)
            stack.callback(programs.end, program)
            return program

        run(netns, "web", SERVING)
        run(netns, "lazy", LAZY, "10.0.0.5", "7001")
        run(netns, "flooded", LAZY, "10.1.0.1", "7003")
        deaf = run(netns, "deaf", DEAF)
        run(far, "sink", READING)
        with recording(netns, capture, "--slow-interval", "200ms"):
            run(netns, "hopeful", HOPEFUL)
            run(netns, "hasty", HASTY)
            run(netns, "patient", PATIENT)
            with netns.entered():
                sender = stack.enter_context(socket.create_connection(("10.1.0.2", 7002), timeout=20))
                udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            for _ in range(100):
                udp.sendto(bytes(500), ("10.0.0.5", 8125))
            with far.entered():
                forged_syns("10.1.0.1", 7003, 60)
                send_frames("v1", 200)
            talk(sender, 3, 1_000, 0.02)
            shaped = ("tc", "qdisc", "add", "dev", "v0", "root", "tbf")
            netns.run(*shaped, *["rate", "1mbit", "burst", "4k", "latency", "300ms"], check=True)
            thread = threading.Thread(target=talk, args=(sender, 4, 60_000, 0.01))
            thread.start()
            thread.join()
            wait_for_samples(capture, 60, 120)
    words = [word for name, value in SET.items() for word in ("--set", f"{name}={value}")]
    done = sockrec("diagnose", "-C", capture, "-f", "json", *words)
    assert done.returncode == 0, done
    found = {one["kind"]: one for one in json.loads(done.stdout)}
    assert found.keys() >= EXPECTED, found.keys()
    numbers = {kind: found[kind]["numbers"] for kind in EXPECTED}
    assert (numbers["syn-flood"]["port"], numbers["syn-flood"]["peers"]) == (7003, 60)
    stuck = numbers["connect-stuck"]
    assert (stuck["attempts"], stuck["given_up"], stuck["trying"]) == (2, 1, 1)
    assert found["connect-stuck"]["subject"] == "hopeful to tcp 10.1.0.77:443"
    assert found["ports-exhausted"]["subject"] == "hasty to tcp 10.0.0.5:7000"
    assert (numbers["ports-exhausted"]["ports"], numbers["ports-exhausted"]["range_recorded"]) == (100, True)
    assert 80 <= numbers["ports-exhausted"]["time_wait"] <= numbers["ports-exhausted"]["taken"] <= 100
    assert found["udp-drops"]["subject"] == f"deaf[{deaf.pid}] on udp 10.0.0.5:8125"
    assert 50 <= numbers["udp-drops"]["drops"] < 100
    assert (found["interface-errors"]["subject"], numbers["interface-errors"]["rx_dropped"]) == ("v0", 200)
    assert found["retransmissions"]["subject"] == found["slow-path"]["subject"] == "10.1.0.2"
    assert max(70_000, 3 * numbers["slow-path"]["usual_us"]) <= numbers["slow-path"]["worst_us"]
    assert found["half-closed"]["subject"] == "patient in FIN_WAIT2"
    assert numbers["half-closed"] | {"longest_us": 0} == {
        "sockets": 20,
        "in_all": 20,
        "peers": 1,
        "top_peer": "10.0.0.5",
        "held": True,
        "longest_us": 0,
    }
    for one in found.values():
        shown = sockrec("sql", "-C", capture, one["sql"], "-f", "csv")
        assert len(shown.stdout.splitlines()) >= 2, one
