"""`netstat -s` in namespaces whose protocols have been used, to the byte."""

from __future__ import annotations

import os
import random
import subprocess
import time

import pytest

from sockrec.kernel.counters import CounterReader
from sockrec.model.network import Counter
from sockrec.render.netstat_flags import parse_flags
from sockrec.render.netstat_statistics import statistics_text
from tests.faults.scale import cases
from tests.render.statistics_judge import FLAG_SETS, difference
from tests.render.statistics_traffic import ACTIONS, unanswered, world
from tests.support.netns import Namespace
from tests.support.populations import HAS_UDPLITE

_PATIENCE = 60.0


def netstat(namespace: Namespace) -> dict[str, bytes]:
    """Return what netstat prints there under each set of flags."""
    env = {**os.environ, "LC_ALL": "C"}
    return {
        words: subprocess.run(
            namespace.command("netstat", *words.split()), capture_output=True, env=env, check=True
        ).stdout
        for words in FLAG_SETS
    }


def counters(namespace: Namespace, reader: CounterReader) -> list[Counter]:
    with namespace.entered():
        reading = reader.read()
    assert reading.incomplete == ()
    return reading.counters()


def judge(namespace: Namespace) -> dict[str, bytes]:
    """Assert that we print what netstat prints between two readings that are the same; return that."""
    reader = CounterReader()
    until = time.monotonic() + _PATIENCE
    before = counters(namespace, reader)
    while time.monotonic() < until:
        theirs = netstat(namespace)
        after = counters(namespace, reader)
        if [one for one in before if "sockstat" not in one.source] == [
            one for one in after if "sockstat" not in one.source
        ]:
            for words in FLAG_SETS:
                ours = statistics_text(after, parse_flags(words.split()))
                assert ours == theirs[words], f"netstat {words}" + difference(theirs[words], ours)
            return theirs
        before = after
    raise AssertionError("the counters never held still")


def test_a_namespace_in_which_nothing_happened() -> None:
    with world() as namespace:
        texts = judge(namespace)
    assert b"    0 active connection openings\n" in texts["-st"]


@pytest.mark.parametrize("seed", range(cases(6, 15)))
def test_generated_traffic(seed: int) -> None:
    dice = random.Random(seed)
    with world() as namespace:
        for _ in range(2):
            with namespace.entered():
                for action in dice.sample(ACTIONS, dice.randint(1, len(ACTIONS))):
                    action()
            judge(namespace)


def test_all_of_it() -> None:
    with world() as namespace:
        with namespace.entered():
            for action in (*ACTIONS, unanswered):
                action()
        texts = judge(namespace)
    # That the traffic moved what it is meant to move.
    lines = texts["-s"].splitlines()
    for moved in (
        "    1 dropped because of missing route", "    1 packets reassembled ok", "    4 fragments created",
        "    4 input ICMP message failed", "    ICMP input histogram:", "        timestamp reply: 1",
        "IcmpMsg:", "        InType0: 2", "    2 failed connection attempts", "    1 segments retransmitted",
        "    2 bad segments received", "    1 packets to unknown port received", "    TCPTimeouts: 1",
        "    3 times the listen queue of a socket overflowed",
        "    4 connections reset due to early user close",
        *(["    NoPorts: 1"] if HAS_UDPLITE else []), "TcpExt:", "IpExt:",
    ):  # fmt: skip
        assert moved.encode() in lines, moved
    assert any(line.endswith(b" receive buffer errors") and not line.startswith(b"    0 ") for line in lines)
    lines = texts["-s6"].splitlines()
    for moved in (
        "    1 packets reassembled ok", "        ICMP output histogram:", "        echo replies: 2",
        "        Icmp6InType200: 1", "    1 packets to unknown port received",
        *(["    UdpLite6NoPorts: 1"] if HAS_UDPLITE else []), "    1 segments retransmitted",
    ):  # fmt: skip
        assert moved.encode() in lines, moved
