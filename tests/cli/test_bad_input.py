"""Bad input is one line on stderr, the right exit status, and no harm to what was recorded."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command import answer, sockrec

SAMPLE = Path(__file__).parent.parent.parent / "sample_captures" / "port-7071" / "capture"
WHEN = ("when", "port", "7071", "stopped", "listening")


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """Give a copy of the sample capture, to be harmed."""
    return Path(shutil.copytree(SAMPLE, tmp_path / "cap"))


def _one_line(words: tuple[str, ...], status: int, says: str) -> None:
    done = sockrec(*words)
    assert (done.returncode, done.stdout) == (status, ""), done
    assert re.fullmatch(r"sockrec: [^\n]+\n", done.stderr), done.stderr
    assert re.search(says, done.stderr, re.IGNORECASE), done.stderr


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("when", "port", "0", "stopped", "listening"), 2, "port 0"),
        (("when", "port", "70000", "stopped", "listening"), 2, "70000"),
        (("port", "0"), 2, "port 0"),
        (("port", "70000"), 2, "70000"),
        (("port", "seventy"), 2, "seventy"),
        (("when", "the", "moon", "rose"), 2, "port 7071 stopped listening"),
        (("when", "port", "7071", "entered", "LIMBO"), 2, "LIMBO"),
        (("when", "port", "4444", "stopped", "listening"), 1, "7071.*recorded"),
        (("port", "4444"), 1, "7071.*recorded"),
        (("replay", "--at", "yesterdayish", "-tn"), 2, "yesterdayish"),
        (("replay", "--at", "2019-01-01T00:00:00Z", "-tn"), 2, "before what was recorded.*2026"),
        (("replay", "--at", "2039-01-01T00:00:00Z", "-tn"), 2, "2026"),
        (("replay", "-V"), 2, "not replayed"),
        (("replay", "-r"), 1, "not recorded then"),
        (("replay", "--speed", "fast", "-tn"), 2, "fast"),
        (("sql", "SELEC 1"), 2, "parse"),
        (("sql", "SELECT nothing FROM sockets"), 2, "nothing"),
        (("sql", "SELECT * FROM read_text('/etc/hostname')"), 2, "not allowed"),
        (("sql", "COPY sockets TO '/tmp/out.csv'"), 2, "not allowed"),
        (("sql", "SELECT 1", "--format", "xlsx"), 2, "xlsx"),
        (("info", "--tz", "Mars/Olympus"), 2, "Mars"),
    ],
)
def test_a_question_that_makes_no_sense(words: tuple[str, ...], status: int, says: str) -> None:
    _one_line((words[0], "-C", str(SAMPLE), *words[1:]), status, says)


@pytest.mark.parametrize(
    "verb", [WHEN, ("port", "7071"), ("replay", "-tn"), ("sql", "FROM sockets"), ("info",)]
)
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda _: None, "no capture"),
        (lambda path: path.mkdir(), "no recording|not a capture|empty"),
        (lambda path: (path.mkdir(), (path / "notes.txt").write_text("x")), "not a capture"),
        (lambda path: path.write_text("x"), "not a (capture|folder|directory)|no (folder|directory)"),
    ],
)
def test_no_capture(tmp_path: Path, make: Callable[[Path], object], says: str, verb: tuple[str, ...]) -> None:
    path = tmp_path / "cap"
    make(path)
    _one_line((verb[0], "-C", str(path), *verb[1:]), 3, says)


@pytest.mark.parametrize("harm", [lambda data: data[: len(data) // 2], lambda data: b"\xa5" * len(data)])
def test_a_damaged_segment_is_left_out_and_named(capture: Path, harm: Callable[[bytes], bytes]) -> None:
    (segment,) = capture.glob("activity/*/*/*.parquet")
    segment.write_bytes(harm(segment.read_bytes()))
    done = sockrec("when", "-C", capture, *WHEN[1:])
    assert done.returncode == 0
    assert "stopped listening at" in done.stdout
    assert done.stderr.count("\n") == 1
    assert str(segment) in done.stderr


def test_a_newer_format_asks_for_an_upgrade(capture: Path) -> None:
    (facts,) = capture.glob("recordings/*/*.json")
    facts.write_text(re.sub(r'"format_version": \d+', '"format_version": 99', facts.read_text()))
    _one_line(("info", "-C", str(capture)), 3, "99.*upgrade")


def test_reading_changes_nothing(capture: Path) -> None:
    before = {path: path.read_bytes() for path in capture.rglob("*") if path.is_file()}
    answer("sql", "-C", capture, "SELECT count(*) AS n FROM sockets")
    sockrec("replay", "-C", capture, "-tn")
    sockrec("info", "-C", capture)
    assert {path: path.read_bytes() for path in capture.rglob("*") if path.is_file()} == before
