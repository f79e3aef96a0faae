"""A memory cgroup of our own, of either version, whose processes the kernel kills when they take too much."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType


class MemoryLimit:
    """A cgroup that its processes may take so many bytes in. Raises `OSError` where none can be made.

    It takes no mounted cgroups: the hierarchy is reached by a mount of its own, which no path leads to.
    """

    def __init__(self, limit: int) -> None:
        refused = []
        for make in (self._make_in_version_2, self._make_in_version_1):
            with ExitStack() as cleanup:
                try:
                    self.folder = make(limit, cleanup)
                except OSError as error:
                    refused.append(str(error))
                    continue
                self._cleanup = cleanup.pop_all()
                return
        raise OSError("; ".join(refused))

    def take(self, pid: int) -> None:
        """Put a process into it."""
        (self.folder / "cgroup.procs").write_text(str(pid))

    @staticmethod
    def _make_in_version_2(limit: int, cleanup: ExitStack) -> Path:
        root = _mounted(cleanup, "cgroup2")
        if "memory" not in (root / "cgroup.controllers").read_text().split():
            raise OSError("cgroup2 does not have the memory controller")
        children = root / "cgroup.subtree_control"
        if "memory" not in children.read_text().split():
            children.write_text("+memory")
            cleanup.callback(children.write_text, "-memory")
        return _limited(root, cleanup, "memory.max", limit)

    @staticmethod
    def _make_in_version_1(limit: int, cleanup: ExitStack) -> Path:
        return _limited(_mounted(cleanup, "cgroup", "-o", "memory"), cleanup, "memory.limit_in_bytes", limit)

    def __enter__(self) -> MemoryLimit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()


def _mounted(cleanup: ExitStack, kind: str, *options: str) -> Path:
    """Return the root of a hierarchy, by a descriptor that keeps it mounted."""
    with tempfile.TemporaryDirectory() as place:
        mount = ["mount", "-n", "-t", kind, *options, "none", place]
        done = subprocess.run(mount, capture_output=True, text=True)
        if done.returncode:
            raise OSError(f"{kind} can't be mounted: {done.stderr.strip()}")
        try:
            descriptor = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            cleanup.callback(os.close, descriptor)
        finally:
            subprocess.run(["umount", "-n", "-l", place], check=True)
    return Path(f"/proc/self/fd/{descriptor}")


def _limited(root: Path, cleanup: ExitStack, name: str, limit: int) -> Path:
    folder = root / f"sockrec-test-{uuid.uuid4().hex[:10]}"
    folder.mkdir()
    cleanup.callback(_remove, folder)
    (folder / name).write_text(str(limit))
    return folder


def _remove(folder: Path) -> None:
    """Remove a cgroup whose last process may not be quite gone."""
    until = time.monotonic() + 10
    while True:
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return
