"""A host at its limit: memory stays flat, nothing is left open, and every loss is counted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.populations import Population
from tests.events.recorded import one, recorded, rows
from tests.faults.scale import cases, figures
from tests.faults.vitals import Vitals
from tests.support.command import sockrec
from tests.support.loads.run import Load
from tests.support.netns import Namespace

_SOCKETS = cases(2_000, 100_000)
_PROCESSES = cases(100, 2_000)
_RATE = cases(1_000, 10_000)
_SECONDS = cases(6, 600)
_ONE_LOAD_S = cases(3, 30)
# A part of 8 MiB is read, sorted and compressed in memory while it is sealed.
_SEALING_KIB = 120 << 10
_HELD = """
SELECT count(*) AS n, count(DISTINCT pid) AS pids
FROM sockets_at((SELECT max(began_at) FROM samples)) WHERE state <> 'TIME_WAIT'
"""
_CROWD = """
import os, signal, socket, sys
signal.alarm(1800)
pipe = os.pipe()
for number in range(int(sys.argv[1])):
    if not os.fork():
        os.close(pipe[1])
        kept = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        kept.bind(("127.0.0.1", 0))
        os.read(pipe[0], 1)
        os._exit(0)
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def _crowd(namespace: Namespace, processes: int) -> Iterator[None]:
    """Have so many processes with a socket each; they end when the one that made them does."""
    process = namespace.popen(
        sys.executable, "-S", "-c", _CROWD, str(processes), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.kill()
        process.communicate()


@pytest.mark.timeout(3600)
def test_a_host_at_its_limit(netns: Namespace, tmp_path: Path) -> None:
    """Connections made are connections told, but for those whose events are counted as lost."""
    capture = tmp_path / "capture"
    netns.run("sysctl", "-qw", "net.ipv4.tcp_max_tw_buckets=20000", check=True)
    made = 0
    with (
        netns.entered(),
        Population(_SOCKETS) as population,
        _crowd(netns, _PROCESSES),
        recorded(netns, capture) as recorder,
    ):
        recorder.more_samples(2, 120)
        with Vitals(recorder.pid) as vitals:
            for number in range(_SECONDS // _ONE_LOAD_S):
                port, count = 9100 + number, _RATE * _ONE_LOAD_S
                with Load(tmp_path, netns, port=port, count=count, rate=_RATE) as load:
                    counted = load.run()
                assert counted.client.connections == counted.server.connections == count
                made += count
            recorder.more_samples(2, 120)
        held = one(capture, _HELD)
    assert held["n"] >= population.sockets
    assert held["pids"] >= _PROCESSES
    vitals.assert_flat(_SEALING_KIB)
    told = one(
        capture,
        f"SELECT count(*) AS n FROM connections WHERE greatest({_port('local')}, {_port('remote')}) >= 9100",
    )["n"]
    lost = rows(capture, "SELECT detail, count FROM events WHERE kind = 'lost'")
    counted_lost = sum(row["count"] or 0 for row in lost)
    uncounted = [row["detail"] for row in lost if row["count"] is None]
    (noted,) = rows(
        capture, "SELECT sum(events_lost)::BIGINT AS n, sum(ticks_missed)::BIGINT AS m FROM samples"
    )
    assert noted["n"] == counted_lost
    assert told <= 2 * made
    if not uncounted:
        assert 2 * made - told <= counted_lost, f"{2 * made - told} of {2 * made} ends went by uncounted"
    done = sockrec("verify", "-C", capture)
    assert done.returncode == 0, done.stdout + done.stderr
    figures(
        "load",
        sockets=population.sockets,
        processes=_PROCESSES,
        connections=made,
        told=told / 2,
        events_lost=counted_lost,
        pauses=len(uncounted),
        ticks_missed=noted["m"],
        memory_mib_before=vitals.memory(0.3, 0.5) >> 10,
        memory_mib_after=vitals.memory(0.8, 1.0) >> 10,
        descriptors=vitals.looks[-1].descriptors,
    )


def _port(side: str) -> str:
    """Return the port of a side, if it is one that a load listens on."""
    return f"CASE WHEN {side}_port BETWEEN 9100 AND 9199 THEN {side}_port ELSE 0 END"
