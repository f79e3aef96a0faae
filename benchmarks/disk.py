"""Bytes on disk, against the netstat text of the same run and against whole snapshots in Parquet."""

from __future__ import annotations

import gzip
import io
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

import sockrec
from benchmarks.inside import in_namespaces
from benchmarks.populations import Population
from benchmarks.recorded import Script, record
from benchmarks.report import Budget, Findings, Table
from benchmarks.scale import Scale
from benchmarks.timing import say

Compress = Callable[[bytes], bytes]

CHURN: Final = 0.02
MOVED: Final = 0.1
_SAMPLES_AN_HOUR: Final = 3600
# Seconds: as fast as the population goes.
_TICK: Final = 0.25
_TEXT: Final = "netstat -antp text"
_ZSTD_9: Final = f"{_TEXT}, zstd -9"
_BARE: Final = "sockrec --counters-interval never"
_NO_EVENTS: Final = "sockrec --no-events"
_BARE_NO_EVENTS: Final = f"{_BARE} --no-events"
_COUNTERS_US: Final = 60_000_000


def run(scale: Scale) -> Findings:
    """Measure one run of many samples."""
    say(f"disk: {scale.disk_samples} samples of {scale.disk_sockets:,} sockets")
    result = in_namespaces(
        "benchmarks.disk:measure",
        600,
        sockets=scale.disk_sockets,
        samples=scale.disk_samples,
        texts=scale.text_samples,
    )
    each: dict[str, float] = {name: count * _SAMPLES_AN_HOUR for name, count in result["bytes"].items()}
    ours = each["sockrec"]
    rows = [(name, f"{count / 1e6:,.1f}", f"{ours / count:.3g}") for name, count in each.items()]
    table = Table(
        f"Disk: an hour of {result['sockets']:,} sockets at 1 s, MB",
        ("what", "MB an hour", "sockrec / it"),
        rows,
        "Before each sample 2 % of the connections are replaced, bytes are sent over 10 % of them, and what "
        "was sent before the last one is read: the queues of 10 % of the sockets move, and counters of both "
        f"ends. All goes {round(1 / _TICK)} times as fast as at 1 s, the writing of counters too. sockrec: "
        f"{scale.disk_samples} samples, sealed, with the events between them: of each connection that was "
        "replaced the whole life of both its ends, last counters included. The rest: the first "
        f"{scale.text_samples} of them, text compressed as one stream, by what its second half adds. "
        "Snapshots in Parquet: every row and column that sockrec has of each sample, zstd, dictionaries, "
        "by time.",
    )
    what = f"disk, {result['sockets']:,} sockets, 2 % churn, 10 % queue changes a sample"
    budgets = [
        _budget(what, each["sockrec"], _TEXT, each[_TEXT], 100),
        # The text has no counters: like is compared with like. The table below has both.
        _budget(f"{what}: of what netstat shows", each[_BARE], _ZSTD_9, each[_ZSTD_9], 2),
    ]
    return Findings(budgets, [table])


def _budget(what: str, ours: float, other: str, theirs: float, times: int) -> Budget:
    ratio = ours / theirs
    return Budget(what, other, f"≤ 1/{times}", f"{ratio:.3g}", ratio <= 1 / times)


def measure(sockets: int, samples: int, texts: int) -> dict[str, Any]:
    """Record a population; return bytes a sample by what they are."""
    printed: list[bytes] = []
    with Population(sockets) as population, tempfile.TemporaryDirectory(prefix="sockrec-bench-") as folder:
        captures: dict[str, Path] = {}
        counters_us = round(_COUNTERS_US * _TICK)
        for name, pace, events in (
            (_BARE_NO_EVENTS, None, False),
            (_BARE, None, True),
            (_NO_EVENTS, counters_us, False),
            ("sockrec", counters_us, True),
        ):
            captures[name] = Path(folder) / str(len(captures))
            shown = texts if name == "sockrec" else 0
            record(captures[name], _script(population, samples, shown, printed), pace, events=events)
        taken = samples + 1  # it takes one more as it stops
        ours: dict[str, float] = {}
        for name in ("sockrec", _NO_EVENTS, _BARE, _BARE_NO_EVENTS):
            ours[name] = _size(captures[name]) / taken
            for table in ("sockets", "activity", "events"):
                if size := _size(captures[name] / table):
                    ours[f"{name}, of that `{table}`"] = size / taken
        sizes = ours | {
            _TEXT: sum(map(len, printed)) / texts,
            f"{_TEXT}, gzip": _marginal(printed, lambda text: gzip.compress(text, 6)),
            _ZSTD_9: _marginal(printed, _zstd(9)),
            f"{_TEXT}, zstd -19": _marginal(printed, _zstd(19)),
            "whole snapshots in Parquet": _snapshots(captures["sockrec"], texts) / texts,
        }
        return {"sockets": population.sockets, "bytes": sizes}


def _zstd(level: int) -> Compress:
    return lambda text: pa.Codec("zstd", level).compress(text, asbytes=True)


def _marginal(printed: list[bytes], compress: Compress) -> float:
    """Return the bytes that one more snapshot adds to a long stream: its first ones cost more."""
    half = len(printed) // 2
    whole, first = (len(compress(b"".join(part))) for part in (printed, printed[:half]))
    return (whole - first) / (len(printed) - half)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _script(population: Population, samples: int, texts: int, printed: list[bytes]) -> Script:
    began = time.monotonic()
    for number in range(samples):
        population.replace(CHURN)
        # Of the two ends only the reading one's queue moves, once to be filled, once to be emptied.
        population.read()
        population.send(MOVED)
        time.sleep(max(0.0, began + number * _TICK - time.monotonic()))
        if number < texts:
            words = ["netstat", "-antp"]
            done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
            printed.append(done.stdout)
        yield


def _snapshots(capture: Path, count: int) -> int:
    """Return the bytes of the first samples as whole snapshots in one Parquet file."""
    sink = io.BytesIO()
    with sockrec.open(capture) as opened:
        writer: Any = None
        for snapshot in _whole(opened, count):
            writer = writer or pq.ParquetWriter(sink, snapshot.schema, compression="zstd")
            writer.write_table(snapshot)
        writer.close()
    return sink.tell()


def _whole(opened: sockrec.Capture, count: int) -> Iterator[pa.Table]:
    for (moment,) in opened.samples().select("began_at").limit(count).fetchall():
        yield opened.at(moment).to_arrow_table()
