"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings

from tests.support import confusion
from tests.support.netns import Namespace

# Everybody's own runs look for new examples; CI runs the same ones each time.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture
def netns() -> Iterator[Namespace]:
    """Give a fresh network namespace with 10.0.0.5/24 on its loopback."""
    with Namespace() as namespace:
        yield namespace


@pytest.fixture
def judge(record_property: Callable[[str, object], None]) -> confusion.Judge:
    """Give what counts a verdict on `diagnose` in the table at the end of the run, and fails a bad one."""

    def judged(verdict: confusion.Verdict) -> None:
        record_property(confusion.PROPERTY, verdict.report())
        verdict.check()

    return judged


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show how right `diagnose` was, if anything judged it."""
    verdicts = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
        if name == confusion.PROPERTY
    ]
    if verdicts:
        terminalreporter.section("what diagnose tells")
        for line in confusion.table(verdicts):
            terminalreporter.write_line(line)
