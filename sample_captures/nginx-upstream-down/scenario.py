"""Make this capture anew: a real nginx, and the program behind it dies.

Run as root: `python -m sample_captures.nginx-upstream-down.scenario`.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path

from sample_captures.nginx import start_nginx
from sample_captures.stage import HOST, PEERS, Stage

STORY = (
    "nginx on port 80 hands requests to app on 127.0.0.1:9000; app gets SIGKILL and is not started again;"
    " nginx is refused there from then on, and answers its own clients with 502"
)
SITE = "location / { proxy_pass http://127.0.0.1:9000; }"


def main() -> None:
    """Record it."""
    with Stage(Path(__file__).parent, STORY) as stage:
        app = stage.start("app", "app", "127.0.0.1", "9000")
        start_nginx(stage, SITE)
        with stage.recording():
            for peer in PEERS:
                stage.start("browser", "browser", peer, HOST, "80", outside=True)
            time.sleep(15)
            with stage.act() as dies:
                app.send_signal(signal.SIGKILL)
                app.wait()
            with stage.act() as refused:
                time.sleep(5)
            refused.not_before = dies.not_before
            time.sleep(15)
        stage.tell("listener-stopped", dies, about=["9000", "app"], cause=["was killed by SIGKILL"])
        stage.tell("connections-refused", refused, about=["127.0.0.1:9000"], cause=["nginx"])


if __name__ == "__main__":
    main()
