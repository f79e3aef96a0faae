"""Pages that the installed command wrote, and what is in them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.command import sockrec

SAMPLES = Path(__file__).parents[2] / "sample_captures"
PORT_7071 = SAMPLES / "port-7071" / "capture"
FLAGS = "-tuUwSanpW"
_PROGRAM_CUT = 19


def write_page(capture: Path, page: Path, *words: str | os.PathLike[str]) -> Path:
    """Write the page of a capture; nothing may go wrong."""
    done = sockrec("report", "-C", capture, "-o", page, *words)
    assert done.returncode == 0, done.stderr
    return page


def facts_of(page: str) -> Any:
    """Return what the page tells its script."""
    found = re.findall(r'<script type="application/json" id="facts">(.*?)</script>', page, re.DOTALL)
    assert len(found) == 1
    return json.loads(found[0])


def replayed(capture: Path, *words: str) -> list[list[str]]:
    """Return the lines of each table that `replay` prints, blanks squeezed."""
    done = sockrec("replay", "-C", capture, *words, FLAGS)
    assert done.returncode == 0, done.stderr
    tables: list[list[str]] = []
    for line in done.stdout.splitlines():
        if line.startswith("Active Internet"):
            tables.append([])
        elif not line.startswith("Proto "):
            tables[-1].append(" ".join(line.split()))
    return tables


def as_printed(cells: Sequence[str]) -> str:
    """Return a row of the page as `replay` prints it: the program cut, blanks squeezed."""
    *others, program = cells
    return " ".join(" ".join([*others, program[:_PROGRAM_CUT]]).split())
