"""What was measured, as Markdown: the budgets first, then every table."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Budget:
    """One budget of the design: what, with what it is compared, the limit, what was measured.

    `met` is None where there is nothing to measure; `measured` then says why.
    """

    what: str
    compared_with: str
    limit: str
    measured: str
    met: bool | None


@dataclass(frozen=True, slots=True)
class Table:
    """A table, with what has to be known to read it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(slots=True)
class Findings:
    """What one subject found."""

    budgets: list[Budget] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


def markdown(findings: Sequence[Findings], scale: str, seconds: float) -> str:
    """Return the whole report."""
    budgets = [budget for found in findings for budget in found.budgets]
    words = {True: "yes", False: "**no**", None: "–"}
    rows = [
        (budget.what, budget.compared_with, budget.limit, budget.measured, words[budget.met])
        for budget in budgets
    ]
    parts = ["# What it costs\n", _conditions(scale, seconds)]
    if rows:
        parts.append(_table(Table("Budgets", ("what", "compared with", "must be", "measured", "met"), rows)))
    parts += [_table(table) for found in findings for table in found.tables]
    return "\n".join(parts)


def _table(table: Table) -> str:
    lines = [f"## {table.title}\n"]
    if table.note:
        lines.append(f"{table.note}\n")
    lines.append(f"| {' | '.join(table.columns)} |")
    lines.append("|" + "---|" * len(table.columns))
    lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in table.rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _conditions(scale: str, seconds: float) -> str:
    packages = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("sockrec", "numpy", "pyarrow", "duckdb")
    )
    lines = [
        f"Measured by `make bench` on {datetime.now(UTC):%Y-%m-%d}, {scale} run of {seconds / 60:.1f} "
        "minutes, in private network and PID namespaces.",
        f"Machine: {_processor()}, {os.cpu_count()} cores, {_memory()} GiB. Linux {platform.release()}. "
        f"Python {platform.python_version()}, {packages}.",
        f"Rivals: {', '.join(_rivals())}.",
        "",
        "Contestants take turns within one run (A B A B ...); a ratio is taken round by round. Given are "
        "medians, and ranges in brackets.",
        "",
    ]
    return "\n".join(lines)


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _memory() -> int:
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)


def _rivals() -> list[str]:
    """Return names and versions of the tools, as they state them."""
    flags = {"ss": "-V", "netstat": "-V", "lsof": "-v", "bpftrace": "--version"}
    flags |= {"gcc": "--version", "zstd": "--version"}
    found = []
    for name, flag in flags.items():
        if shutil.which(name) is None:
            found.append(f"{name} absent")
            continue
        done = subprocess.run(
            [name, flag], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=10, check=False
        )
        version = re.search(r"(?:iproute2-|revision: |v|\s)(\d+\.[\d.]*\d)", done.stdout)
        found.append(f"{name} {version[1]}" if version else name)
    return found
