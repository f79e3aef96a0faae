"""The verbs that read, as programs: stdout is data, stderr is one line, the status says which."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.catalog.captures import Part
from tests.support.command import sockrec

_SOCKREC = [sys.executable, "-c", "from sockrec.cli import main; main()"]


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a capture of a crash and a restart."""
    root = tmp_path_factory.mktemp("capture")
    part = Part(root, 0, 30)
    part.socket(1, 0, 9, "found", "closed", program="my\x1b[31mapp")
    part.socket(2, 29, 30, "opened", "stopped", pid=4377)
    part.socket(3, 0, 30, "found", "stopped", local_port=22, pid=10, program="=sshd")
    part.connection(11, 2, 4)
    part.connection(12, 2, 4, family="inet6", local_address="::1", remote_address="::1")
    part.active(1, 5, recv_q=9, backlog_limit=128)
    part.write()
    return root


def _run(*words: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return sockrec(*words, stdin=text)


def _failed(status: int, *words: str | Path) -> str:
    done = _run(*words)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith("sockrec: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_when_in_words(capture: Path) -> None:
    for words in (("did", "port", "7071", "stop", "listening?"), ("port 7071 stopped listening",)):
        done = _run("when", "-C", capture, *words)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == (
            "port 7071 (tcp 10.0.0.5:7071) stopped listening between 10:32:09.000 and 10:32:10.010 UTC "
            "on 2026-11-20 (1.01 s; by sample): my\\x1b[31mapp[4121]; "
            "listening again 18 s to 20 s later as myapp[4377]\n"
        )


def test_when_in_another_time_zone(capture: Path) -> None:
    done = _run("when", "-C", capture, "--tz", "Asia/Kolkata", "port 7071 started listening")
    assert done.stdout == (
        "port 7071 (tcp 10.0.0.5:7071) was listening already at 16:02:00.010 +05:30 on 2026-11-20, "
        "when recording began: my\\x1b[31mapp[4121]\n"
        "port 7071 (tcp 10.0.0.5:7071) started listening between 16:02:28.000 and 16:02:29.010 +05:30 "
        "on 2026-11-20 (1.01 s; by sample): myapp[4377]\n"
    )


def test_when_of_connections_in_words(capture: Path) -> None:
    done = _run("when", "-C", capture, "port 7071 closed")
    assert done.stdout.splitlines()[1] == (
        "connection tcp [::1]:7071 - [::1]:40012 closed between 10:32:04.000 and 10:32:05.010 UTC "
        "on 2026-11-20 (1.01 s; by sample): myapp[4121]"
    )


def test_when_as_json(capture: Path) -> None:
    done = _run("when", "-C", capture, "port", "7071", "stopped", "listening", "--format", "json")
    assert json.loads(done.stdout) == [
        {
            "protocol": "tcp",
            "local_address": "10.0.0.5",
            "local_port": 7071,
            "remote_address": "0.0.0.0",
            "remote_port": 0,
            "pid": 4121,
            "program": "my\x1b[31mapp",
            "state": "LISTEN",
            "not_before": "2026-11-20T10:32:09.000000Z",
            "not_after": "2026-11-20T10:32:10.010000Z",
            "exact": False,
            "evidence": "sample",
            "cause": None,
            "host": "web-1",
            "restart": {
                "not_before": "2026-11-20T10:32:28.000000Z",
                "not_after": "2026-11-20T10:32:29.010000Z",
                "pid": 4377,
                "program": "myapp",
            },
        }
    ]
    started = json.loads(_run("when", "-C", capture, "port 7071 started listening", "-f", "json").stdout)
    assert [(answer["not_before"], answer["restart"]) for answer in started] == [
        (None, None),
        ("2026-11-20T10:32:28.000000Z", None),
    ]


@pytest.mark.parametrize("name", ["jsonl", "csv", "table", "markdown"])
def test_other_formats_have_a_line_for_each_answer(capture: Path, name: str) -> None:
    for words in (["when", "port 7071 started listening"], ["port", "22"]):
        done = _run(*words, "-C", capture, "-f", name)
        assert done.returncode == 0
        assert len(done.stdout.splitlines()) == 2 + {"jsonl": 0, "markdown": 2}.get(name, 1)
        assert "\x1b" not in done.stdout


def test_nothing_matched_says_what_was_recorded(capture: Path) -> None:
    said = _failed(1, "when", "-C", capture, "port 9 stopped listening")
    assert "ports that listened: 22, 7071" in said
    assert "2026-11-20 10:32:00.000 to 10:32:30.010+00:00, 31 samples of web-1" in said
    said = _failed(1, "when", "-C", capture, "port 22 stopped listening")
    assert "was listening already when recording began and still when recording stopped" in said
    assert "ports that listened: 22, 7071" in _failed(1, "port", "-C", capture, "9")
    assert "nobody listened on port 7071/udp; " in _failed(1, "port", "-C", capture, "7071/udp")
    assert "ask 'port 22 started listening'" in _failed(1, "when", "-C", capture, "port 22 opened")


def test_port_in_words(capture: Path) -> None:
    done = _run("port", "-C", capture, "7071")
    assert done.stdout == (
        "port 7071 on web-1, 2026-11-20 (times in UTC)\n"
        "  10:32:00.010                 tcp 10.0.0.5:7071  was listening already, when recording began: "
        "my\\x1b[31mapp[4121]\n"
        "  10:32:09.000 - 10:32:10.010  tcp 10.0.0.5:7071  stopped listening: my\\x1b[31mapp[4121]\n"
        "                               1 connection, at most 1 at once; "
        "at most 9 waiting for accept (limit 128)\n"
        "                               listening again 18 s to 20 s later as myapp[4377]\n"
        "  10:32:28.000 - 10:32:29.010  tcp 10.0.0.5:7071  started listening: myapp[4377]\n"
        "  10:32:30.000                 tcp 10.0.0.5:7071  still listening, when recording stopped: "
        "myapp[4377]\n"
        "                               0 connections\n"
    )


def test_what_a_port_did_stands_in_one_column(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 30)
    part.socket(1, 0, 9, "found", "closed", local_address="127.0.0.1")
    part.socket(2, 15, 30, "opened", "stopped", local_address="0.0.0.0")
    part.write()
    done = _run("port", "-C", tmp_path, "7071")
    shown = [re.search("(was|started|stopped|still) listening", line) for line in done.stdout.splitlines()]
    places = [match.start() for match in shown if match]
    assert places == [max(places)] * 4


def test_who_never_got_a_connection_is_told_so(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 30)
    part.connection(1, 2, 9, local_port=50_000, remote_address="192.0.2.10", state="SYN_SENT")
    part.connection(
        2, 4, 30, "opened", "stopped", local_port=50_001, remote_address="192.0.2.10", state="SYN_SENT"
    )
    part.write()
    said = _failed(1, "when", "-C", tmp_path, "peer 192.0.2.10 connected")
    assert "2 connections of it were recorded, 1 of them open to the end, 2 of them never established" in said
    said = _failed(1, "when", "-C", tmp_path, "peer 192.0.2.11 connected")
    assert "; no connection of it was recorded; " in said


def test_info(capture: Path) -> None:
    done = _run("info", "-C", capture)
    assert done.returncode == 0
    assert re.search(r"^tables +sockets +5 rows +\S+ kB +1 file$", done.stdout, re.MULTILINE)
    for piece in ("web-1", "31, 1 ms of CPU each", "Linux 6.18.0", "every 1 s", "20261120T103200-aaaa"):
        assert piece in done.stdout
    facts = json.loads(_run("info", "-C", capture, "--format", "json").stdout)
    assert facts["span"] == ["2026-11-20T10:32:00.000000Z", "2026-11-20T10:32:30.010000Z"]


def test_info_names_the_capture_as_it_was_named(capture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(capture.parent)
    assert _run("info", "-C", capture.name).stdout.startswith(f"capture     {capture.name}\n")
    facts = json.loads(_run("info", "-C", capture.name, "--format", "json").stdout)
    assert facts["capture"] == str(capture)


def test_sql_formats(capture: Path) -> None:
    sql = "SELECT local_port, program FROM listeners ORDER BY began_not_after, local_port LIMIT 1"
    assert _run("sql", "-C", capture, sql).stdout == "local_port  program\n        22  =sshd\n"
    assert _run("sql", "-C", capture, sql, "-f", "csv").stdout == "local_port,program\n22,'=sshd\n"
    assert json.loads(_run("sql", "-C", capture, "-", "-f", "json", text=sql).stdout) == [
        {"local_port": 22, "program": "=sshd"}
    ]


def test_sql_as_arrow_and_parquet(capture: Path) -> None:
    for name in ("arrow", "parquet"):
        done = subprocess.run(
            [*_SOCKREC, "sql", "-C", capture, "FROM samples ORDER BY number", "-f", name],
            capture_output=True,
            check=True,
        )
        source = io.BytesIO(done.stdout)
        table = pa.ipc.open_stream(source).read_all() if name == "arrow" else pq.read_table(source)
        assert table["number"].to_pylist() == list(range(31))
        assert done.stderr == b""


def test_binary_formats_are_kept_from_terminals(capture: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [*_SOCKREC, "sql", "-C", capture, "SELECT 1", "-f", "parquet"],
            stdout=theirs,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert done.returncode == 2
        assert "terminal" in done.stderr
    finally:
        os.close(theirs)
        os.close(ours)


def test_sql_schema_needs_no_capture() -> None:
    done = _run("sql", "--schema", "-C", "/nowhere")
    assert done.returncode == 0
    assert "sockets_at(t): one socket" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["when", "port 0 stopped listening"],
        ["when", "port 70000 stopped listening"],
        ["when", "port 7071 danced"],
        ["when", "port 7071 stopped listening", "-f", "xml"],
        ["when", "port 7071 stopped listening", "--tz", "Mars/Base"],
        ["port", "0"],
        ["port", "70000"],
        ["port", "http"],
        ["sql", "SELEC 1"],
        ["sql", "SELECT nope FROM sockets"],
        ["sql", "SELECT 'x'::INT"],
        ["sql", "DROP VIEW sockets"],
        ["sql", "SELECT 1", "-f", "xml"],
        ["sql", "SELECT 1 AS a, 2 AS a", "-f", "json"],
        ["sql"],
        ["info", "-f", "csv"],
    ],
)
def test_wrong_requests_are_one_line_and_status_2(capture: Path, words: list[str]) -> None:
    _failed(2, *words, "-C", capture)


@pytest.mark.parametrize("words", [["when", "port 1 stopped"], ["port", "1"], ["sql", "SELECT 1"], ["info"]])
def test_no_capture_is_status_3(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    for path in ("nowhere", "empty", "other", "other/file"):
        _failed(3, *words, "-C", tmp_path / path)


def test_damage_is_told_on_stderr_and_the_rest_answered(tmp_path: Path) -> None:
    for number in range(2):
        part = Part(tmp_path, 10 * number, 10 * number + 9, part=number)
        part.socket(number, 10 * number + 1, 10 * number + 5)
        part.write()
    part.path("sockets").write_bytes(b"garbage")
    for words in (
        ["when", "port 7071 stopped listening"],
        ["port", "7071"],
        ["sql", "FROM listeners"],
        ["info"],
    ):
        done = _run(*words, "-C", tmp_path)
        assert done.returncode == 0
        assert done.stdout
        assert done.stderr.count("\n") == 1
        assert str(part.path("sockets")) in done.stderr
    done = _run("when", "port 80 stopped listening", "-C", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 2)


def test_rows_are_printed_as_they_come_and_a_closed_pipe_is_no_error(capture: Path) -> None:
    process = subprocess.Popen(
        [*_SOCKREC, "sql", "-C", capture, "SELECT range AS x FROM range(3000000000)", "-f", "csv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stderr
    assert [process.stdout.readline() for _ in range(3)] == ["x\n", "0\n", "1\n"]
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(20) == 0


def _damaged_late(root: Path) -> Path:
    """Make a capture whose second file of activity is damaged inside."""
    for number in range(2):
        part = Part(root, 10 * number, 10 * number + 9, part=number)
        for at in range(20_000):
            part.active(1, 10 * number + at / 2500, recv_q=at)
        part.write()
    path = part.path("activity")
    meta = pq.read_metadata(path)
    names = [meta.schema.column(place).path for place in range(meta.num_columns)]
    chunk = meta.row_group(meta.num_row_groups - 1).column(names.index("recv_q"))
    with path.open("r+b") as file:
        file.seek(chunk.dictionary_page_offset or chunk.data_page_offset)
        file.write(b"\xff" * chunk.total_compressed_size)
    return path


def test_damage_met_after_rows_were_printed_is_an_error_unless_checked_first(tmp_path: Path) -> None:
    path = _damaged_late(tmp_path)
    sql = ["sql", "-C", str(tmp_path), "SELECT recv_q FROM activity", "-f", "csv"]
    done = _run(*sql)
    # DuckDB reads ahead: the damage may show before the first row is out, and the answer is then whole.
    if done.returncode == 0:
        assert len(done.stdout.splitlines()) == 20_001
    else:
        assert done.returncode == 3
        assert "--check" in done.stderr
        assert 1 < len(done.stdout.splitlines()) < 40_000
    assert str(path) in done.stderr
    done = _run(*sql, "--check")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 20_001
    assert str(path) in done.stderr
