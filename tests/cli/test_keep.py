"""`sockrec keep`, and SIGUSR1: what a ring holds, and what follows, saved as a capture of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sockrec.store.survey import survey
from tests.faults.scale import cases
from tests.support import programs
from tests.support.command import CLEAN, SOCKREC, answer, count_samples, recording, sockrec, wait_for_samples
from tests.support.netns import Namespace

# The host is shared: neither the budget nor others must make samples fewer.
BUSY_HOST = ("--max-cpu", "off", "--priority", "normal")
RING = ("--ring", "5s", *BUSY_HOST)


@pytest.fixture(autouse=True)
def service(netns: Namespace) -> Iterator[subprocess.Popen[str]]:
    """Run something that listens: parts then have sockets and activity."""
    process = programs.start(netns, "myapp", programs.LISTENER, "10.0.0.5:7071")
    yield process
    programs.end(process)


def end(recorder: subprocess.Popen[str]) -> str:
    """End a recorder as a person does, and return what it said."""
    recorder.send_signal(signal.SIGINT)
    return recorder.communicate(timeout=30)[1]


def facts_of(kept: Path) -> list[dict[str, Any]]:
    """Return the descriptions of all recordings in a capture."""
    return [json.loads(path.read_text()) for path in sorted(kept.glob("recordings/*/*.json"))]


def wait_for_end(kept: Path, seconds: float = 20) -> dict[str, Any]:
    """Wait until a kept capture is complete, and return why it was kept."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        told = facts_of(kept)
        if told and told[-1]["kept"]["complete"]:
            return dict(told[-1]["kept"])
        time.sleep(0.05)
    raise AssertionError(f"{kept} is not complete: {facts_of(kept)}")


def span(capture: Path) -> tuple[int, int]:
    """Return when the first sample of a capture began and the last ended, in microseconds."""
    (row,) = answer(
        "sql", "-C", capture, "SELECT epoch_us(min(began_at)) AS a, epoch_us(max(ended_at)) AS b FROM samples"
    )
    return row["a"], row["b"]


def parts(capture: Path, table: str = "samples") -> set[str]:
    return {path.stem for path in capture.glob(f"{table}/host=*/date=*/[!.]*.parquet")}


def check_whole(capture: Path) -> None:
    """Check that every part has all its files, and nothing is damaged."""
    assert survey(capture).damages == []
    done = sockrec("verify", "-C", capture)
    assert done.returncode == 0, done
    for table in ("sockets", "activity"):
        assert parts(capture, table) == parts(capture)
    for part in parts(capture):
        names = {path.parts[-4] for path in capture.rglob(f"{part}.parquet")}
        assert {"samples", "sockets", "activity"} <= names
    assert not [path for path in capture.rglob(".*") if path.is_file()]


def test_a_ring_and_what_follows_are_kept_while_the_ring_goes_on(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    with recording(netns, capture, *RING):
        wait_for_samples(capture, 5)
        time.sleep(5)
        late = programs.start(netns, "late", programs.LISTENER, "10.0.0.5:7072")
        time.sleep(0.3)
        asked = time.time_ns() // 1000
        done = sockrec("keep", "-C", capture, "--reason", "port 7071 = odd <b>", "--for", "6s")
        answered = time.time_ns() // 1000
        programs.end(late)
        assert done.returncode == 0, done
        kept = Path(done.stdout.removesuffix("\n"))
        assert kept.parent == tmp_path
        assert kept.name.startswith("cap-kept-2")
        assert done.stderr.startswith("sockrec: kept what was there; what follows is added for another ")
        # The present is in it at once, and what the ring had.
        assert span(kept)[1] > asked - 1_000_000
        assert span(kept)[1] - span(kept)[0] > 4_500_000
        (row,) = answer("when", "-C", kept, "port", "7072", "started", "listening")
        assert row["program"] == "late"
        assert not facts_of(kept)[0]["kept"]["complete"]
        first = count_samples(kept)
        why = wait_for_end(kept)
        assert count_samples(kept) > first
        there = parts(kept)
        # All of what was kept goes from the ring, and the ring goes on.
        until = time.monotonic() + 20
        while parts(capture) & there:
            assert time.monotonic() < until
            time.sleep(0.1)
    check_whole(kept)
    check_whole(capture)
    assert parts(kept) == there
    assert not list(kept.glob("journal/*/*"))
    assert not list(capture.glob("journal/*/keep/*")), "nothing is left to do"
    last_us = span(kept)[1]
    assert why["reason"] == "port 7071 = odd <b>"
    assert why["by"] == {"pid": os.getpid(), "uid": 0, "program": Path("/proc/self/comm").read_text().strip()}
    assert asked <= why["asked_us"] <= answered
    assert why["of"] == str(capture)
    assert 6_000_000 <= why["until_us"] - asked <= 6_000_000 + answered - asked
    assert why["until_us"] - 1_000_000 < last_us < why["until_us"] + 1_000_000
    (told,) = facts_of(kept)
    assert (told["ended_as"], told["ended_us"]) == ("kept", why["until_us"])
    (stop,) = answer("when", "-C", kept, "port", "7072", "stopped", "listening")
    assert stop["program"] == "late"
    assert sockrec("when", "-C", kept, "port", "7071", "stopped", "listening").returncode == 1
    text = sockrec("info", "-C", kept).stdout
    assert "kept: port 7071 = odd <b>\n" in text
    assert f"by {why['by']['program']} (pid {os.getpid()}, uid 0), of {capture}\n" in text
    assert "not complete" not in text


def test_what_is_kept_costs_no_disk_while_the_original_has_it(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    with recording(netns, capture, "--ring", "1m", *BUSY_HOST):
        wait_for_samples(capture, 5)
        kept = Path(sockrec("keep", "-C", capture, "--reason", "r", "--for", "0s").stdout.strip())
        for path in kept.rglob("*.parquet"):
            assert path.stat().st_ino == (capture / path.relative_to(kept)).stat().st_ino
            assert path.stat().st_mode & 0o777 == 0o600
        assert parts(kept)
        assert facts_of(kept)[0]["kept"]["complete"]
        other = tmp_path / "elsewhere" / "mine"
        done = sockrec("keep", "-C", capture, "--reason", "r", "--for", "0s", "-o", other)
        assert done.stdout == f"{other}\n"
    check_whole(kept)
    check_whole(other)
    for folder in [kept, *(path for path in kept.rglob("*") if path.is_dir())]:
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_signal_keeps_as_long_as_the_ring_is(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    with recording(netns, capture, *RING) as recorder:
        wait_for_samples(capture, 5)
        recorder.send_signal(signal.SIGUSR1)
        sent = time.time_ns() // 1000
        until = time.monotonic() + 10
        while not (found := list(tmp_path.glob("cap-kept-*/recordings/*/*.json"))):
            assert time.monotonic() < until
            time.sleep(0.02)
        kept = found[0].parents[2]
        why = wait_for_end(kept)
        wait_for_samples(capture, 5)
        said = end(recorder)
    assert recorder.returncode == 0
    assert said == f"sockrec: keeping what is there, and what follows for 5 s, in {kept}\n"
    assert (why["reason"], why["by"]) == ("SIGUSR1", {"signal": "SIGUSR1"})
    assert 4_900_000 < why["until_us"] - sent < 6_000_000
    assert span(kept)[1] > why["until_us"] - 1_000_000
    check_whole(kept)
    assert "by SIGUSR1, of" in sockrec("info", "-C", kept).stdout


def test_each_wish_gets_a_capture_of_its_own(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    with recording(netns, capture, "--ring", "30s", *BUSY_HOST):
        wait_for_samples(capture, 5)
        command = (SOCKREC, "keep", "-C", str(capture), "--for", "2s", "--reason")
        running = [
            subprocess.Popen((*command, f"number {number}"), stdout=subprocess.PIPE, text=True, env=CLEAN)
            for number in range(4)
        ]
        kept = [Path(process.communicate(timeout=60)[0].strip()) for process in running]
        assert len(set(kept)) == 4
        reasons = [wait_for_end(path)["reason"] for path in kept]
    assert reasons == [f"number {number}" for number in range(4)]
    for path in kept:
        check_whole(path)
        assert span(path)[0] == span(kept[0])[0]


def test_without_a_ring_what_is_there_is_kept(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    with recording(netns, capture):
        wait_for_samples(capture, 5)
        done = sockrec("keep", "-C", capture, "--reason", "r")
        assert (done.returncode, done.stderr) == (0, "sockrec: kept what was there\n")
        kept = Path(done.stdout.strip())
        assert count_samples(kept) >= 5
        wait_for_samples(capture, count_samples(kept) + 3)
    check_whole(kept)
    assert facts_of(kept)[0]["kept"]["complete"]


def test_a_dead_recorders_capture_is_kept_with_its_journal(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    with recording(netns, capture, *RING) as recorder:
        wait_for_samples(capture, 15)
        recorder.kill()
    done = sockrec("keep", "-C", capture, "--reason", "it died", "--for", "10m")
    assert done.returncode == 0
    assert done.stderr == "sockrec: no recorder writes there: kept what was there\n"
    kept = Path(done.stdout.strip())
    assert count_samples(kept) == count_samples(capture) >= 15
    assert span(kept) == span(capture)
    assert {path.name for path in kept.glob("journal/*/*")} == {
        path.name for path in capture.glob("journal/*/*.journal")
    }
    # The original goes on its way; the other stays what it was.
    before = span(kept)
    with recording(netns, capture, *RING):
        wait_for_samples(capture, 5)
    assert span(kept) == before
    assert survey(kept).damages == []
    assert facts_of(kept)[-1]["ended_as"] is None
    assert sockrec("when", "-C", kept, "port", "7071", "stopped", "listening").returncode == 1
    assert "kept: it died" in sockrec("info", "-C", kept).stdout


def test_killed_while_it_keeps_the_next_recorder_ends_what_it_began(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    with recording(netns, capture, "--ring", "1m", *BUSY_HOST) as recorder:
        wait_for_samples(capture, 12)
        first = Path(sockrec("keep", "-C", capture, "--reason", "one", "--for", "15s").stdout.strip())
        time.sleep(1.5)
        recorder.kill()
    assert not facts_of(first)[-1]["kept"]["complete"]
    assert survey(first).damages == []
    assert "not complete" in sockrec("info", "-C", first).stdout
    second = Path(sockrec("keep", "-C", capture, "--reason", "two").stdout.strip())
    assert second != first
    assert span(second) == span(capture)
    before = span(first)[1]
    with recording(netns, capture, "--ring", "1m", *BUSY_HOST):
        why = wait_for_end(first, 60)
    assert why["reason"] == "one"
    check_whole(first)
    # What the dead recorder had not sealed yet, and what the next one recorded, are there too.
    assert len(facts_of(first)) == 2
    assert span(first)[1] > before + 1_000_000
    died = answer("sql", "-C", second, "SELECT number FROM samples")
    recordings = answer(
        "sql", "-C", first, "SELECT recording, count(*) AS n FROM samples GROUP BY 1 ORDER BY 1"
    )
    assert len(recordings) == 2
    assert recordings[0]["n"] >= len(died)
    assert facts_of(second)[0]["kept"]["reason"] == "two"


@pytest.mark.parametrize("at", cases([2, 5], [2, 4, 5, 6, 7]))
def test_killed_in_the_middle_of_a_part_it_is_whole_when_all_is_done(
    netns: Namespace, tmp_path: Path, at: int
) -> None:
    capture = tmp_path / "cap"
    words = ("record", "-C", str(capture), "--interval", "100ms", "--ring", "4s")
    strace = ("strace", "-f", "-qq", "-o", str(tmp_path / "trace"), "-e", "trace=linkat,link", "-e")
    kill = f"inject=linkat,link:signal=KILL:when={at}"
    with netns.popen(*strace, kill, SOCKREC, *words, "--for", "20s", stderr=subprocess.PIPE) as recorder:
        wait_for_samples(capture, 8)
        done = sockrec("keep", "-C", capture, "--reason", "r", "--for", "1s")
        # It died before it answered: then it is done without it.
        recorder.communicate(timeout=60)
    assert done.returncode == 0, done
    kept = Path(done.stdout.strip())
    assert parts(kept) <= parts(kept, "sockets")
    done = netns.run(SOCKREC, *words, "--for", "2s", env=CLEAN)
    assert done.returncode == 0
    assert survey(kept).damages == []
    assert sockrec("verify", "-C", kept).returncode == 0
    for table in ("sockets", "activity"):
        assert parts(kept, table) == parts(kept)
    assert count_samples(kept) >= 8


@pytest.mark.parametrize(
    ("words", "status", "what"),
    [
        ([], 2, "--reason"),
        (["--reason", " "], 2, "--reason must say why"),
        (["--reason", "r", "-o", "CAPTURE/inside"], 2, "lies in the capture itself"),
        (["--reason", "r", "-o", "CAPTURE/../full"], 2, "holds something already"),
        (["--reason", "r", "-o", "CAPTURE/../full/notes"], 3, "cannot write"),
        (["--reason", "r", "--for", "soon"], 2, "not a length of time"),
        (["--reason", "r", "-C", "CAPTURE/../none"], 3, "there is no capture"),
    ],
)
def test_what_can_not_be_kept_is_refused_in_one_line(
    netns: Namespace, tmp_path: Path, words: list[str], status: int, what: str
) -> None:
    capture = tmp_path / "cap"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").write_text("mine")
    with recording(netns, capture, "--for", "300ms"):
        pass
    given = [word.replace("CAPTURE", str(capture)) for word in words]
    done = sockrec("keep", *([] if "-C" in given else ["-C", str(capture)]), *given)
    assert (done.returncode, done.stdout) == (status, ""), done
    assert what in done.stderr
    assert done.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"cap", "full"}


def test_a_wish_that_somebody_else_could_have_written_is_not_done(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    wish = {"reason": "r", "output": str(tmp_path / "out"), "asked_us": 1, "for_us": 0}
    with recording(netns, capture, *RING) as recorder:
        folder = next(capture.glob("journal/*")) / "keep"
        folder.mkdir()
        (tmp_path / "out").mkdir()
        target = tmp_path / "target.json"
        target.write_text(json.dumps(wish))
        target.chmod(0o600)
        changes: list[dict[str, Any]] = [{}, {"output": "relative"}, {"for_us": -1}, {"more": 1}, {"by": 5}]
        for number, change in enumerate(changes):
            path = folder / f"{number:016x}.json"
            path.touch(0o644 if not change else 0o600)
            path.write_text(json.dumps({**wish, **change}))
        (folder / f"{7:016x}.json").symlink_to(target)
        (folder / f"{8:016x}.json").mkdir()
        os.mkfifo(folder / f"{9:016x}.json", 0o600)
        wait_for_samples(capture, 25)
        told = end(recorder).splitlines()
    assert recorder.returncode == 0
    assert list((tmp_path / "out").iterdir()) == []
    assert len(told) == 8, told
    assert sum("is not the owner's alone" in line for line in told) == 1
