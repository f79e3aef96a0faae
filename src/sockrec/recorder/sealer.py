"""Sealing behind the recorder's back: parts become segments in a thread of its own, oldest first."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import pyarrow as pa

from sockrec.errors import CaptureError
from sockrec.kernel import priority
from sockrec.store import layout, segments

_AGAIN_AFTER_S: Final = 60.0


class Sealer:
    """Seals the parts of one host, those first that earlier recordings left when this is made.

    A part that the disk does not take stays in its journal, where readers find it as well, and is tried
    again each minute: `tell` is called with a line that says so. `after_seal` is called with the stem of
    each part of this recording that is sealed. Both are called in the sealer's thread. Raises `CaptureError`
    if the host's journals can't be listed.
    """

    def __init__(
        self,
        paths: layout.Layout,
        host: str,
        tell: Callable[[str], object],
        after_seal: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._paths, self._host, self._tell, self._after_seal = paths, host, tell, after_seal
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sockrec-seal")
        self._jobs: list[Future[None]] = []
        self._bytes = 0
        self._told = False
        self._tried_at = time.monotonic()
        # Listed now: later the journal of this recording stands among them.
        self._earlier = frozenset(segments.unsealed(paths, host))
        self._left: list[str] = []
        self.seal(*sorted(self._earlier))

    @property
    def bytes(self) -> int:
        """Bytes of the segments of this recording."""
        self._collect()
        return self._bytes

    def seal(self, *stems: str) -> None:
        """Have parts sealed."""
        self._tried_at = time.monotonic()
        self._jobs.append(self._thread.submit(self._work, stems))

    def retry_if_due(self) -> None:
        """Try again what the disk did not take a while ago."""
        if self._left and time.monotonic() - self._tried_at > _AGAIN_AFTER_S:
            self.seal()

    def close(self) -> None:
        """Wait until all is sealed that the disk takes."""
        self._thread.shutdown(wait=True)
        self._collect()

    def _collect(self) -> None:
        """Raise here what went wrong in the thread, but for what a disk does."""
        done, self._jobs = [job for job in self._jobs if job.done()], [j for j in self._jobs if not j.done()]
        for job in done:
            job.result()

    def _work(self, stems: tuple[str, ...]) -> None:
        failed = None
        stems, self._left = (*self._left, *stems), []
        for stem in stems:
            try:
                written = segments.seal(self._paths, self._host, stem)
                if stem not in self._earlier:
                    self._bytes += written
                    self._after_seal(stem)
            except CaptureError as error:
                failed = error
                self._left.append(stem)
        # A part was whole in memory: Arrow would hold on to that for a while.
        pa.default_memory_pool().release_unused()
        priority.trim()
        if failed and not self._told:
            self._tell(f"{failed}: what is not sealed stays in its journal, and is tried again each minute")
        self._told = failed is not None
