"""Every notebook runs, and shows what it would show if it were run now."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.notebooks.execution import NOTEBOOKS, REPOSITORY, executed, read

_STALE = "the stored outputs are not what the notebook gives now: run `python -m tests.notebooks`"

# A program file of the host that was broken into, not of the one that the notebook ran on.
_IN_A_CAPTURE = "/tmp/.cache/kworker"


def _code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_is_a_notebook_for_each_story() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        "01-port-7071",
        "02-slow-service",
        "03-broken-into",
        "04-capacity",
        "05-your-own-questions",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_and_shows_what_is_stored(path: Path) -> None:
    stored, fresh = read(path), executed(path)
    for before, now in zip(_code(stored), _code(fresh), strict=True):
        assert before.outputs == now.outputs, f"{path.name}, cell {now.id}: {_STALE}"
        assert before.execution_count == now.execution_count
    assert any(
        "application/vnd.plotly.v1+json" in output.get("data", {})
        for cell in _code(fresh)
        for output in cell.outputs
    ), "no plot is shown"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_uses_the_public_api_only(path: Path) -> None:
    for cell in _code(read(path)):
        imported = re.findall(r"^\s*(?:import|from)\s+(sockrec[\w.]*)", cell.source, re.MULTILINE)
        assert set(imported) <= {"sockrec", "sockrec.plots"}
        assert not re.search(r"\._(?!_)\w|^[!%]", cell.source, re.MULTILINE)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_holds_nothing_of_the_machine_it_ran_on(path: Path) -> None:
    text = path.read_text().replace(_IN_A_CAPTURE, "")
    assert str(REPOSITORY) not in text
    assert not re.search(r"/(?:home|root|tmp)/", text)
    assert '"execution":' not in text
