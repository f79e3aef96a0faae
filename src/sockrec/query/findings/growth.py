"""A process that opens sockets and does not close them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sockrec.model import durations
from sockrec.model.programs import known_as_sql
from sockrec.query.findings.finding import Asked, Finding, Kind, Threshold, count, process

_SOCKETS: Final = Threshold(
    "sockets", 100, "sockets more", "pools of connections grow by some dozens, and stop"
)
_SECONDS: Final = Threshold("seconds", 60, "seconds", "a program that starts takes what it needs at once")
_STRETCHES: Final = 8
# What each process holds at the ends of eight equal stretches of a recording: a leak grows in every one.
_GROWING: Final = """
WITH asked AS (
    SELECT host, recording, epoch_us(greatest(began, {first})) AS first,
        epoch_us(least(ended, {last})) - epoch_us(greatest(began, {first})) AS took
    FROM base.runs WHERE {within}
), held AS (
    SELECT host, recording, pid, program, first_seen, ended_by FROM sockets WHERE owner = 'held'
    UNION ALL
    SELECT host, recording, pid, program, first_seen, ended_by FROM unix_sockets WHERE owner = 'held'
), counted AS (
    SELECT h.host, h.recording, h.pid, any_value(program) AS program, any_value(first) AS first,
        any_value(took) AS took, min(first_seen) AS since, [{counts}] AS held
    FROM held h JOIN asked a ON a.host = h.host AND a.recording = h.recording
    WHERE took >= {seconds} * 1000000
    GROUP BY h.host, h.recording, h.pid
)
SELECT *, {known} AS named, held[1] AS before, held[-1] AS after
FROM counted
WHERE held[-1] - held[1] >= {least} AND held[-1] >= 2 * held[1] AND {grows}
ORDER BY after - before DESC, host, pid
"""


def find(asked: Asked) -> Iterator[Finding]:
    """Find each process that held `sockets` more at the end than at the beginning, and twice as many.

    In a recording of at least `seconds`, cut into eight equal stretches, each of which adds to what it holds.
    UNIX sockets count, too. A busy day has its evening: what falls again is no leak.
    """
    moment = "first + took * {} // {}"
    counts = ", ".join(
        f"count(*) FILTER (epoch_us(first_seen) <= {at} AND (ended_by IS NULL OR epoch_us(ended_by) > {at}))"
        for at in (moment.format(number, _STRETCHES) for number in range(_STRETCHES + 1))
    )
    grows = " AND ".join(f"held[{n + 1}] > held[{n}]" for n in range(1, _STRETCHES + 1))
    sql = _GROWING.format(
        first=asked.first,
        last=asked.last,
        within=asked.within("began", "ended"),
        known=known_as_sql("program"),
        counts=counts,
        grows=grows,
        seconds=asked.threshold("socket-leak", _SECONDS),
        least=asked.threshold("socket-leak", _SOCKETS),
    )
    for row in asked.rows(sql):
        who = process(row["pid"], row["named"])
        yield Finding(
            kind="socket-leak",
            severity="warning",
            title=f"{row['named'] or row['pid']} holds ever more sockets",
            text=(
                f"{who} held {count(row['before'], 'socket')} and, {durations.show(row['took'])} later,"
                f" {row['after']:,}: more in each eighth of that time."
            ),
            not_before=None,
            not_after=row["since"],
            host=row["host"],
            subject=who,
            numbers={"pid": row["pid"], "before": row["before"], "after": row["after"], "held": row["held"]},
            look=f"sockrec top --by connections; sockrec events --pid {row['pid']}",
            sql=(
                "SELECT protocol, state, local_port, remote_address, remote_port, first_seen FROM sockets"
                f" WHERE pid = {row['pid']} AND (ended_by IS NULL OR ended_as = 'stopped')"
                " ORDER BY first_seen"
            ),
        )


KIND: Final = Kind("socket-leak", find, (_SOCKETS, _SECONDS))
