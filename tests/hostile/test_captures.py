"""Captures made to do harm cost bounded memory and time, are refused or told of, and are never written to."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pyarrow as pa
import pytest

import sockrec as sockrec_api
from sockrec.model.tables import FORMAT_VERSION, TABLES
from sockrec.store import parquet
from sockrec.store.check_block import SINCE
from tests.catalog.captures import Part
from tests.faults.scale import cases, figures, is_torture
from tests.hostile.attacks import ATTACKS
from tests.hostile.attacks.base import column, rewrite, whole
from tests.hostile.console import many
from tests.hostile.texts import steering
from tests.support.command import sockrec

SECONDS = 30
# What a question may take, two gibibytes, and what stands beside it: a frame of a journal, a few texts.
BYTES = 3 << 30
QUESTIONS = (
    ("info",),
    ("when", "port", "7071", "stopped", "listening"),
    ("replay", "--at", "2026-11-20T10:32:02Z", "-antp"),
    ("sql", "SELECT count(*), count(DISTINCT socket_id) FROM sockets"),
    ("verify",),
    ("events",),
    ("port", "7071"),
    ("when", "pid", "4121", "stopped", "-f", "json"),
    ("replay", "--at", "2026-11-20T10:32:02Z", "--style", "ss", "-anoemipO"),
    ("replay", "--at", "2026-11-20T10:32:02Z", "-ie"),
    ("diagnose",),
    ("report", "-o", "-"),
)
# Each kind of findings is a question of its own, and so is each figure of a page.
MANY_IN_ONE = ("diagnose", "report")


def _state(folder: Path) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for path in [folder, *folder.rglob("*")]:
        facts = path.lstat()
        found[str(path)] = (facts.st_ino, facts.st_mode, facts.st_size, facts.st_mtime_ns, facts.st_nlink)
    return found


# A dozen questions of a minute each, at most, and what making the capture takes.
@pytest.mark.timeout(1800 if is_torture() else 300)
@pytest.mark.parametrize("name", list(ATTACKS)[:: cases(2, 1)])
def test_a_capture_made_to_harm(name: str, tmp_path: Path) -> None:
    capture = tmp_path / "capture"
    ATTACKS[name](capture)
    before = _state(tmp_path)
    commands = [(verb, "-C", str(capture), *words) for verb, *words in QUESTIONS[: cases(3, len(QUESTIONS))]]
    shown = many(commands, seconds=3 * SECONDS)
    figures(
        f"hostile capture {name}",
        seconds=max(one.seconds for one in shown),
        bytes=max(one.peak for one in shown),
    )
    faults = []
    for words, one in zip(commands, shown, strict=True):
        said = one.err.splitlines()
        if one.status == -signal.SIGALRM:
            faults.append(f"{words[0]}: was not done after {3 * SECONDS} s")
        elif one.status not in (0, 1, 2, 3) or not all(line.startswith(b"sockrec: ") for line in said):
            faults.append(f"{words[0]}: ended with {one.status}: {said[-1:]}")
        most = 2 * SECONDS if words[0] in MANY_IN_ONE else SECONDS
        if one.seconds > most or one.peak > BYTES:
            faults.append(f"{words[0]}: took {one.seconds:.1f} s, {one.peak >> 20} MiB")
        if steering(one.out) or steering(one.err):
            faults.append(f"{words[0]}: lets {steering(one.out) + steering(one.err)} out")
    assert faults == []
    assert _state(tmp_path) == before


def test_a_name_that_stands_for_several_files_reads_none_of_them(tmp_path: Path) -> None:
    """DuckDB takes `host=*` for all hosts: rows would come twice, as those of others."""
    capture = tmp_path / "capture"
    ATTACKS["names_of_folders"](capture)
    sql = "SELECT host, count(*) AS n FROM sockets GROUP BY host"
    done = sockrec("sql", "-C", capture, sql, "--format", "json")
    rows = {row["host"]: row["n"] for row in json.loads(done.stdout)}
    # Two rows a file: five of the six days that each host has; two folders are those of `..`.
    assert {"web-1", "..", "$HOME", "%zz", "{a,b}", "\ufffd\ufffd"} < set(rows)
    assert not {"*", "?[a-z]", "\\"} & set(rows)
    assert {host: n for host, n in rows.items() if n != 10} == {"..": 20}
    assert "host=*/date=2026-11-20" in done.stderr


def test_a_file_with_columns_of_another_type_is_left_out(tmp_path: Path) -> None:
    capture = tmp_path / "capture"
    part = whole(capture)
    part.write()
    rewrite(part, "sockets", lambda rows: column(rows, "first_seen", pa.array([b"x"] * rows.num_rows)))
    for verb in ("events", "diagnose"):
        done = sockrec(verb, "-C", capture)
        assert f"{part.path('sockets')}: has another type of first_seen: it is no file of sockets" in (
            done.stdout + done.stderr
        )
        assert done.returncode in (0, 1)
    assert "5 samples" in sockrec("info", "-C", capture).stdout


@pytest.mark.parametrize("version", [2, FORMAT_VERSION])
@pytest.mark.parametrize("what", ["another type", "no column"])
def test_verify_finds_columns_that_are_not_the_tables_and_repair_leaves_none(
    what: str, version: int, tmp_path: Path
) -> None:
    """Its checksums, of the formats that have any, are right: whoever made it made them, too."""
    capture = tmp_path / "capture"
    part = Part(capture, 0, 4, version=version)
    part.socket(1, 0, 3, "found", "closed")
    part.write()
    rows = part.tables()["sockets"]
    strange = {
        "another type": column(rows, "uid", pa.array(["x"] * rows.num_rows)),
        "no column": rows.drop_columns("uid"),
    }
    if version < SINCE:
        rewrite(part, "sockets", lambda _: strange[what])
    else:
        parquet.write(
            part.path("sockets"),
            TABLES["sockets"],
            strange[what],
            parquet.read_metadata(part.path("sockets")),
        )
    name = part.path("sockets").relative_to(capture)
    found = sockrec("verify", "-C", capture)
    assert found.returncode == 3
    assert f"{name}: has {what}" in found.stdout
    assert "1 damage;" in found.stdout
    repaired = sockrec("verify", "--repair", "-C", capture)
    assert repaired.returncode == 0
    assert re.search(
        rf"repaired: {name}: was written anew: all( 1)? rows of sockets are lost", repaired.stdout
    )
    assert sockrec("verify", "-C", capture).returncode == 0
    done = sockrec("events", "-C", capture)
    assert f"sockrec: lost: {part.path('sockets')}: is what was left" in done.stderr
    assert part.path("sockets").with_suffix(".damaged").exists()


def test_one_kind_that_can_not_be_reckoned_leaves_the_other_findings(tmp_path: Path) -> None:
    capture = tmp_path / "capture"
    ATTACKS["numbers_far_away"](capture)
    done = sockrec("diagnose", "-C", capture)
    assert done.returncode == 0
    assert "stopped listening" in done.stdout
    (left_out,) = done.stderr.splitlines()
    assert left_out.startswith(f"sockrec: left out: {capture}: clock-step is not looked for: Overflow")
    with sockrec_api.open(capture) as opened:
        opened.diagnose()
        opened.refresh()
        assert ["clock-step" in damage.what for damage in opened.damages] == [True], "told once, and for good"
