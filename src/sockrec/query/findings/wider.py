"""A service that was for this host alone is open to others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sockrec.model.addresses import endpoint
from sockrec.model.programs import known_as_sql
from sockrec.query.findings.finding import Asked, Finding, Kind, process

_MOST_PORTS: Final = 1_000
# Few ports are listened on at several addresses, and who listened when is dear to know.
_SEVERAL: Final = """
SELECT local_port FROM (
    SELECT host, netns, protocol, local_port, local_address FROM sockets
    WHERE protocol IN ('tcp', 'udp') AND state IN ('LISTEN', 'UNCONN') AND remote_port = 0
    UNION ALL
    SELECT host, netns, protocol, local_port, local_address FROM base.events
    WHERE kind = 'stopped listening' AND protocol IN ('tcp', 'udp')
)
GROUP BY host, netns, protocol, local_port HAVING count(DISTINCT local_address) > 1
"""
# 127.0.0.0/8 and ::1 are this host alone; 0.0.0.0 and :: are every address it has.
_WIDER: Final = """
WITH known AS (
    SELECT *, {known} AS named,
        CASE WHEN local_address IN ('0.0.0.0', '::') THEN 2
            WHEN replace(local_address, '::ffff:', '') LIKE '127.%' OR local_address = '::1' THEN 0
            ELSE 1 END AS reach
    FROM listeners WHERE protocol IN ('tcp', 'udp') AND {ports}
)
SELECT l.host, l.protocol, l.local_address, l.local_port, l.pid, l.named, l.began_not_before AS not_before,
    l.began_not_after AS not_after, o.local_address AS before
FROM known l JOIN known o ON o.host = l.host AND o.netns = l.netns AND o.protocol = l.protocol
    AND o.local_port = l.local_port AND o.named = l.named AND o.reach < l.reach
    AND o.began_not_after < l.began_not_after
WHERE l.begun_as IN ('opened', 'changed', 'gap') AND {within}
QUALIFY row_number() OVER (PARTITION BY l.host, l.protocol, l.local_port, l.named
    ORDER BY l.reach DESC, l.began_not_after, l.local_address, o.began_not_after DESC) = 1
ORDER BY not_after, local_port
"""


def find(asked: Asked) -> Iterator[Finding]:
    """Find each service that listens on more addresses than it did: of loopback, of one, of all.

    The same program on the same port. That it listened on all addresses from the beginning is no finding.
    """
    several = {str(row["local_port"]) for row in asked.rows(_SEVERAL)}
    if not several:
        return
    sql = _WIDER.format(
        ports=f"local_port IN ({', '.join(several)})" if len(several) <= _MOST_PORTS else "true",
        known=known_as_sql("coalesce(first_program, program)"),
        within=asked.within("l.began_not_before", "l.began_not_after", "l.host"),
    )
    for row in asked.rows(sql):
        place = endpoint(row["local_address"], row["local_port"])
        who = process(row["pid"], row["named"])
        yield Finding(
            kind="listens-wider",
            severity="warning",
            title=f"port {row['local_port']} is open to more than it was",
            text=(
                f"{who} listens on {row['protocol']} {place}; before, {row['named']} listened there on"
                f" {endpoint(row['before'], row['local_port'])} alone."
            ),
            not_before=row["not_before"],
            not_after=row["not_after"],
            host=row["host"],
            subject=f"{who} on {row['protocol']} {place}",
            numbers={"port": row["local_port"], "before": row["before"], "after": row["local_address"]},
            look=f"sockrec port {row['local_port']}",
            sql=(
                "SELECT began_not_after, ended_not_after, local_address, pid, program FROM listeners"
                f" WHERE local_port = {row['local_port']} ORDER BY began_not_after"
            ),
        )


KIND: Final = Kind("listens-wider", find)
