"""The rest of the network namespace, from one reading to the next: what changed of it, as rows.

Interfaces, addresses, routes, groups and limits are rows that span time, as sockets are; counters have a row
when they moved. Few of them change, so that they are compared as they are, without arrays.
"""

from __future__ import annotations

from collections import Counter as Multiset
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from sockrec.kernel.counters import Reading as CountersReading
from sockrec.kernel.network import NetworkReading
from sockrec.model import network_tables as tables
from sockrec.model.columns import Table
from sockrec.model.network import Counter, LinkCounters
from sockrec.recorder import ranks
from sockrec.recorder.columns import batch
from sockrec.recorder.seen import Times
from sockrec.store import schema

Batches = dict[str, pa.RecordBatch]

# What makes it the same one when other columns change; of equal ones the first stays the first.
_IDENTITY: Final[Mapping[str, tuple[str, ...]]] = {
    "interfaces": ("ifindex",),
    "addresses": ("ifindex", "family", "address", "prefix_length", "label"),
    "routes": (
        "family", "destination", "prefix_length", "source", "source_length", "gateway", "interface", "metric",
    ),
    "groups": ("family", "ifindex", "address"),
    "limits": ("name",),
}  # fmt: skip
_SPANS: Final = tuple(table for table in tables.NETWORK_TABLES if table.spans)
_BEGUN: Final = {table.name: schema.begun_schema(table) for table in _SPANS}
_ENDED: Final = {table.name: schema.ended_schema(table) for table in _SPANS}
_COUNTERS: Final = schema.arrow_schema(tables.COUNTERS)
_LINK_COUNTERS: Final = schema.arrow_schema(tables.LINK_COUNTERS)


@dataclass(slots=True)
class _Row:
    """One row that holds: its number in the journal part, what it says, and since when."""

    number: int
    fact: tuple[Any, ...]
    rank: float
    first_seen: int


@dataclass(frozen=True, slots=True)
class _Begun:
    row: _Row
    begun_after: int | None
    begun_as: str
    evidence: str


@dataclass(frozen=True, slots=True)
class _Ended:
    number: int
    last_seen: int
    ended_by: int
    ended_as: str
    evidence: str


class _Spans:
    """The rows of one table that hold, in the kernel's order."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._identity: Callable[[Any], tuple[Hashable, ...]] | None = None
        self._facts: Sequence[tuple[Any, ...]] = ()
        self._rows: dict[Hashable, _Row] = {}
        self._numbered = 0
        self._known_until: int | None = None
        self.begun: list[_Begun] = []
        self.ended: list[_Ended] = []

    def observe(self, facts: Sequence[tuple[Any, ...]], times: Times, *, announced: bool) -> None:
        """Take in what holds now; `announced`: nothing changed between the last look and just now."""
        if facts is not self._facts and facts != self._facts:
            self._change(facts, times, "event" if announced else "sample")
        self._facts = facts
        self._known_until = times.began

    def still(self, at: int) -> None:
        """Note that nothing had changed until then."""
        if self._known_until is not None:
            self._known_until = max(self._known_until, at)

    def carry(self, began: int, begun_as: str) -> None:
        """Begin a new journal part: every row again, numbered from 0, cut at that moment."""
        self._numbered = 0
        self.begun, self.ended = [], []
        for row in self._rows.values():
            row.first_seen = max(row.first_seen, began)
            row.number = self._numbered
            self._numbered += 1
            after = row.first_seen if begun_as == "carried" else None
            self.begun.append(_Begun(row, after, begun_as, "sample"))

    def _change(self, facts: Sequence[tuple[Any, ...]], times: Times, evidence: str) -> None:
        before, self._rows = self._rows, {}
        keys = self._keys(facts)
        stays = [key in before and before[key].fact == fact for key, fact in zip(keys, facts, strict=True)]
        old = [before[key].rank if stay else np.nan for key, stay in zip(keys, stays, strict=True)]
        rank, moved = ranks.assign(np.array(old, np.float64))
        for key, fact, stay, place, shifted in zip(
            keys, facts, stays, rank.tolist(), moved.tolist(), strict=True
        ):
            was = before.pop(key, None)
            if was is not None and stay and not shifted:
                self._rows[key] = was
                continue
            if was is not None:
                self._end(was, times, "carried" if stay else "changed", evidence)
            begun_as = "opened" if was is None else "carried" if stay else "changed"
            self._rows[key] = self._begin(fact, place, times, begun_as, evidence)
        for was in before.values():
            self._end(was, times, "closed", evidence)

    def _begin(self, fact: tuple[Any, ...], rank: float, times: Times, begun_as: str, evidence: str) -> _Row:
        row = _Row(self._numbered, fact, rank, times.ended)
        self._numbered += 1
        after = self._known_until
        if after is None:
            begun_as, evidence = "found", "sample"
        elif begun_as == "carried":
            after = times.ended
        self.begun.append(_Begun(row, after, begun_as, evidence))
        return row

    def _end(self, row: _Row, times: Times, ended_as: str, evidence: str) -> None:
        last_seen = max(row.first_seen, self._known_until or row.first_seen)
        if ended_as == "carried":
            last_seen = times.ended
        self.ended.append(_Ended(row.number, last_seen, times.ended, ended_as, evidence))

    def _keys(self, facts: Iterable[tuple[Any, ...]]) -> list[Hashable]:
        names = _IDENTITY[self.table.name]
        seen: Multiset[Hashable] = Multiset()
        keys: list[Hashable] = []
        for fact in facts:
            key = tuple(getattr(fact, name) for name in names)
            keys.append((*key, seen[key]))
            seen[key] += 1
        return keys


class NetworkLedger:
    """What the network namespace is, and what changed of it since this was last asked.

    `anchor_us` as in the ledger of sockets. `read_at` is when the last reading of everything began, in
    recorded microseconds; None before the first.
    """

    def __init__(self, anchor_us: int) -> None:
        self.read_at: int | None = None
        self._anchor_us = anchor_us
        self._spans = {table.name: _Spans(table) for table in _SPANS}
        self._counters = CountersReading()
        self._counters_at: int | None = None
        self._link_counters: dict[tuple[int, str], LinkCounters] = {}
        self._links_at: int | None = None
        self._moved: list[tuple[Counter, int | None, int]] = []
        self._links_moved: list[tuple[LinkCounters, int | None, int]] = []

    def observe(self, reading: NetworkReading) -> None:
        """Take in one reading; what it leaves out stays as it was."""
        times = Times(reading.began_us + self._anchor_us, reading.ended_us + self._anchor_us)
        for name, spans in self._spans.items():
            facts = getattr(reading, name)
            if facts is not None:
                spans.observe(facts, times, announced=name in reading.announced)
        if reading.link_counters is not None:
            self._count_links(reading.link_counters, times.ended)
        if reading.counters is not None:
            changed = reading.counters.changed_since(self._counters)
            self._moved += [(counter, self._counters_at, times.ended) for counter in changed]
            self._counters, self._counters_at = reading.counters, times.ended
            self.read_at = times.began

    def still(self, names: Iterable[str], at_us: int) -> None:
        """Note that by that moment (boot clock) no change of some tables had been announced."""
        for name in names:
            self._spans[name].still(at_us + self._anchor_us)

    def carry(self, began: int, begun_as: str = "carried") -> None:
        """Begin a new journal part, or a recording (`found`), at that moment: everything again, whole."""
        for spans in self._spans.values():
            spans.carry(began, begun_as)
        if self._counters_at is not None:
            at = self._counters_at
            self._moved = [(counter, None, at) for counter in self._counters.counters()]
        if self._links_at is not None:
            self._links_moved = [(one, None, self._links_at) for one in self._link_counters.values()]

    def take(self, constant: Mapping[str, Any]) -> Batches:
        """Return the rows of all that changed since this was last called, by journal table.

        `constant` has the columns that all rows share.
        """
        made: Batches = {}
        for name, spans in self._spans.items():
            if spans.begun:
                made[name + schema.BEGUN] = batch(_BEGUN[name], _beginnings(spans), constant)
            if spans.ended:
                made[name + schema.ENDED] = batch(_ENDED[name], _endings(spans.ended), constant)
            spans.begun, spans.ended = [], []
        for name, kind, moved, fields in (
            ("counters", _COUNTERS, self._moved, Counter._fields),
            ("link_counters", _LINK_COUNTERS, self._links_moved, LinkCounters._fields),
        ):
            if moved:
                facts, before, at = zip(*moved, strict=True)
                read = {"read_before": before, "read_at": at}
                made[name] = batch(kind, _columns(fields, facts) | read, constant)
        self._moved, self._links_moved = [], []
        return made

    def _count_links(self, links: Iterable[LinkCounters], ended: int) -> None:
        before, self._link_counters = self._link_counters, {(one.ifindex, one.name): one for one in links}
        for key, one in self._link_counters.items():
            was = before.get(key)
            if was != one:
                self._links_moved.append((one, self._links_at if was is not None else None, ended))
        self._links_at = ended


def _beginnings(spans: _Spans) -> dict[str, Any]:
    begun = spans.begun
    facts = [one.row.fact for one in begun]
    names = facts[0]._fields  # type: ignore[attr-defined]  # rows are NamedTuples of model.network
    return _columns(names, facts) | {
        "begun_after": [one.begun_after for one in begun],
        "first_seen": [one.row.first_seen for one in begun],
        "begun_as": [one.begun_as for one in begun],
        "begun_evidence": [one.evidence for one in begun],
        "rank": [one.row.rank for one in begun],
    }


def _columns(names: Sequence[str], facts: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    columns = zip(*facts, strict=True)
    return {name: [_text(v) for v in values] for name, values in zip(names, columns, strict=True)}


def _text(value: Any) -> Any:
    """Return text as captures have it: bytes that are no UTF-8 as backslash escapes."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return value


def _endings(ended: Sequence[_Ended]) -> dict[str, Any]:
    return {
        "row": [one.number for one in ended],
        "last_seen": [one.last_seen for one in ended],
        "ended_by": [one.ended_by for one in ended],
        "ended_as": [one.ended_as for one in ended],
        "ended_evidence": [one.evidence for one in ended],
    }
