"""SQL of what is known about time itself: gaps, one moment, and what changed between two."""

from __future__ import annotations

from typing import Final

from sockrec.catalog import counters

GAPS: Final = """
CREATE VIEW gaps AS
WITH ordered AS (
    SELECT *, lag(ended_at) OVER all_ AS ended_before, lag(recording) OVER all_ AS recording_before,
        lead(began_at) OVER all_ AS begins_after
    FROM samples
    WINDOW all_ AS (PARTITION BY host ORDER BY began_at)
)
SELECT host, ended_before AS not_before, began_at AS not_after, 'not recording' AS why
FROM ordered WHERE recording <> recording_before
UNION ALL
SELECT host, coalesce(ended_before, began_at), coalesce(begins_after, ended_at),
    'sample not whole: ' || coalesce(incomplete_why, 'reason unknown')
FROM ordered WHERE NOT complete
UNION ALL
SELECT host, ended_before, began_at,
    CASE ticks_missed WHEN 1 THEN '1 sample missed' ELSE ticks_missed || ' samples missed' END
FROM ordered WHERE ticks_missed > 0 AND recording = recording_before
"""

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
# and timers are of the socket's latest row, counters of its latest that has any.
SOCKETS_AT: Final = f"""
CREATE MACRO sockets_at(t) AS TABLE
WITH moment AS (
    SELECT host, recording, began_at, ended_at, file FROM parts.samples WHERE began_at <= t::TIMESTAMPTZ
    QUALIFY row_number() OVER (PARTITION BY host ORDER BY began_at DESC) = 1
), held AS (
    SELECT s.* EXCLUDE (file), m.began_at AS sampled_at, m.ended_at AS sample_ended
    FROM parts.sockets s JOIN ({_within_reach("sockets")}) m
        ON m.near = s.file AND m.host = s.host AND m.recording = s.recording
    WHERE s.first_seen <= m.ended_at AND s.last_seen >= m.began_at
        AND NOT (s.begun_as = 'carried' AND s.first_seen >= m.began_at)
), moved AS (
    SELECT a.* FROM parts.activity a JOIN ({_within_reach("activity")}) m
        ON m.near = a.file AND m.host = a.host AND m.recording = a.recording
    WHERE a.read_at <= m.ended_at
)
SELECT h.* EXCLUDE (sample_ended), {_MOVED}
FROM held h
ASOF LEFT JOIN moved a ON a.host = h.host AND a.recording = h.recording AND a.socket_id = h.socket_id
    AND a.read_at <= h.sample_ended
ASOF LEFT JOIN (FROM moved counted WHERE {counters.has_counters("counted")}) c
    ON c.host = h.host AND c.recording = h.recording AND c.socket_id = h.socket_id
    AND c.read_at <= h.sample_ended
"""

_IDENTITY = """s.netns, s.socket_id, s.protocol, s.family, s.local_address, s.local_port,
    s.remote_address, s.remote_port"""
CHANGES_BETWEEN: Final = f"""
CREATE MACRO changes_between(t1, t2) AS TABLE
SELECT s.host, 'opened' AS what, s.begun_after AS not_before, s.first_seen AS not_after,
    s.begun_evidence AS evidence, {_IDENTITY}, s.state, s.pid, s.program,
    NULL::VARCHAR AS state_before, NULL::BIGINT AS pid_before, NULL::VARCHAR AS program_before, s.recording
FROM sockets s
WHERE s.begun_as = 'opened' AND s.begun_after < t2::TIMESTAMPTZ AND s.first_seen > t1::TIMESTAMPTZ
UNION ALL
SELECT s.host, 'closed', s.last_seen, s.ended_by, s.ended_evidence, {_IDENTITY}, s.state, s.pid, s.program,
    NULL, NULL, NULL, s.recording
FROM sockets s
WHERE s.ended_as = 'closed' AND s.last_seen < t2::TIMESTAMPTZ AND s.ended_by > t1::TIMESTAMPTZ
UNION ALL
SELECT s.host, 'changed', s.begun_after, s.first_seen, s.begun_evidence, {_IDENTITY},
    s.state, s.pid, s.program,
    b.state, b.pid, b.program, s.recording
FROM sockets s LEFT JOIN sockets b ON b.host = s.host AND b.recording = s.recording
    AND b.socket_id = s.socket_id AND b.ended_as = 'changed' AND b.ended_by = s.first_seen
WHERE s.begun_as = 'changed' AND s.begun_after < t2::TIMESTAMPTZ AND s.first_seen > t1::TIMESTAMPTZ
"""
