"""Make this capture anew: a web server on an ordinary day, on which nothing is wrong.

Run as root: `python -m sample_captures.quiet-web.scenario`.
"""

from __future__ import annotations

import time
from pathlib import Path

from sample_captures.nginx import start_nginx
from sample_captures.stage import HOST, PEERS, Stage

STORY = (
    "nginx on port 80 serves three clients who come and go, some with keep-alive; a program asks it locally"
    " for its health each 5 s; metricsd listens on loopback; nothing is wrong"
)
SITE = "root /etc/nginx; location /health { return 200; }"


def main() -> None:
    """Record it."""
    with Stage(Path(__file__).parent, STORY) as stage:
        start_nginx(stage, SITE)
        stage.start("metricsd", "127.0.0.1", "9100", script="myapp.py")
        stage.start("scraper", "127.0.0.1", "9100", "127.0.0.1", "3", "300", script="client.py")
        with stage.recording():
            for peer, requests in zip(PEERS, ("1", "20", "200"), strict=True):
                stage.start("browser", peer, HOST, "80", "/", requests, "0.4", outside=True)
            stage.start("healthcheck", "127.0.0.1", "127.0.0.1", "80", "/health", "1", "5")
            time.sleep(60)


if __name__ == "__main__":
    main()
