"""A program that calls one peer again and again, at even times."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sockrec.catalog.sources import literal
from sockrec.model import durations
from sockrec.model.addresses import endpoint
from sockrec.model.programs import known_as_sql
from sockrec.query.findings.begun import begun, has_clients
from sockrec.query.findings.finding import Asked, Finding, Kind, Threshold, count

_CALLS: Final = Threshold("calls", 8, "calls", "fewer are even by chance")
_SECONDS: Final = Threshold("seconds", 5, "seconds between them", "what calls more often is a client at work")
_UNEVEN: Final = Threshold(
    "uneven",
    15,
    "per cent",
    "nine of ten intervals differ from the usual one by less: a timer with some jitter",
)
_PRIVATE: Final = Threshold(
    "private", 0, "(1: yes)", "health checks and agents call the hosts of one's own network as evenly"
)
# Networks that nobody routes through the Internet (RFC 1918, 6598, 3927, 4193, 4291).
_OWN: Final = (
    r"^(10\.|127\.|169\.254\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\."
    r"|::1$|f[cd]|fe[89ab])"
)
_BEACONS: Final = """
WITH {begun}, calls AS (
    SELECT host, {known} AS named, address, remote_port AS port, epoch_us(not_after) AS at_,
        not_before, not_after
    FROM begun WHERE client AND {own}
), spaced AS (
    SELECT *, at_ - lag(at_) OVER (PARTITION BY host, named, address, port ORDER BY at_) AS space
    FROM calls
), usual AS (
    SELECT host, named, address, port, count(*) AS calls, median(space)::BIGINT AS space,
        quantile_cont(abs(space), [0.05, 0.95]) AS bounds,
        arg_min(not_before, not_after) AS not_before, min(not_after) AS not_after
    FROM spaced GROUP BY ALL HAVING count(*) >= {least}
)
SELECT * FROM usual
WHERE space >= {seconds} * 1000000 AND bounds[1] >= space * (1 - {uneven} / 100.0)
    AND bounds[2] <= space * (1 + {uneven} / 100.0)
ORDER BY calls DESC, host, address, port
"""


def find(asked: Asked) -> Iterator[Finding]:
    """Find each program that called one peer `calls` times at even times, at least `seconds` apart.

    Nine of ten intervals differ from the usual one by less than `uneven` per cent. Programs that report
    home do so, the wanted ones and the others. Peers in private networks are left out unless `private` is 1.
    """
    if not has_clients(asked):
        return
    sql = _BEACONS.format(
        begun=begun(asked),
        known=known_as_sql("program"),
        own="true"
        if asked.threshold("beacon", _PRIVATE)
        else f"NOT regexp_matches(address, {literal(_OWN)})",
        least=asked.threshold("beacon", _CALLS),
        seconds=asked.threshold("beacon", _SECONDS),
        uneven=asked.threshold("beacon", _UNEVEN),
    )
    for row in asked.rows(sql):
        who, place = row["named"] or "a program not known", endpoint(row["address"], row["port"])
        yield Finding(
            kind="beacon",
            severity="notice",
            title=f"{who} calls one peer at even times",
            text=f"{who} called {place} {count(row['calls'], 'time')}, every {durations.show(row['space'])}.",
            not_before=row["not_before"],
            not_after=row["not_after"],
            host=row["host"],
            subject=f"{who} to tcp {place}",
            numbers={"calls": row["calls"], "interval_us": row["space"], "port": row["port"]},
            look=f"sockrec events --peer {place}; sockrec traffic --by peer",
            sql=(
                "SELECT opened_not_after, pid, program, bytes_sent, bytes_received FROM connections"
                f" WHERE role = 'client' AND remote_port = {row['port']}"
                f" AND replace(remote_address, '::ffff:', '') = {literal(row['address'])}"
                " ORDER BY opened_not_after"
            ),
        )


KIND: Final = Kind("beacon", find, (_CALLS, _SECONDS, _UNEVEN, _PRIVATE))
