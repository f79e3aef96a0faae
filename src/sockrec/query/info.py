"""What a capture holds, and what it cost to record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sockrec.catalog import times
from sockrec.catalog.sources import literal
from sockrec.model.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sockrec.catalog import Catalog


def info(catalog: Catalog) -> dict[str, Any]:
    """Return the facts as JSON-ready values; times in microseconds UTC.

    `hosts`, `span` (first and last moment, null before the first sample), `samples`,
    `samples_not_whole`, `ticks_missed`, `cpu_us_per_sample` (mean), `recording_now` (hosts),
    `recordings` (a dict each), `tables` (rows, files and bytes each), `journal_bytes`, `removed` (of each
    host, to bound the disk: `parts`, `bytes`, all before `until`), `thinned` (of each host: from `first` to
    `last` activity has at most one row a socket in `step_us`), `gaps`, `damages`.
    """
    spans = times.spans(catalog)
    samples, broken, missed, cpu = catalog.rows(
        "SELECT count(*), count(*) FILTER (NOT complete), coalesce(sum(ticks_missed), 0)::BIGINT, "
        "avg(cpu_us) FROM samples"
    )[0]
    survey = catalog.survey
    return {
        "capture": str(catalog.root),
        "hosts": survey.hosts,
        "span": [spans[0][0], max(last for _, last in spans)] if spans else None,
        "samples": samples,
        "samples_not_whole": broken,
        "ticks_missed": missed,
        "cpu_us_per_sample": None if cpu is None else round(cpu),
        "recording_now": sorted({journal.host for journal in survey.journals if journal.running}),
        "recordings": [_recording(catalog, facts) for facts in catalog.recordings],
        "tables": {name: _table(catalog, name) for name in TABLES},
        "journal_bytes": sum(journal.size for journal in survey.journals),
        "removed": _removed(catalog.recordings),
        "thinned": [
            {"host": host, "step_us": step, "first": first, "last": last}
            for host, step, first, last in catalog.rows(
                "SELECT host, thinned_us, epoch_us(min(began_at)), epoch_us(max(ended_at)) FROM samples "
                "WHERE thinned_us IS NOT NULL GROUP BY host, thinned_us ORDER BY host, min(began_at)"
            )
        ],
        "gaps": [
            {"host": host, "not_before": first, "not_after": last, "why": why}
            for host, first, last, why in catalog.rows(
                "SELECT host, epoch_us(not_before), epoch_us(not_after), why "
                "FROM gaps ORDER BY not_after, host"
            )
        ],
        "damages": [str(damage) for damage in catalog.damages],
    }


def _recording(catalog: Catalog, facts: dict[str, Any]) -> dict[str, Any]:
    name, host = str(facts.get("recording")), str(facts.get("host"))
    count, first, last = catalog.rows(
        "SELECT count(*), epoch_us(min(began_at)), epoch_us(max(ended_at)) FROM samples "
        f"WHERE recording = {literal(name)} AND host = {literal(host)}"
    )[0]
    # All service and user names of the host are there for replay; nobody wants to read them here.
    told = {key: value for key, value in facts.items() if key != "names"}
    return {**told, "samples": count, "first": first, "last": last}


def _removed(recordings: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what each host's latest recording tells of what was removed."""
    latest: dict[str, dict[str, Any]] = {}
    for facts in recordings:
        told = facts.get("removed")
        if not isinstance(told, dict):
            continue
        numbers = [told.get(name) for name in ("parts", "bytes", "until_us")]
        if all(type(number) is int and 0 <= number < 1 << 62 for number in numbers):
            parts, size, until_us = numbers
            host = str(facts.get("host"))
            latest[host] = {"host": host, "parts": parts, "bytes": size, "until": until_us}
    return [latest[host] for host in sorted(latest)]


def _table(catalog: Catalog, name: str) -> dict[str, int]:
    segments = catalog.survey.segments.get(name, [])
    return {
        "rows": catalog.rows(f"SELECT count(*) FROM parts.{name}")[0][0],
        "files": len(segments),
        "bytes": sum(segment.size for segment in segments),
    }
