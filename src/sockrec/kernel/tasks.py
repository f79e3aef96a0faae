"""Threads that tracepoints name: their process, their name, their network namespace."""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from sockrec.errors import KernelError

_NANOSECONDS_PER_TICK: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_KEPT: Final = 4096


@dataclass(frozen=True, slots=True)
class Task:
    """One thread as /proc had it: its process, its name and the network namespace that it is in.

    `network_namespace` is an inode (namespaces(7)), None where it may not be read. A thread can change
    its namespace, and a socket stays in the one that it was made in: so this is a strong hint of a socket's
    namespace and no proof. `started` is CLOCK_BOOTTIME nanoseconds, in steps of a clock tick.
    """

    thread: int
    pid: int
    comm: str
    network_namespace: int | None
    started: int


class Tasks:
    """Looks threads up in /proc and keeps the last 4096.

    Whoever learns that a thread exited or called exec says so with `forget`.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[int, Task] = OrderedDict()

    def find(self, thread: int, at: int) -> Task | None:
        """Return the thread that had this number `at` a time, CLOCK_BOOTTIME nanoseconds.

        None if it is gone, or if the number is another's by now. Raises `KernelError`.
        """
        known = self._known.get(thread)
        if known is None:
            known = read(thread)
            if known is None:
                return None
            self._known[thread] = known
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        # What started within the tick of the event may have started before it.
        return known if known.started <= at else None

    def knows(self, thread: int) -> bool:
        """Say whether the thread can be told without looking."""
        return thread in self._known

    def forget(self, thread: int) -> None:
        """Look the thread up anew next time."""
        self._known.pop(thread, None)


def read(thread: int) -> Task | None:
    """Return a thread as it is now, None if there is none. Raises `KernelError` where /proc can't be read."""
    try:
        folder = os.open(f"/proc/{thread}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError as error:
        raise KernelError(f"can't open /proc/{thread}: {error.strerror}") from error
    try:
        head, _, tail = _contents(folder, "stat").rpartition(")")
        group = re.search(r"^Tgid:\s*(\d+)$", _contents(folder, "status"), re.MULTILINE)
        try:
            namespace = os.stat("ns/net", dir_fd=folder).st_ino
        except (PermissionError, FileNotFoundError):
            namespace = None  # another user's, or a zombie's
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError as error:
        raise KernelError(f"can't read /proc/{thread}: {error.strerror}") from error
    finally:
        os.close(folder)
    if group is None:
        raise KernelError(f"/proc/{thread}/status has no Tgid line: this is no Linux /proc")
    started = int(tail.split()[19]) * _NANOSECONDS_PER_TICK
    return Task(thread, int(group[1]), head.partition("(")[2], namespace, started)


def _contents(folder: int, name: str) -> str:
    with os.fdopen(os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder), "rb") as file:
        return file.read().decode("utf-8", "backslashreplace")
