"""What a recording goes on with once it has begun: the few capabilities that it still needs."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SERVICE: Final = ("cap_dac_read_search", "cap_net_admin", "cap_sys_ptrace")
"""What it needs as a service of systemd, where tracefs is mounted and the network namespace is the first.

CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH: who holds other users' sockets, /proc/PID/fd, exe and ns/net.
CAP_NET_ADMIN: receive buffers above net.core.rmem_max, so that no event is lost; before Linux 6.6 the
process connector altogether.
"""

# table or journal, host, date: below come files only.
_DEPTH: Final = 3


def needed(capture: Path, *, command: bool) -> frozenset[str]:
    """Return the capabilities that recording needs after its start, for as long as it lasts.

    Beside `SERVICE`: CAP_KILL to pass signals on to a `command`, which may change its user; CAP_DAC_OVERRIDE,
    CAP_FOWNER and CAP_CHOWN if a folder of the capture is another user's, as what is kept of it then is.
    """
    names = set(SERVICE)
    if command:
        names.add("cap_kill")
    if not _all_ours(capture):
        names |= {"cap_chown", "cap_dac_override", "cap_fowner"}
    return frozenset(names)


def _all_ours(capture: Path) -> bool:
    """Say whether we may write in all folders of a capture without being let by a capability."""
    try:
        return all(_is_ours(folder) for folder in _folders(capture))
    except OSError:
        return False  # what is wrong there will be told by who writes


def _folders(capture: Path) -> Iterator[Path]:
    """Return the folders that exist of a capture, and the one that it is in."""
    yield next(folder for folder in capture.absolute().parents if folder.is_dir())
    level = [capture] if capture.is_dir() else []
    for _ in range(_DEPTH):
        yield from level
        level = [entry for folder in level for entry in _entries(folder)]
    yield from level


def _entries(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]


def _is_ours(folder: Path) -> bool:
    status = folder.stat()
    return status.st_uid == os.geteuid() and status.st_mode & stat.S_IRWXU == stat.S_IRWXU
