"""CPU and wall time of a call or a command, and series of them from rounds that took turns."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from signal import SIGKILL


class BenchmarkError(Exception):
    """A measurement could not be made; the run ends with it."""


class TookTooLongError(BenchmarkError):
    """A command was stopped because it took longer than it may."""


def say(text: str) -> None:
    """Tell on stderr where the run stands."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Series:
    """The values of one contestant, one from each round, in the order of the rounds."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    def text(self, factor: float = 1.0, digits: int = 3) -> str:
        """Return median and range, each times `factor`, in that many significant digits."""
        low, high = _round(min(self.values) * factor, digits), _round(max(self.values) * factor, digits)
        return f"{_round(self.median * factor, digits)} ({low} to {high})"

    def ms(self) -> str:
        """Return seconds as milliseconds: median and range."""
        return self.text(1000)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Series:
    """Return ours / theirs, round by round: what disturbs a round disturbs both."""
    return Series(tuple(mine / other for mine, other in zip(ours, theirs, strict=True)))


def cpu(call: Callable[[], object]) -> float:
    """Return the CPU seconds that a call takes in this process, all threads."""
    before = time.process_time()
    call()
    return time.process_time() - before


def wall(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    before = time.perf_counter()
    call()
    return time.perf_counter() - before


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command took, its children included: seconds of CPU (user and system) and on the clock.

    `memory` is the most that it held at once, bytes.
    """

    cpu: float
    wall: float
    memory: int = 0


def command(words: Sequence[str], seconds: float = 120, accept: Sequence[int] = (0,)) -> Cost:
    """Run a command to its end, its stdout thrown away.

    Raises `BenchmarkError` if it is missing or ends otherwise than in `accept`, `TookTooLongError` if it
    takes longer than `seconds`.
    """
    program = shutil.which(words[0])
    if program is None:
        raise BenchmarkError(f"there is no command {words[0]}")
    began = time.perf_counter()
    pid = os.posix_spawn(
        program, list(words), os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    )
    killer = threading.Timer(seconds, os.kill, (pid, SIGKILL))
    killer.start()
    try:
        _, status, usage = os.wait4(pid, 0)
    finally:
        killer.cancel()
    took = time.perf_counter() - began
    code = os.waitstatus_to_exitcode(status)
    if code == -SIGKILL and took >= seconds:
        raise TookTooLongError(f"{' '.join(words)[:80]} was not done within {seconds:g} s")
    if code not in accept:
        raise BenchmarkError(f"{' '.join(words)[:80]} ended with {code}")
    return Cost(usage.ru_utime + usage.ru_stime, took, usage.ru_maxrss << 10)


def _round(value: float, digits: int) -> str:
    if value >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"
