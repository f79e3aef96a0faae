"""All of the fault tests in their long form, and what they counted.

    python -m tests.faults [PYTEST'S ARGUMENTS]

Ends with 0 only if every test passed. How long the soak takes: $SOCKREC_TORTURE_MINUTES.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.faults.scale import FIGURES, TORTURE

_ROOT = Path(__file__).parents[2]
# The load of a host at its limit has the machine for itself, before all else runs three at a time: much of
# it waits for a clock.
_ALONE = ("tests/faults/test_load.py",)
# One by one, the longest first: none of them is what everything waits for at the end.
_LONGEST = tuple(f"tests/faults/test_{name}.py" for name in ("soak", "power_cut", "kills", "damage"))
_OTHERS = sorted(
    {str(path.relative_to(_ROOT)) for path in Path(__file__).parent.glob("test_*.py")} - {*_ALONE, *_LONGEST}
)
_TOGETHER = (
    *("-n", "3", "--dist", "load", "--maxschedchunk", "1", *_LONGEST, *_OTHERS),
    *("tests/hostile", "tests/cli/test_bounded_disk.py", "tests/cli/test_keep.py"),
    "tests/store/test_journal_damage.py",
)
# Of what many tests count the sum is told, of these the largest.
_LARGEST = ("minutes", "largest", "slowest", "memory", "descriptors", "sockets", "processes")


def table(lines: Iterable[str]) -> str:
    """Return lines of JSON (`scale.figures`) as a table: a line a name, with all that its tests counted."""
    found: dict[str, dict[str, float | str]] = {}
    for line in lines:
        numbers = json.loads(line)
        name = str(numbers.pop("test"))
        total = found.setdefault(name, {"tests": 0})
        for key, value in {"tests": 1, **numbers}.items():
            before = total.get(key)
            if before is None or isinstance(value, str) or isinstance(before, str):
                total[key] = value
            else:
                total[key] = max(before, value) if key.startswith(_LARGEST) else before + value
    width = max(map(len, found), default=0)
    return "\n".join(
        f"{name:<{width}}  "
        + ", ".join(f"{_text(value)} {key.replace('_', ' ')}" for key, value in all_.items())
        for name, all_ in found.items()
    )


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.10g}"


def main() -> int:
    """Run them, print the figures, return 0 or pytest's status."""
    runs = [tuple(sys.argv[1:])] if sys.argv[1:] else [_ALONE, _TOGETHER]
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures"
        figures.touch()
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
        surroundings = os.environ | {TORTURE: "1", FIGURES: str(figures)}
        statuses = [subprocess.call([*command, *run], cwd=_ROOT, env=surroundings) for run in runs]
        print(table(figures.read_text().splitlines()))  # noqa: T201
    return max(statuses)


if __name__ == "__main__":
    sys.exit(main())
