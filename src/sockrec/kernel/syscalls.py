"""System calls that neither Python nor every C library has a function for."""

from __future__ import annotations

import ctypes
import os
from typing import Final

# Since Linux 5.0 new calls have one number everywhere (but on alpha): include/uapi/asm-generic/unistd.h.
FSOPEN: Final = 430
FSCONFIG: Final = 431
FSMOUNT: Final = 432

_libc: Final = ctypes.CDLL(None, use_errno=True)


def call(number: int, *arguments: int | bytes | None) -> int:
    """Make a system call and return its result; raises `OSError`. Bytes are passed as a C string."""
    words = [
        ctypes.c_long(argument) if isinstance(argument, int) else ctypes.c_char_p(argument)
        for argument in arguments
    ]
    answer: int = _libc.syscall(ctypes.c_long(number), *words)
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return answer
