"""Host names of the addresses met (`--resolve`), asked for in a thread of its own: no sample waits for it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable
from queue import Empty, Full, Queue
from typing import Final

# Names of more addresses would make the recording's description a burden.
MOST_NAMES: Final = 10_000
_MOST_WAITING: Final = 1_000
# A name server that does not answer so many questions in a row is left alone for a while.
_UNANSWERED: Final = 3
_SLOW_S: Final = 2.0
_REST_S: Final = 60.0
_OTHERS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - the any-addresses have no names


def ask_system(address: str) -> str | None:
    """Return the name that the host's resolver gives an address (getnameinfo(3)); None if it has none."""
    try:
        return socket.getnameinfo((address, 0), socket.NI_NAMEREQD | socket.NI_NUMERICSERV)[0]
    except (OSError, UnicodeError):
        return None


class Resolver:
    """Asks for the name of each address once.

    `names` has those found, by address; `unasked` counts addresses that were passed over: too many, or the
    name server did not answer. `ask` tells the name of one, and may take as long as it likes.
    """

    def __init__(self, ask: Callable[[str], str | None] = ask_system) -> None:
        self.names: dict[str, str] = {}
        self.unasked = 0
        self._ask = ask
        self._met: set[str] = set(_OTHERS)
        self._waiting: Queue[str] = Queue(_MOST_WAITING)
        self._found: Queue[tuple[str, str]] = Queue()
        # A name server may hang: nobody waits for this thread when recording ends.
        threading.Thread(target=self._work, name="sockrec-resolve", daemon=True).start()

    def meet(self, addresses: Iterable[str]) -> None:
        """Have the names of addresses found that were not met before."""
        for address in addresses:
            if address in self._met:
                continue
            if len(self._met) >= MOST_NAMES:
                self.unasked += 1
                continue
            try:
                self._waiting.put_nowait(address)
            except Full:
                self.unasked += 1
                continue
            self._met.add(address)

    def collect(self) -> bool:
        """Take what was found since this was last called into `names`; tell whether that was anything."""
        found = False
        while True:
            try:
                address, name = self._found.get_nowait()
            except Empty:
                return found
            self.names[address] = name
            found = True

    def _work(self) -> None:
        unanswered = 0
        while True:
            address = self._waiting.get()
            began = time.monotonic()
            name = self._ask(address)
            if name is not None:
                self._found.put((address, name))
            unanswered = 0 if name or time.monotonic() - began < _SLOW_S else unanswered + 1
            if unanswered == _UNANSWERED:
                time.sleep(_REST_S)
                unanswered = 0
