"""How much the fault tests try: little in `make test`, all of it in `make torture`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TypeVar

Case = TypeVar("Case")

TORTURE = "SOCKREC_TORTURE"
FIGURES = "SOCKREC_TORTURE_FIGURES"


def is_torture() -> bool:
    """Tell whether the long form is wanted: $SOCKREC_TORTURE is set to anything but 0."""
    return os.environ.get(TORTURE, "0") not in ("", "0")


def cases(short: Case, long: Case) -> Case:
    """Return how many cases to try, or which."""
    return long if is_torture() else short


def figures(name: str, **numbers: float | str) -> None:
    """Note what a test has counted, as a line of JSON in the file that $SOCKREC_TORTURE_FIGURES names."""
    path = os.environ.get(FIGURES)
    if path:
        # One write of one line: tests of several processes append to the same file.
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"test": name, **numbers}) + "\n")
