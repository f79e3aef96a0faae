"""`record --max-size`, `--max-age`, `--ring`, `--thin-after`: a bounded disk, honestly."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sockrec.catalog import open_catalog
from sockrec.model.tables import TABLES
from sockrec.store.files import temporary
from sockrec.store.survey import survey
from tests.faults.scale import cases
from tests.support import programs
from tests.support.busy import BUSY
from tests.support.command import CLEAN, SOCKREC, answer, recording, sockrec, wait_for_samples
from tests.support.netns import Namespace

MIB = 1 << 20


def size_of(root: Path) -> int:
    """Return the bytes of all files below a folder, as they are just now."""
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(folder, name).stat().st_size
    return total


def stems(root: Path, table: str = "samples") -> list[str]:
    return sorted(path.stem for path in root.glob(f"{table}/host=*/date=*/[!.]*.parquet"))


def wait_until(root: Path, parts: int, seconds: float = 30) -> None:
    """Wait until the oldest part that is there is not among the first ones any more."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = stems(root)
        if found and int(found[0][-6:]) >= parts:
            return
        time.sleep(0.02)
    raise AssertionError(f"{root} still has {stems(root)[:3]}")


@contextmanager
def busy(netns: Namespace, pause: float) -> Iterator[subprocess.Popen[str]]:
    program = programs.start(netns, "busy", BUSY, str(pause))
    try:
        yield program
    finally:
        programs.end(program)


class Poller:
    """Watches a capture's size, and what readers see of it, while it is being recorded."""

    def __init__(self, capture: Path) -> None:
        self.most = self.polls = 0
        self.errors: list[str] = []
        self.seen: list[int] = []
        self._capture, self._over = capture, threading.Event()
        self._threads = [threading.Thread(target=run) for run in (self._measure, self._read)]

    def __enter__(self) -> Poller:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _measure(self) -> None:
        while not self._over.wait(0.005):
            self.most = max(self.most, size_of(self._capture))
            self.polls += 1

    def _read(self) -> None:
        while not self._over.wait(0.2):
            try:
                with open_catalog(self._capture) as catalog:
                    # A listener that was there all the time is never told to have closed.
                    rows = catalog.rows(
                        "SELECT count(*) FROM sockets WHERE state = 'LISTEN' AND ended_as = 'closed'"
                    )
                    self.seen.append(catalog.rows("SELECT count(*) FROM samples")[0][0])
                    if rows != [(0,)] or catalog.damages:
                        self.errors.append(f"{rows} {catalog.damages}")
            except Exception as error:  # noqa: BLE001 - whatever a reader meets
                self.errors.append(repr(error))


def test_a_capture_never_takes_more_than_its_limit(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    words = ("--max-size", "1MiB")
    with (
        busy(netns, 0.002),
        recording(netns, capture, *words, interval="50ms") as recorder,
        Poller(capture) as poller,
    ):
        # All that was there was removed several times over.
        wait_until(capture, 12, seconds=90)
        assert recorder.poll() is None
    assert recorder.returncode == 0
    assert poller.polls > 200
    assert poller.most <= MIB
    assert poller.most > MIB // 2, "room that is there is used"
    assert poller.errors == []
    assert len(poller.seen) > 10
    assert size_of(capture) <= MIB
    assert survey(capture).damages == []
    for table in ("sockets", "activity", "samples"):
        assert stems(capture, table) == stems(capture)
    done = sockrec("when", "-C", capture, "port", "7071", "stopped", "listening")
    assert done.returncode == 1, "what was removed is not recorded, never closed"
    facts = answer("info", "-C", capture)
    (removed,) = facts["removed"]
    assert removed["parts"] >= 12
    assert datetime.fromisoformat(removed["until"]) <= datetime.fromisoformat(facts["span"][0])
    done = sockrec("replay", "-C", capture, "--at", removed["until"])
    assert (done.returncode, done.stdout) == (2, "")
    assert "is before what was recorded: " in done.stderr
    assert f"removed     {removed['host']}  {removed['parts']} parts" in sockrec("info", "-C", capture).stdout


@pytest.mark.moments
def test_age_is_bounded_by_parts_and_holds_for_earlier_recordings(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    with recording(netns, capture, "--for", "500ms"):
        pass
    ended = time.monotonic()
    (earlier,) = (path.stem for path in capture.glob("recordings/*/*.json"))
    with recording(netns, capture, "--max-age", "5s") as recorder:
        while earlier in {path.stem for path in capture.glob("recordings/*/*.json")}:
            assert time.monotonic() - ended < 30
            time.sleep(0.05)
        assert time.monotonic() - ended > 3.5, "it was young enough until then"
        wait_until(capture, 2)
        (span,) = answer(
            "sql", "-C", capture, "SELECT epoch_us(now()) - epoch_us(min(began_at)) AS old FROM samples"
        )
        # Five seconds, a part of one second, and time to see to it.
        assert 5_000_000 <= span["old"] < 7_500_000
        assert recorder.poll() is None
    assert len(answer("sql", "-C", capture, "FROM recordings")) == 1
    assert answer("sql", "-C", capture, "FROM gaps WHERE why = 'not recording'") == []


@pytest.mark.moments
def test_a_ring_holds_what_it_says_and_a_part_more_at_most(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    query = "SELECT epoch_us(now()) - epoch_us(min(began_at)) AS old FROM samples"
    service = programs.start(netns, "myapp", programs.LISTENER, "10.0.0.5:7072")
    with recording(netns, capture, "--ring", "6s"):
        wait_until(capture, 2)
        for _ in range(5):
            (row,) = answer("sql", "-C", capture, query)
            assert row["old"] >= 6_000_000
            assert row["old"] < 6_000_000 + 1_200_000 + 1_000_000
            time.sleep(0.3)
    programs.end(service)
    (listener,) = answer("sql", "-C", capture, "SELECT * FROM listeners WHERE local_port = 7072")
    assert (listener["begun_as"], listener["began_not_before"]) == ("found", None)
    assert listener["program"] == "myapp"


@pytest.mark.moments
def test_older_activity_is_thinned_and_said_to_be(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    with netns.entered():
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("10.0.0.5", 7073))
    over = threading.Event()

    def send() -> None:
        while not over.wait(0.05):
            sender.sendto(b"x" * 100, ("10.0.0.5", 7073))

    sending = threading.Thread(target=send)
    sending.start()
    words = ("--ring", "10s", "--thin-after", "2s", "--no-events")
    asked = ("sql", "-C", capture, "SELECT 1 FROM samples WHERE thinned_us IS NOT NULL LIMIT 1")
    try:
        with receiver, sender, recording(netns, capture, *words) as recorder:
            until = time.monotonic() + 20
            while not answer(*asked):
                assert time.monotonic() < until
                assert recorder.poll() is None
            over.set()
            sending.join()
    finally:
        over.set()
    thinned = answer(
        "sql",
        "-C",
        capture,
        "SELECT began_at, ended_at FROM samples WHERE thinned_us = 60000000 ORDER BY began_at",
    )
    first, last = thinned[0]["began_at"], thinned[-1]["ended_at"]
    assert len(thinned) >= 3
    mine = "activity a JOIN sockets s USING (socket_id) WHERE s.local_port = 7073"
    (asked,) = answer("sql", "-C", capture, "SELECT any_value(socket_id) AS id FROM sockets "
        "WHERE local_port = 7073")  # fmt: skip
    (path, *_) = sorted(capture.glob("activity/*/*/*.parquet"))
    left = [row for row in pq.ParquetFile(path).read().to_pylist() if row["socket_id"] == asked["id"]]
    minutes = [row["read_at"].replace(second=0, microsecond=0) for row in left]
    assert sorted(set(minutes)) == sorted(minutes), "at most a row a minute"
    whole = answer(
        "sql",
        "-C",
        capture,
        f"SELECT count(DISTINCT a.read_at) AS rows FROM {mine} AND a.read_at > '{last}'",
    )
    assert whole[0]["rows"] > 2, "what is younger is whole"
    # The first sample of that time is shown with what was last read in its minute, not as empty.
    done = sockrec("replay", "-C", capture, "--at", first, "-uan")
    assert done.returncode == 0
    assert done.stderr == (
        "sockrec: of this time queues and timers were kept once in 60 s: shown as last read in it\n"
    )
    (line,) = [line.split() for line in done.stdout.splitlines() if ":7073" in line]
    same_minute = [row["recv_q"] for row in left if f"{row['read_at']:%Y-%m-%dT%H:%M}" == first[:16]]
    assert same_minute == [int(line[1])]
    assert int(line[1]) > 0
    (now,) = answer("sql", "-C", capture, f"SELECT recv_q FROM sockets_at('{first}') WHERE local_port = 7073")
    assert now["recv_q"] == int(line[1])
    assert "once in" not in sockrec("replay", "-C", capture, "--at", "end", "-uan").stderr
    (told,) = answer("info", "-C", capture)["thinned"]
    assert (told["step_us"], told["first"]) == (60_000_000, first)
    assert "thinned     " in sockrec("info", "-C", capture).stdout


# strace counts in each thread: the sealer's unlinks the journal of each part, another one, from the third
# part on, the files of the oldest.
@pytest.mark.parametrize("at", cases([1, 5, 16], [1, 3, 4, 5, 6, 7, 8, 11, 16]))
def test_killed_as_it_removes_it_goes_on_as_if_nothing_had_been(
    netns: Namespace, tmp_path: Path, at: int
) -> None:
    capture = tmp_path / "cap"
    words = ("record", "-C", str(capture), "--interval", "100ms", "--ring", "2s")
    service = programs.start(netns, "myapp", programs.LISTENER, "10.0.0.5:7072")
    traced = ("strace", "-f", "-qq", "-o", str(tmp_path / "trace"), "-e", "trace=unlink", "-e")
    kill = f"inject=unlink:signal=KILL:when={at}"
    with netns.popen(*traced, kill, SOCKREC, *words, "--for", "30s", stderr=subprocess.PIPE) as process:
        process.communicate(timeout=60)
    assert process.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
    assert survey(capture).damages == []
    half = set(stems(capture, "sockets")) - set(stems(capture))
    assert set(stems(capture)) <= set(stems(capture, "sockets"))
    done = netns.run(SOCKREC, *words, "--for", "1500ms", env=CLEAN)
    assert (done.returncode, done.stderr) == (0, "")
    programs.end(service)
    assert survey(capture).damages == []
    assert not half & {path.stem for path in capture.rglob("*.parquet")}
    for table in TABLES:
        assert set(stems(capture, table)) <= set(stems(capture)), table
    assert stems(capture, "sockets") == stems(capture)
    assert not [path for path in capture.rglob(".*") if path.is_file()], "nothing half written is left"
    done = sockrec("when", "-C", capture, "port", "7072", "stopped", "listening")
    assert done.returncode == 1, "nobody closed it"


@pytest.mark.parametrize("table", ["samples", "activity"])
def test_killed_as_it_thins_the_next_recorder_ends_it(netns: Namespace, tmp_path: Path, table: str) -> None:
    capture = tmp_path / "cap"
    service = programs.start(netns, "myapp", programs.LISTENER, "10.0.0.5:7072")
    with recording(netns, capture):
        wait_for_samples(capture, 5)
    (stem,) = stems(capture)
    words = ("record", "-C", str(capture), "--interval", "100ms", "--thin-after", "200ms", "--for", "2s")
    (rewritten,) = capture.glob(f"{table}/*/*/{stem}.parquet")
    traced = (
        "strace",
        "-f",
        "-qq",
        "-o",
        str(tmp_path / "trace"),
        "-P",
        str(temporary(rewritten)),
        "-e",
        "trace=rename",
    )
    with netns.popen(*traced, "-e", "inject=rename:signal=KILL", SOCKREC, *words) as process:
        process.wait(60)
    assert process.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
    assert b"sockrec.thinned_us" not in pq.read_metadata(rewritten).metadata
    done = sockrec("verify", "-C", capture)
    assert done.returncode == 0, done
    done = netns.run(SOCKREC, *words, env=CLEAN)
    assert (done.returncode, done.stderr) == (0, "")
    programs.end(service)
    for path in (rewritten, Path(str(rewritten).replace("/activity/", "/samples/"))):
        assert pq.read_metadata(path).metadata[b"sockrec.thinned_us"] == b"60000000"
    done = sockrec("verify", "-C", capture)
    assert done.returncode == 0, done
    assert not [path for path in capture.rglob(".*") if path.is_file()]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--max-size", "100KiB"], "--max-size leaves no room"),
        (["--max-size", "7"], "not an amount"),
        (["--max-age", "1ms"], "--max-age is too short"),
        (["--ring", "1s", "--interval", "1s"], "--ring is too short"),
        (["--ring", "10m", "--max-age", "1d"], "one or the other"),
        (["--thin-after", "yesterday"], "not a length of time"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_in_one_line(
    tmp_path: Path, words: list[str], what: str
) -> None:
    done = sockrec("record", "-C", tmp_path / "cap", *words)
    assert done.returncode == 2
    assert what in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "cap").exists()


def test_a_limit_that_this_host_does_not_fit_in_ends_it_with_a_word(netns: Namespace, tmp_path: Path) -> None:
    crowd = programs.start(netns, "crowd", programs.IDLE_PAIRS, "9000")
    command = (SOCKREC, "record", "-C", tmp_path / "cap", "--max-size", "1MiB", "--for", "30s")
    done = netns.run(*command, "--interval", "100ms", "--max-cpu", "off", env=CLEAN)
    programs.end(crowd)
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1].startswith("sockrec: stopped: what this host has now needs ")
    assert "--max-size allows 1024" in done.stderr
    assert survey(tmp_path / "cap").damages == []


def test_limits_are_among_what_was_asked_for(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    words = ("--max-size", "2GiB", "--max-age", "7d", "--thin-after", "24h")
    with recording(netns, capture, *words):
        wait_for_samples(capture, 2)
    (row,) = answer("sql", "-C", capture, "SELECT json_extract(options::JSON, ['max_bytes', 'max_age_us', "
        "'thin_after_us', 'ring_us'])::VARCHAR[] AS asked FROM recordings")  # fmt: skip
    assert row["asked"] == ["2147483648", "604800000000", "86400000000", "null"]
    assert answer("info", "-C", capture)["removed"] == []
