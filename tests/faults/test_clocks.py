"""The wall clock steps, the process is stopped or starved: no time moves, and nothing goes by uncounted."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sockrec.catalog import open_catalog
from tests.events.recorded import recorded, rows
from tests.faults.churn import now_us
from tests.faults.covered import check_time
from tests.faults.scale import cases, figures
from tests.support.command import CLEAN, answer, count_samples, sockrec, wait_for_samples
from tests.support.netns import Namespace
from tests.support.short_lived import connect, listening

_INTERVAL_US = 100_000
_SECOND = 1_000_000
_MISSED = "SELECT epoch_us(not_before), epoch_us(not_after) FROM gaps WHERE why LIKE '%missed'"
# Two clocks are read one after the other, by a process that may lose its CPU in between.
_CLOSE_US = 100_000
# The recorder's clock is one clock and an anchor, ours another.
_MICROSECONDS = 1000
_STEPS = [0, 3600, -7200, 0]


class WallClock:
    """The wall clock of a recorder: see `stepping_clock.py`."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.step(0)

    def step(self, seconds: int) -> None:
        """Let it show so much more, or less, than it is."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(str(seconds))
        fresh.replace(self._file)

    def record(self, namespace: Namespace, capture: Path, *words: str) -> subprocess.Popen[str]:
        """Start a recorder on it."""
        script = str(Path(__file__).with_name("stepping_clock.py"))
        command = (
            *(sys.executable, script, str(self._file)),
            *("record", "-C", str(capture), "--interval", "100ms", *words),
        )
        return namespace.popen(*command, stderr=subprocess.PIPE, env=CLEAN)


def test_steps_of_the_wall_clock_are_noted_and_not_obeyed(netns: Namespace, tmp_path: Path) -> None:
    clock, capture = WallClock(tmp_path), tmp_path / "capture"
    opened = []
    began = now_us()
    with netns.entered(), clock.record(netns, capture) as recorder:
        try:
            wait_for_samples(capture, 1)
            for number, step in enumerate(_STEPS):
                clock.step(step)
                wait_for_samples(capture, count_samples(capture) + 1)
                before = now_us()
                with socket.create_server(("127.0.0.1", 7100 + number)):
                    after = now_us()
                    wait_for_samples(capture, count_samples(capture) + 2)
                    open_at = now_us()
                    # The sample that is being taken now is over before it closes.
                    wait_for_samples(capture, count_samples(capture) + 2)
                    opened.append((7100 + number, before, after, open_at))
            recorder.send_signal(signal.SIGINT)
            _, complaints = recorder.communicate(timeout=60)
        finally:
            recorder.kill()
    assert (recorder.returncode, complaints) == (0, "")
    ended = now_us()
    with open_catalog(capture) as catalog:
        found = check_time(catalog, _INTERVAL_US)
        spans = catalog.rows(
            "SELECT local_port, epoch_us(began_not_before), epoch_us(began_not_after), ended_as"
            " FROM listeners ORDER BY local_port"
        )
        assert catalog.rows("SELECT * FROM gaps WHERE why NOT LIKE '%missed'") == []
    assert began < found[0].began
    assert found[-1].began < ended
    noted = [round(one.step / _SECOND) for one in found]
    assert [step for place, step in enumerate(noted) if step != ([None, *noted][place])] == _STEPS
    assert all(abs(one.step - step * _SECOND) < _CLOSE_US for one, step in zip(found, noted, strict=True))
    assert [port for port, *_ in spans] == [port for port, *_ in opened]
    for (port, before, after, open_at), (_, not_before, not_after, how) in zip(opened, spans, strict=True):
        assert not_before <= after + _MICROSECONDS
        assert not_after >= before - _MICROSECONDS
        assert how == "closed"
        (start,) = answer("when", "-C", capture, "port", str(port), "started", "listening")
        assert datetime.fromisoformat(start["not_after"]).timestamp() * _SECOND >= before
        # While it was open replay shows this listener, and no other.
        shown = sockrec("replay", "-C", capture, "--at", _iso(open_at), "-ltn").stdout
        assert re.findall(r":(71\d\d)\b", shown) == [str(port)]


def test_a_recording_that_began_on_a_wrong_clock_ends_nothing(netns: Namespace, tmp_path: Path) -> None:
    """Its times are an hour off, for ever. What was open before and after it was never closed."""
    clock, capture = WallClock(tmp_path), tmp_path / "capture"
    with netns.entered(), socket.create_server(("127.0.0.1", 7100)):
        for ahead in (0, 3600, 0):
            clock.step(ahead)
            recorder = clock.record(netns, capture, "--for", "500ms")
            _, complaints = recorder.communicate(timeout=60)
            assert (recorder.returncode, complaints) == (0, "")
    done = sockrec("when", "-C", capture, "port", "7100", "stopped", "listening")
    assert (done.returncode, done.stdout) == (1, "")
    with open_catalog(capture) as catalog:
        assert catalog.rows("SELECT * FROM sockets WHERE ended_as = 'closed' AND local_port = 7100") == []
        ((count, hours),) = catalog.rows(
            "SELECT count(*), round((epoch_us(max(began_at)) - epoch_us(min(began_at))) / 3600e6)"
            " FROM samples"
        )
    assert count >= 6, "a first and a last sample each"
    assert hours == 1


def _iso(us: int) -> str:
    return datetime.fromtimestamp(us / _SECOND, UTC).isoformat()


@contextmanager
def _busy(cpu: int, count: int) -> Iterator[None]:
    """Keep a CPU busy with so many processes."""
    script = "import os, signal, time; signal.alarm(120)\nwhile True: pass"
    command = ["taskset", "-c", str(cpu), sys.executable, "-S", "-c", script]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_stopped_process_counts_what_it_missed(netns: Namespace, tmp_path: Path) -> None:
    """While it is stopped, connections come and go: every one is told, or counted as lost."""
    capture = tmp_path / "capture"
    seconds = cases(2, 30)
    with netns.entered(), listening() as listener, recorded(netns, capture, interval="100ms") as recorder:
        recorder.more_samples(3)
        os.kill(recorder.pid, signal.SIGSTOP)
        stopped = now_us()
        time.sleep(0.2)
        made = connect(listener, "127.0.0.1", 300)
        time.sleep(seconds)
        going_on = now_us()
        os.kill(recorder.pid, signal.SIGCONT)
        recorder.more_samples(5)
    with open_catalog(capture) as catalog:
        found = check_time(catalog, _INTERVAL_US)
        missed = sum(one.missed for one in found)
        gaps = catalog.rows(_MISSED)
    assert missed >= seconds * _SECOND / _INTERVAL_US
    assert any(first <= stopped + _CLOSE_US and last >= going_on for first, last in gaps)
    after = [one for one in found if one.began > going_on]
    assert len([one for one in after if one.began < going_on + 60_000]) <= 2, "no burst to catch up"
    told = {row["socket_id"] for row in rows(capture, "SELECT socket_id FROM connections")}
    expected = {cookie for one in made for cookie in (one.client, one.server)}
    (lost,) = rows(capture, "SELECT coalesce(sum(events_lost), 0)::BIGINT AS n FROM samples")
    assert len(expected - told) <= lost["n"], f"{len(expected - told)} of {len(expected)} went by untold"
    figures("stopped", seconds=seconds, ticks_missed=missed, connections=len(expected), events_lost=lost["n"])


def test_a_starved_recorder_counts_what_it_missed(netns: Namespace, tmp_path: Path) -> None:
    """It gets what two busy processes on its CPU leave to the idle: next to nothing."""
    capture = tmp_path / "capture"
    cpu = min(os.sched_getaffinity(0))
    with recorded(
        netns,
        capture,
        "--priority",
        "normal",
        interval="100ms",
        under=("taskset", "-c", str(cpu), "chrt", "--idle", "0"),
    ) as recorder:
        recorder.more_samples(3)
        with _busy(cpu, 2):
            time.sleep(cases(3, 30))
        recorder.more_samples(3)
    with open_catalog(capture) as catalog:
        found = check_time(catalog, _INTERVAL_US)
    missed = sum(one.missed for one in found)
    assert missed, "it was not starved"
    figures("starved", samples=len(found), ticks_missed=missed)
