"""What happened, in words, with the evidence: a module each kind of finding, documented in its `find`."""

from __future__ import annotations

from functools import partial
from typing import Final

from sockrec.query.findings import (
    backlog,
    beacon,
    conntrack,
    datagrams,
    elsewhere,
    executables,
    growth,
    half_closed,
    interfaces,
    leaks,
    losses,
    ports,
    queues,
    refused,
    retransmissions,
    scans,
    slow_path,
    stopped,
    storm,
    stuck,
    syn_flood,
    unsure,
    unusual,
    wider,
)
from sockrec.query.findings.finding import SEVERITIES, Asked, Finding, Kind, Threshold, parse_settings

KINDS: Final = (
    stopped.KIND,
    elsewhere.KIND,
    refused.KIND,
    stuck.KIND,
    backlog.KIND,
    syn_flood.KIND,
    ports.KIND,
    conntrack.KIND,
    datagrams.KIND,
    queues.UNREAD,
    queues.UNSENT,
    leaks.KIND,
    growth.KIND,
    storm.KIND,
    half_closed.KIND,
    retransmissions.KIND,
    slow_path.KIND,
    interfaces.KIND,
    wider.KIND,
    scans.IN,
    scans.OUT,
    beacon.KIND,
    executables.KIND,
    unusual.LISTENER,
    unusual.PROGRAM,
    unsure.GAP,
    unsure.STEP,
    losses.KIND,
)


def diagnose(asked: Asked) -> list[Finding]:
    """Return all findings, the most telling first: by severity, then in the order in which they began.

    A kind that the capture's numbers let nobody reckon with is among the damages of the catalog instead.
    """
    found = [
        one
        for kind in KINDS
        for one in asked.catalog.told_or_left_out(f"{kind.name} is not looked for", partial(kind.find, asked))
    ]
    return sorted(
        found, key=lambda one: (SEVERITIES.index(one.severity), one.not_after, one.kind, one.subject)
    )


__all__ = ["KINDS", "SEVERITIES", "Asked", "Finding", "Kind", "Threshold", "diagnose", "parse_settings"]
