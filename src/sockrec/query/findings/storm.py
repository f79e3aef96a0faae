"""Many more connections than usual, in a short time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sockrec.model.programs import known_as_sql
from sockrec.query.findings.begun import begun
from sockrec.query.findings.finding import Asked, Finding, Kind, Threshold, count

_CONNECTIONS: Final = Threshold(
    "connections", 200, "connections in ten seconds", "a page of a browser takes some dozens"
)
_TIMES: Final = Threshold("times", 10, "times the usual", "day and night differ by less")
# Ten seconds in which nothing began count as 0, so that half of them being empty makes what is usual 0.
# What the clock's tens cut in two is whole in those that begin five seconds later: `shift` tells which.
_STORMS: Final = """
WITH {begun}, counted AS (
    SELECT host, netns, client, if(client, program, '') AS program,
        if(client, remote_port, local_port) AS port, epoch_us(not_after) // 5000000 AS half,
        count(*) AS connections, min(not_before) AS not_before, min(not_after) AS not_after
    FROM begun GROUP BY ALL
), named AS (
    SELECT host, netns, client, {known} AS named, port, shift, (half + shift) // 2 AS slot,
        sum(connections)::BIGINT AS connections, min(not_before) AS not_before, min(not_after) AS not_after
    FROM counted, (VALUES (0), (1)) shifts(shift) GROUP BY ALL
), slots AS (
    SELECT host, sum((epoch_us(ended) - epoch_us(began)) // 10000000 + 1)::BIGINT AS slots
    FROM base.runs GROUP BY host
), usual AS (
    SELECT host, netns, client, named, port, shift, list(connections ORDER BY connections) AS each,
        arg_max({{'not_before': not_before, 'not_after': not_after}}, connections) AS worst
    FROM named GROUP BY ALL HAVING max(connections) >= {least}
)
SELECT u.* EXCLUDE (each, worst, shift), worst.not_before AS not_before, worst.not_after AS not_after,
    each[-1] AS most, if(len(each) * 2 <= slots, 0, each[len(each) - slots // 2]) AS usual, slots
FROM usual u JOIN slots USING (host)
WHERE slots >= 6 AND each[-1] >= {times} * usual
QUALIFY row_number() OVER (PARTITION BY host, netns, client, named, port ORDER BY most DESC, shift) = 1
ORDER BY most DESC, port
"""


def find(asked: Asked) -> Iterator[Finding]:
    """Find each port that got, and each program that made, many more connections than usual in ten seconds.

    At least `connections`, and `times` what half of all ten seconds stay below. Of a recording of less
    than a minute nothing is usual.
    """
    sql = _STORMS.format(
        begun=begun(asked),
        known=known_as_sql("program"),
        least=asked.threshold("connection-storm", _CONNECTIONS),
        times=asked.threshold("connection-storm", _TIMES),
    )
    for row in asked.rows(sql):
        port, began = row["port"], count(row["most"], "connection")
        if row["client"]:
            who = row["named"] or "a program not known"
            title, text = (
                f"{who} opens far more connections than usual",
                f"{who} opened {began} to port {port}",
            )
            subject, condition = f"{who} to port {port}", f"role = 'client' AND remote_port = {port}"
        else:
            title, text = f"port {port} gets far more connections than usual", f"Port {port} got {began}"
            subject, condition = f"port {port}", f"role = 'server' AND local_port = {port}"
        usual = count(row["usual"], "connection") if row["usual"] else "none"
        yield Finding(
            kind="connection-storm",
            severity="warning",
            title=title,
            text=f"{text} within ten seconds; usual are {usual}.",
            not_before=row["not_before"],
            not_after=row["not_after"],
            host=row["host"],
            subject=subject,
            numbers={"port": port, "connections": row["most"], "usual": row["usual"]},
            look=f"sockrec top --by churn; sockrec traffic --by peer; sockrec port {port}",
            sql=(
                "SELECT time_bucket(INTERVAL 10 SECOND, opened_not_after) AS since, count(*) AS connections"
                f" FROM connections WHERE {condition} GROUP BY since ORDER BY since"
            ),
        )


KIND: Final = Kind("connection-storm", find, (_CONNECTIONS, _TIMES))
