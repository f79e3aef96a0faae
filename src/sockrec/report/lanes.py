"""Who listened when: a lane for each port, its periods with their causes, and the gaps between them."""

from __future__ import annotations

from datetime import UTC
from typing import Any, Final

from sockrec.model import timetext
from sockrec.query import words
from sockrec.render import sentences
from sockrec.render.escape import terminal
from sockrec.report.scope import Scope

MOST_LANES: Final = 120
MOST_PERIODS: Final = 100

_PERIODS: Final = f"""
SELECT protocol, local_address, local_port, coalesce(pid, first_pid) AS pid,
    coalesce(program, first_program) AS program, epoch_us(began_not_before) AS began_not_before,
    epoch_us(began_not_after) AS began_not_after, begun_as, epoch_us(last_seen) AS last_seen,
    epoch_us(ended_not_before) AS ended_not_before, epoch_us(ended_not_after) AS ended_not_after, ended_as,
    {words.listener_cause()} AS why, epoch_us(again_not_before) AS again_not_before,
    epoch_us(again_not_after) AS again_not_after, again_pid, again_program
FROM listeners
WHERE host = $host AND began_not_after <= make_timestamptz($last)
    AND coalesce(ended_not_after, last_seen) >= make_timestamptz($first)
ORDER BY began_not_after
"""


def lanes(scope: Scope) -> dict[str, Any]:
    """Return `lanes` of `periods`, those with most to tell first, and `thinned`: what was left out.

    Moments are in seconds since the page's first: a period surely held from `from` to `to`, and perhaps from
    `maybe_from` to `maybe_to`; each is null where it did not begin, or end, as far as known.
    """
    found = scope.arrays(_PERIODS, first=scope.first_us, last=scope.last_us)
    rows = [
        dict(zip(found, values, strict=True))
        for values in zip(*(_plain(column) for column in found.values()), strict=True)
    ]
    by_place: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        key = (row["protocol"], row["local_address"], row["local_port"])
        by_place.setdefault(key, []).append(row)
    ordered = sorted(by_place.items(), key=lambda item: (*_rank(item[1]), item[0][2], item[0][0], item[0][1]))
    shown = []
    cut = 0
    for (protocol, address, port), periods in ordered[:MOST_LANES]:
        cut += max(0, len(periods) - MOST_PERIODS)
        label = f"{protocol} {sentences.endpoint(address, port)}"
        shown.append({"label": label, "periods": [_period(scope, one) for one in periods[:MOST_PERIODS]]})
    thinned = []
    if len(ordered) > MOST_LANES:
        thinned.append(
            f"{MOST_LANES} of {len(ordered):,} addresses that listened are shown: first those that stopped"
        )
    if cut:
        thinned.append(f"of each address the first {MOST_PERIODS} periods are shown; {cut:,} are left out")
    return {"lanes": shown, "thinned": "; ".join(thinned)}


def _plain(column: Any) -> list[Any]:
    values: list[Any] = column.tolist()
    return [None if one != one else one for one in values]


def _rank(periods: list[dict[str, Any]]) -> tuple[bool, bool]:
    """Put first TCP, and there what ended, then what began; a datagram socket comes and goes."""
    moved = any(one["ended_not_after"] is not None or one["begun_as"] != "found" for one in periods)
    return (periods[0]["protocol"] != "tcp", not moved)


def _period(scope: Scope, row: dict[str, Any]) -> dict[str, Any]:
    def seconds(time_us: int | None) -> float | None:
        return None if time_us is None else (time_us - scope.first_us) / 1e6

    found = row["begun_as"] == "found"
    ended = row["ended_not_after"] is not None
    last = row["ended_not_before"] if ended else row["last_seen"]
    return {
        "who": sentences.holder(row["pid"], row["program"]),
        "from": seconds(row["began_not_after"]),
        "maybe_from": None if found else seconds(row["began_not_before"]),
        "to": seconds(last if last is not None else row["last_seen"]),
        "maybe_to": seconds(row["ended_not_after"]) if ended else None,
        "found": found,
        "why": terminal(row["why"] or "") if ended else "",
        "in_gap": row["ended_as"] == "gap",
        "again": _again(row) if ended else "",
    }


def _again(row: dict[str, Any]) -> str:
    """Return who listened there next, and how long after; the bounds as `when` tells them."""
    names = ("ended_not_before", "ended_not_after", "again_not_before", "again_not_after")
    moments: dict[str, Any] = {
        name: None if row[name] is None else timetext.to_datetime(row[name], UTC) for name in names
    }
    ended = moments["ended_not_before"] or moments["ended_not_after"], moments["ended_not_after"]
    return sentences.again(row | moments, ended)
