"""The page of questions: each has one command, which prints what stands there; no verb is left out."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

from tests.support import console

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "questions.md"
VERBS = {
    *("diagnose", "when", "port", "lifecycle", "diff", "events", "rates", "traffic", "top", "replay", "sql"),
    *("info", "verify", "baseline"),
}


def _questions() -> dict[str, str]:
    """Return what stands below each question."""
    return dict(re.findall(r"^### (.+)\n((?:(?!^##).*\n)*)", PAGE.read_text(), re.MULTILINE))


def _anchor(heading: str) -> str:
    """Return what GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_answers_are_what_the_commands_print() -> None:
    assert PAGE.read_text() == console.fresh(PAGE), "stale: run `python -m tests.support.console` on it"


def test_there_are_fifty_each_with_one_command() -> None:
    assert len(re.findall("^### ", PAGE.read_text(), re.MULTILINE)) == len(_questions()) == 50
    for question, answer in _questions().items():
        assert answer.count("\n$ sockrec ") == answer.count("```console\n") == 1, question


def test_all_verbs_and_all_captures_are_asked() -> None:
    asked = [shlex.split(command) for command in console.commands(PAGE)]
    assert {words[1] for words in asked} == VERBS
    captures = {after for words in asked for before, after in pairwise(words) if before == "-C"}
    kept = {str(path.relative_to(ROOT)) for path in ROOT.glob("sample_captures/*/capture")}
    assert captures == kept


def test_the_contents_lead_to_every_heading() -> None:
    page = PAGE.read_text()
    links = re.findall(r"^ *- \[(.+)\]\(#(.+)\)$", page, re.MULTILINE)
    assert links == [(text, _anchor(text)) for text in re.findall(r"^##+ (.+)$", page, re.MULTILINE)]
    assert len({anchor for _, anchor in links}) == len(links)
