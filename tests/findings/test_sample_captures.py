"""`diagnose` on each sample capture: what is true is told, with its time and its cause, and nothing else."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from sockrec.catalog import open_catalog
from sockrec.query.findings import Asked, Finding, diagnose
from tests.support.confusion import KNOWN, RECORDED, Judge, Verdict

SAMPLES = Path(__file__).parents[2] / "sample_captures"
FOLDERS = sorted(path.parent for path in SAMPLES.glob("*/truth.json"))


def _truth(folder: Path) -> dict[str, Any]:
    truth: dict[str, Any] = json.loads((folder / "truth.json").read_text())
    return truth


def _is(told: Finding, true: dict[str, Any]) -> bool:
    """Whether this is what is told: who, why, and when, by the scenario's own clock."""
    everything = f"{told.title}\n{told.text}\n{told.subject}"
    return (
        told.kind == true["kind"]
        and all(word in everything for word in true["about"])
        and all(word in told.text for word in true["cause"])
        and _in_time(told, *(datetime.fromisoformat(true[name]) for name in ("not_before", "not_after")))
    )


def _in_time(told: Finding, first: datetime, last: datetime) -> bool:
    """Whether an exact moment is within the true bounds, or bounds overlap them.

    Nothing here began before its recording did.
    """
    return told.not_before is not None and told.not_before <= last and first <= told.not_after


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_what_is_true_is_told_and_nothing_else(folder: Path, judge: Judge) -> None:
    truth = _truth(folder)
    with open_catalog(folder / "capture") as catalog:
        told = diagnose(Asked(catalog))
    true = truth["findings"]
    assert {one["kind"] for one in true} <= KNOWN
    right = [one for one in true if sum(_is(candidate, one) for candidate in told) == 1]
    unexplained = [one for one in told if not any(_is(one, candidate) for candidate in right)]
    judge(
        Verdict(
            RECORDED,
            right=[one["kind"] for one in right],
            missed=[one["kind"] for one in true if one not in right],
            wrong=[one.kind for one in unexplained if one.kind not in truth["allowed"]],
            allowed=[one.kind for one in unexplained if one.kind in truth["allowed"]],
        )
    )


def test_some_hosts_are_quiet() -> None:
    quiet = [folder.name for folder in FOLDERS if not _truth(folder)["findings"]]
    assert all(_truth(SAMPLES / name)["allowed"] == {} for name in quiet)
    assert len(quiet) >= 2
