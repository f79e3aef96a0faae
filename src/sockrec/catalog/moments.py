"""SQL of what is known about time itself: gaps, one moment, and what changed between two."""

from __future__ import annotations

from typing import Final

from sockrec.catalog import counters
from sockrec.catalog.connections import REMNANT

# Longer steps than a day stand in no capture of ours.
LONGEST_STEP_US: Final = 86_400_000_000

GAPS: Final = """
CREATE VIEW gaps AS
WITH ordered AS (
    SELECT *, lag(ended_at) OVER all_ AS ended_before, lag(recording) OVER all_ AS recording_before,
        lead(began_at) OVER all_ AS begins_after
    FROM samples
    WINDOW all_ AS (PARTITION BY host ORDER BY began_at)
)
SELECT host, ended_before AS not_before, began_at AS not_after,
    CASE WHEN samples_dropped > 0 THEN samples_dropped || ' samples dropped: the disk did not take them'
        ELSE 'not recording' END AS why
FROM ordered WHERE recording <> recording_before
UNION ALL
SELECT host, coalesce(ended_before, began_at), coalesce(begins_after, ended_at),
    'sample not whole: ' || coalesce(incomplete_why, 'reason unknown')
FROM ordered WHERE NOT complete
UNION ALL
SELECT host, ended_before, began_at,
    CASE ticks_missed WHEN 1 THEN '1 sample missed' ELSE ticks_missed || ' samples missed' END
FROM ordered WHERE ticks_missed > 0 AND recording = recording_before
UNION ALL
SELECT host, not_before, not_after,
    coalesce("count"::VARCHAR || ' ', '') || coalesce(detail, 'events') || ' lost'
FROM base.events WHERE kind = 'lost'
"""


def held(row: str, began: str, ended: str) -> str:
    """Return the condition that a row holds in the sample that took from `began` to `ended`.

    Evidence that it held must touch the sample. What is known to the moment is taken as at the sample's
    end: a row that ended by then is over. Of the two rows that a cut makes, both of which touch the
    sample of the cut, the older one counts.
    """
    return f"""{row}.first_seen <= {ended} AND {row}.last_seen >= {began}
        AND ({row}.begun_as IS DISTINCT FROM 'carried' OR {row}.first_seen < {began})
        AND NOT coalesce({row}.ended_evidence = 'event' AND {row}.last_seen = {row}.ended_by
            AND {row}.ended_by <= {ended}, false)"""


def newest(row: str) -> str:
    """Return the condition that a row that holds is the newest of its socket: what QUALIFY takes.

    The newest counts where an event right at a cut leaves two: no socket is twice in a sample.
    """
    return f"""row_number() OVER (
        PARTITION BY {row}.host, {row}.recording, {row}.socket_id ORDER BY {row}.first_seen DESC) = 1"""


# A part begins with every live socket, process and their activity again, so what a sample found is in its
# own part. The part before is looked at too: there the row of a cut may lie that counts, or what a
# damaged file of the sample's own part would have told. A file that is not named by its part is always
# within reach.
WITHIN_REACH: Final = """
CREATE VIEW base.within_reach AS
WITH ordered AS (
    SELECT *, lag(file) OVER (PARTITION BY "table", host, recording ORDER BY part) AS file_before
    FROM base.files WHERE recording IS NOT NULL
), latest AS (
    SELECT s.file AS sample_file, o."table", unnest([o.file, o.file_before]) AS file
    FROM base.files s CROSS JOIN (SELECT DISTINCT "table" FROM base.files) tables
    ASOF JOIN ordered o ON o."table" = tables."table" AND o.host = s.host AND o.recording = s.recording
        AND o.part <= s.part
    WHERE s."table" = 'samples'
)
SELECT sample_file, "table", file FROM latest WHERE file IS NOT NULL
UNION ALL
SELECT s.file, f."table", f.file
FROM base.files s JOIN base.files f ON f.host = s.host AND (s.recording IS NULL OR f.recording IS NULL)
WHERE s."table" = 'samples'
"""


def _within_reach(table: str) -> str:
    return f"""SELECT m.*, r.file AS near
    FROM moment m JOIN base.within_reach r ON r.sample_file = m.file AND r."table" = '{table}'"""


_MOVED = ", ".join(f"{'c' if name in counters.COUNTERS else 'a'}.{name}" for name in counters.MOVING)
# A row that a segment's edge cut is two rows in the sample of the cut: the first of them counts. Queues
# and timers are of the socket's latest row, counters of its latest that has any. Where activity
# was thinned, the row that is left of a minute stands for all of it.
SOCKETS_AT: Final = f"""
CREATE MACRO sockets_at(t) AS TABLE
WITH moment AS (
    SELECT host, recording, began_at, ended_at, file,
        CASE WHEN thinned_us BETWEEN 1 AND {LONGEST_STEP_US}
            THEN make_timestamptz((epoch_us(ended_at) // thinned_us + 1) * thinned_us - 1)
            ELSE ended_at END AS known_until
    FROM parts.samples WHERE began_at <= t::TIMESTAMPTZ
    QUALIFY row_number() OVER (PARTITION BY host ORDER BY began_at DESC) = 1
), held AS (
    SELECT s.* EXCLUDE (file), m.began_at AS sampled_at, m.known_until
    FROM parts.sockets s JOIN ({_within_reach("sockets")}) m
        ON m.near = s.file AND m.host = s.host AND m.recording = s.recording
    WHERE {held("s", "m.began_at", "m.ended_at")}
    QUALIFY {newest("s")}
), moved AS (
    SELECT a.* FROM parts.activity a JOIN ({_within_reach("activity")}) m
        ON m.near = a.file AND m.host = a.host AND m.recording = a.recording
    WHERE a.read_at <= m.known_until
)
SELECT h.* EXCLUDE (known_until), {_MOVED}
FROM held h
ASOF LEFT JOIN moved a ON a.host = h.host AND a.recording = h.recording AND a.socket_id = h.socket_id
    AND a.read_at <= h.known_until
ASOF LEFT JOIN (FROM moved counted WHERE {counters.has_counters("counted")}) c
    ON c.host = h.host AND c.recording = h.recording AND c.socket_id = h.socket_id
    AND c.read_at <= h.known_until
"""

_IDENTITY = ", ".join(
    f"{{0}}.{name}"
    for name in (
        "netns", "socket_id", "protocol", "family", "local_address", "local_port", "remote_address",
        "remote_port",
    )
)  # fmt: skip
_NOT_BEFORE: Final = (
    "NULL::VARCHAR AS state_before, NULL::BIGINT AS pid_before, NULL::VARCHAR AS program_before"
)

# A state that held between two samples only has no row: what a socket was before it changed is its last
# row that ended by then, and one may have closed after its last row's state had ended: its event tells.
CHANGES_BETWEEN: Final = f"""
CREATE MACRO changes_between(t1, t2) AS TABLE
SELECT s.host, 'opened' AS what, s.begun_after AS not_before, s.first_seen AS not_after,
    s.begun_evidence AS evidence, {_IDENTITY.format("s")}, s.state, s.pid, s.program,
    {_NOT_BEFORE}, s.recording
FROM sockets s
WHERE s.begun_as = 'opened' AND s.begun_after < t2::TIMESTAMPTZ AND s.first_seen > t1::TIMESTAMPTZ
    AND NOT ({REMNANT.format("s")})
UNION ALL
SELECT s.host, 'closed', coalesce(e.not_before, s.last_seen) AS not_before,
    coalesce(e.not_after, s.ended_by) AS not_after, coalesce(e.evidence, s.ended_evidence),
    {_IDENTITY.format("s")}, s.state, s.pid, s.program, {_NOT_BEFORE}, s.recording
FROM sockets s
LEFT JOIN base.events e ON e.kind = 'closed' AND e.host = s.host AND e.recording = s.recording
    AND e.socket_id = s.socket_id AND e.local_port = s.local_port AND e.not_before > s.ended_by
    AND s.ended_evidence = 'event' AND s.state <> 'TIME_WAIT'
WHERE s.ended_as = 'closed' AND coalesce(e.not_before, s.last_seen) < t2::TIMESTAMPTZ
    AND coalesce(e.not_after, s.ended_by) > t1::TIMESTAMPTZ AND NOT ({REMNANT.format("s")})
UNION ALL
SELECT s.host, 'changed', s.begun_after, s.first_seen, s.begun_evidence, {_IDENTITY.format("s")},
    s.state, s.pid, s.program, b.state, b.pid, b.program, s.recording
FROM sockets s
ASOF LEFT JOIN (FROM sockets WHERE ended_as = 'changed') b ON b.host = s.host AND b.recording = s.recording
    AND b.socket_id = s.socket_id AND b.ended_by <= s.first_seen
WHERE s.begun_as = 'changed' AND s.begun_after < t2::TIMESTAMPTZ AND s.first_seen > t1::TIMESTAMPTZ
UNION ALL
SELECT u.host, 'opened', u.began_not_before, u.began_not_after, u.begun_evidence, {_IDENTITY.format("u")},
    CASE u.kind WHEN 'stopped listening' THEN 'LISTEN' END, u.pid, u.program, {_NOT_BEFORE}, u.recording
FROM base.unsampled u
WHERE coalesce(u.began_not_before, u.began_not_after) < t2::TIMESTAMPTZ
    AND u.began_not_after > t1::TIMESTAMPTZ
UNION ALL
SELECT u.host, 'closed', u.not_before, u.not_after, u.evidence, {_IDENTITY.format("u")},
    CASE u.kind WHEN 'stopped listening' THEN 'LISTEN' END, u.pid, u.program, {_NOT_BEFORE}, u.recording
FROM base.unsampled u
WHERE u.not_before < t2::TIMESTAMPTZ AND u.not_after > t1::TIMESTAMPTZ
"""
