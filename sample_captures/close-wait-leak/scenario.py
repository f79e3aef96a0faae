"""Make this capture anew: a program that does not close what its peer has closed.

Run as root: `python -m sample_captures.close-wait-leak.scenario`.
"""

from __future__ import annotations

import time
from pathlib import Path

from sample_captures.stage import GATEWAY, Stage

STORY = (
    "reports asks a database at 10.0.0.1:5432 over a new connection each time and forgets to close it; the"
    " database closes each that was idle for 2 s, and 24 of them stay in CLOSE_WAIT; billing beside it closes"
    " what it opens"
)


def main() -> None:
    """Record it."""
    with Stage(Path(__file__).parent, STORY) as stage:
        stage.start("database", "database", GATEWAY, "5432", outside=True)
        with stage.recording():
            stage.start("billing", "reports", GATEWAY, "5432", "1", "0")
            time.sleep(3)
            with stage.act() as leak:
                stage.start("reports", "reports", GATEWAY, "5432", "0.5", "24")
                time.sleep(5)
            time.sleep(55)
        stage.tell("close-wait", leak, about=["reports"], cause=["24 connections", "has not"])


if __name__ == "__main__":
    main()
