"""What a finding says to ask next answers, and so does its SQL: on every sample capture."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

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
