"""The reference of findings: what `diagnose` looks for, and from which numbers on."""

from __future__ import annotations

import inspect

from sockrec.query.findings import KINDS, Kind

_HEAD = """# Findings

What `sockrec diagnose` looks for, as `sockrec diagnose --list` has it. A threshold is set by `--set
KIND.THRESHOLD=NUMBER`.
"""


def page() -> str:
    """Return the page."""
    return "\n".join([_HEAD, *map(_section, KINDS)])


def _section(kind: Kind) -> str:
    lines = [f"## {kind.name}", "", inspect.getdoc(kind.find) or "", ""]
    if kind.thresholds:
        lines += ["| threshold | is | why |", "|---|---|---|"]
        lines += [f"| `{one.name}` | {one.default:g} {one.unit} | {one.why} |" for one in kind.thresholds]
    return "\n".join([*lines, ""])
