"""A listener's queue is full: its program does not accept as fast as clients come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sockrec.model.addresses import endpoint
from sockrec.model.programs import known_as_sql
from sockrec.query.findings.finding import Asked, Finding, Kind, process

# The kernel takes one connection more than the limit (sk_acceptq_is_full), then drops what comes.
_FULL: Final = """
WITH full_ AS (
    SELECT host, recording, socket_id, max(recv_q) AS waiting, any_value(backlog_limit) AS backlog,
        min(read_at) AS not_after, count(*) AS readings
    FROM activity
    WHERE recv_q > backlog_limit AND {within} GROUP BY host, recording, socket_id
)
SELECT f.*, l.local_address, l.local_port, l.pid, {known} AS named,
    (SELECT max(a.read_at) FROM activity a WHERE a.host = f.host AND a.recording = f.recording
        AND a.socket_id = f.socket_id AND a.read_at < f.not_after) AS not_before
FROM full_ f JOIN listeners l ON l.host = f.host AND l.socket_id = f.socket_id AND l.protocol = 'tcp'
    AND l.began_not_after <= f.not_after AND l.last_seen >= f.not_after
ORDER BY waiting DESC, not_after
"""


def find(asked: Asked) -> Iterator[Finding]:
    """Find each TCP listener with more connections waiting to be accepted than its backlog has room for.

    The kernel drops the SYNs, or the last ACKs, of those that come then: clients wait and try again after a
    second, then after three, seven, ... It has no threshold: a queue that is full is full.
    """
    within = asked.within("read_at", "read_at")
    if not asked.any(f"activity WHERE backlog_limit IS NOT NULL AND recv_q > backlog_limit AND {within}"):
        return
    for row in asked.rows(_FULL.format(within=within, known=known_as_sql("program"))):
        place = endpoint(row["local_address"], row["local_port"])
        who = process(row["pid"], row["named"])
        yield Finding(
            kind="accept-queue-full",
            severity="critical",
            title=f"port {row['local_port']} does not accept its connections",
            text=(
                f"{row['waiting']:,} connections waited for {who} to accept them on tcp {place}, which has"
                f" room for {row['backlog']:,}: the kernel drops what comes beyond that."
            ),
            not_before=row["not_before"],
            not_after=row["not_after"],
            host=row["host"],
            subject=f"{who} on tcp {place}",
            numbers={
                "port": row["local_port"],
                "waiting": row["waiting"],
                "backlog_limit": row["backlog"],
                "readings": row["readings"],
            },
            look=f"sockrec rates --counter ListenOverflows; sockrec port {row['local_port']}",
            sql=(
                "SELECT read_at, recv_q, backlog_limit FROM activity WHERE recv_q > backlog_limit"
                f" AND socket_id = {row['socket_id']} ORDER BY read_at"
            ),
        )


KIND: Final = Kind("accept-queue-full", find)
