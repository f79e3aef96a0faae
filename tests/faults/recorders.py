"""Recorders that are to be killed, and what they had written by then, read from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from tests.faults.journals import Fact, Part, written
from tests.support.command import CLEAN
from tests.support.netns import Namespace

PART_BYTES = 24_000
_SHORT_PARTS = str(Path(__file__).with_name("short_parts.py"))
_LOOK_S = 0.01


def start(
    namespace: Namespace,
    capture: Path,
    log: Path,
    *words: str,
    under: tuple[str | Path, ...] = (),
    part_bytes: int = PART_BYTES,
) -> subprocess.Popen[str]:
    """Start recording inside a namespace, in short parts; `under` is a command that starts another.

    What it says goes to `log`.
    """
    command = (*under, sys.executable, _SHORT_PARTS, str(part_bytes), "record", "-C", capture, *words)
    with log.open("a") as stderr:
        return namespace.popen(*command, stderr=stderr, stdout=subprocess.DEVNULL, env=CLEAN)


class Watch:
    """Holds every journal of a capture open from its first moment on, so that none is gone unread.

    Use it as a context: a thread looks for new ones until its end.
    """

    def __init__(self, capture: Path) -> None:
        self.parts: dict[str, Part] = {}
        """Every part by its stem, as it was when its recorder was dead."""
        self.facts: dict[str, list[Fact]] = {}
        """What its whole frames say."""
        self._capture = capture
        self._files: dict[str, int] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        for fd in self._files.values():
            os.close(fd)

    def wait_for_sample(self, recorder: subprocess.Popen[str], seconds: float = 60) -> None:
        """Wait until the recorder that runs now has written a sample, or has ended."""
        until = time.monotonic() + seconds
        while recorder.poll() is None:
            with self._lock:
                newest = max((stem for stem in self._files if stem not in self.parts), default=None)
                data = os.pread(self._files[newest], 1 << 20, 0) if newest else b""
            if written(data)[0].samples:
                return
            if time.monotonic() > until:
                raise AssertionError(f"no sample within {seconds} s")
            time.sleep(_LOOK_S)

    def settle(self) -> None:
        """Read what a recorder that is dead now has written."""
        self._look()
        with self._lock:
            for stem, fd in self._files.items():
                data = os.pread(fd, os.fstat(fd).st_size, 0)
                os.close(fd)
                part, frames = written(data)
                self.parts[stem] = part
                self.facts[stem] = [fact for frame in frames for fact in frame]
            self._files.clear()

    @property
    def recordings(self) -> dict[str, list[int]]:
        """The numbers of the samples of every recording that had one, oldest recording first."""
        found: dict[str, list[int]] = {}
        places: dict[str, list[int]] = {}
        for stem in sorted(self.parts):
            recording, _, part = stem.rpartition("-")
            found.setdefault(recording, []).extend(self.parts[stem].samples)
            places.setdefault(recording, []).append(int(part))
        for recording, parts in places.items():
            if parts != list(range(len(parts))):
                raise AssertionError(f"the watch was too slow: of {recording} it saw the parts {parts}")
        return {recording: numbers for recording, numbers in found.items() if numbers}

    def _run(self) -> None:
        while not self._over.wait(_LOOK_S):
            self._look()

    def _look(self) -> None:
        with self._lock:
            for path in self._capture.glob("journal/*/*.journal"):
                if path.stem not in self._files and path.stem not in self.parts:
                    with suppress(FileNotFoundError):
                        self._files[path.stem] = os.open(path, os.O_RDONLY)
