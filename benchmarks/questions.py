"""Questions on a capture of a day: in a warm process, as a cold command, and with grep over netstat's text.

`python -m benchmarks.questions CAPTURE NAME TIMES` asks one of them in a process of its own and prints the
seconds of each time as JSON.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa

import sockrec
from benchmarks import generate, timing
from benchmarks.inside import ROOT
from benchmarks.report import Budget, Findings, Table
from benchmarks.scale import Scale
from benchmarks.startup import SOCKREC
from benchmarks.timing import BenchmarkError, Series, TookTooLongError, say

CACHE: Final = ROOT / ".cache" / "benchmarks"
_DAY_SECONDS: Final = 86_400
_PATIENCE: Final = 60
_ENOUGH_SECONDS: Final = 8
_TEXTS: Final = 5
_MOST_WARM: Final = 0.1
_MOST_COLD: Final = 1.0
_MOST_DIAGNOSING: Final = 10.0
_MOST_MEMORY: Final = 1e9


def _moment(second: int) -> str:
    """Return a second after the listener first stopped as a time expression."""
    moment = generate.BEGAN_US // 1_000_000 + generate.STOPS_AT[0] + second
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}"


_AT: Final = _moment(10)
_WHEN: Final = f"port {generate.PORT} stopped listening"
_DIAGNOSE: Final = "diagnose"
_HISTOGRAM: Final = "SELECT protocol, state, count(*) FROM sockets GROUP BY ALL ORDER BY ALL"
_TALKERS: Final = (
    "SELECT remote_address, sum(bytes_sent) AS sent FROM connections GROUP BY ALL ORDER BY sent DESC LIMIT 10"
)

_QUESTIONS: Final[dict[str, tuple[Callable[[sockrec.Capture], object], list[str]]]] = {
    f"when {_WHEN}": (lambda capture: capture.when(_WHEN).fetchall(), ["when", *_WHEN.split()]),
    f"port {generate.PORT}": (
        lambda capture: capture.port(generate.PORT).fetchall(),
        ["port", str(generate.PORT)],
    ),
    "replay --at ... -tulpn": (
        lambda capture: capture.netstat(_AT, "-tulpn"),
        ["replay", "--at", _AT, "-tulpn"],
    ),
    "replay --at ... -tanp": (
        lambda capture: capture.netstat(_AT, "-tanp"),
        ["replay", "--at", _AT, "-tanp"],
    ),
    "states, histogram (SQL)": (lambda capture: capture.sql(_HISTOGRAM).fetchall(), ["sql", _HISTOGRAM]),
    "top talkers (SQL)": (lambda capture: capture.sql(_TALKERS).fetchall(), ["sql", _TALKERS]),
    "traffic": (lambda capture: capture.traffic().fetchall(), ["traffic"]),
    "top": (lambda capture: capture.top().fetchall(), ["top"]),
    _DIAGNOSE: (lambda capture: capture.diagnose(), [_DIAGNOSE]),
}


Taken = tuple[Series | None, Series | None]


def run(scale: Scale) -> Findings:
    """Make the capture, unless it is there from an earlier run, and ask."""
    capture = _capture(scale)
    rows = []
    taken: dict[str, Taken] = {}
    for name, (_, words) in _QUESTIONS.items():
        say(f"questions: {name}")
        warm = _warm(capture, name, scale.question_rounds)
        cold = _cold(capture, words, scale.question_rounds)
        taken[name] = warm, cold
        rows.append((f"`{name}`" if "(" not in name else name, _ms(warm), _ms(cold)))
    say("questions: grep")
    rows.append((f"grep :{generate.PORT} in zstd -9 netstat text", "", _grep(capture, scale.hours)))
    size = sum(path.stat().st_size for path in capture.rglob("*") if path.is_file())
    hours = f"{scale.hours:g} h"
    table = Table(
        f"Questions on {hours} of {scale.day_sockets:,} sockets: milliseconds on the clock",
        ("question", "warm process", "cold command"),
        rows,
        f"A sample and {generate.NEW_A_SECOND} new connections a second, {size / 1e6:,.0f} MB on disk; made "
        "by driving the real ledger and writer with made-up readings. Warm: asked before in that process. "
        f"grep: `zstd -dc | grep -c`, measured on {_TEXTS} samples and scaled to all of {hours}.",
    )
    memory = _command(capture, [_DIAGNOSE]).memory
    return Findings(_budgets(taken, memory, scale), [table])


def _budgets(taken: dict[str, Taken], memory: int, scale: Scale) -> list[Budget]:
    def budget(what: str, against: str, most: str, measured: str, met: bool) -> Budget:
        name, _, how = what.partition(", ")
        over = f"`{name}` over {scale.hours:g} h of {scale.day_sockets:,} sockets, {how}"
        # A shorter capture proves nothing of a day's, unless it is too slow already.
        return Budget(over, against, most, measured, met if scale.hours >= 24 or not met else None)

    when, diagnose = taken[f"when {_WHEN}"], taken[_DIAGNOSE]
    budgets = [
        budget(
            what,
            "the clock",
            f"≤ {most * 1000:g} ms",
            f"{_ms(one)} ms",
            one is not None and one.median <= most,
        )
        for what, one, most in (
            ("when port ..., in a warm process", when[0], _MOST_WARM),
            ("when port ..., as a cold command", when[1], _MOST_COLD),
            ("diagnose, as a cold command", diagnose[1], _MOST_DIAGNOSING),
        )
    ]
    budgets.append(
        budget(
            "diagnose, as a cold command",
            "its memory",
            f"≤ {_MOST_MEMORY / 1e6:,.0f} MB",
            f"{memory / 1e6:,.0f} MB",
            memory <= _MOST_MEMORY,
        )
    )
    return budgets


def _ms(series: Series | None) -> str:
    return f"over {_PATIENCE * 1000:,}" if series is None else series.ms()


def _warm(capture: Path, name: str, rounds: int) -> Series | None:
    """Ask in a process that has asked it before; None if that takes too long."""
    words = [sys.executable, "-m", "benchmarks.questions", str(capture), name, str(rounds)]
    try:
        done = subprocess.run(words, stdout=subprocess.PIPE, timeout=_PATIENCE, cwd=ROOT, check=True)
    except subprocess.TimeoutExpired:
        return None
    return Series(tuple(json.loads(done.stdout)))


def _cold(capture: Path, words: list[str], rounds: int) -> Series | None:
    """Ask by a command, in a new process each time; None if that takes too long."""
    taken: list[float] = []
    try:
        while len(taken) < rounds and sum(taken) < _ENOUGH_SECONDS:
            taken.append(_command(capture, words).wall)
    except TookTooLongError:
        return None
    return Series(tuple(taken))


def _command(capture: Path, words: list[str]) -> timing.Cost:
    """Ask by a command; that there is nothing to find is an answer."""
    return timing.command([SOCKREC, words[0], "-C", str(capture), *words[1:]], _PATIENCE, accept=(0, 1))


def _ask(capture: Path, name: str, rounds: int) -> list[float]:
    question, _ = _QUESTIONS[name]
    taken: list[float] = []
    with sockrec.open(capture) as opened:
        began = time.perf_counter()
        first = timing.wall(lambda: question(opened))
        while len(taken) < rounds and time.perf_counter() - began + first < _ENOUGH_SECONDS:
            taken.append(timing.wall(lambda: question(opened)))
    return taken or [first]


def _grep(capture: Path, hours: float) -> str:
    """Return the milliseconds that grep would take over the text of every second."""
    if shutil.which("zstd") is None:
        return "zstd absent"
    texts = []
    for second in range(_TEXTS):
        words = [SOCKREC, "replay", "-C", str(capture), "-tanp", "--at", _moment(second)]
        texts.append(subprocess.run(words, stdout=subprocess.PIPE, timeout=_PATIENCE, check=True).stdout)
    with tempfile.TemporaryDirectory(prefix="sockrec-bench-") as folder:
        path = Path(folder) / "text.zst"
        path.write_bytes(pa.Codec("zstd", 9).compress(b"".join(texts), asbytes=True))
        script = f"zstd -dc {path} | grep -c ':{generate.PORT} '"
        seconds = timing.command(["sh", "-c", script]).wall / _TEXTS
    return f"{seconds * hours * 3600 * 1000:,.0f}"


def _capture(scale: Scale) -> Path:
    """Return the capture, made in two halves at once if it is not there."""
    name = f"day-{scale.hours:g}h-{scale.day_sockets}-{_fingerprint()}"
    path = CACHE / name
    if path.is_dir():
        say(f"questions: the capture is there: {path}")
        return path
    for old in CACHE.glob(f"day-{scale.hours:g}h-{scale.day_sockets}-*"):
        shutil.rmtree(old)
    making = CACHE / f"making-{name}"
    shutil.rmtree(making, ignore_errors=True)
    seconds = round(scale.hours * 3600)
    first = 0 if seconds >= _DAY_SECONDS else max(0, generate.STOPS_AT[0] - seconds // 2)
    half = seconds // 2
    say(f"questions: making a capture of {scale.hours:g} h in {path}")
    _make(making, scale.day_sockets, [(first, half), (first + half, seconds - half)])
    making.rename(path)
    return path


def _make(capture: Path, sockets: int, stretches: list[tuple[int, int]]) -> None:
    """Generate stretches of the day, each by a process, and lay them together in one capture."""
    running = []
    began = time.monotonic()
    for number, (first, seconds) in enumerate(stretches):
        part = capture / str(number)
        words = [sys.executable, "-m", "benchmarks.generate", *map(str, (part, sockets, first, seconds))]
        running.append((part, subprocess.Popen(words, cwd=ROOT)))
    limit = 60 + 0.05 * sum(seconds for _, seconds in stretches)
    try:
        for _, process in running:
            if process.wait(max(1.0, began + limit - time.monotonic())):
                raise BenchmarkError("the generator failed; its last words stand above")
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"the capture was not made within {limit:.0f} s") from None
    finally:
        for _, process in running:
            process.kill()
            process.wait()
    for part, _ in running:
        for path in [path for path in part.rglob("*") if path.is_file()]:
            target = capture / path.relative_to(part)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
        shutil.rmtree(part)


def _fingerprint() -> str:
    """Return what changes when a generated capture would."""
    sources = [Path(generate.__file__)]
    for folder in ("recorder", "store", "model"):
        sources += sorted((ROOT / "src" / "sockrec" / folder).glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]


if __name__ == "__main__":
    print(json.dumps(_ask(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
