"""What is true of this host and of this process on it: clocks, names, namespaces, privileges."""

from __future__ import annotations

import os
import re
import socket
import time
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

# Told with the rest of what is true of this process.
from sockrec.kernel.capabilities import capabilities as capabilities

INITIAL_PID_NAMESPACE: Final = 4026531836
"""Inode of the PID namespace that sees every process (PROC_PID_INIT_INO, include/linux/proc_ns.h)."""


def boot_us() -> int:
    """Return CLOCK_BOOTTIME in microseconds: it never steps, and runs on while suspended."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def wall_us() -> int:
    """Return CLOCK_REALTIME in microseconds since 1970 UTC."""
    return time.clock_gettime_ns(time.CLOCK_REALTIME) // 1000


def anchor_us() -> int:
    """Return what, added to `boot_us()`, gives the wall clock as it stands now, in microseconds.

    The boot clock is read on both sides of the wall clock and the closest of a few tries taken, so
    that being descheduled between the two does not shift the anchor.
    """
    tries = []
    for _ in range(5):
        before, wall, after = boot_us(), wall_us(), boot_us()
        tries.append((after - before, wall - (before + after) // 2))
    return min(tries)[1]


def boot_id() -> str:
    """Return the id that the kernel drew at this boot (random(4))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def hostname() -> str:
    """Return the host's name as gethostname(2) has it; bytes that are no UTF-8 as backslash escapes."""
    return os.fsencode(socket.gethostname()).decode("utf-8", "backslashreplace")


def kernel_release() -> str:
    """Return the kernel's release, as `uname -r` prints it."""
    return os.uname().release


def machine() -> str:
    """Return the hardware name, as `uname -m` prints it."""
    return os.uname().machine


def time_zone() -> str:
    """Return the IANA name of the local time zone, 'UTC' where none can be told.

    Looked for where localtime(3) looks, $TZ and then the link /etc/localtime, and at last in
    Debian's /etc/timezone. A POSIX rule in $TZ (`CET-1CEST`) has no name and is passed over.
    """
    candidates = [os.environ.get("TZ"), _link("/etc/localtime"), _first_line("/etc/timezone")]
    for candidate in candidates:
        if candidate is None:
            continue
        name = candidate.removeprefix(":").rpartition("zoneinfo/")[2]
        name = re.sub(r"^(posix|right)/", "", name) or "UTC"
        if _is_zone(name):
            return name
    return "UTC"


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _link(path: str) -> str | None:
    return os.path.realpath(path) if Path(path).is_symlink() else None


def _first_line(path: str) -> str | None:
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return None
    return lines[0].strip() if lines else None


def network_namespace() -> int:
    """Return the inode of the calling thread's network namespace (namespaces(7))."""
    return Path("/proc/thread-self/ns/net").stat().st_ino


def pid_namespace() -> int:
    """Return the inode of this process's PID namespace (namespaces(7))."""
    return Path("/proc/thread-self/ns/pid").stat().st_ino


def privileges() -> dict[str, int | bool | list[str]]:
    """Return what decides how much of the host the recorder sees, ready for JSON."""
    pid_ns = pid_namespace()
    return {
        "uid": os.geteuid(),
        "gid": os.getegid(),
        "capabilities": list(capabilities()),
        "network_namespace": network_namespace(),
        "pid_namespace": pid_ns,
        "initial_pid_namespace": pid_ns == INITIAL_PID_NAMESPACE,
    }
