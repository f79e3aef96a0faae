"""One recorder at a time for each capture and host, and a way for readers to see that it runs.

The lock is an open-file-description lock (fcntl_locking(2), F_OFD_SETLK): the kernel drops it when
the recorder dies, however it dies, and F_OFD_GETLK asks about it without taking it, so a reader can
never stand in the way of a recorder that is about to start.
"""

from __future__ import annotations

import os
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from sockrec.errors import CaptureError
from sockrec.store.files import FILE_MODE, make_folder, unwritable
from sockrec.store.layout import Layout

# struct flock with 64-bit offsets: type, whence, start, len, pid; padded as C does.
_FLOCK = struct.Struct("@hhqqi4x")
_LARGEST_LOCK_FILE = 256


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock: the recorder's process id (0 if unknown) and its recording ('' before it has one)."""

    pid: int
    recording: str


if sys.platform == "linux":
    import fcntl

    def _take(fd: int) -> bool:
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, as fcntl_locking(2) allows
            return False
        return True

    def _taken(fd: int) -> bool:
        query = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, query)
        return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)

else:

    def _take(_fd: int) -> bool:
        raise CaptureError("recording needs Linux; captures can be read anywhere")

    def _taken(_fd: int) -> bool:
        return False  # recorders run on Linux only: here the capture is a copy


class RecorderLock:
    """Holds the right to record one host into one capture, from its making until `close`.

    Raises `CaptureError` if another process has it, naming that process, or if the capture can't be
    written.
    """

    def __init__(self, layout: Layout, host: str) -> None:
        path = layout.lock(host)
        make_folder(path.parent)
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
            self._fd = os.open(path, flags, FILE_MODE)
        except OSError as error:
            raise unwritable(path, error) from None
        try:
            self._lock(layout, host)
            os.fchmod(self._fd, FILE_MODE)
            self.announce("")
        except OSError as error:
            self.close()
            raise unwritable(path, error) from None
        except CaptureError:
            self.close()
            raise

    def _lock(self, layout: Layout, host: str) -> None:
        if not _take(self._fd):
            pid = _read(self._fd).pid
            who = f"process {pid}" if pid else "another process"
            raise CaptureError(
                f"{who} records {host} into {layout.root} already: stop it, or name another capture"
            )

    def announce(self, recording: str) -> None:
        """Tell readers which recording this is: only its journal still grows; raises `OSError`."""
        # Longer than what may stand there: one write replaces it all.
        content = f"{os.getpid()} {recording}\n".encode().ljust(64)
        os.pwrite(self._fd, content, 0)

    def close(self) -> None:
        """Let the lock go. The file stays, so that two recorders never lock two different ones."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> RecorderLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _read(fd: int) -> Holder:
    words = os.pread(fd, _LARGEST_LOCK_FILE, 0).decode("ascii", "replace").split()
    pid = int(words[0]) if words and words[0].isdecimal() and len(words[0]) < 10 else 0
    return Holder(pid, words[1] if len(words) > 1 else "")


def holder(path: Path) -> Holder | None:
    """Return who holds the lock file at `path`; None if nobody does, or nobody on this machine."""
    with suppress(OSError):  # not there, on a file system without locks, not ours to read: a copy
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        try:
            return _read(fd) if _taken(fd) else None
        finally:
            os.close(fd)
    return None


def is_held(path: Path) -> bool:
    """Tell whether a recorder on this machine holds the lock file at `path`."""
    return holder(path) is not None
