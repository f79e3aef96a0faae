"""Everything that netstat shows, recorded and replayed at the end: generated hosts, judged by netstat."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from sockrec.catalog import Catalog, open_catalog
from sockrec.cli._netstat import Netstat
from sockrec.render.names import Names, encode, printable
from sockrec.render.netstat_flags import parse_flags
from sockrec.replay.moment import Moments
from tests.faults.scale import cases, figures
from tests.support.command import CLEAN, SOCKREC, recording, sockrec, wait_for_samples
from tests.support.hosts import HOSTS, NETWORKS, Host
from tests.support.netns import Namespace
from tests.support.own_etc import OwnEtc, difference

# UDP-Lite and SCTP make netstat stop where the kernel has none.
FLAG_SETS = (
    "-i", "-ai", "-ie", "-aie", "-r", "-rn", "-re", "-ree", "-ren", "-6r", "-6rn", "-r46e",
    "-r --cache", "-g", "-gn", "-6g", "-s", "-st", "-su", "-sw", "-s6", "-stu", "-x", "-xa", "-xl",
    "-xp", "-xap", "-xe", "-a", "-an", "-e", "-o", "-atune", "-ta", "-tuwp", "-ag", "-axn", "-lt", "-tnp",
)  # fmt: skip


def outputs(etc: OwnEtc, host: Host) -> dict[str, bytes]:
    found = {}
    for words in FLAG_SETS:
        done = etc.netstat(host.namespace, words.split())
        assert (done.returncode, done.stderr) == (0, b""), (words, done)
        # Names of interfaces hold escape sequences, which are not replayed.
        lines = done.stdout.decode("utf-8", "surrogateescape").split("\n")
        found[words] = encode("\n".join(map(printable, lines)))
    return found


def settle(etc: OwnEtc, host: Host) -> None:
    """Wait until the kernel has told everybody of its new addresses, or for 15 s."""
    before = b""
    until = time.monotonic() + 15
    while time.monotonic() < until:
        now = b"".join(etc.netstat(host.namespace, [words]).stdout for words in ("-ai", "-s", "-6rn"))
        if now == before:
            return
        before = now
        time.sleep(0.7)


def replayed(catalog: Catalog, words: str) -> bytes:
    """Return the text of the end, as the command makes it."""
    moments = Moments(catalog)
    names = Names.from_json(catalog.recordings[0]["names"])
    (_, end), *_ = moments.spans()
    return Netstat(catalog, moments, parse_flags(words.split())).text(moments.at(end), names, end)


def printed(capture: Path, words: str) -> bytes:
    command = [SOCKREC, "replay", "-C", str(capture), "--at", "end", *words.split()]
    done = subprocess.run(command, capture_output=True, env=CLEAN, check=False)
    assert (done.returncode, done.stderr) == (0, b""), (words, done.stderr)
    return done.stdout


@pytest.mark.parametrize("seed", range(cases(2, 100)))
def test_all_of_netstat_at_the_end_of_a_recording(seed: int, tmp_path: Path) -> None:
    """Recording begins before most of it is there; what moves while netstat runs can't be judged."""
    etc = OwnEtc(tmp_path / "etc", HOSTS, NETWORKS)
    capture = tmp_path / "cap"
    command = (SOCKREC, "record", "-C", str(capture), "--interval", "200ms", "--slow-interval", "1h")
    with Host(seed, tmp_path) as host:
        with subprocess.Popen(etc.command(host.namespace, *command), env=CLEAN) as recorder:
            try:
                wait_for_samples(capture, 1)
                host.change()
                settle(etc, host)
                before = outputs(etc, host)
            finally:
                os.kill(recorder.pid, signal.SIGINT)
                assert recorder.wait(30) == 0
        after = outputs(etc, host)
    still = [words for words in FLAG_SETS if before[words] == after[words]]
    with open_catalog(capture) as catalog:
        for words in still:
            ours = replayed(catalog, words)
            assert ours == after[words], f"netstat {words}{difference(after[words], ours)}"
    for words in still[seed :: len(still) // 2]:
        assert printed(capture, words) == after[words], words
    assert len(still) >= 0.7 * len(FLAG_SETS), set(FLAG_SETS) - set(still)
    assert sockrec("verify", "-C", capture).returncode == 0
    figures("replay of all that netstat shows", hosts=1, texts=len(still), differences=0)


@pytest.mark.parametrize("words", ["-i", "-ie", "-r", "-6rn", "-tln", "-xl", "-re", "-lnx --inet"])
def test_continuous_as_netstat_does(words: str, netns: Namespace, tmp_path: Path) -> None:
    """Titles that come once, or again and again, and nothing between two rounds; -s is never continuous."""
    etc = OwnEtc(tmp_path / "etc", HOSTS, NETWORKS)
    capture = tmp_path / "cap"
    with netns.entered(), socket.create_server(("10.0.0.5", 7071)):
        with recording(netns, capture, interval="200ms"):
            wait_for_samples(capture, 3)
        done = subprocess.run(
            etc.command(netns, "timeout", "1.5", "netstat", "-c", *words.split()),
            capture_output=True,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    with open_catalog(capture) as catalog:
        first, second = (moment for (moment,) in catalog.rows(
            "SELECT strftime(began_at AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ') FROM samples"
                " ORDER BY began_at LIMIT 2"
        ))  # fmt: skip
    span = ["--from", first, "--to", second, "--speed", "max"]
    command = [SOCKREC, "replay", "-C", str(capture), "-c", *words.split(), *span]
    ours = subprocess.run(command, capture_output=True, env=CLEAN, check=False)
    assert (ours.returncode, ours.stderr) == (0, b"")
    assert ours.stdout == done.stdout, difference(done.stdout, ours.stdout)


def test_statistics_are_printed_once_whatever_c_says(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    with recording(netns, capture, interval="200ms"):
        wait_for_samples(capture, 3)
    once, ever = (sockrec("replay", "-C", capture, *words) for words in (["-s"], ["-s", "-c"]))
    assert once.stdout == ever.stdout
    assert once.stdout.startswith("Ip:\n")
