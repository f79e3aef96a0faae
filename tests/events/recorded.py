"""Recorders in namespaces, and questions to what they recorded."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.command import CLEAN, SOCKREC, UNBUDGETED, answer, count_samples, wait_for_samples
from tests.support.netns import Namespace

FULL = os.environ.get("SOCKREC_LOAD") == "full"
"""Whether loads have the size that issue and README speak of, for minutes, or one for every day."""
MILLISECOND = timedelta(milliseconds=1)


class Recorder:
    """A running recorder; `complaints` are the lines it wrote to stderr, once it has ended."""

    def __init__(self, process: subprocess.Popen[str], capture: Path, log: Path) -> None:
        self.process = process
        self.pid = process.pid
        self.capture = capture
        self._log = log

    @property
    def complaints(self) -> list[str]:
        """The lines on stderr so far."""
        return self._log.read_text().splitlines()

    def more_samples(self, count: int, seconds: float = 30) -> None:
        """Wait for so many samples more than there are now."""
        wait_for_samples(self.capture, count_samples(self.capture) + count, seconds)

    def stop(self) -> None:
        """End it as Ctrl-C does, and expect success."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(90) == 0, self.complaints


@contextmanager
def recorded(
    namespace: Namespace,
    capture: Path,
    *words: str,
    interval: str = "1s",
    under: Iterable[str | Path] = (),
) -> Iterator[Recorder]:
    """Record inside a namespace from its first sample to the end of the block.

    `under` is a command that ends in starting another, with fewer rights for example. Unless `words` ask
    for a CPU budget there is none: how often samples come would depend on the machine.
    """
    log = capture.with_suffix(".stderr")
    before = count_samples(capture)
    command = (*under, SOCKREC, "record", "-C", capture, "--interval", interval, *UNBUDGETED, *words)
    with log.open("w") as stderr:
        process = namespace.popen(*command, stderr=stderr, stdout=subprocess.DEVNULL, env=CLEAN)
    recorder = Recorder(process, capture, log)
    try:
        wait_for_samples(capture, before + 1, 30)
        yield recorder
        if process.poll() is None:
            recorder.stop()
    except AssertionError as error:
        error.add_note(f"the recorder said: {recorder.complaints}")
        raise
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def rows(capture: Path, sql: str) -> list[dict[str, Any]]:
    """Return what `sockrec sql` answers."""
    found: list[dict[str, Any]] = answer("sql", "-C", capture, sql)
    return found


def one(capture: Path, sql: str) -> dict[str, Any]:
    """Return the one row that `sockrec sql` answers."""
    (row,) = rows(capture, sql)
    return row


def when(capture: Path, *question: str) -> list[dict[str, Any]]:
    """Return what `sockrec when` answers, its bounds as moments."""
    found: list[dict[str, Any]] = answer("when", "-C", capture, *question)
    for row in found:
        row["not_before"], row["not_after"] = moment(row["not_before"]), moment(row["not_after"])
    return found


def moment(text: str | None) -> datetime | None:
    """Return a time as `--format json` gives it."""
    return None if text is None else datetime.fromisoformat(text)


def at(nanoseconds: int) -> datetime:
    """Return a CLOCK_REALTIME reading."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=nanoseconds // 1000)


def assert_same(found: Iterable[tuple[Any, ...]], expected: Iterable[tuple[Any, ...]]) -> None:
    """Compare rows that may repeat, in any order; of many that differ, show a few."""
    have, want = Counter(found), Counter(expected)
    missing, extra = want - have, have - want
    assert not missing, (
        f"{missing.total()} of {want.total()} are missing, such as {list(missing)[:3]}; "
        f"{extra.total()} were not to be there, such as {list(extra)[:3]}"
    )
    assert not extra, f"{extra.total()} more than {want.total()}, such as {list(extra)[:3]}"


def assert_nothing_lost(capture: Path) -> None:
    """Expect that no event was lost, and that the recorder counted at all."""
    facts = one(
        capture, "SELECT sum(events_lost)::BIGINT AS lost, count(events_lost) AS counted FROM samples"
    )
    assert facts["lost"] == 0
    assert facts["counted"] > 0
    assert rows(capture, "SELECT detail, count FROM events WHERE kind = 'lost'") == []


def wait_until(reached: Callable[[], bool], what: str, seconds: float = 20) -> None:
    """Ask again and again until it is so; raise TimeoutError if it does not come."""
    until = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > until:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.01)
