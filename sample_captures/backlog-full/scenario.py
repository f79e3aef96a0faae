"""Make this capture anew: a service that does not accept as fast as its clients come.

Run as root: `python -m sample_captures.backlog-full.scenario`.
"""

from __future__ import annotations

import time
from pathlib import Path

from sample_captures.stage import HOST, Stage

STORY = (
    "shop on port 8000 serves one client at a time, with a backlog of 8; when each takes 3 s, 24 clients from"
    " outside fill its accept queue, and the kernel drops the connections that come beyond it"
)


def main() -> None:
    """Record it."""
    with Stage(Path(__file__).parent, STORY) as stage:
        stage.start("shop", "shop", HOST, "8000")
        stage.start("metricsd", "127.0.0.1", "9100", script="myapp.py")
        with stage.recording():
            time.sleep(8)
            with stage.act() as rush:
                stage.start("customers", "customers", HOST, "8000", "24", outside=True)
                time.sleep(8)
            time.sleep(25)
        stage.tell("accept-queue-full", rush, about=["8000", "shop"], cause=["room for 8"])


if __name__ == "__main__":
    main()
