"""What differs between two moments, as a table for people; in Markdown too.

Rows are mappings with the columns of `sockrec.query.diff`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sockrec.render import escape, formats

Row = Mapping[str, Any]
_TITLES: Final = ("what", "service", "program", "before", "after", "detail")
_SIDES: Final = ("before", "after")
_ARROWS: Final = {"listener": "", "outbound": "to ", "inbound": "on "}


def table(rows: Sequence[Row], moments: Sequence[str], form: str) -> str:
    """Return the differences under a line that says which two `moments` were compared.

    `form` is `table` or `markdown`. `before` and `after` are who listened, or how many connections.
    """
    escaped = escape.markdown if form == "markdown" else escape.terminal
    title = f"{escaped(moments[0])} -> {escaped(moments[1])}\n\n"
    cells = [_cells(row) for row in rows]
    return title + formats.whole(form, _TITLES, cells, [False] * len(_TITLES))


def _cells(row: Row) -> list[str]:
    sides = [f"{row[side]:,}" if row[side] else "" for side in _SIDES]
    if row["kind"] == "listener":
        sides = [_holders(row["program"], row[f"pids_{side}"]) if row[side] else "" for side in _SIDES]
    return [row["what"], _service(row), row["program"] or "unknown", *sides, row["detail"]]


def _service(row: Row) -> str:
    address, port = row["address"], row["port"]
    shown = "*" if address is None else f"[{address}]" if ":" in address else address
    return f"{_ARROWS[row['kind']]}{row['protocol']} {shown}:{'ephemeral' if port is None else port}"


def _holders(program: str | None, pids: Sequence[int]) -> str:
    if not pids:
        return "open"
    more = f" +{len(pids) - 1}" if len(pids) > 1 else ""
    return f"{program or '?'}[{pids[0]}]{more}"
