"""Folders and files that only their owner reads, and writes that survive a crash.

Captures hold command lines and peers: folders are 0700 and files 0600 whatever the umask is.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from sockrec.errors import CaptureError

FOLDER_MODE = 0o700
FILE_MODE = 0o600
TEMPORARY = ".tmp"
# Never through a symlink that somebody else put there: the recorder runs as root.
_CREATE = os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def unwritable(path: Path, error: OSError) -> CaptureError:
    """Return the one-line error for a failed write."""
    return CaptureError(f"cannot write {path}: {error.strerror or error}; {_advice(error)}")


def _advice(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space there, or name another place with --capture"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "run as the user who owns it, or name another place with --capture"
    return "name another place with --capture"


def make_folder(path: Path) -> None:
    """Make a folder with all its parents, each of those made 0700; raises `CaptureError`."""
    missing = []
    folder = path
    while not folder.is_dir():
        missing.append(folder)
        if folder == folder.parent:
            break
        folder = folder.parent
    for folder in reversed(missing):
        try:
            folder.mkdir(FOLDER_MODE)
            folder.chmod(FOLDER_MODE)
            sync_folder(folder.parent)
        except FileExistsError as error:
            # Another recorder may have made it meanwhile; a file in its place is an error.
            if not folder.is_dir():
                raise unwritable(folder, error) from None
        except OSError as error:
            raise unwritable(folder, error) from None


def create(path: Path, *, exclusive: bool = True) -> int:
    """Open a file of mode 0600 for writing and return its descriptor; raises `OSError`.

    `exclusive` refuses one that exists; otherwise its content is dropped.
    """
    fd = os.open(path, _CREATE | os.O_RDWR | (os.O_EXCL if exclusive else os.O_TRUNC), FILE_MODE)
    try:
        os.fchmod(fd, FILE_MODE)
    except OSError:
        os.close(fd)
        raise
    return fd


def temporary(path: Path) -> Path:
    """Return the hidden name under which `path` is written until it is whole."""
    return path.with_name(f".{path.name}{TEMPORARY}")


def is_temporary(name: str) -> bool:
    """Tell whether a file name is one that `temporary` gives."""
    return name.startswith(".") and name.endswith(TEMPORARY)


def publish(path: Path) -> None:
    """Give the whole, synced file at `temporary(path)` its name, and make that last; raises `OSError`."""
    os.replace(temporary(path), path)  # noqa: PTH105 - one call for tests to interrupt
    sync_folder(path.parent)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that readers, and a crash, find the old one or the new one; raises `CaptureError`."""
    try:
        fd = create(temporary(path), exclusive=False)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        publish(path)
    except OSError as error:
        with suppress(OSError):
            temporary(path).unlink(missing_ok=True)
        raise unwritable(path, error) from None


def sync_folder(path: Path) -> None:
    """Make the names in a folder last through a power cut; raises `OSError`."""
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
