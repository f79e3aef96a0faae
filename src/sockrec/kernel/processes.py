"""Facts of one process, from /proc/PID (proc_pid_stat(5), proc_pid_cmdline(5), cgroups(7)).

Everything is asked of one open /proc/PID, so that all of it is about the same process even if its
number is used again meanwhile. Bytes that are no UTF-8 become backslash escapes, so that any text
here can be stored anywhere.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Final

from sockrec.errors import KernelError
from sockrec.kernel import host

_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")

# netstat reads the command line into 512 bytes, the last of which ends the text.
_NETSTAT_READS: Final = 511

_UNIT: Final = re.compile(r".+\.(service|scope|socket|mount|swap)$")
_CONTAINER: Final = (
    # A bare id (docker, Kubernetes with cgroupfs), or one behind its runtime's name: docker-ID.scope,
    # cri-containerd-ID.scope, crio-ID.scope, libpod-ID.scope, SLICE:cri-containerd:ID. The monitor of a
    # podman or CRI-O container (libpod-conmon-ID.scope) is not in the container.
    re.compile(r"(?:.*(?<!conmon)[-:])?([0-9a-f]{64})(?:\.scope)?"),
    # LXC and LXD name theirs.
    re.compile(r"lxc\.payload\.(.+)"),
)


@dataclass(frozen=True, slots=True)
class Process:
    """One process as it was when read.

    `start_us` is wall time in microseconds UTC, in steps of a clock tick (10 ms). `uid` is the
    effective one. `argv` is empty for kernel threads, for zombies and where it was cleared. `exe`
    is null where it may not be read or there is none; it ends in ' (deleted)' if the file is gone.
    """

    pid: int
    start_us: int
    ppid: int
    uid: int
    comm: str
    argv: tuple[str, ...]
    exe: str | None
    cgroup: str | None
    unit: str | None
    container: str | None


def read(pid: int, anchor_us: int | None = None) -> Process | None:
    """Return the process, or None if it is gone.

    `anchor_us` is what turns CLOCK_BOOTTIME microseconds into wall time; without it the clocks as
    they stand now are used, so that two reads of one process may differ by as much as the wall
    clock was adjusted. Raises `KernelError` where the process is there and may not be read.
    """
    if anchor_us is None:
        anchor_us = host.anchor_us()
    folder = _open(pid)
    if folder is None:
        return None
    try:
        comm, fields = _stat(_contents(folder, "stat"))
        status = _contents(folder, "status")
        uid = re.search(rb"^Uid:\t\d+\t(\d+)", status, re.MULTILINE)
        argv = split_argv(_contents(folder, "cmdline"))
        cgroup = cgroup_of(_contents(folder, "cgroup", missing=b""))
        exe = _link(folder, "exe")
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError as error:
        raise KernelError(f"can't read /proc/{pid}: {error.strerror}") from error
    finally:
        os.close(folder)
    if uid is None:
        raise KernelError(f"/proc/{pid}/status has no Uid line: this is no Linux /proc")
    return Process(
        pid=pid,
        start_us=anchor_us + int(fields[19]) * 1_000_000 // _TICKS_PER_SECOND,
        ppid=int(fields[1]),
        uid=int(uid[1]),
        comm=comm,
        argv=argv,
        exe=exe,
        cgroup=cgroup,
        unit=unit_of(cgroup),
        container=container_of(cgroup),
    )


def read_argv(pid: int) -> tuple[str, ...] | None:
    """Return the command line of a process as it is now, or None if the process is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb", buffering=0) as file:  # noqa: PTH123 - read again and again
            return split_argv(file.read())
    except (FileNotFoundError, ProcessLookupError):
        return None


def program(process: Process) -> str:
    """Return the program's name as netstat -p has it, whole: argv[0], without its folder.

    netstat's rule: the text before the first NUL of the command line, of which it reads 511 bytes;
    if that begins with `/`, what follows its last `/`. Where argv is empty netstat prints nothing
    after the pid; here it is the kernel's name of the process.
    """
    if not process.argv:
        return process.comm
    name = process.argv[0]
    if not name.startswith("/"):
        return name
    seen = name.encode()[:_NETSTAT_READS].decode("utf-8", "ignore")
    return seen.rpartition("/")[2]


def split_argv(cmdline: bytes) -> tuple[str, ...]:
    """Return the arguments in the contents of /proc/PID/cmdline, empty ones included.

    One NUL at the end closes the last argument; a process that wrote over its command line may
    have left none.
    """
    if not cmdline:
        return ()
    return tuple(_text(argument) for argument in cmdline.removesuffix(b"\0").split(b"\0"))


def cgroup_of(contents: bytes) -> str | None:
    """Return the cgroup path in the contents of /proc/PID/cgroup, None if there is none.

    The version 2 line, unless a version 1 hierarchy of systemd or of the CPU says more (where both
    are mounted, version 2 may hold everything at its root).
    """
    paths = {}
    # The kernel writes a newline inside a name as \\012; other line separators mean nothing here.
    for line in _text(contents).removesuffix("\n").split("\n"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        paths.update(dict.fromkeys(controllers.split(","), path))
    told = [paths[name] for name in ("", "name=systemd", "cpu") if name in paths]
    return next((path for path in told if path != "/"), told[0] if told else None) or None


def unit_of(cgroup: str | None) -> str | None:
    r"""Return the innermost systemd unit that holds processes in a cgroup path (`\x2d` left as it is)."""
    return next((part for part in _parts(cgroup) if _UNIT.match(part)), None)


def container_of(cgroup: str | None) -> str | None:
    """Return the innermost container id in a cgroup path; the name, for LXC."""
    parts = _parts(cgroup)
    for part, folder in zip(parts, [*parts[1:], ""], strict=False):
        for pattern in _CONTAINER:
            if found := pattern.fullmatch(part):
                return found[1]
        if folder == "lxc":
            return part
    return None


def _parts(cgroup: str | None) -> list[str]:
    """Return the path's parts, innermost first."""
    return [part for part in reversed((cgroup or "").removesuffix(" (deleted)").split("/")) if part]


def _open(pid: int) -> int | None:
    try:
        return os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError as error:
        raise KernelError(f"can't open /proc/{pid}: {error.strerror}") from error


def _contents(folder: int, name: str, missing: bytes | None = None) -> bytes:
    """Return a whole file of the process; `missing` instead of an error if the kernel has no such file."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        if missing is None:
            raise
        return missing
    with os.fdopen(fd, "rb") as file:
        return file.read()


def _link(folder: int, name: str) -> str | None:
    try:
        return _text(os.fsencode(os.readlink(name, dir_fd=folder)))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def _stat(contents: bytes) -> tuple[str, list[bytes]]:
    """Return comm and the fields from `state` on: comm itself may hold blanks, brackets, newlines."""
    head, _, tail = contents.rpartition(b")")
    return _text(head.partition(b"(")[2]), tail.split()


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
