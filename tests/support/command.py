"""The installed command, as a user runs it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from sockrec.errors import CaptureError
from sockrec.store.snapshot import take_snapshot
from tests.support import warm
from tests.support.netns import Namespace

SOCKREC = str(Path(sys.executable).parent / "sockrec")
_BY_ITSELF = {"record", "demo", "service", "keep"}  # they record, name their own file, or ask a recorder
# A terminal's size and a user's own settings must not reach what tests compare.
_NOT_OURS = {"COLUMNS", "LINES", "SOCKREC_CAPTURE", "TZ"}
CLEAN = {key: value for key, value in os.environ.items() if key not in _NOT_OURS}


def sockrec(
    *words: str | os.PathLike[str], env: Mapping[str, str] = CLEAN, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it to its end, with stdout and stderr as text.

    Most is run as `warm.run` does.
    """
    command = [SOCKREC, *(os.fspath(word) for word in words)]
    if not words or words[0] in _BY_ITSELF:
        return subprocess.run(command, capture_output=True, text=True, env=env, input=stdin, timeout=120)
    done = warm.run(command[1:], env, stdin or "")
    return subprocess.CompletedProcess(command, done.status, _text(done.out), _text(done.err))


def _text(content: bytes) -> str:
    """Return text with the line ends that `subprocess` gives it."""
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8").read()


def answer(*words: str | os.PathLike[str]) -> Any:
    """Run it with `--format json`, expect success and silence on stderr, and return what it printed."""
    done = sockrec(*words, "--format", "json")
    assert (done.returncode, done.stderr) == (0, ""), done
    return json.loads(done.stdout)


def count_samples(capture: Path) -> int:
    """Return how many samples a capture holds; 0 where there is none yet."""
    try:
        snapshot = take_snapshot(capture)
        sealed = sum(pq.read_metadata(one.path).num_rows for one in snapshot.survey.segments["samples"])
    except (CaptureError, FileNotFoundError):  # retention may remove what was listed
        return 0
    return int(sealed + sum(tables["samples"].num_rows for _, tables in snapshot.journals))


def wait_for_samples(capture: Path, count: int, seconds: float = 20) -> None:
    """Wait until a capture being recorded holds that many samples."""
    until = time.monotonic() + seconds
    while (began := time.monotonic()) < until:
        if count_samples(capture) >= count:
            return
        # A long journal takes long to count: looking must not starve the recorder.
        time.sleep(max(0.02, 9 * (time.monotonic() - began)))
    raise AssertionError(f"{capture} did not reach {count} samples")


UNBUDGETED = ("--max-cpu", "off")


@contextlib.contextmanager
def recording(
    namespace: Namespace, capture: Path, *words: str, interval: str = "100ms"
) -> Iterator[subprocess.Popen[str]]:
    """Record inside a namespace, from the first sample until the block ends.

    Unless `words` ask for a CPU budget there is none: how often samples come would depend on the machine.
    """
    before = count_samples(capture)
    command = (SOCKREC, "record", "-C", str(capture), "--interval", interval, *UNBUDGETED, *words)
    with namespace.popen(*command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=CLEAN) as process:
        try:
            wait_for_samples(capture, before + 1)
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait(30)
