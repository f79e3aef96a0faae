"""A baseline, and what differs from it, as tables for people; in Markdown too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sockrec.model.addresses import endpoint
from sockrec.model.baseline import Baseline, Listens, ordered
from sockrec.render import escape, formats

Row = Mapping[str, Any]
COLUMNS: Final = ("kind", "protocol", "port", "program", "users", "addresses", "peers")
_TITLES: Final = ("kind", "port", "program", "users", "addresses", "peers")
_DIFFERENCE_TITLES: Final = ("what", "kind", "service", "program", "detail")


def rows(baseline: Baseline) -> list[tuple[Any, ...]]:
    """Return the rows of a baseline, with the columns `COLUMNS`; an ephemeral port is None."""
    found: list[tuple[Any, ...]] = []
    for one in baseline.entries:
        place = one.protocol, one.port, one.program
        if isinstance(one, Listens):
            lists = sorted(one.users), ordered(one.addresses), ordered(one.peers)
            found.append(("listens", *place, *lists))
        else:
            found.append(("connects", *place, None, None, ordered(one.peers)))
    return found


def table(baseline: Baseline, form: str) -> str:
    """Return a line for each service, and for each port that a program connects to.

    `form` is `table` or `markdown`.
    """
    cells = []
    for kind, protocol, port, program, *lists in rows(baseline):
        texts = [", ".join(one or ()) for one in lists]
        cells.append([kind, f"{protocol} {_port(port)}", program or "any", *texts])
    return formats.whole(form, _TITLES, cells, [False] * len(_TITLES))


def differences(found: Sequence[Row], compared: tuple[str, str], form: str) -> str:
    """Return the differences under a line that says what was `compared`: the baseline, and what with it.

    Rows are mappings with the columns of `sockrec.query.baseline`. `form` is `table` or `markdown`.
    """
    escaped = escape.markdown if form == "markdown" else escape.terminal
    title = f"{escaped(compared[0])} -> {escaped(compared[1])}\n\n"
    cells = [
        [row["what"], row["kind"], _service(row), row["program"] or "unknown", row["detail"]] for row in found
    ]
    return title + formats.whole(form, _DIFFERENCE_TITLES, cells, [False] * len(_DIFFERENCE_TITLES))


def _service(row: Row) -> str:
    side = row["after"] or row["before"]
    addresses: list[str] = side.get("addresses") or []
    if row["kind"] == "listens" and len(addresses) == 1 and row["port"]:
        return f"{row['protocol']} {endpoint(addresses[0], row['port'])}"
    return f"{row['protocol']} {_port(row['port'])}"


def _port(port: int | None) -> str:
    return "ephemeral" if port is None else str(port)
