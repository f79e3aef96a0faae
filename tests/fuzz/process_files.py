"""What a process says of itself in /proc/PID: stat, cmdline, cgroup. Input: any bytes, taken for each."""

from __future__ import annotations

from pathlib import Path

from sockrec.kernel import processes

# comm is at most 15 bytes of anything but NUL; the kernel writes what follows it.
_AFTER = b" S 1 42 42 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 12345 1000000 200 18446744073709551615"


def seeds() -> list[bytes]:
    """Return this process's own files, and names that look like fields."""
    here = [Path("/proc/self", name).read_bytes() for name in ("stat", "cmdline", "cgroup")]
    return [*here, b"a) R 1 2 (", b"x\ny) S", b"0::/system.slice/nginx.service\n", b"0::/docker/" + b"a" * 64]


def check(data: bytes) -> None:
    """Nothing is raised: these parsers take any bytes, and a name never reaches into the fields behind it."""
    comm, fields = processes._stat(b"4121 (" + data + b")" + _AFTER)
    assert comm == data.decode("utf-8", "backslashreplace")
    assert fields == _AFTER.split()
    argv = processes.split_argv(data)
    assert len(argv) <= len(data)
    assert b"\0".join(word.encode() for word in argv) == data.removesuffix(b"\0") or not _is_utf8(data)
    cgroup = processes.cgroup_of(data)
    for one in (cgroup, data.decode("utf-8", "backslashreplace"), None):
        processes.unit_of(one)
        processes.container_of(one)
    processes.program(processes.Process(1, 0, 0, 0, comm, argv, None, cgroup, None, None))


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
