"""`python -m benchmarks [SUBJECT ...] [--quick]`: measures, and writes what was measured as Markdown."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from benchmarks import disk, events, first_sample, kept, network, questions, startup, steady
from benchmarks.report import Findings, markdown
from benchmarks.scale import FULL, QUICK, Scale
from benchmarks.timing import BenchmarkError, say

RESULTS: Final = Path(__file__).with_name("RESULTS.md")
SUBJECTS: Final[dict[str, Callable[[Scale], Findings]]] = {
    "kept": kept.run,
    "steady": steady.run,
    "first_sample": first_sample.run,
    "events": events.run,
    "network": network.run,
    "disk": disk.run,
    "questions": questions.run,
    "startup": startup.run,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run some subjects, or all; a whole run at full scale is written to RESULTS.md, any other is printed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=f"of {', '.join(SUBJECTS)}; else all")
    parser.add_argument("--quick", action="store_true", help="small sizes and few rounds, within 90 s")
    parser.add_argument("--output", type=Path, help="write there; else RESULTS.md (all, not quick) or stdout")
    options = parser.parse_args(arguments)
    if unknown := set(options.subjects) - SUBJECTS.keys():
        parser.error(f"there is no subject {', '.join(sorted(unknown))}; there are {', '.join(SUBJECTS)}")
    scale = QUICK if options.quick else FULL
    output = options.output
    if output is None and not options.subjects and not options.quick:
        output = RESULTS
    try:
        text = measure(options.subjects or list(SUBJECTS), scale)
    except BenchmarkError as error:
        sys.exit(f"benchmarks: {error}")
    if output is None:
        print(text, end="")
    else:
        output.write_text(text, encoding="utf-8")
        say(f"written to {output}")


def measure(subjects: Sequence[str], scale: Scale) -> str:
    """Run subjects one after the other and return the report."""
    began = time.monotonic()
    findings = [SUBJECTS[subject](scale) for subject in subjects]
    return markdown(findings, scale.name, time.monotonic() - began)


if __name__ == "__main__":
    main()
