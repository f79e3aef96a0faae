"""Paths of cgroups v2 by their ids (cgroups(7)): sockets tell the id of the one they were made in.

The id is the file handle of the cgroup's folder, so the kernel opens it (open_by_handle_at(2), which takes
CAP_DAC_READ_SEARCH); to others it is the inode of one of the folders below the mount, which are all listed.
A cgroup keeps its path for life.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import struct
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_FILEID_KERNFS: Final = 0xFE  # include/linux/exportfs.h
_HANDLE: Final = struct.Struct("=IiQ")  # struct file_handle: bytes, type; the handle
_AT_ONCE_SECONDS: Final = 0.01
# All folders are listed again after this many times as long as that took.
_REST: Final = 50
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


class Cgroups:
    """The cgroups v2 below the first mount of them; a path that was known once stays known."""

    def __init__(self) -> None:
        self._mount = _mount()
        self._paths: dict[int, str] = {}
        self._gone: set[int] = set()
        self._may_open = self._mount is not None
        self._list_again = 0.0

    def path(self, cgroup: int) -> str | None:
        """Return the path of a cgroup by its id: `/` for the mount itself; bytes not UTF-8 as escapes.

        `unreachable:ID`, in hexadecimal as ss(8) has it, if it is gone, or not below the mount; None for id
        0, where no cgroups v2 are mounted, and where it can't be told yet.
        """
        if not cgroup or self._mount is None:
            return None
        found = self._paths.get(cgroup)
        if found is None and cgroup not in self._gone:
            found = self._find(cgroup, self._mount)
        if found is None and cgroup in self._gone:
            return f"unreachable:{cgroup:x}"
        return found

    def forget_all_but(self, cgroups: Iterable[int]) -> None:
        """Forget what no socket is in any more."""
        kept = set(cgroups)
        self._paths = {cgroup: path for cgroup, path in self._paths.items() if cgroup in kept}
        self._gone &= kept

    def _find(self, cgroup: int, mount: str) -> str | None:
        if self._may_open:
            try:
                found = _opened(cgroup, mount)
            except OSError:
                self._may_open = False
            else:
                if found is None:
                    self._gone.add(cgroup)
                else:
                    self._paths[cgroup] = found
                return found
        began = time.monotonic()
        if began < self._list_again:
            return None
        self._paths |= _listed(mount)
        self._list_again = time.monotonic() + _REST * max(time.monotonic() - began, _AT_ONCE_SECONDS)
        if cgroup not in self._paths:
            self._gone.add(cgroup)
        return self._paths.get(cgroup)


def _mount() -> str | None:
    """Return where cgroups v2 are mounted; None where they are not."""
    try:
        mounts = Path("/proc/self/mounts").read_bytes().decode("utf-8", "surrogateescape")
    except OSError:  # no /proc: nothing of cgroups is told
        return None
    for line in mounts.splitlines():
        _, folder, kind, *_ = line.split(" ")
        if kind == "cgroup2":
            return _OCTAL.sub(lambda found: chr(int(found[1], 8)), folder)
    return None


def _opened(cgroup: int, mount: str) -> str | None:
    """Return the path of a cgroup as the kernel opens it; None if it is gone or elsewhere.

    Raises OSError where that is not allowed.
    """
    handle = ctypes.create_string_buffer(_HANDLE.pack(8, _FILEID_KERNFS, cgroup), _HANDLE.size)
    at = os.open(mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        folder = _libc.open_by_handle_at(at, handle, os.O_PATH | os.O_CLOEXEC)
        code = ctypes.get_errno()
    finally:
        os.close(at)
    if folder < 0:
        if code in (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP):
            raise PermissionError(code, os.strerror(code))
        return None
    try:
        whole = str(Path(f"/proc/self/fd/{folder}").readlink())
    finally:
        os.close(folder)
    inside = whole == mount or whole.startswith(f"{mount}/")
    return _text(whole[len(mount) :]) if inside else None


def _listed(mount: str) -> dict[int, str]:
    """Return the paths of all cgroups there are now, by id."""
    found = {}
    for folder, _, _ in os.walk(mount):
        try:
            found[os.stat(folder).st_ino] = _text(folder[len(mount) :])  # noqa: PTH116 - of each folder
        except FileNotFoundError:  # gone meanwhile
            continue
    return found


def _text(path: str) -> str:
    return os.fsencode(path or "/").decode("utf-8", "backslashreplace")


_libc: Final = ctypes.CDLL(None, use_errno=True)
