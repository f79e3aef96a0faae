"""A program that does not close what its peers have closed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sockrec.model.programs import known_as_sql
from sockrec.query.findings.finding import Asked, Finding, Kind, Threshold, count, process

_SOCKETS: Final = Threshold(
    "sockets", 10, "sockets", "a few may be connections of a pool that it looks at seldom"
)
_SECONDS: Final = Threshold(
    "seconds", 30, "seconds", "a program that works through its answers takes seconds"
)
_WAITING: Final = """
WITH waiting AS (
    SELECT host, pid, {known} AS named, socket_id, min(begun_after) AS not_before,
        min(first_seen) AS not_after, max(last_seen) AS last_seen
    FROM sockets WHERE protocol = 'tcp' AND state = 'CLOSE_WAIT' AND pid IS NOT NULL GROUP BY ALL
)
SELECT host, pid, named, count(*) AS sockets, arg_min(not_before, not_after) AS not_before,
    min(not_after) AS not_after, max(epoch_us(last_seen) - epoch_us(not_after)) AS longest_us
FROM waiting
WHERE epoch_us(last_seen) - epoch_us(not_after) >= {seconds} * 1000000 AND {within}
GROUP BY host, pid, named HAVING count(*) >= {least}
ORDER BY sockets DESC, host, pid
"""


def find(asked: Asked) -> Iterator[Finding]:
    """Find each process with at least `sockets` in CLOSE_WAIT for at least `seconds`.

    Their peers have closed, and the process has not: it leaks them. They never time out; each takes a
    descriptor until the process closes it, or ends.
    """
    sql = _WAITING.format(
        known=known_as_sql("program"),
        seconds=asked.threshold("close-wait", _SECONDS),
        least=asked.threshold("close-wait", _SOCKETS),
        within=asked.within("not_after", "last_seen"),
    )
    for row in asked.rows(sql):
        who = process(row["pid"], row["named"])
        yield Finding(
            kind="close-wait",
            severity="warning",
            title=f"{row['named'] or row['pid']} leaks connections that its peers have closed",
            text=(
                f"{who} held {count(row['sockets'], 'connection')} in CLOSE_WAIT: their peers have closed"
                " them, it has not. Each takes a descriptor until it does."
            ),
            not_before=row["not_before"],
            not_after=row["not_after"],
            host=row["host"],
            subject=who,
            numbers={"pid": row["pid"], "sockets": row["sockets"], "longest_us": row["longest_us"]},
            look=f"sockrec events --pid {row['pid']}",
            sql=(
                "SELECT local_port, remote_address, remote_port, first_seen, last_seen FROM sockets"
                f" WHERE state = 'CLOSE_WAIT' AND pid = {row['pid']} ORDER BY first_seen"
            ),
        )


KIND: Final = Kind("close-wait", find, (_SOCKETS, _SECONDS))
