"""tracefs without a mount point, and a tracing instance of our own in it (Documentation/trace/ftrace.rst).

fsopen(2) and fsmount(2) give a descriptor of a mount that is attached nowhere: nobody else sees it and it
is gone with the process. An instance is not: it would live on, so it is made to stop by itself when
the process dies (`free_buffer`), and later recorders remove what dead ones left.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from pathlib import Path
from typing import Final

from sockrec.errors import KernelError
from sockrec.kernel import syscalls

_FSOPEN_CLOEXEC: Final = 1
_FSCONFIG_CMD_CREATE: Final = 6
_FSMOUNT_CLOEXEC: Final = 1
_NOSUID_NODEV_NOEXEC: Final = 0xE
_MOUNTED: Final = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
_NAME: Final = re.compile(r"sockrec-(\d+)-[0-9a-f]{8}")
_GONE: Final = (errno.ENOENT, errno.ENODEV)
_TRIES: Final = 10


class Folder:
    """A folder of tracefs, by descriptor; paths are relative to it. All methods raise `OSError`."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def read(self, path: str) -> str:
        """Return a file's whole text."""
        with os.fdopen(self.open(path, os.O_RDONLY), encoding="utf-8", errors="replace") as file:
            return file.read()

    def write(self, path: str, text: str) -> None:
        """Write a setting in one piece, as the kernel wants it."""
        fd = self.open(path, os.O_WRONLY)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def names(self, path: str = ".") -> list[str]:
        """Return what a folder holds."""
        fd = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.scandir(fd) as entries:
                return sorted(entry.name for entry in entries)
        finally:
            os.close(fd)

    def open(self, path: str, flags: int) -> int:
        """Return a descriptor of a file."""
        return os.open(path, flags | os.O_CLOEXEC, dir_fd=self.fd)

    def enter(self, path: str) -> Folder:
        """Return a folder in this one."""
        return Folder(self.open(path, os.O_RDONLY | os.O_DIRECTORY))

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)


def open_tracefs() -> Folder:
    """Return tracefs: a private detached mount or, where that is refused, the one that is mounted.

    Raises `KernelError` where there is neither: without CAP_SYS_ADMIN, in most containers, or under
    kernel lockdown.
    """
    try:
        return _detached()
    except OSError as error:
        refused = error
    for path in _MOUNTED:
        with contextlib.suppress(OSError):
            folder = Folder(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            if "instances" in folder.names():
                return folder
            folder.close()
    raise KernelError(f"tracefs is not available: {refused.strerror}")


def _detached() -> Folder:
    context = syscalls.call(syscalls.FSOPEN, b"tracefs", _FSOPEN_CLOEXEC)
    try:
        syscalls.call(syscalls.FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        mount = syscalls.call(syscalls.FSMOUNT, context, _FSMOUNT_CLOEXEC, _NOSUID_NODEV_NOEXEC)
    finally:
        os.close(context)
    try:
        # The mount's own descriptor is an O_PATH one, which can't be listed.
        return Folder(os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount))
    finally:
        os.close(mount)


class Instance:
    """The folder `instances/sockrec-PID-XXXXXXXX`: buffers and settings that no other tracer shares.

    Recorders in several PID namespaces may have the same PID: what follows it tells them apart. Raises
    `KernelError` if the kernel refuses one. `close` removes it. If the process dies first, the
    kernel stops it and gives its buffers back; the empty folder goes when the next recorder starts.
    """

    def __init__(self, tracefs: Folder) -> None:
        self._tracefs = tracefs
        try:
            remove_leftovers(tracefs)
            for tries in range(_TRIES):
                try:
                    self._make()
                    break
                except OSError as error:
                    if error.errno not in _GONE or tries == _TRIES - 1:
                        raise
        except OSError as error:
            raise KernelError(f"a tracing instance can't be made: {error.strerror}") from error

    def close(self) -> None:
        """Remove the instance; whoever has files of it open closes them first. Raises `KernelError`."""
        self.folder.close()
        try:
            self._remove()
        except OSError as error:
            raise KernelError(f"tracing instance {self.name} can't be removed: {error.strerror}") from error

    def _make(self) -> None:
        """Make it. Raises an `OSError` of those in `_GONE` if it was removed before it was in use.

        It is in use as soon as `free_buffer` is open. Until then a recorder in another PID namespace, to whom
        our PID says nothing, takes it for a dead one's.
        """
        self.name = f"sockrec-{os.getpid()}-{secrets.token_hex(4)}"
        self._path = f"instances/{self.name}"
        self._guard = -1
        os.mkdir(self._path, 0o700, dir_fd=self._tracefs.fd)
        with contextlib.ExitStack() as undo:
            undo.callback(self._remove)
            self.folder = self._tracefs.enter(self._path)
            undo.callback(self.folder.close)
            self.folder.write("options/disable_on_free", "1")
            self._guard = self.folder.open("free_buffer", os.O_WRONLY)
            undo.pop_all()

    def _remove(self) -> None:
        if self._guard >= 0:
            os.close(self._guard)
            self._guard = -1
        try:
            os.rmdir(self._path, dir_fd=self._tracefs.fd)
        except OSError as error:
            if error.errno not in _GONE:  # not in use any more, it may be removed by others first
                raise


def remove_leftovers(tracefs: Folder) -> list[str]:
    """Remove instances of recorders whose process is gone; return their names. Raises `OSError`.

    What has our own PID is of a dead one too, unless it is in use.
    """
    removed = []
    for name in tracefs.names("instances"):
        match = _NAME.fullmatch(name)
        if match is None or (int(match[1]) != os.getpid() and Path(f"/proc/{match[1]}").exists()):
            continue
        try:
            os.rmdir(f"instances/{name}", dir_fd=tracefs.fd)
        except OSError as error:
            # Busy: in use by a recorder in another PID namespace. Gone: somebody else was faster.
            if error.errno not in (errno.EBUSY, *_GONE):
                raise
        else:
            removed.append(name)
    return removed
