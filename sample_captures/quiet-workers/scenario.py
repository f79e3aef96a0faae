"""Make this capture anew: workers with a pool of long connections, on a day on which nothing is wrong.

Run as root: `python -m sample_captures.quiet-workers.scenario`.
"""

from __future__ import annotations

import time
from pathlib import Path

from sample_captures.stage import GATEWAY, HOST, PEERS, Stage

STORY = (
    "eight workers keep connections to a database at 10.0.0.1:5432 with keepalives, take jobs from a queue"
    " over a UNIX socket, send statistics by UDP and ask a name server; two clients stay connected;"
    " nothing is wrong"
)


def main() -> None:
    """Record it."""
    with Stage(Path(__file__).parent, STORY, name="worker-1") as stage:
        stage.start("database", GATEWAY, "5432", script="myapp.py", outside=True)
        stage.start("named", "names", GATEWAY, "53", outside=True)
        stage.start("statsd", "statsd", "127.0.0.1", "8125")
        stage.start("queue", "queue", "@jobs")
        for number in range(4):
            stage.start("worker", "worker", GATEWAY, "@jobs", str(1 + number / 10))
        stage.start("status", HOST, "8080", script="myapp.py")
        for peer in PEERS[:2]:
            stage.start("dashboard", HOST, "8080", peer, "2", "300", script="client.py", outside=True)
        with stage.recording():
            time.sleep(20)
            for number in range(4):
                stage.start("worker", "worker", GATEWAY, "@jobs", str(1 + number / 10))
            time.sleep(40)


if __name__ == "__main__":
    main()
