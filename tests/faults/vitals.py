"""What a process takes while it runs: memory, descriptors, threads."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import TracebackType

_EACH_S = 0.5
_KIB = re.compile(r"^VmRSS:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Look:
    """One look: resident KiB, open descriptors, threads."""

    memory: int
    descriptors: int
    threads: int


class Vitals:
    """Looks at a process twice a second, as long as the context lasts; `looks` are in order."""

    def __init__(self, pid: int) -> None:
        self.looks: list[Look] = []
        self._folder = Path("/proc") / str(pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Vitals:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def look(self) -> Look:
        """Look once."""
        found = _KIB.search((self._folder / "status").read_text())
        assert found is not None, "it has no memory: it has ended"
        descriptors = len(list((self._folder / "fd").iterdir()))
        return Look(int(found[1]), descriptors, len(list((self._folder / "task").iterdir())))

    def memory(self, first: float, last: float) -> int:
        """Return the median of the memory between two shares of the time so far, KiB."""
        looks = self.looks[int(len(self.looks) * first) : max(1, int(len(self.looks) * last))]
        return int(median(one.memory for one in looks))

    def assert_flat(self, beside_kib: int) -> None:
        """Expect that after its first third it took no more memory, but for what parts being sealed take.

        Descriptors and threads come and go, and not one stays.
        """
        before, after = self.memory(0.3, 0.5), self.memory(0.8, 1.0)
        assert after < before * 1.1 + beside_kib, f"{before} KiB became {after} KiB"
        for name in ("descriptors", "threads"):
            counts = [getattr(one, name) for one in self.looks]
            third = len(counts) // 3
            assert min(counts[-third:]) <= max(counts[third : 2 * third]), f"{name}: {counts}"

    def _run(self) -> None:
        while not self._over.wait(_EACH_S):
            self.looks.append(self.look())
