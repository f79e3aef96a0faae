"""How it goes, told to the service manager that started this process (sd_notify(3)).

A datagram of `NAME=value` lines to the socket that $NOTIFY_SOCKET names. libsystemd's binding needs a
compiler, and the pure sdnotify swallows every error: for one datagram neither is worth a dependency.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from typing import Final

_SOCKET: Final = "NOTIFY_SOCKET"
_WATCHDOG: Final = "WATCHDOG_USEC"
_WATCHDOG_PID: Final = "WATCHDOG_PID"
# The manager wants to hear within WATCHDOG_USEC; half of it is what sd_watchdog_enabled(3) advises.
_BEATS: Final = 2
# systemd throws away messages of more than 4096 bytes, whole.
_LONGEST_STATUS: Final = 800


class ServiceManager:
    """The service manager, if one wants to be told; otherwise all that is said here goes nowhere.

    Nothing is ever waited for: what it could not take goes with the next message. `environment` is the
    process's own if not given. `trouble` says in a line why it can't be told, None while it can.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        address = environment.get(_SOCKET, "")
        self.trouble: str | None = None
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket: socket.socket | None = None
        self._unsent: dict[str, str] = {}
        self._pace_s = _pace(environment)
        self._beat_at = -float("inf")
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    @property
    def listens(self) -> bool:
        """Whether there is one that wants to be told."""
        return self._socket is not None

    @property
    def watches(self) -> bool:
        """Whether it wants to hear again and again that this process is alive."""
        return self.listens and self._pace_s is not None

    def ready(self) -> None:
        """Say that the service is up."""
        self._tell(READY="1")

    def status(self, text: str) -> None:
        """Say in a line for people how it goes."""
        self._tell(STATUS=" ".join(text.split())[:_LONGEST_STATUS])

    def alive(self) -> None:
        """Say that work goes on, if it is time to say so again. To be called where it has, and only there."""
        if self._pace_s is not None and time.monotonic() - self._beat_at >= self._pace_s:
            self._tell(WATCHDOG="1")

    def stopping(self) -> None:
        """Say that the service ends."""
        self._tell(STOPPING="1")

    def close(self) -> None:
        """Say no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _tell(self, **fields: str) -> None:
        if self._socket is None:
            return
        # A signal handler may come in between with a message of its own: nothing is changed in place.
        unsent = self._unsent = self._unsent | fields
        text = "\n".join(f"{name}={value}" for name, value in unsent.items())
        try:
            self._socket.sendto(text.encode("utf-8", "backslashreplace"), self._address)
        except BlockingIOError:
            return
        except OSError as error:
            self.trouble = f"the service manager can't be told how it goes ({error.strerror or error})"
            return
        self.trouble = None
        if "WATCHDOG" in unsent:
            self._beat_at = time.monotonic()
        self._unsent = {name: value for name, value in self._unsent.items() if unsent.get(name) != value}


def _pace(environment: Mapping[str, str]) -> float | None:
    """Return how often the manager wants to hear that we live, in seconds; None if it does not."""
    period, pid = environment.get(_WATCHDOG, ""), environment.get(_WATCHDOG_PID, "")
    if not period.isdecimal() or not int(period) or pid not in ("", str(os.getpid())):
        return None
    return int(period) / 1e6 / _BEATS
