"""The table of what `diagnose` tells counts what is right, and what is not fails the test that judged it."""

from __future__ import annotations

import pytest

from tests.support.confusion import BY_HAND, RECORDED, Verdict, by_kinds, table


def _row(lines: list[str], kind: str) -> list[str]:
    (line,) = (line for line in lines if line.startswith(f"{kind} "))
    return line.split()[1:]


def test_each_case_counts_once_for_each_kind() -> None:
    verdicts = [
        by_kinds(BY_HAND, told=["unread"], expected=["unread"]),
        by_kinds(BY_HAND, told=[], expected=[]),
        by_kinds(BY_HAND, told=["unread", "unread"], expected=["gap"]),
        Verdict(RECORDED, right=["gap"], allowed=["unread"]),
    ]
    lines = table([verdict.report() for verdict in verdicts])
    assert lines[0].startswith("3 captures made by hand, 1 sample captures;")
    assert _row(lines, "unread") == ["1", "0", "1", "1", "(allowed", "in", "1)", "<--"]
    assert _row(lines, "gap") == ["1", "1", "0", "2", "<--"]
    assert _row(lines, "clock-step") == ["0", "0", "0", "4"]


@pytest.mark.parametrize(("told", "expected"), [([], ["gap"]), (["gap"], []), (["gap"], ["unread"])])
def test_what_is_off_the_diagonal_fails(told: list[str], expected: list[str]) -> None:
    with pytest.raises(AssertionError, match="gap"):
        by_kinds(BY_HAND, told, expected).check()


def test_what_is_on_it_does_not() -> None:
    by_kinds(BY_HAND, ["gap"], ["gap"]).check()
    Verdict(RECORDED, allowed=["unread"]).check()
