"""The ends of TCP listeners, with what served their port from then on: a stop, a restart, or a move."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from sockrec.model import durations
from sockrec.model.programs import known_as_sql
from sockrec.query import words
from sockrec.query.baseline import seen
from sockrec.query.findings.finding import Asked, Threshold

Row = dict[str, Any]
RESTARTS: Final = Threshold("restarts", 3, "times", "twice may be a deploy and its correction")
SECONDS: Final = Threshold(
    "seconds", 60, "seconds", "a deploy takes less; what begins to listen later is another service"
)
# A program that listens more often than this (passive FTP) leaves doubt of each of its moves.
_MOST: Final = 200

# Two sockets that took turns without a moment between them served all the time. A program that comes to a
# port that it never had, as it leaves another one, may have moved there.
_STOPS: Final = """
WITH served AS (
    SELECT *, {known} AS named, {first_known} AS first_named,
        row_number() OVER (PARTITION BY host, netns, local_port, {first_known}
            ORDER BY began_not_after, socket_id) = 1 AND begun_as = 'opened'
            AND count(*) OVER (PARTITION BY host, netns, {first_known}) <= {most} AS is_first
    FROM listeners WHERE protocol = 'tcp'
), owned AS (
    SELECT host, recording, netns, local_address, local_port, socket_id, min(first_seen) AS first_seen,
        any_value(uid) AS uid
    FROM sockets WHERE protocol = 'tcp' AND state = 'LISTEN' GROUP BY ALL
), stops AS (
SELECT l.*, {again} AS again_named, {cause} AS why,
    epoch_us(coalesce(again_not_before, again_not_after)) - epoch_us(ended_not_after) AS least_us,
    epoch_us(again_not_after) - epoch_us(ended_not_before) AS most_us,
    count(*) OVER place AS stops, sum((again_not_after IS NOT NULL)::INT) OVER place AS restarts,
    row_number() OVER (PARTITION BY host, netns, protocol, local_address, local_port
        ORDER BY ended_not_after DESC, socket_id DESC) = 1 AS is_last,
    min(ended_not_before) OVER place AS first_not_before, min(ended_not_after) OVER place AS first_not_after,
    (SELECT arg_min({told}, o.began_not_after)
        FROM served o WHERE o.host = l.host AND o.netns = l.netns
            AND o.local_port = l.local_port AND o.local_address <> l.local_address
            AND (o.ended_not_after IS NULL OR o.ended_not_after > l.ended_not_after)
            AND (o.began_not_after >= l.ended_not_before OR o.local_address IN ('0.0.0.0', '::'))) AS instead,
    (SELECT CASE WHEN count(*) = 1 THEN any_value({told}) END
        FROM served o WHERE o.host = l.host AND o.netns = l.netns
            AND o.first_named = l.named AND o.local_port <> l.local_port AND o.is_first
            AND (o.ended_not_after IS NULL OR o.ended_not_after > l.ended_not_after)
            AND abs(epoch_us(o.began_not_after) - epoch_us(l.ended_not_after)) <= {seconds} * 1000000
    ) AS moved
FROM served l
WHERE ended_as = 'closed' AND {within}
    AND NOT EXISTS (FROM served o WHERE o.host = l.host AND o.netns = l.netns
        AND o.local_address = l.local_address AND o.local_port = l.local_port AND o.socket_id <> l.socket_id
        AND o.began_not_after <= l.ended_not_before
        AND coalesce(o.ended_not_before, TIMESTAMPTZ 'infinity') >= l.ended_not_after)
WINDOW place AS (PARTITION BY host, netns, protocol, local_address, local_port)
)
SELECT s.*, mine.uid, coalesce(again.uid, other.uid) AS other_uid
FROM stops s
LEFT JOIN owned mine ON mine.host = s.host AND mine.recording = s.recording AND mine.socket_id = s.socket_id
LEFT JOIN owned again ON again.host = s.host AND again.netns = s.netns
    AND again.local_address = s.local_address AND again.local_port = s.local_port
    AND again.first_seen = s.again_not_after
LEFT JOIN owned other ON s.again_not_after IS NULL AND other.host = s.host
    AND other.recording = coalesce(s.instead, s.moved).recording
    AND other.socket_id = coalesce(s.instead, s.moved).socket_id
QUALIFY row_number() OVER (
    PARTITION BY s.host, s.recording, s.socket_id, s.ended_not_after ORDER BY again.first_seen) = 1
ORDER BY s.ended_not_after, s.local_port
"""
_TOLD: Final = """{'address': o.local_address, 'port': o.local_port, 'pid': o.first_pid,
            'program': o.first_named, 'begun_as': o.begun_as, 'recording': o.recording,
            'socket_id': o.socket_id}"""


def stops(asked: Asked) -> list[Row]:
    """Return a row for each end of a listener that nobody had taken over from before.

    `again_*` is who listened there next; `instead` who has the port on another address since, else None;
    `moved` where its program listens instead, if that leaves no doubt. `user` and `other_user` are those of
    the listener and of what came after it.
    """
    return asked.shared("stops", lambda: _stops(asked))


def _stops(asked: Asked) -> list[Row]:
    if not asked.any(
        "sockets WHERE protocol = 'tcp' AND state = 'LISTEN' AND ended_as = 'closed'",
        "base.events WHERE kind = 'stopped listening'",
    ):
        return []
    sql = _STOPS
    for name, value in {
        "known": known_as_sql("program"),
        "first_known": known_as_sql("coalesce(first_program, program)"),
        "again": known_as_sql("again_program"),
        "cause": words.listener_cause(),
        "told": _TOLD,
        "most": str(_MOST),
        "seconds": str(asked.threshold("came-back-elsewhere", SECONDS)),
        "within": asked.within("ended_not_before", "ended_not_after"),
    }.items():
        sql = sql.replace(f"{{{name}}}", value)
    rows = asked.rows(sql)
    known = seen.facts(asked.catalog) if rows else seen.Facts()
    taken = Counter(
        (row["host"], row["moved"]["socket_id"]) for row in rows if row["moved"] and _is_gone(row)
    )
    for row in rows:
        row["user"] = known.user(row["host"], row["uid"])
        row["other_user"] = known.user(row["host"], row["other_uid"])
        # Of two that stopped, which one moved there nobody knows.
        if not _is_gone(row) or (row["moved"] and taken[row["host"], row["moved"]["socket_id"]] > 1):
            row["moved"] = None
    return rows


def _is_gone(row: Row) -> bool:
    return row["again_not_after"] is None and row["instead"] is None


def elsewhere(row: Row) -> str | None:
    """Return what is not as before, where the service goes on: program, user, address, wider or port.

    None if it goes on as it was, or not at all. `wider` is what `listens-wider` tells.
    """
    other = row["instead"] or row["moved"]
    if row["again_not_after"] is not None:
        return _who(row, row["again_named"])
    if other is None:
        return None
    changed = _who(row, other["program"])
    if row["instead"] is None:
        return "port"
    is_told = other["begun_as"] != "found" and _reach(other["address"]) > _reach(row["local_address"])
    return changed or ("wider" if is_told and other["program"] == row["named"] else "address")


def _who(row: Row, program: str | None) -> str | None:
    if program is not None and row["named"] is not None and program != row["named"]:
        return "program"
    known = row["user"] is not None and row["other_user"] is not None
    return "user" if known and row["user"] != row["other_user"] else None


def _reach(address: str) -> int:
    """Return who can reach an address, as `listens-wider` tells it: this host, some, all."""
    plain = address.replace("::ffff:", "")
    return 2 if address in ("0.0.0.0", "::") else 0 if plain.startswith("127.") or plain == "::1" else 1  # noqa: S104


def shown(row: Row) -> str:
    """Return the SQL that shows the stops of a row's port."""
    return (
        "SELECT ended_not_before, ended_not_after, pid, program, cause, exit_code, signal, by_program,"
        " again_not_after, again_pid FROM listeners WHERE protocol = 'tcp'"
        f" AND local_port = {row['local_port']} AND ended_as = 'closed' ORDER BY ended_not_after"
    )


def down(least_us: int, most_us: int) -> str:
    """Return how long nobody listened: one number where its bounds leave no doubt of it."""
    if most_us - least_us <= most_us / 20:
        return durations.show((least_us + most_us) / 2)
    return f"{durations.show(least_us)} to {durations.show(most_us)}"
