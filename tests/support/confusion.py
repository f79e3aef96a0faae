"""How right `diagnose` is: of each kind, how often it was told and should be, over all cases that judge it.

A case is a capture and what is true of it. Each test that judges one reports its verdict with its result;
the table is made of them at the end of the run, in whichever processes they ran.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from sockrec.query.findings import KINDS

KNOWN: Final = frozenset({*(kind.name for kind in KINDS), "restart-loop"})
"""The kinds that are looked for; a restart loop is found with the stops that it is made of."""

PROPERTY: Final = "verdict"
"""The property of a test's report that holds its verdict."""

BY_HAND: Final = "captures made by hand"
RECORDED: Final = "sample captures"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Kinds of one case: told rightly, not told, told wrongly, and told where that is as good as silence."""

    where: str
    right: Sequence[str] = ()
    missed: Sequence[str] = ()
    wrong: Sequence[str] = ()
    allowed: Sequence[str] = field(default=())

    def report(self) -> dict[str, Any]:
        """Return it as a report carries it from one process to another."""
        return asdict(self)

    def check(self) -> None:
        """Raise `AssertionError` unless all is told that is so, and nothing else."""
        problems = {"not told": self.missed, "told, and not so": self.wrong}
        assert not any(problems.values()), problems


Judge = Callable[[Verdict], None]


def by_kinds(where: str, told: Iterable[str], expected: Iterable[str]) -> Verdict:
    """Return the verdict on kinds alone."""
    told, expected = set(told), set(expected)
    return Verdict(
        where,
        right=sorted(told & expected),
        missed=sorted(expected - told),
        wrong=sorted(told - expected),
    )


def table(verdicts: Sequence[dict[str, Any]]) -> list[str]:
    """Return the lines of the table: a kind each, and what went wrong at its end."""
    cases = Counter(verdict["where"] for verdict in verdicts)
    lines = [
        f"{', '.join(f'{number} {where}' for where, number in sorted(cases.items()))}; in how many a kind is",
        f"{'kind':<22}{'true, told':>12}{'true, not':>12}{'false, told':>13}{'false, not':>12}",
    ]
    for kind in sorted(KNOWN):
        right, missed, wrong, allowed = (
            sum(kind in verdict[name] for verdict in verdicts)
            for name in ("right", "missed", "wrong", "allowed")
        )
        silent = sum(
            not any(kind in verdict[name] for name in ("right", "missed", "wrong", "allowed"))
            for verdict in verdicts
        )
        off = "  <--" if missed or wrong else ""
        note = f"  (allowed in {allowed})" if allowed else ""
        lines.append(f"{kind:<22}{right:>12}{missed:>12}{wrong:>13}{silent:>12}{note}{off}")
    return lines
