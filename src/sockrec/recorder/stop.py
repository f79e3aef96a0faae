"""The wish to stop, which a signal handler may utter at any moment."""

from __future__ import annotations

import math
import os
import select


class Stop:
    """A flag that is set once, by whomever, and ends a wait at once.

    No `threading.Event`: its lock is held as a wait begins, and a handler that then runs in the same thread
    and sets it waits for that lock for ever.
    """

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def __del__(self) -> None:
        os.close(self._fd)

    def set(self) -> None:
        """Set it."""
        os.eventfd_write(self._fd, 1)

    def is_set(self) -> bool:
        """Say whether it is set."""
        return self.wait(0)

    def wait(self, seconds: float) -> bool:
        """Wait until it is set, or so long, to the millisecond; say whether it is set."""
        return bool(self._poll.poll(math.ceil(seconds * 1000)))
