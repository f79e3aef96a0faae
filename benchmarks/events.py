"""Events: what one costs from the kernel to the disk, once sockrec records them."""

from __future__ import annotations

from benchmarks.report import Budget, Findings
from benchmarks.scale import Scale
from benchmarks.timing import BenchmarkError
from sockrec.model.tables import TABLES


def run(scale: Scale) -> Findings:  # noqa: ARG001 - as every subject has it
    """Say that this budget stands open; fail once it need not."""
    if "events" in TABLES:
        raise BenchmarkError("captures have events now: measure what they cost in benchmarks/events.py")
    what = "an event (socket destroyed), kernel to disk"
    return Findings([Budget(what, "bare recv loop in Python", "≤ 3", "no events are recorded yet", None)])
