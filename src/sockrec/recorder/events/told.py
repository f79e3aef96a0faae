"""Sockets of which all is told before the kernel announces their end."""

from __future__ import annotations

from typing import Final

import numpy as np

from sockrec.recorder.seen import Ints, Rows

_KEPT: Final = 1 << 15


class ToldEarly:
    """Cookies of sockets of which nothing more is to be told: their announcement would tell them twice.

    The last 32,768 are kept; a kernel that never announces them would fill the memory.
    """

    def __init__(self) -> None:
        self._cookies: dict[int, None] = {}

    def add(self, *cookies: int) -> None:
        """Take in sockets that were told of."""
        self._cookies |= dict.fromkeys(cookies)
        while len(self._cookies) > _KEPT:
            del self._cookies[next(iter(self._cookies))]

    def others(self, cookie: Ints) -> Rows:
        """Return the places of the sockets that were not told of."""
        if not self._cookies:
            return np.arange(len(cookie))
        return np.flatnonzero([one not in self._cookies for one in cookie.tolist()])

    def forget(self, cookie: Ints) -> None:
        """Let go of sockets that were announced."""
        if self._cookies:
            for one in cookie.tolist():
                self._cookies.pop(one, None)
