"""Findings for people: a paragraph each, or Markdown; times with their bounds."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any, Final

from sockrec.render.escape import markdown, terminal
from sockrec.render.sentences import at, between

Row = Mapping[str, Any]
_WIDTH: Final = 100
_MOST: Final = 10


def text(rows: Sequence[Row], zone: tzinfo, *, name_host: bool = False) -> str:
    """Return a paragraph for each finding: what, when, in words, and what to ask next.

    Of a kind that has many on a host the first ones; the last line tells how many more there are.
    """
    parts = []
    told: Counter[tuple[str, str]] = Counter()
    more: Counter[str] = Counter()
    for row in rows:
        told[row["host"], row["kind"]] += 1
        if told[row["host"], row["kind"]] > _MOST:
            more[row["kind"]] += 1
            continue
        host = f" on {row['host']}" if name_host else ""
        lines = [
            f"{row['severity']}: {row['title']}{host}",
            *textwrap.wrap(
                row["text"], _WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
            ),
            f"  {when(row, zone)}",
            f"  look: {row['look']}",
        ]
        parts.append("".join(f"{terminal(line)}\n" for line in lines))
    if more:
        rest = ", ".join(f"{number:,} of {terminal(kind)}" for kind, number in more.items())
        parts.append(f"and more: {rest}; `--format table` has all of them\n")
    return "\n".join(parts)


def as_markdown(rows: Sequence[Row], zone: tzinfo) -> str:
    """Return a section for each finding, with the SQL that shows it."""
    parts = []
    for row in rows:
        title = f"### {markdown(row['severity'])}: {markdown(row['title'])} ({markdown(row['host'])})"
        # A fence longer than any in the text: no name ends it.
        fence = "`" * max(3, 1 + max(map(len, _ticks(row["sql"])), default=0))
        parts.append(
            f"{title}\n\n{markdown(row['text'])}\n\n"
            f"- {markdown(when(row, zone))}\n- look: {markdown(row['look'])}\n\n"
            f"{fence}sql\n{terminal(row['sql'])}\n{fence}\n"
        )
    return "\n".join(parts)


def kinds(listed: Iterable[tuple[str, str, Sequence[tuple[str, float, str, str]]]]) -> str:
    """Return the documentation of each kind: its name, its text, and its thresholds.

    A threshold is its name, its number, its unit and the reason for it.
    """
    parts = []
    for name, meaning, thresholds in listed:
        lines = [name, *(f"  {line}".rstrip() for line in meaning.splitlines())]
        lines += [f"  {name}.{one}={number:g} {unit}: {why}" for one, number, unit, why in thresholds]
        parts.append("".join(f"{line}\n" for line in lines))
    return "\n".join(parts)


def when(row: Row, zone: tzinfo) -> str:
    """Return the bounds of a finding's beginning in words."""
    first: datetime | None = row["not_before"]
    last: datetime = row["not_after"]
    if first is None:
        return f"seen first at {at(last, zone, 3)}"
    return f"at {at(last, zone, 6)}" if first == last else between(first, last, zone)


def _ticks(sql: str) -> list[str]:
    return [run for run in "".join(one if one == "`" else " " for one in sql).split() if run]
