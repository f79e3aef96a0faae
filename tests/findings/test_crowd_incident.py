"""Scans, beacons and leaked sockets on a real host, and who asked its closed ports."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support import programs
from tests.support.command import recording, sockrec, wait_for_samples
from tests.support.loads import veth

pytestmark = pytest.mark.moments

CLOSED = 200
# Calls a peer that is not of a private network at even times, half a second apart.
AGENT = """
import socket, time
print("ready", flush=True)
for number in range(60):
    with socket.socket() as one:
        one.settimeout(0.2)
        one.connect_ex(("203.0.113.9", 443))
    time.sleep(0.5)
time.sleep(600)
"""
LEAKY = """
import socket, time
print("ready", flush=True)
kept = []
for _ in range(400):
    kept.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    kept[-1].bind(("127.0.0.1", 0))
    time.sleep(0.05)
time.sleep(600)
"""
CURIOUS = """
import socket, time
print("ready", flush=True)
for port in range(9000, 9080):
    with socket.socket() as one:
        one.settimeout(0.2)
        one.connect_ex(("10.78.0.2", port))
time.sleep(600)
"""
# As the recording is: seconds, not minutes.
SET = (
    "--set",
    "beacon.seconds=0.3",
    "--set",
    "socket-leak.seconds=5",
    "--set",
    "connections-refused.attempts=30",
)


def test_an_incident_of_crowds(tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    with veth.joined() as (near, far):
        near.run("ip", "address", "add", "203.0.113.9/32", "dev", "lo", check=True)
        ports = [f"10.78.0.1:{port}" for port in range(7001, 7007)]
        running = [programs.start(near, "server", programs.LISTENER, *ports)]
        with recording(near, capture):
            running += [
                programs.start(near, name, code) for name, code in (("agent", AGENT), ("leaky", LEAKY))
            ]
            wait_for_samples(capture, 20)
            with far.entered():
                for port in (*range(7001, 7007), *range(20_000, 20_000 + CLOSED)):
                    with socket.socket() as one:
                        one.connect_ex(("10.78.0.1", port))
            running.append(programs.start(near, "curious", CURIOUS))
            wait_for_samples(capture, 90, 120)
        for program in running:
            programs.end(program)
    leaky, curious = running[2], running[3]
    done = sockrec("diagnose", "-C", capture, "-f", "json", *SET)
    assert (done.returncode, done.stderr) == (0, ""), done
    found: dict[str, list[dict[str, Any]]] = {}
    for one in json.loads(done.stdout):
        found.setdefault(one["kind"], []).append(one)
    assert set(found) == {"scan-in", "scan-out", "beacon", "socket-leak"}
    scans = {one["subject"]: one["numbers"] for one in found["scan-in"]}
    assert scans.keys() == {"10.78.0.2", "tcp ports of this host"}
    assert scans["10.78.0.2"]["ports"] == 6
    # What the kernel counts it read a moment after, or before, what it told of.
    assert CLOSED <= scans["tcp ports of this host"]["answers"] <= CLOSED + 2
    (out,) = found["scan-out"]
    assert (out["subject"], out["numbers"]["targets"]) == (f"curious[{curious.pid}]", 80)
    (beacon,) = found["beacon"]
    assert beacon["subject"] == "agent to tcp 203.0.113.9:443"
    assert 450_000 < beacon["numbers"]["interval_us"] < 700_000
    (leak,) = found["socket-leak"]
    assert leak["numbers"]["pid"] == leaky.pid
    assert leak["numbers"]["after"] >= 100
