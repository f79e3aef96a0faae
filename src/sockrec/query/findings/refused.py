"""Clients keep asking where nobody listens."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from sockrec.catalog.sources import literal
from sockrec.model import durations
from sockrec.model.addresses import endpoint
from sockrec.model.programs import known_as_sql
from sockrec.query.findings.finding import Asked, Finding, Kind, Threshold, count, listed

_ATTEMPTS: Final = Threshold(
    "attempts", 5, "refused connections", "one refusal is a client that was early, not one that keeps trying"
)
_REFUSED: Final = """
SELECT host, replace(remote_address, '::ffff:', '') AS address, remote_port AS port, count(*) AS attempts,
    list_sort(list(DISTINCT coalesce({known}, 'unknown'))) AS programs, count(DISTINCT pid) AS processes,
    arg_min(opened_not_before, opened_not_after) AS not_before, min(opened_not_after) AS not_after,
    max(opened_not_after) AS last
FROM connections
WHERE how = 'refused' AND {within} GROUP BY host, address, port HAVING count(*) >= {least}
ORDER BY attempts DESC, host, address, port
"""


def find(asked: Asked) -> Iterator[Finding]:
    """Find each address and port that refused at least `attempts` connections of this host's clients.

    The kernel there answered with a reset: it is up, and nobody listens on that port.
    """
    if not asked.any("base.events WHERE kind = 'closed' AND cause = 'refused'"):
        return
    sql = _REFUSED.format(
        known=known_as_sql("program"),
        within=asked.within("opened_not_before", "opened_not_after"),
        least=asked.threshold("connections-refused", _ATTEMPTS),
    )
    for row in asked.rows(sql):
        place = endpoint(row["address"], row["port"])
        who = listed(row["programs"])
        several = row["processes"] > 1
        us = (row["last"] - row["not_after"]) // timedelta(microseconds=1)
        within = f" within {durations.show(us)}" if us else ""
        asking = f"{row['processes']:,} processes of {who}" if several else who
        yield Finding(
            kind="connections-refused",
            severity="critical",
            title=f"clients are refused on port {row['port']}",
            text=(
                f"{asking} asked tcp {place} {count(row['attempts'], 'time')}{within}"
                f" and {'were' if several else 'was'} refused: nobody listened there."
            ),
            not_before=row["not_before"],
            not_after=row["not_after"],
            host=row["host"],
            subject=f"{who} to tcp {place}",
            numbers={
                "port": row["port"],
                "attempts": row["attempts"],
                "processes": row["processes"],
                "within_us": us,
            },
            look=f"sockrec port {row['port']}",
            sql=(
                "SELECT opened_not_after, pid, program, local_address, local_port FROM connections"
                f" WHERE how = 'refused' AND remote_port = {row['port']}"
                f" AND replace(remote_address, '::ffff:', '') = {literal(row['address'])}"
                " ORDER BY opened_not_after"
            ),
        )


KIND: Final = Kind("connections-refused", find, (_ATTEMPTS,))
