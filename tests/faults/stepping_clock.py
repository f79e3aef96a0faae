"""The installed command on a host whose wall clock is somewhere else; all other clocks are the kernel's.

    python stepping_clock.py FILE [SOCKREC'S OWN ARGUMENTS]

FILE holds how many seconds the wall clock is ahead, read each time that somebody asks for the time.
libfaketime would do the same for every program, but time.sleep fails under it (clock_nanosleep(2), EINVAL).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path


def main() -> None:
    """Run sockrec."""
    file = Path(sys.argv[1])
    real = time.clock_gettime_ns

    def clock_gettime_ns(clock: int) -> int:
        ahead = int(file.read_text()) * 10**9 if clock == time.CLOCK_REALTIME else 0
        return real(clock) + ahead

    time.clock_gettime_ns = clock_gettime_ns
    time.time_ns = lambda: clock_gettime_ns(time.CLOCK_REALTIME)
    time.time = lambda: clock_gettime_ns(time.CLOCK_REALTIME) / 1e9
    from sockrec import cli

    sys.argv[:2] = ["sockrec"]
    cli.main()


if __name__ == "__main__":
    main()
