"""SQL of the sockets that no sample saw: their ends are events, and tell of their beginnings."""

from __future__ import annotations

from typing import Final


def select(ends: str) -> str:
    """Return the SELECT of those among `ends`, stored events: with `life`, and their beginnings.

    Where the beginning was not seen either, the last whole sample before the end is the last evidence
    that the socket did not exist: an end with bounds begins them there.
    """
    return f"""
SELECT e.*, runs.life, e.opened_at AS began_not_before, e.opened_at AS began_not_after,
    'opened' AS begun_as, 'event' AS begun_evidence
FROM {ends} e JOIN base.runs runs ON runs.host = e.host AND runs.recording = e.recording
WHERE NOT e.sampled AND e.kind IN ('closed', 'stopped listening') AND e.opened_at IS NOT NULL
UNION ALL
SELECT e.*, runs.life,
    CASE WHEN e.not_before < e.not_after THEN e.not_before ELSE s.began_at END, e.not_after,
    CASE WHEN s.began_at IS NULL THEN 'found' ELSE 'opened' END, 'inferred'
FROM {ends} e JOIN base.runs runs ON runs.host = e.host AND runs.recording = e.recording
ASOF LEFT JOIN base.whole s ON s.run = runs.run AND s.ended_at <= e.not_before
WHERE NOT e.sampled AND e.kind IN ('closed', 'stopped listening') AND e.opened_at IS NULL"""


UNSAMPLED: Final = f"CREATE VIEW base.unsampled AS {select('base.events')}"
