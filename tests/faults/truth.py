"""What a capture says, held against what is true of the sockets that were there."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from sockrec.catalog import Catalog
from tests.faults.churn import PORT, Churn, Life

# Between the kernel's own moment and ours before and after the call lies a switch of processes. What one
# sample alone saw has its end for its moment: it may have ended while that was being read.
_SLACK_US = 5_000
_LONGEST_READING = "SELECT coalesce(max(epoch_us(ended_at) - epoch_us(began_at)), 0) FROM samples"
# What no sample saw is told once it is announced, which takes a busy kernel a while, and a listener once its
# cause is known: a recorder waits a second for an exit status.
_TOLD_WITHIN_US = 1_500_000
_SPANS = f"""
SELECT socket_id, epoch_us(opened_not_before), epoch_us(opened_not_after), closed_as,
    epoch_us(closed_not_before), epoch_us(closed_not_after)
FROM connections WHERE {PORT} IN (local_port, remote_port)
UNION ALL
SELECT socket_id, epoch_us(began_not_before), epoch_us(began_not_after), ended_as,
    epoch_us(ended_not_before), epoch_us(ended_not_after)
FROM listeners
"""


@dataclass(frozen=True, slots=True)
class _Span:
    """When a socket was, as a capture says it; microseconds."""

    opened_not_before: int | None
    opened_not_after: int
    closed_as: str | None
    closed_not_before: int | None
    closed_not_after: int | None

    @property
    def is_closed(self) -> bool:
        return self.closed_as in {"closed", "changed"}


def check(catalog: Catalog, churn: Churn, *, events: bool, removed_us: int = 0) -> int:
    """Expect nothing of a capture but what is true, and all of what its samples must know.

    `events` tells whether every recording asked for them, `removed_us` how long the longest reading took
    whose sample was removed: its rows may be there. Returns how many sockets were compared.
    """
    covered = [
        (int(first), int(last))
        for first, last in catalog.rows(
            "SELECT epoch_us(min(began_at)), epoch_us(max(began_at)) FROM samples GROUP BY host, recording"
        )
    ]
    slack = _SLACK_US + max(removed_us, int(catalog.rows(_LONGEST_READING)[0][0]))
    spans = _spans(catalog)
    lives = [*churn.stays, *churn.lives]
    known = {cookie for life in lives for cookie in life.cookies}
    assert not set(spans) - known, f"sockets that never were: {set(spans) - known}"
    for life in lives:
        for cookie in life.cookies:
            if life.kind != "unix":
                _check(life, spans.get(cookie), covered, slack, events=events)
    _check_stays(catalog, churn)
    return len(spans)


def _spans(catalog: Catalog) -> dict[int, _Span]:
    found = catalog.rows(_SPANS)
    ids = Counter(row[0] for row in found)
    assert not (twice := [one for one, count in ids.items() if count > 1]), f"told as two: {twice}"
    return {row[0]: _Span(*row[1:]) for row in found}


def _check(
    life: Life, span: _Span | None, covered: list[tuple[int, int]], slack: int, *, events: bool
) -> None:
    if span is None:
        # Seen by a sample, or told by events, if it was open while a recorder ran.
        for first, last in covered:
            gone = life.closed or (last + 2 * slack,) * 2
            sampled = life.opened[1] < last - slack and gone[0] > last + slack
            assert not sampled, f"{life} was open at the last sample, and is nowhere"
            inside = first < life.opened[0] and gone[1] < last - _TOLD_WITHIN_US
            assert not (events and inside), f"{life} came and went, and is nowhere"
        return
    assert span.opened_not_after >= life.opened[0] - slack, (life, span)
    if span.opened_not_before is not None:
        assert span.opened_not_before <= life.opened[1] + slack, (life, span)
    if life.closed is None:
        assert not span.is_closed, f"never closed: {life}, {span}"
        return
    if span.closed_not_before is not None:
        assert span.closed_not_before <= life.closed[1] + slack, (life, span)
    if span.closed_not_after is not None:
        assert span.closed_not_after >= life.closed[0] - slack, (life, span)
    # A sample saw that it was gone: the recorder ran before, and took another one after.
    for first, last in covered:
        if first < life.closed[0] and life.closed[1] < last:
            assert span.is_closed, f"closed while a recorder looked: {life}, {span}"


def _check_stays(catalog: Catalog, churn: Churn) -> None:
    """Expect that no question makes an end of what is still open."""
    ids = ", ".join(str(cookie) for life in churn.stays for cookie in life.cookies)
    for sql in (
        f"SELECT * FROM sockets WHERE socket_id IN ({ids}) AND ended_as IN ('closed', 'changed')",
        f"SELECT * FROM unix_sockets WHERE socket_id IN ({ids}) AND ended_as IN ('closed', 'changed')",
        f"SELECT * FROM base.events WHERE socket_id IN ({ids})",
        f"SELECT * FROM events WHERE socket_id IN ({ids}) AND kind IN ('closed', 'stopped listening')",
        f"SELECT * FROM connections WHERE socket_id IN ({ids}) AND closed_as IN ('closed', 'changed')",
        f"SELECT * FROM listeners WHERE socket_id IN ({ids}) AND ended_as IN ('closed', 'changed')",
    ):
        assert catalog.rows(sql) == [], sql


def check_moments(catalog: Catalog, most: int, *, events: bool) -> None:
    """Expect that the latest samples show as many sockets as were read in each, no socket twice."""
    moments = catalog.rows(
        f"SELECT began_at, ended_at, sockets FROM samples WHERE complete ORDER BY began_at DESC LIMIT {most}"
    )
    for began, ended, read in moments:
        at = f"TIMESTAMPTZ '{began.isoformat()}'"
        ((shown, ids),) = catalog.rows(f"SELECT count(*), count(DISTINCT socket_id) FROM sockets_at({at})")
        assert shown == ids, f"a socket stands twice in the sample of {began}"
        # What events tell of the time of the reading holds at its end, whatever was found before.
        ends = _meanwhile(catalog, "ended", began, ended) if events else 0
        begins = _meanwhile(catalog, "begun", began, ended) if events else 0
        assert -begins <= read - shown <= ends, f"{shown} of {read} sockets stand in the sample of {began}"


def _meanwhile(catalog: Catalog, what: str, began: datetime, ended: datetime) -> int:
    """Return how many rows events began or ended during a reading; TIME_WAIT begins with what one ended."""
    moment = "first_seen" if what == "begun" else "ended_by"
    ((count,),) = catalog.rows(
        f"SELECT count(*) FROM sockets WHERE {what}_evidence IN ('event', 'inferred') AND {moment}"
        f" BETWEEN TIMESTAMPTZ '{began.isoformat()}' AND TIMESTAMPTZ '{ended.isoformat()}'"
    )
    return int(count)


def check_gaps(catalog: Catalog, recordings: int) -> None:
    """Expect a gap from the end of the last sample of each recording to the first of the next."""
    runs = catalog.rows(
        "SELECT min(began_at), max(ended_at) FROM samples GROUP BY host, recording ORDER BY min(began_at)"
    )
    assert len(runs) == recordings
    between = [(runs[place][1], runs[place + 1][0]) for place in range(len(runs) - 1)]
    found = catalog.rows(
        "SELECT not_before, not_after FROM gaps WHERE why = 'not recording' ORDER BY not_before"
    )
    assert [tuple(row) for row in found] == between
