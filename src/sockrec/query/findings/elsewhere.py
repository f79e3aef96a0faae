"""A service that stopped and goes on, but not as it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sockrec.model.addresses import endpoint
from sockrec.query.findings.finding import Asked, Finding, Kind, process
from sockrec.query.findings.stops import RESTARTS, SECONDS, Row, down, elsewhere, shown, stops

_TITLES: Final = {
    "program": "is served by another program",
    "user": "is served by another user",
    "address": "is served on another address",
    "port": "is served on another port",
}


def find(asked: Asked) -> Iterator[Finding]:
    """Find each TCP service that stopped and goes on otherwise: by another program or user, or elsewhere.

    Elsewhere is the same port on another address, or another port to which the same program came within
    `seconds`, if that leaves no doubt: one port left, one new. A program that went on to more than before is
    told by `listens-wider`, one that comes and goes again and again by `restart-loop`.
    """
    most = asked.threshold("listener-stopped", RESTARTS)
    for row in stops(asked):
        what = elsewhere(row)
        if row["restarts"] < most and what in _TITLES:
            yield _finding(row, what)


def _finding(row: Row, what: str) -> Finding:
    place = endpoint(row["local_address"], row["local_port"])
    who = process(row["pid"], row["named"])
    cause = f": {row['why']}" if row["why"] else ""
    other = row["instead"] or row["moved"]
    least = most = None
    if row["again_not_after"] is not None:
        least, most = row["least_us"], row["most_us"]
        after = process(row["again_pid"], row["again_named"])
        text = f"Nobody listened on tcp {place} for {down(max(0, least), most)}{cause}. Then {after} did."
        program, address, port = row["again_named"], row["local_address"], row["local_port"]
    else:
        program, address, port = other["program"], other["address"], other["port"]
        after = process(other["pid"], program)
        text = f"Nobody listens on tcp {place} any more{cause}. {after} listens on {endpoint(address, port)}."
    was = who if row["user"] is None else f"{who} of user {row['user']}"
    by = "" if row["other_user"] in (None, row["user"]) else f", this is of user {row['other_user']}"
    text += f" Before, it was {was}{by}."
    return Finding(
        kind="came-back-elsewhere",
        severity="notice" if what == "address" else "warning",
        title=f"port {row['local_port']} {_TITLES[what]}",
        text=text,
        not_before=row["ended_not_before"],
        not_after=row["ended_not_after"],
        host=row["host"],
        subject=f"{who} on tcp {place}",
        numbers={
            "port": row["local_port"],
            "pid": row["pid"],
            "changed": what,
            "before": {"program": row["named"], "user": row["user"], "address": row["local_address"]},
            "after": {"program": program, "user": row["other_user"], "address": address, "port": port},
            "down_us": most,
            "down_at_least_us": least,
        },
        look=f"sockrec port {row['local_port']}",
        sql=shown(row),
    )


KIND: Final = Kind("came-back-elsewhere", find, (SECONDS,))
