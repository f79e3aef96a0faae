"""A memory cgroup of our own, of either version, whose processes the kernel kills when they take too much."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
# Mounted version 1 controller, or version 2 as the whole; with the name of the limit there.
_PLACES: Final = ((_ROOT / "memory", "memory.limit_in_bytes"), (_ROOT, "memory.max"))


class MemoryLimit:
    """A cgroup that its processes may take so many bytes in. Raises `OSError` where none can be made."""

    def __init__(self, limit: int) -> None:
        for parent, name in _PLACES:
            if not (parent / "cgroup.procs").exists():
                continue
            self.folder = parent / f"sockrec-test-{uuid.uuid4().hex[:10]}"
            self.folder.mkdir()
            try:
                (self.folder / name).write_text(str(limit))
            except OSError:
                self.folder.rmdir()
                raise
            return
        raise FileNotFoundError("no memory cgroups are mounted in /sys/fs/cgroup")

    def take(self, pid: int) -> None:
        """Put a process into it."""
        (self.folder / "cgroup.procs").write_text(str(pid))

    def __enter__(self) -> MemoryLimit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        until = time.monotonic() + 10
        while True:
            try:
                os.rmdir(self.folder)  # noqa: PTH106
            except OSError:  # its last process is not quite gone
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)
            else:
                return
