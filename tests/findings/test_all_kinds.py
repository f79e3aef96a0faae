"""No kind of finding is without a case that shows it."""

from __future__ import annotations

from sockrec.query.findings import KINDS
from tests.findings import test_crowds, test_kinds

CASES = (*test_kinds.SHOWN, *test_crowds.SHOWN)


def test_every_kind_is_shown_and_some_cases_show_nothing() -> None:
    shown = {name for _, expected in CASES for name in expected}
    assert shown == {*(kind.name for kind in KINDS), "restart-loop"}
    assert sum(not expected for _, expected in CASES) >= len(KINDS) // 2
