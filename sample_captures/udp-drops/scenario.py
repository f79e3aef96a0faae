"""Make this capture anew: a receiver of datagrams is too slow, and the kernel drops what does not fit.

Run as root: `python -m sample_captures.udp-drops.scenario`.
"""

from __future__ import annotations

import time
from pathlib import Path

from sample_captures.stage import HOST, Stage

STORY = (
    "statsd on UDP port 8125 has a small receive buffer, syslogd on port 514 a larger one; after some 15 s"
    " statsd takes 50 ms for each datagram, while 100 a second come from outside to each: its buffer is full"
    " and the kernel drops the others"
)


def main() -> None:
    """Record it."""
    with Stage(Path(__file__).parent, STORY) as stage:
        stage.start("syslogd", "statsd", HOST, "514", "200000", "600")
        with stage.recording():
            stage.start("sender", "sender", HOST, "514", outside=True)
            with stage.act() as slow:
                stage.start("statsd", "statsd", HOST, "8125", "20000", "15")
                stage.start("sender", "sender", HOST, "8125", outside=True)
                # Also until the kernel's statistics have been read once more: they are each 10 s.
                time.sleep(30)
            time.sleep(15)
        stage.tell("udp-drops", slow, about=["8125", "statsd"], cause=["statsd", "dropped"])


if __name__ == "__main__":
    main()
