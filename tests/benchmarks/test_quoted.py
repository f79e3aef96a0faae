"""The README quotes the budgets as RESULTS.md has them, with the conditions they were measured under."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_readme_quotes_the_last_full_run() -> None:
    readme = (ROOT / "README.md").read_text()
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text()
    budgets = results.partition("## Budgets\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\|.*\|$", budgets, re.MULTILINE)
    assert len(rows) > 8
    assert "\n".join(rows) in readme
    (machine,) = re.findall(r"^Machine: .*$", results, re.MULTILINE)
    assert machine.removeprefix("Machine: ").split(". Python")[0] in readme.replace("\n", " ")
