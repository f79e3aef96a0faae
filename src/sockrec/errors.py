"""Every error that sockrec raises, each with the exit status that the command line gives it.

Raise the narrowest one that fits, with a message of one line that says what happened and what to
do. `sockrec.cli` prints it once; nothing below it prints.
"""

from __future__ import annotations

from typing import ClassVar


class SockrecError(Exception):
    """Base of all errors raised on purpose. `exit_status` is what the command ends with."""

    exit_status: ClassVar[int] = 2


class UsageError(SockrecError):
    """The request makes no sense: an unknown time, a port of 70000, SQL that does not parse."""


class NothingMatchedError(SockrecError):
    """The capture was read whole and holds no answer; the message says what it does hold."""

    exit_status: ClassVar[int] = 1


class CaptureError(SockrecError):
    """A capture is missing, damaged, of a newer format, in use, or can't be written."""

    exit_status: ClassVar[int] = 3


class KernelError(SockrecError):
    """The kernel refused, or lacks, what recording can't do without; privileges included."""

    exit_status: ClassVar[int] = 4
