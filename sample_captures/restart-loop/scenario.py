"""Make this capture anew: a service crashes at start, again and again, under a supervisor.

Run as root: `python -m sample_captures.restart-loop.scenario`.
"""

from __future__ import annotations

import time
from pathlib import Path

from sample_captures.stage import HOST, Stage

STORY = (
    "api on port 8080 exits with status 1 two seconds after it was started; its supervisor starts it again"
    " a second later, six times; a health check on the same host is refused in between"
)


def main() -> None:
    """Record it."""
    with Stage(Path(__file__).parent, STORY) as stage:
        stage.start("metricsd", "127.0.0.1", "9100", script="myapp.py")
        with stage.recording():
            time.sleep(5)
            for turn in range(6):
                api = stage.start("api", HOST, "8080")
                if turn == 0:
                    stage.start("healthcheck", HOST, "8080", HOST, "0.2", "60", script="client.py")
                with stage.act() as ends:
                    api.wait()
                if turn == 0:
                    first = ends
                time.sleep(1)
            stage.start("api", HOST, "8080").wait()
            time.sleep(4)
        stage.tell("restart-loop", first, about=["8080", "api"], cause=["status 1"])
        first.not_after = ends.not_after
        stage.tell("connections-refused", first, about=["8080"], cause=["healthcheck", "nobody listened"])


if __name__ == "__main__":
    main()
