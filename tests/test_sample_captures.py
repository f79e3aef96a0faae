"""The sample captures: their answers hold the truth, and their pages show what is printed now."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import sockrec
from sockrec.catalog import open_catalog
from sockrec.errors import UsageError
from tests.support import command, console

FOLDER = Path(__file__).parents[1] / "sample_captures"
CAPTURE = FOLDER / "port-7071" / "capture"
TRUTH: list[dict[str, Any]] = json.loads((FOLDER / "port-7071" / "truth.json").read_text())["moments"]
STOPPED = "port 7071 stopped listening"
SECOND = timedelta(seconds=1)


def _when(capture: Path, question: str) -> list[dict[str, Any]]:
    with sockrec.open(capture) as opened:
        answers = opened.when(question)
        return [dict(zip(answers.columns, row, strict=True)) for row in answers.fetchall()]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _truth(what: str) -> list[dict[str, Any]]:
    return [moment for moment in TRUTH if moment["what"] == what]


def test_the_truth_is_a_crash_and_a_restart_20_seconds_later() -> None:
    assert [moment["what"].removeprefix("port 7071 ") for moment in TRUTH] == [
        "started listening",
        "stopped listening",
        "started listening",
    ]
    out = _moment(TRUTH[2]["not_before"]) - _moment(TRUTH[1]["not_after"])
    assert timedelta(seconds=20) <= out < timedelta(seconds=21)


@pytest.mark.parametrize("question", sorted({moment["what"] for moment in TRUTH}))
def test_the_answers_are_the_truth(question: str) -> None:
    answers, truth = _when(CAPTURE, question), _truth(question)
    assert len(answers) == len(truth)
    for answer, true in zip(answers, truth, strict=True):
        assert (answer["pid"], answer["program"]) == (true["pid"], true["program"])
        assert (answer["local_address"], answer["local_port"]) == ("10.0.0.5", 7071)
        if answer["not_before"] is None:  # it listened already when recording began
            assert _moment(true["not_after"]) < answer["not_after"] < _moment(true["not_after"]) + 5 * SECOND
            continue
        assert answer["exact"]
        assert _moment(true["not_before"]) <= answer["not_before"] == answer["not_after"]
        assert answer["not_after"] <= _moment(true["not_after"])


def test_stop_and_start_are_one_restart_with_its_downtime() -> None:
    (stop,) = _when(CAPTURE, STOPPED)
    assert (stop["again_pid"], stop["again_program"]) == (TRUTH[2]["pid"], "myapp")
    assert _moment(TRUTH[2]["not_before"]) <= stop["again_not_before"] == stop["again_not_after"]
    assert stop["again_not_after"] <= _moment(TRUTH[2]["not_after"])
    least = _moment(TRUTH[2]["not_before"]) - _moment(TRUTH[1]["not_after"])
    most = _moment(TRUTH[2]["not_after"]) - _moment(TRUTH[1]["not_before"])
    assert least <= stop["again_not_before"] - stop["not_after"] <= most
    with sockrec.open(CAPTURE) as capture:
        (sentence,) = capture.sentences(STOPPED)
    assert f"myapp[{TRUTH[1]['pid']}] was killed by SIGSEGV, sent by " in sentence
    assert sentence.endswith(f" later as myapp[{TRUTH[2]['pid']}]")


def test_the_installed_command_gives_the_same_answer() -> None:
    (answer,) = command.answer("when", "-C", CAPTURE, *STOPPED.split())
    (true,) = _truth(STOPPED)
    assert (answer["pid"], answer["program"]) == (true["pid"], "myapp")
    assert _moment(true["not_before"]) <= _moment(answer["not_before"]) <= _moment(true["not_after"])
    assert answer["not_after"] == answer["not_before"]
    assert answer["exact"] is True
    assert answer["restart"]["pid"] == TRUTH[2]["pid"]


def test_the_service_beside_it_never_stopped() -> None:
    assert _when(CAPTURE, "port 9100 stopped listening") == []
    with sockrec.open(CAPTURE) as capture:
        assert "metricsd" in capture.netstat(_moment(TRUTH[1]["not_after"]) + 10 * SECOND)


def test_it_is_whole_and_sealed() -> None:
    with open_catalog(CAPTURE) as catalog:
        catalog.check_files()
        assert catalog.damages == []
        assert [recording["ended_as"] for recording in catalog.recordings] == ["stopped"]
        assert catalog.survey.journals == []
        assert catalog.rows("FROM gaps") == []
        assert catalog.rows("SELECT count(*) FROM samples WHERE interval_us = 1000000")[0][0] > 60


@pytest.mark.parametrize("folder", sorted(FOLDER.glob("*/capture")), ids=lambda folder: folder.parent.name)
def test_each_is_whole_sealed_and_small(folder: Path) -> None:
    done = command.sockrec("verify", "-C", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(": whole\n")
    assert not (folder / "journal").is_dir() or not list((folder / "journal").rglob("*.journal"))
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 300_000


def test_all_are_listed_and_documented() -> None:
    listed = set(re.findall(r"\| \[([\w-]+)\]\(\1/README\.md\) \|", (FOLDER / "README.md").read_text()))
    assert listed == {path.parent.name for path in FOLDER.glob("*/capture")}
    for name in listed:
        assert {path.name for path in (FOLDER / name).iterdir()} >= {"README.md", "scenario.py", "truth.json"}


def test_it_opens_as_git_checks_it_out(tmp_path: Path) -> None:
    """Git keeps neither the modes of a private file nor folders without files; a lock means nothing here."""
    copy = tmp_path / "capture"
    shutil.copytree(CAPTURE, copy, ignore=shutil.ignore_patterns("journal"))
    for path in copy.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    done = command.sockrec("when", "-C", copy, *STOPPED.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert _when(copy, STOPPED) == _when(CAPTURE, STOPPED)


def test_asking_changes_nothing_in_it() -> None:
    before = {path: path.stat().st_mtime_ns for path in CAPTURE.rglob("*")}
    command.answer("when", "-C", CAPTURE, *STOPPED.split())
    command.sockrec("replay", "-C", CAPTURE, "-antp")
    assert {path: path.stat().st_mtime_ns for path in CAPTURE.rglob("*")} == before


@pytest.mark.parametrize("page", sorted(FOLDER.rglob("README.md")), ids=lambda page: page.parent.name)
def test_the_pages_show_what_is_printed_now(page: Path) -> None:
    assert page.read_text() == console.fresh(page), "stale: run `python -m tests.support.console` on it"


@pytest.mark.parametrize("flags", ["-tulpn", "-antpo", "-tn --wide"])
@pytest.mark.parametrize("at", ["start", "start+28s", "start+29.9s", "end"])
def test_the_api_gives_the_text_that_replay_prints(at: str, flags: str) -> None:
    printed = command.sockrec("replay", "-C", CAPTURE, "--at", at, *flags.split())
    assert printed.stdout.count("\n") > 2
    with sockrec.open(CAPTURE) as capture:
        assert capture.netstat(at, flags) == printed.stdout
        assert capture.netstat(capture.time(at), flags) == printed.stdout


def test_netstat_text_of_what_makes_no_sense_is_refused() -> None:
    with sockrec.open(CAPTURE) as capture:
        for flags in ("-x", "--nonsense"):
            with pytest.raises(UsageError):
                capture.netstat("end", flags)
        with pytest.raises(UsageError, match="time zone"):
            capture.netstat(datetime(2026, 11, 20))
        with pytest.raises(UsageError, match="after what was recorded"):
            capture.netstat("2100-01-01T00:00:00Z")
        with pytest.raises(UsageError, match="no host"):
            capture.netstat("end", host="web-9")
        assert capture.netstat(datetime(2099, 1, 1, tzinfo=UTC)) == capture.netstat("end")
