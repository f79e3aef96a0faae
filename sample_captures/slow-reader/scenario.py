"""Make this capture anew: a client that does not read, and a program that does not.

Run as root: `python -m sample_captures.slow-reader.scenario`.
"""

from __future__ import annotations

import time
from pathlib import Path

from sample_captures.stage import HOST, Stage

STORY = (
    "exporter on port 9200 sends to three clients, one of which stops reading: its window closes and bytes"
    " pile up in the send queue; ingest on port 9300 stops reading itself, and its receive queue fills"
)
READS = 12.0


def main() -> None:
    """Record it."""
    with Stage(Path(__file__).parent, STORY) as stage:
        stage.start("exporter", "exporter", HOST, "9200")
        stage.start("ingest", "ingest", HOST, "9300", str(READS))
        with stage.recording(), stage.act() as stuck:
            for reads in (600.0, 600.0, READS):
                stage.start("viewer", "viewer", HOST, "9200", str(reads), outside=True)
            stage.start("feeder", "feeder", HOST, "9300", outside=True)
            # Until both queues are as full as they get: the buffers of both sides have megabytes of room.
            time.sleep(60)
        stage.tell("unsent", stuck, about=["9200", "exporter"], cause=["does not read"])
        stage.tell("unread", stuck, about=["9300", "ingest"], cause=["did not read", "receive queue"])


if __name__ == "__main__":
    main()
