"""What a finding says to ask next answers, and so does its SQL: on every sample capture."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.catalog.captures import Part
from tests.support import command

CAPTURES = sorted((Path(__file__).parents[2] / "sample_captures").glob("*/capture"))


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: capture.parent.name)
def test_what_to_ask_next_has_an_answer(capture: Path) -> None:
    told = command.sockrec("diagnose", "-C", capture, "--format", "json").stdout
    for one in json.loads(told or "[]"):
        asked = [shlex.split(question) for question in one["look"].split("; ")]
        for program, verb, *words in [*asked, ["sockrec", "sql", one["sql"]]]:
            done = command.sockrec(verb, "-C", capture, *words)
            assert (program, done.returncode, done.stderr) == ("sockrec", 0, ""), (one["kind"], verb, words)
            assert done.stdout.count("\n") > 1, (one["kind"], verb, words)


def test_of_a_kind_with_many_the_first_are_told(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 60)
    for number in range(13):
        part.socket(number + 1, 0, 30, "found", "closed", local_port=7000 + number, pid=50 + number)
    part.write()
    told = command.sockrec("diagnose", "-C", tmp_path).stdout
    assert told.count("stopped listening\n") == 10
    assert told.endswith("\n\nand more: 3 of listener-stopped; `--format table` has all of them\n")
    rows = json.loads(command.sockrec("diagnose", "-C", tmp_path, "--format", "json").stdout)
    assert [row["kind"] for row in rows].count("listener-stopped") == 13
