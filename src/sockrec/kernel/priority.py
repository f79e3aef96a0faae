"""The recorder's place behind everybody else: its CPU and I/O priority, and its memory."""

from __future__ import annotations

import ctypes
import gc
import os
import struct
from pathlib import Path
from typing import Final

NICE: Final = 10

# include/uapi/linux/ioprio.h
_WHO_PROCESS: Final = 1
_CLASS_SHIFT: Final = 13
_BEST_EFFORT: Final = 2
_IDLE: Final = 3
_LOWEST_LEVEL: Final = 7

# (ioprio_set, ioprio_get): arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h.
_SYSCALLS: Final = {"x86_64": (251, 252), "aarch64": (30, 31)}

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_libc: Final = ctypes.CDLL(None, use_errno=True)


def lower() -> list[str]:
    """Lower the calling thread's CPU priority to nice 10 and its I/O priority to best-effort 7.

    One that is lower already stays. Threads and processes that it starts later inherit both; those
    started before keep theirs (setpriority(2), ioprio_set(2)). Returns what could not be done, a line each.
    """
    failures = []
    try:
        if os.getpriority(os.PRIO_PROCESS, 0) < NICE:
            os.setpriority(os.PRIO_PROCESS, 0, NICE)
    except OSError as error:
        failures.append(f"the CPU priority can't be lowered: {error.strerror}")
    try:
        _lower_io()
    except OSError as error:
        failures.append(f"the I/O priority can't be lowered: {error.strerror}")
    return failures


def resident_bytes() -> int:
    """Return the memory that this process holds (resident in proc_pid_statm(5)).

    The kernel counts it per CPU in batches: it may be off by a fraction of a MiB for each CPU.
    """
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE


def release() -> None:
    """Give back the memory that Python and the C library hold but don't use."""
    gc.collect()
    trim()


def trim() -> None:
    """Give back the memory that the C library holds but doesn't use (malloc_trim(3))."""
    if hasattr(_libc, "malloc_trim"):  # glibc's own: musl has none
        _libc.malloc_trim(0)


def _lower_io() -> None:
    # A 32-bit program on a 64-bit kernel has other numbers.
    machine = os.uname().machine if struct.calcsize("P") == 8 else "32-bit programs"
    if machine not in _SYSCALLS:
        raise OSError(0, f"not available on {machine}")
    set_number, get_number = _SYSCALLS[machine]
    now = _call(get_number, _WHO_PROCESS, 0)
    lowest = _BEST_EFFORT << _CLASS_SHIFT | _LOWEST_LEVEL
    if now >> _CLASS_SHIFT != _IDLE and now != lowest:
        _call(set_number, _WHO_PROCESS, 0, lowest)


def _call(number: int, *arguments: int) -> int:
    answer: int = _libc.syscall(ctypes.c_long(number), *(ctypes.c_long(argument) for argument in arguments))
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return answer
