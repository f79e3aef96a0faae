"""Findings that somebody wrote for a site of their own, told among ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from sockrec.errors import UsageError
from sockrec.model import timetext
from sockrec.query.findings import SEVERITIES, Asked, Finding


def among(told: Iterable[Finding], own: Iterable[Finding], asked: Asked) -> list[Finding]:
    """Return both, by severity; of the same severity what is told by sockrec comes first.

    Own ones of another time or host than is asked about are left out. Raises `UsageError` for what is no
    finding: another object, a severity that there is not, a moment without a time zone.
    """
    return sorted([*told, *_within(own, asked)], key=lambda one: SEVERITIES.index(one.severity))


def _within(own: Iterable[Finding], asked: Asked) -> Iterator[Finding]:
    for one in own:
        if not isinstance(one, Finding):
            raise UsageError(f"what is told has to be a sockrec.Finding, not {type(one).__name__}")
        if one.severity not in SEVERITIES:
            raise UsageError(f"{one.kind}: a severity is {', '.join(SEVERITIES)}, not {one.severity!r}")
        last_us = _us(one, one.not_after)
        first_us = last_us if one.not_before is None else _us(one, one.not_before)
        too_early = asked.first_us is not None and last_us < asked.first_us
        too_late = asked.last_us is not None and first_us > asked.last_us
        if not too_early and not too_late and asked.host in (None, one.host):
            yield one


def _us(one: Finding, moment: datetime) -> int:
    if moment.tzinfo is None:
        raise UsageError(f"{one.kind}: {moment} has no time zone: take it from the capture, or add one")
    return timetext.from_datetime(moment)
