"""What the pages of docs/ show is what the commands print, and their Python runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import console

ROOT = Path(__file__).parents[2]
# The questions have tests of their own.
PAGES = [page for page in sorted(ROOT.glob("docs/**/*.md")) if page.name != "questions.md"]
SHOWN = [page for page in PAGES if console.commands(page)]
CODE = {
    page: code
    for page in ROOT.glob("docs/how-to/*.md")
    if (code := re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
}


def test_the_tutorial_and_most_how_tos_show_real_output() -> None:
    assert ROOT / "docs" / "tutorial.md" in SHOWN
    assert len(SHOWN) > 4


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.stem)
def test_the_output_shown_is_real(page: Path) -> None:
    assert page.read_text() == console.fresh(page), "stale: run `python -m tests.support.console` on it"


@pytest.mark.parametrize("page", CODE, ids=lambda page: page.stem)
def test_the_python_shown_runs(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PLOTLY_RENDERER", "json")
    for code in CODE[page]:
        exec(compile(code, str(page), "exec"), {})  # noqa: S102 - our own page, as a reader would run it
    told = capsys.readouterr().out
    if page.stem == "write-a-finding":
        assert "critical port 8080 is open to everybody" in told
    assert told.strip()


def test_every_command_that_is_named_exists() -> None:
    known = {path.stem for path in ROOT.glob("src/sockrec/cli/[a-z]*.py")}
    for page in PAGES:
        lines = re.findall(
            r"^ {4}(?:sudo )?sockrec ([a-z]+)|`sockrec ([a-z]+)", page.read_text(), re.MULTILINE
        )
        assert {first or second for first, second in lines} <= known, page
