"""Names recorded for real from hostile processes: stored exactly, shown without harm, in every output."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sockrec
from tests.faults.scale import is_torture
from tests.hostile import stage
from tests.hostile.console import many, on_terminal, piped
from tests.hostile.stage import HOST, UID, USER, Recorded
from tests.hostile.texts import TEXTS, steering, stored
from tests.support.command import SOCKREC, answer

NETSTAT = ["-anp", "-anpeeo", "-apeW", "-lt", "-tulpn", "-anW"]
PROCESSES = "SELECT * FROM processes ORDER BY pid, first_seen"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Give a recording of a host on which every name is hostile."""
    return stage.record(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def stored_rows(recorded: Recorded) -> dict[str, list[dict[str, Any]]]:
    """Give what `sql --format json` prints of the tables that hold names."""
    return {
        table: answer("sql", "-C", recorded.capture, f"SELECT * FROM {table}")
        for table in ("processes", "listeners", "unix_sockets")
    }


def _rows(recorded: Recorded, sql: str) -> Any:
    return answer("sql", "-C", recorded.capture, sql)


def _raw(*words: str | Path) -> bytes:
    done = subprocess.run(words, capture_output=True, timeout=120, check=True)
    assert done.stderr == b""
    return done.stdout


# What is stored


@pytest.mark.parametrize("name", TEXTS)
def test_a_process_is_stored_as_the_kernel_told(
    recorded: Recorded, stored_rows: dict[str, list[dict[str, Any]]], name: str
) -> None:
    pid = recorded.pids[name]
    of_it = {table: [row for row in rows if row["pid"] == pid] for table, rows in stored_rows.items()}
    text = stored(TEXTS[name])
    assert of_it["processes"]
    for row in of_it["processes"]:
        assert row["argv"][0] == row["argv"][-1] == text
        assert row["comm"] == stored(stage.comm(name))
        assert row["exe"] == stored(recorded.exe)
        assert row["uid"] == (UID if name == "screen" else 0)
    (listener,) = of_it["listeners"]
    # netstat's rule: of 511 bytes, what follows the last slash if they begin with one.
    seen = stored(TEXTS[name][:511]).rpartition("/")[2] if text.startswith("/") else text
    assert (listener["local_port"], listener["program"]) == (recorded.ports[name], seen)
    assert {row["path"] for row in of_it["unix_sockets"]} == {
        "@" + stored(TEXTS[name][:90]) + "@\\xff",
        stored(stage.path(name)),
    }


def test_a_cgroup_is_stored_as_the_kernel_told(recorded: Recorded) -> None:
    (row,) = _rows(recorded, f"SELECT cgroup FROM processes WHERE pid = {recorded.pids['screen']} LIMIT 1")
    assert row["cgroup"] == "/" + stored(recorded.cgroup.rpartition(b"/")[2])


def test_the_host_is_stored_as_the_kernel_told(recorded: Recorded) -> None:
    hosts = _rows(recorded, "SELECT DISTINCT host FROM sockets UNION ALL SELECT host FROM recordings")
    assert hosts == [{"host": stored(HOST)}] * 2
    assert answer("info", "-C", recorded.capture)["hosts"] == [stored(HOST)]


def test_a_user_is_shown_by_the_recorded_name(recorded: Recorded) -> None:
    out = piped(SOCKREC, "replay", "-C", str(recorded.capture), "-atpeW", "--at", "start").out
    shown = stored(USER).replace("\x1b", "?")
    assert re.search(
        rb":\S+ +\S+ +LISTEN +%s +\d+ +%d/" % (re.escape(shown.encode()), recorded.pids["screen"]), out
    )


def test_every_format_that_is_exact_holds_the_same(recorded: Recorded) -> None:
    words = (SOCKREC, "sql", "-C", recorded.capture, PROCESSES, "-f")
    wanted = [
        (row["comm"], row["argv"], row["exe"], row["cgroup"]) for row in json.loads(_raw(*words, "json"))
    ]
    assert len(wanted) >= len(TEXTS)

    def told(rows: list[dict[str, Any]]) -> list[Any]:
        return [(row["comm"], row["argv"], row["exe"], row["cgroup"]) for row in rows]

    assert told([json.loads(line) for line in _raw(*words, "jsonl").splitlines()]) == wanted
    assert told(pq.read_table(io.BytesIO(_raw(*words, "parquet"))).to_pylist()) == wanted
    assert told(pa.ipc.open_stream(_raw(*words, "arrow")).read_all().to_pylist()) == wanted
    (segment,) = recorded.capture.glob("processes/*/*/*.parquet")
    assert sorted(told(pq.ParquetFile(segment).read().to_pylist())) == sorted(wanted)
    with sockrec.open(recorded.capture) as capture:
        relation = capture.sql("SELECT comm, argv, exe, cgroup FROM processes ORDER BY pid, first_seen")
        assert relation.fetchall() == wanted


# What is shown


def _outputs(recorded: Recorded) -> Iterator[tuple[str, ...]]:
    port = str(recorded.ports["hyperlink"])
    for flags in NETSTAT:
        yield ("replay", flags, "--at", "start")
    yield ("replay", "-tp", "--from", "start", "--to", "end", "--speed", "max")
    for format_ in ("table", "csv", "json", "jsonl", "markdown"):
        yield ("sql", PROCESSES, "-f", format_)
        yield ("sql", "SELECT * FROM unix_sockets", "-f", format_)
        yield ("sql", 'SELECT program AS "\x1b[1m=\u202e" FROM listeners', "-f", format_)
        yield ("when", "port", port, "stopped", "listening", "-f", format_)
        yield ("port", port, "-f", format_)
        yield ("events", "-f", format_)
    yield ("when", "port", port, "stopped", "listening")
    yield ("when", "pid", str(recorded.pids["sum"]), "stopped")
    yield ("port", port)
    yield ("events",)
    yield ("info",)
    yield ("info", "-f", "json")


def test_no_output_steers_a_terminal(recorded: Recorded) -> None:
    outputs = [(words[0], "-C", str(recorded.capture), *words[1:]) for words in _outputs(recorded)]
    for words, shown in zip(outputs, many(outputs), strict=True):
        assert (shown.status, steering(shown.out), steering(shown.err)) == (0, [], []), words
        # netstat cuts names inside of a character too.
        assert words[0] == "replay" or shown.out.decode(), words


def test_a_terminal_gets_what_a_pipe_gets(recorded: Recorded) -> None:
    outputs = list(_outputs(recorded))
    verbs = {words[0]: words for words in outputs}
    for words in outputs if is_torture() else verbs.values():
        command = [SOCKREC, words[0], "-C", str(recorded.capture), *words[1:]]
        shown, seen = piped(*command), on_terminal(*command)
        assert (seen.status, steering(seen.out)) == (0, []), words
        # What is said on stderr stands beside it.
        lines = set(seen.out.splitlines())
        assert [line for line in shown.out.splitlines() if line not in lines] == [], words


def test_what_is_shown_names_the_text(recorded: Recorded) -> None:
    """Nothing is left out to make it safe: the characters are there, as escapes."""
    port = str(recorded.ports["hyperlink"])
    out = piped(SOCKREC, "when", "-C", str(recorded.capture), "port", port, "stopped", "listening").out
    assert rb"\x1b]8;;http://evil.example/\x1b\click" in out
    assert b"SIGKILL" in out
    out = piped(SOCKREC, "events", "-C", str(recorded.capture)).out
    assert b"+1+cmd|" in out
    assert b"SIGTERM" in out


def test_netstats_rows_stay_rows(recorded: Recorded) -> None:
    """A name that looks like a row makes none, and each socket's row is as long as netstat's."""
    out = piped(SOCKREC, "replay", "-C", str(recorded.capture), "-ltnp", "--at", "start").out
    lines = out.splitlines()
    assert len(lines) == 2 + len(TEXTS)
    assert {line.split()[3] for line in lines[2:]} == {
        f"127.0.0.1:{port}".encode() for port in recorded.ports.values()
    }
    assert all(line.startswith(b"tcp        0      0 127.0.0.1:2") for line in lines[2:])
    assert {len(line) for line in lines[2:]} == {80 + 20}
    assert b"sshd" not in out


def test_markdown_has_one_line_for_each_row(recorded: Recorded) -> None:
    counted = len(_rows(recorded, PROCESSES))
    out = _raw(SOCKREC, "sql", "-C", recorded.capture, PROCESSES, "-f", "markdown")
    assert len(out.splitlines()) == 2 + counted


def test_csv_holds_no_formula(recorded: Recorded) -> None:
    out = _raw(SOCKREC, "sql", "-C", recorded.capture, PROCESSES, "-f", "csv").decode()
    csv.field_size_limit(1 << 20)
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert len(rows) == len(_rows(recorded, PROCESSES))
    cells = [cell for row in rows for cell in row.values()]
    assert any(cell.startswith("'=HYPERLINK") for cell in cells)
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_the_python_api_gives_text_without_harm(recorded: Recorded) -> None:
    with sockrec.open(recorded.capture) as capture:
        for flags in NETSTAT:
            assert steering(capture.netstat("start", flags).encode()) == []
        (sentence,) = capture.sentences(f"port {recorded.ports['hyperlink']} stopped listening")
        assert steering(sentence.encode()) == []


# What is said


def test_the_recorder_says_nothing_that_steers(recorded: Recorded) -> None:
    assert steering(recorded.err) == []


STEERING = "\x1b]0;x\x07\x9b1m\u202e\n"


ERRORS: list[tuple[str, ...]] = [
    ("info", "-C", f"/tmp/{STEERING}"),
    ("when", "-C", "CAPTURE", "port", STEERING, "stopped"),
    ("when", "-C", "CAPTURE", "port", "1", STEERING, "listening"),
    ("when", "-C", "CAPTURE", STEERING),
    ("when", "-C", "CAPTURE", "peer", STEERING, "connected"),
    ("port", "-C", "CAPTURE", STEERING),
    ("events", "-C", "CAPTURE", "--peer", STEERING),
    ("events", "-C", "CAPTURE", "--kind", STEERING),
    ("events", "-C", "CAPTURE", "--from", STEERING),
    ("replay", "-C", "CAPTURE", "--at", STEERING),
    ("replay", "-C", "CAPTURE", "--speed", STEERING, "--from", "start"),
    ("replay", "-C", "CAPTURE", "--host", STEERING),
    ("replay", "-C", "CAPTURE", f"-{STEERING}"),
    ("replay", "-C", "CAPTURE", f"--{STEERING}"),
    ("info", "-C", "CAPTURE", "--tz", STEERING),
    ("info", "-C", "CAPTURE", "-f", STEERING),
    ("sql", "-C", "CAPTURE", f'SELECT "{STEERING}"'),
    ("sql", "-C", "CAPTURE", f'FROM "{STEERING}"'),
    ("sql", "-C", "CAPTURE", f"SELECT '{STEERING}'::INT"),
    ("sql", "-C", "CAPTURE", STEERING),
    ("sql", "-C", "CAPTURE", "SELECT argv[1]::INT FROM processes WHERE argv[1] LIKE '%8;;%'"),
    ("sql", "-C", "CAPTURE", "SELECT error(path) FROM unix_sockets WHERE path LIKE '%]52;%'"),
    ("sql", "-C", "CAPTURE", "SELECT 1", "-f", STEERING),
    ("record", "--interval", STEERING),
    ("record", "--max-cpu", STEERING),
    ("record", "--", f"/nowhere/{STEERING}"),
    (STEERING,),
    (f"--{STEERING}",),
]


def test_errors_quote_without_harm(recorded: Recorded) -> None:
    commands = [[str(recorded.capture) if word == "CAPTURE" else word for word in words] for words in ERRORS]
    for words, shown in zip(commands, many(commands), strict=True):
        assert (shown.status in (2, 3), shown.out) == (True, b""), (words, shown)
        assert steering(shown.err) == [], (words, shown.err)
        assert all(line.startswith(b"sockrec: ") for line in shown.err.splitlines()), words


def test_damage_is_named_without_harm(recorded: Recorded, tmp_path: Path) -> None:
    (segment,) = recorded.capture.glob("activity/*/*/*.parquet")
    folder = tmp_path / f"cap{STEERING}"
    subprocess.run(["cp", "-a", recorded.capture, folder], check=True)
    bad = folder / segment.relative_to(recorded.capture).with_name(f"{STEERING}.parquet")
    bad.write_bytes(b"x" * 100)
    command = (SOCKREC, "info", "-C", str(folder))
    for shown in (piped(*command), on_terminal(*command)):
        assert shown.status in (0, 3)
        assert (steering(shown.out), steering(shown.err)) == ([], [])
        assert b"is not a Parquet file" in shown.out + shown.err
