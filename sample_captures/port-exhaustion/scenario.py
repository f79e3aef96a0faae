"""Make this capture anew: a client uses up its ports towards one destination.

Run as root: `python -m sample_captures.port-exhaustion.scenario`.
"""

from __future__ import annotations

import time
from pathlib import Path

from sample_captures.stage import GATEWAY, Stage, said

STORY = (
    "checkout opens a connection for each request to 10.0.0.1:6379 and closes it first: each leaves its port"
    " in TIME_WAIT for a minute; the host may use the ports 40000 to 40399, and after some 20 s none is left:"
    " connect says that it cannot assign an address"
)


def main() -> None:
    """Record it."""
    with Stage(Path(__file__).parent, STORY) as stage:
        stage.set_("net.ipv4.ip_local_port_range", "40000 40399")
        stage.start("cache", "service", GATEWAY, "6379", outside=True)
        stage.start("metricsd", "127.0.0.1", "9100", script="myapp.py")
        with stage.recording():
            time.sleep(4)
            with stage.act() as used_up:
                checkout = stage.start("checkout", "checkout", GATEWAY, "6379", "0.04")
                error = said(checkout)
            if "Cannot assign requested address" not in error:
                raise RuntimeError(error)
            time.sleep(12)
        stage.tell(
            "ports-exhausted", used_up, about=["10.0.0.1:6379"], cause=["checkout", "400 of 400", "TIME_WAIT"]
        )


if __name__ == "__main__":
    main()
