"""Events: what a destroyed socket costs from the kernel to the disk, and whether any is lost."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import event_watchers, rivals
from benchmarks.event_watchers import AbsentError, Recorder, Watcher
from benchmarks.inside import in_namespaces
from benchmarks.report import Budget, Findings, Table
from benchmarks.scale import Scale
from benchmarks.timing import BenchmarkError, Series, ratios, say

RATE: Final = 10_000
_MOST: Final = 3.0
_ENDS: Final = 2  # sockets of a connection, both in the one namespace
_MARGIN_S: Final = 60
# What memory may differ by without having grown.
_MOST_GROWTH: Final = 1.1
_EARLY_S: Final = 10
_LONG_S: Final = 30
_WHAT: Final = "an event (socket destroyed), kernel to disk"
_SOURCE: Final = Path(__file__).with_name("short_connections.c")

_ALONE: Final = "nobody watching"
_EVENTS: Final = "sockrec record"
_NO_EVENTS: Final = "sockrec record --no-events"
_BLOCKING: Final = "Python recv loop"
_DRAINED: Final = "Python recv loop, ten times a second"
_BPFTRACE: Final = "bpftrace, a line per state change"
_WATCHERS: Final[dict[str, Callable[[Path], Watcher]]] = {
    _EVENTS: event_watchers.Unbudgeted,
    _NO_EVENTS: event_watchers.WithoutEvents,
    _BLOCKING: event_watchers.BlockingLoop,
    _DRAINED: event_watchers.DrainedLoop,
    _BPFTRACE: event_watchers.Bpftrace,
}
# The load's own: many ports, and few remnants. Sixty seconds of remnants would be 600,000 sockets in each
# sample, with or without events: that is what steady samples are measured for.
_SETTINGS: Final = {
    "net/ipv4/ip_local_port_range": "10000 65000",
    "net/ipv4/tcp_max_tw_buckets": "1000",
}


@dataclass(frozen=True, slots=True)
class Load:
    """One run of the load: connections made, CPU seconds of the load itself, seconds on the clock."""

    connections: int
    cpu: float
    wall: float


def run(scale: Scale) -> Findings:
    """Measure under 10,000 connections a second."""
    if os.geteuid():
        why = "not measured: state changes can be read by root only"
        return Findings([Budget(_WHAT, _BLOCKING, "≤ 3", why, None)])
    rivals.install()
    say(f"events: {RATE:,} connections a second")
    rounds, seconds = scale.event_rounds, scale.event_seconds
    within = rounds * (len(_WATCHERS) + 1) * (seconds + 20) + _MARGIN_S
    # In the host's PID namespace: only there a recorder can tell who connected.
    taken = in_namespaces("benchmarks.events:measure", within, processes=False, rounds=rounds, length=seconds)
    say(f"events: {scale.loss_seconds} s of them")
    kept = in_namespaces(
        "benchmarks.events:count", scale.loss_seconds + _MARGIN_S, processes=False, length=scale.loss_seconds
    )
    return Findings([_budget(taken), *_loss_budgets(kept)], [_costs(taken, seconds), _kept(kept)])


def measure(rounds: int, length: int) -> dict[str, Any]:
    """Let each watch the load in turn: by name, a dictionary each round, or a word on its absence."""
    _set_up()
    with tempfile.TemporaryDirectory(prefix="sockrec-bench-") as name:
        folder = Path(name)
        program = rivals.compiled(_SOURCE, folder)
        taken: dict[str, Any] = {_ALONE: []}
        for _ in range(rounds):
            taken[_ALONE].append(asdict(_load(program, length)))
            for who, watcher in _WATCHERS.items():
                if isinstance(taken.get(who), str):
                    continue
                try:
                    taken.setdefault(who, []).append(_watched(watcher, folder, program, length))
                except AbsentError as error:
                    say(f"  {error}")
                    taken[who] = str(error)
    return taken


def count(length: int) -> dict[str, Any]:
    """Record the load as the command does by default; count what it told, and what it took."""
    _set_up()
    with tempfile.TemporaryDirectory(prefix="sockrec-bench-") as name:
        folder = Path(name)
        program = rivals.compiled(_SOURCE, folder)
        with Recorder(folder) as recorder:
            began = time.monotonic()
            recorder.mark()
            process = _start_load(program, length)
            memory = [(0.0, recorder.memory_kib())]
            while process.poll() is None:
                if time.monotonic() - began > 2 * length + _MARGIN_S:
                    process.kill()
                    raise BenchmarkError("the load does not come to its end")
                time.sleep(0.2)
                memory.append((time.monotonic() - began, recorder.memory_kib()))
            load = _finish_load(process)
            recorder.finish()
            client, server, lost = recorder.rows()
            return {
                **asdict(load),
                "client": client,
                "server": server,
                "lost": lost,
                "used": recorder.cpu,
                "bytes": recorder.bytes(),
                "memory": memory,
            }


def _watched(watcher: Callable[[Path], Watcher], folder: Path, program: str, seconds: int) -> dict[str, Any]:
    with watcher(folder) as watching:
        watching.mark()
        load = _load(program, seconds)
        watching.finish()
        return {**asdict(load), "used": watching.cpu, "seen": watching.seen}


def _set_up() -> None:
    for path, value in _SETTINGS.items():
        Path("/proc/sys", path).write_text(value)


def _start_load(program: str, seconds: int) -> subprocess.Popen[str]:
    words = [program, str(event_watchers.PORT), str(RATE * seconds), str(RATE)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def _finish_load(process: subprocess.Popen[str]) -> Load:
    told, _ = process.communicate(timeout=_MARGIN_S)
    if process.returncode:
        raise BenchmarkError(f"the load ended with {process.returncode}; its last words stand above")
    connections, cpu, wall = map(int, told.split())
    return Load(connections, cpu / 1e9, wall / 1e9)


def _load(program: str, seconds: int) -> Load:
    process = _start_load(program, seconds)
    try:
        process.wait(3 * seconds + _MARGIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise BenchmarkError(f"{RATE:,} connections a second are too many for this machine") from None
    return _finish_load(process)


def _each(rounds: list[dict[str, Any]]) -> list[float]:
    """Return the CPU seconds that each destroyed socket took."""
    return [one["used"] / (_ENDS * one["connections"]) for one in rounds]


def _events_alone(taken: dict[str, Any]) -> list[float]:
    """Return what events add to a recorder, by destroyed socket."""
    return [
        whole - without
        for whole, without in zip(_each(taken[_EVENTS]), _each(taken[_NO_EVENTS]), strict=True)
    ]


def _rate(rounds: list[dict[str, Any]]) -> Series:
    return Series(tuple(one["connections"] / one["wall"] for one in rounds))


def _budget(taken: dict[str, Any]) -> Budget:
    against = ratios(_events_alone(taken), _each(taken[_BLOCKING]))
    return Budget(_WHAT, _BLOCKING, "≤ 3", against.text(), against.median <= _MOST)


def _costs(taken: dict[str, Any], seconds: int) -> Table:
    ours = _events_alone(taken)
    rows = [(_ALONE, "", "", "", *_beside(taken[_ALONE]))]
    rows.append(("sockrec's events: the next row less the one after", *_row(ours, ours), "", "", ""))
    for who in _WATCHERS:
        rounds = taken[who]
        if isinstance(rounds, str):
            rows.append((who, rounds, "", "", "", ""))
            continue
        rows.append((who, *_row(_each(rounds), ours), _seen(rounds), *_beside(rounds)))
    note = (
        f"{RATE:,} connections a second for {seconds} s, each with 100 bytes there and 1,000 back, both ends "
        "in one network namespace: twice as many destroyed sockets. A watcher's CPU is its own from the "
        "load's beginning to its own end (sockrec: sealing included, every source on, `--max-cpu off`, so "
        "that samples are the same with and without events). The loops receive the same announcements, one "
        "at a time, and do nothing with them. bpftrace prints into a file; a socket has five lines. What "
        "the kernel does for a watcher is in the load's own CPU, and in a kernel worker's. The namespace has "
        "ports from 10,000 on, and at most 1,000 TIME_WAIT remnants (tcp_max_tw_buckets): without that, a "
        "minute of them would be 600,000 sockets in each sample, with events or without. The PID namespace "
        "is the host's: in another one a recorder can't tell who connected."
    )
    columns = (
        *("who watches", "its CPU, µs a destroyed socket", "sockrec's events / it", "sockets told of"),
        *("connections a second", "the load's own CPU, µs a connection"),
    )
    return Table("Events: CPU microseconds a destroyed socket", columns, rows, note)


def _row(each: list[float], ours: list[float]) -> tuple[str, str]:
    return Series(tuple(each)).text(1e6), ratios(ours, each).text()


def _seen(rounds: list[dict[str, Any]]) -> str:
    if not any(one["seen"] for one in rounds):
        return "none"
    least = min(one["seen"] / (_ENDS * one["connections"]) for one in rounds)
    # The loops get those of other ports and protocols too, if there are any.
    return "all" if least >= 1 else f"{100 * least:.4g} % at least"


def _beside(rounds: list[dict[str, Any]]) -> tuple[str, str]:
    load = Series(tuple(one["cpu"] / one["connections"] for one in rounds))
    return _rate(rounds).text(digits=4), load.text(1e6)


def _resident(kept: dict[str, Any]) -> list[float]:
    """Return what it had resident, KiB: before the load, then the median of each third of it.

    Its peaks are backlogs of a busy machine and parts being sealed; what is kept for good raises the middle.
    """
    memory = kept["memory"]
    third = memory[-1][0] / 3
    parts = [
        [told["VmRSS:"] for at, told in memory if part * third <= at <= (part + 1) * third]
        for part in range(3)
    ]
    return [memory[0][1]["VmRSS:"], *map(statistics.median, parts)]


def _loss_budgets(kept: dict[str, Any]) -> list[Budget]:
    connections = kept["connections"]
    good = kept["client"] == kept["server"] == connections and not kept["lost"]
    what = f"{connections:,} connections at {connections / kept['wall']:,.0f} a second: rows in `events`"
    told = f"{kept['client']:,} of clients, {kept['server']:,} of servers; {_lost(kept)} lost"
    *_, before, after = _resident(kept)
    grown = f"{after / before:.3g} ({before / 1024:.0f} to {after / 1024:.0f} MiB)"
    # A short run is over before a part was sealed, and tells nothing of growth.
    long = kept["wall"] >= _LONG_S
    return [
        Budget(what, "the load's count", "equal, 0 lost", told, good),
        Budget(
            "memory of that recorder in the last third of the load",
            "in the second third",
            f"≤ {_MOST_GROWTH}",
            grown if long else f"too short a run to tell: {grown}",
            after / before <= _MOST_GROWTH if long else None,
        ),
    ]


def _kept(kept: dict[str, Any]) -> Table:
    memory = kept["memory"]
    most = [told["VmHWM:"] for at, told in memory if at <= _EARLY_S][-1], memory[-1][1]["VmHWM:"]
    rows = [
        ("connections made", f"{kept['connections']:,}"),
        ("a second", f"{kept['connections'] / kept['wall']:,.0f}"),
        ("rows of ended connections, clients' side and server's", f"{kept['client']:,}, {kept['server']:,}"),
        ("events lost", _lost(kept)),
        ("the recorder's CPU, % of a core", f"{100 * kept['used'] / kept['wall']:.3g}"),
        (f"most memory ever, MiB: after {_EARLY_S} s, at the end", _mebibytes(*most)),
        ("resident, MiB: before the load, then the median of each third", _mebibytes(*_resident(kept))),
        ("bytes on disk for a destroyed socket", f"{kept['bytes'] / (_ENDS * kept['connections']):.3g}"),
    ]
    return Table("No loss: `sockrec record`, as it is by default", ("what", "measured"), rows)


def _lost(kept: dict[str, Any]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in kept["lost"].items()) or "0"


def _mebibytes(*kibibytes: float) -> str:
    return ", ".join(f"{count / 1024:.0f}" for count in kibibytes)
