"""A service whose program file is gone, or lies where programs do not belong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sockrec.catalog.sources import literal
from sockrec.model.addresses import endpoint
from sockrec.model.programs import known_as_sql
from sockrec.query.baseline import Span, seen
from sockrec.query.findings.finding import Asked, Finding, Kind, process

_DELETED: Final = " (deleted)"
_MEMORY: Final = "/memfd:"
# Folders that everybody may write to: programs are installed elsewhere.
_FOLDERS: Final = ("/tmp/", "/var/tmp/", "/dev/shm/")  # noqa: S108 - looked for, not used
_ODD: Final = " OR ".join(
    [f"exe LIKE '%{_DELETED}'", *(f"starts_with(exe, '{place}')" for place in (*_FOLDERS, _MEMORY))]
)
_LISTENING: Final = f"""
WITH odd AS (SELECT * FROM processes WHERE {_ODD}), listening AS (
    SELECT DISTINCT host, recording, protocol, local_address, local_port, begun_after, first_seen, last_seen,
        unnest(list_append(holders, pid)) AS holder
    FROM sockets
    WHERE (state = 'LISTEN' OR (protocol LIKE 'udp%' AND remote_port = 0 AND NOT {{ephemeral}}))
        AND {{within}}
), met AS (
    SELECT o.host, o.pid, o.start_time, o.exe, {{known}} AS named, l.protocol, l.local_address, l.local_port,
        CASE WHEN l.first_seen >= o.first_seen THEN l.begun_after ELSE o.begun_after END AS not_before,
        greatest(l.first_seen, o.first_seen) AS not_after
    FROM listening l JOIN odd o ON o.host = l.host AND o.recording = l.recording AND o.pid = l.holder
        AND l.first_seen <= o.last_seen AND l.last_seen >= o.first_seen
)
SELECT host, pid, exe, any_value(named) AS named, arg_min_null(not_before, not_after) AS not_before,
    min(not_after) AS not_after, list_sort(list(DISTINCT {{{{
        'protocol': protocol, 'port': local_port, 'address': local_address}}}})) AS places
FROM met GROUP BY host, pid, start_time, exe ORDER BY not_after, pid
"""


def find(asked: Asked) -> Iterator[Finding]:
    """Find each process that listens and whose program file is deleted, or lies among temporary files.

    Those are /tmp, /var/tmp, /dev/shm, and memory that is no file at all (memfd). Who breaks in puts programs
    there and deletes them: critical. A file that is still there is a warning; one that is gone from elsewhere
    is a notice, as an upgrade replaces it until the service is restarted.
    """
    sql = _LISTENING.format(
        ephemeral=seen.facts(asked.catalog).is_ephemeral_sql("local_port"),
        within=Span(asked.host, asked.first_us, asked.last_us).touches("first_seen", "last_seen"),
        known=known_as_sql("coalesce(o.argv[1], o.comm)"),
    )
    for row in asked.rows(sql):
        yield _finding(row)


def _finding(row: dict[str, Any]) -> Finding:
    exe: str = row["exe"]
    file = exe.removesuffix(_DELETED)
    deleted, in_memory = file != exe, exe.startswith(_MEMORY)
    is_odd = in_memory or file.startswith(_FOLDERS)
    severity = "notice" if not is_odd else "critical" if deleted else "warning"
    who = process(row["pid"], row["named"])
    places = [f"{one['protocol']} {endpoint(one['address'], one['port'])}" for one in row["places"]]
    if in_memory:
        what, title = f"It runs from memory, from no file: {file}.", "runs from no file"
    elif is_odd and deleted:
        what = f"Its program file was {file}, which is deleted: programs do not belong there."
        title = "runs from a deleted file"
    elif is_odd:
        what = f"Its program file is {file}: programs do not belong there."
        title = f"runs from {file}"
    else:
        what = f"Its program file {file} was removed or replaced since, as an upgrade does: restart it then."
        title = "runs from a file that was replaced"
    return Finding(
        kind="deleted-executable",
        severity=severity,
        title=f"{row['named'] or row['pid']} listens and {title}",
        text=f"{who} listens on {', '.join(places)}. {what}",
        not_before=row["not_before"],
        not_after=row["not_after"],
        host=row["host"],
        subject=f"{who} from {file}",
        numbers={
            "pid": row["pid"],
            "exe": exe,
            "deleted": deleted,
            "port": row["places"][0]["port"],
            "ports": sorted({one["port"] for one in row["places"]}),
        },
        look=f"sockrec events --pid {row['pid']}; sockrec port {row['places'][0]['port']}",
        sql=(
            "SELECT first_seen, pid, ppid, uid, argv, exe FROM processes"
            f" WHERE pid = {row['pid']} AND exe = {literal(exe)} ORDER BY first_seen"
        ),
    )


KIND: Final = Kind("deleted-executable", find)
