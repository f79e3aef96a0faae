"""The connection that tests of the log tell of: open from 1,010 to 1,050 ms."""

from __future__ import annotations

from tests.recorder.events.support import ESTABLISHED, connection

MS = 1_000_000  # nanoseconds
US = 1000
SECOND = 1_000_000  # microseconds
# Kernel addresses.
A, B = 0xA0, 0xB0
COOKIE = 77
LIFE = connection(A, 1010 * MS, 1050 * MS)
END = (1050 * MS + 20 * US, A, COOKIE)
ANNOUNCED = [{"cookie": COOKIE}]
OPEN = {"cookie": COOKIE, "state": ESTABLISHED, "inode": 5}
