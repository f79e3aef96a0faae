"""What the viewer asks of a capture: from one thread at a time."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import duckdb
import numpy as np

from sockrec.catalog import open_catalog, times
from sockrec.catalog.sources import literal
from sockrec.model import timeexpr, timetext
from sockrec.model.timeexpr import TimeContext
from sockrec.query import events
from sockrec.render.names import Names
from sockrec.replay.moment import Moments, Sample
from sockrec.replay.stretch import Stretch
from sockrec.store.layout import Layout
from sockrec.store.lock import is_held
from sockrec.view.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sockrec.catalog import Catalog
    from sockrec.query.findings import Finding
    from sockrec.replay.stretch import Ints
    from sockrec.view.table import Subject

_MOST_EVENTS: Final = 5_000
_GAPS: Final = """
SELECT epoch_us(not_before), epoch_us(not_after), why FROM gaps WHERE host = {host} ORDER BY not_before
"""
# The first sample of a recording finds everything: nothing of it changed then.
_CHANGES: Final = """
SELECT if(number = 0, 0, coalesce(changes, 0)) AS changes FROM samples WHERE host = {host} ORDER BY began_at
"""
# Of what a sample saw the changes are counted with it.
_UNSEEN: Final = """
SELECT epoch_us(not_after) // 100000 * 100000 AS moment, count(*) AS events FROM base.events
WHERE host = {host} AND kind <> 'lost' AND NOT coalesce(sampled, false) GROUP BY 1 ORDER BY 1
"""
_OF_SUBJECT: Final = """
SELECT epoch_us(first_seen), begun_as, epoch_us(last_seen), ended_as,
    if(ended_evidence = 'event' AND last_seen = ended_by, epoch_us(ended_by), NULL)
FROM parts.sockets
WHERE host = {host} AND protocol = {protocol} AND local_port = {local_port} AND remote_port = {remote_port}
    AND local_address = {local_address} AND {which} ORDER BY first_seen
"""


class Gap(NamedTuple):
    """A time of which not all is known, microseconds UTC, and why."""

    first_us: int
    last_us: int
    why: str


class Happened(NamedTuple):
    """What happened between two samples, rows as `sockrec events` has them; `more` were left out."""

    rows: list[dict[str, Any]]
    more: int


class Source:
    """A capture as the viewer reads it; close it. `host` as for `sockrec.replay.moment.Moments`."""

    def __init__(self, path: Path, host: str | None = None, tz: str | None = None) -> None:
        self._names: dict[str, Names] = {}
        self.catalog: Catalog = open_catalog(path)
        try:
            self.moments = Moments(self.catalog, host)
            self.host = self.moments.host
            self.zone = timetext.zone(tz) if tz else times.zone_of(self.catalog)
            self.timeline = Timeline(self.moments.after(-(1 << 53)))
        except BaseException:
            self.catalog.close()
            raise

    def understood(self, text: str) -> int:
        """Return the moment that a time expression means; raises `UsageError` as `replay --at` does."""
        context = TimeContext(self.moments.spans(), self.zone, time.time_ns() // 1000)
        return timeexpr.parse(text, context)

    def stretch(self, samples: Sequence[Sample]) -> Stretch:
        """Read the sockets of some samples of one recording."""
        return Stretch(self.catalog, samples)

    def happened(self, after_us: int, until_us: int) -> Happened:
        """Return what is known to have happened by one moment and not by another before it, in order."""
        wanted = events.select(events.Wanted(first_us=after_us, last_us=until_us))
        sql = f"""SELECT *, count(*) OVER () AS counted FROM ({wanted})
            WHERE host = {self._host} AND not_after > make_timestamptz({after_us})
                AND not_after <= make_timestamptz({until_us})
            ORDER BY {events.ORDER} LIMIT {_MOST_EVENTS}"""
        rows = self._dicts(sql)
        return Happened(rows, rows[0]["counted"] - len(rows) if rows else 0)

    def changes(self, subject: Subject) -> list[int]:
        """Return the samples that first show a subject as it changed, as places of the timeline, in order."""
        which = (
            f"socket_id = {subject.socket_id}"
            if subject.socket_id is not None
            else f"state = 'LISTEN' OR protocol <> {literal('tcp')}"
        )
        sql = _OF_SUBJECT.format(
            host=self._host,
            protocol=literal(subject.protocol),
            local_port=subject.local_port,
            remote_port=subject.remote_port,
            local_address=literal(subject.local_address),
            which=f"({which})",
        )
        rows = self.catalog.rows(sql)
        line = self.timeline
        found = set()
        for first_seen, begun_as, last_seen, ended_as, gone in rows:
            if begun_as != "carried" and (begun_as != "found" or first_seen > line.samples[0].ended_us):
                found.add(line.shows(first_seen))
            if ended_as in ("closed", "gap"):
                found.add(line.shows(gone) if gone is not None else line.after(last_seen))
        return sorted(found)

    def refresh(self) -> list[Sample]:
        """Read what was recorded since; returns the samples that came, which are not yet in the timeline."""
        last = self.timeline.samples[-1].began_us
        self.catalog.refresh()
        return self.moments.after(last)

    def gaps(self) -> list[Gap]:
        """Return the times of which not all is known."""
        return [Gap(*row) for row in self.catalog.rows(_GAPS.format(host=self._host))]

    def density(self) -> Ints:
        """Return for each sample how much had changed since the one before, or ended unseen by both."""
        samples = self.timeline.samples[:]
        changes = self.catalog.rows(_CHANGES.format(host=self._host))
        unseen = self.catalog.rows(_UNSEEN.format(host=self._host))
        counts = np.zeros(len(samples), dtype=np.int64)
        known = [number for (number,) in changes][: len(samples)]
        counts[: len(known)] = known
        ended = np.array([sample.ended_us for sample in samples])
        for moment, number in unseen:
            place = int(np.searchsorted(ended, moment))
            if place < len(counts):
                counts[place] += number
        return counts

    def findings(self) -> list[Finding]:
        """Return what `sockrec diagnose` finds; takes seconds."""
        from sockrec.query import findings

        return findings.diagnose(findings.Asked(self.catalog, host=self.host))

    def of_socket(self, subject: Subject) -> list[dict[str, Any]]:
        """Return what happened to one socket that has a peer, in order; rows as `sockrec events` has them.

        What the kernel keeps of a connection for a minute may be another socket: its ends tell.
        """
        if subject.socket_id is None:
            return []
        wanted = events.select(events.Wanted(port=subject.local_port, kinds=("opened", "closed")))
        return self._dicts(
            f"""SELECT * FROM ({wanted}) WHERE host = {self._host} AND (socket_id = {subject.socket_id}
                OR local_port = {subject.local_port} AND remote_port = {subject.remote_port}
                AND local_address = {literal(subject.local_address)}
                AND remote_address = {literal(subject.remote_address)})
            ORDER BY {events.ORDER} LIMIT {_MOST_EVENTS}"""
        )

    def process(self, pid: int, at_us: int) -> dict[str, Any] | None:
        """Return what is known of a process at a moment; None if nothing is."""
        found = self._dicts(
            f"""SELECT argv AS command, exe AS "file", uid AS "user id", ppid AS parent, unit, container,
                start_time AS started
            FROM parts.processes WHERE host = {self._host} AND pid = {pid}
                AND first_seen <= make_timestamptz({at_us}) ORDER BY first_seen DESC LIMIT 1"""
        )
        return found[0] if found else None

    def names_of(self, recording: str) -> Names:
        """Return what the recorded host called users; raises `CaptureError` if that is malformed."""
        if recording not in self._names:
            facts = [facts for facts in self.catalog.recordings if facts.get("recording") == recording]
            self._names[recording] = Names.from_json((facts[0].get("names") if facts else None) or {})
        return self._names[recording]

    @property
    def is_recording(self) -> bool:
        """Whether a recorder on this machine writes into the capture."""
        return is_held(Layout(self.catalog.root).lock(self.host))

    def _dicts(self, sql: str) -> list[dict[str, Any]]:
        answer = self.catalog.relation(sql)
        return [dict(zip(answer.columns, row, strict=True)) for row in answer.fetchall()]

    @property
    def _host(self) -> str:
        return literal(self.host)

    def interrupt(self) -> None:
        """End what is being asked now."""
        # Where the capture is just being opened anew nothing is being asked.
        with suppress(duckdb.ConnectionException):
            self.catalog.interrupt()

    def close(self) -> None:
        """Let the capture go."""
        self.catalog.close()
