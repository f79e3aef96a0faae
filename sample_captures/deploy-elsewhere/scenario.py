"""Make this capture anew: a deploy that opens a service to everybody, and runs it as another user.

Run as root: `python -m sample_captures.deploy-elsewhere.scenario`.
"""

from __future__ import annotations

import time
from pathlib import Path

from sample_captures.stage import HOST, PEERS, Stage

STORY = (
    "payments listens on 127.0.0.1:8080 as www-data, for a proxy on the same host; a deploy ends it with"
    " SIGTERM and starts it on 0.0.0.0:8080 as root; a stranger finds it"
)


def main() -> None:
    """Record it."""
    with Stage(Path(__file__).parent, STORY) as stage:
        old = stage.start("payments", "127.0.0.1", "8080", script="myapp.py", user="www-data")
        stage.start("proxy", "127.0.0.1", "8080", "127.0.0.1", "0.5", "60", script="client.py")
        with stage.recording():
            time.sleep(12)
            with stage.act() as deploy:
                old.terminate()
                old.wait()
                time.sleep(2)
                stage.start("payments", "0.0.0.0", "8080", script="myapp.py")  # noqa: S104 - the mistake
            time.sleep(5)
            stage.start("client", HOST, "8080", PEERS[0], "0.5", "60", script="client.py", outside=True)
            time.sleep(10)
        stage.tell("listens-wider", deploy, about=["8080", "payments"], cause=["127.0.0.1:8080 alone"])
        stage.tell("came-back-elsewhere", deploy, about=["8080", "payments"], cause=["www-data", "root"])
        stage.tell("connections-refused", deploy, about=["8080"], cause=["proxy", "nobody listened"])
        stage.allow("listener-stopped", "127.0.0.1:8080 is served by 0.0.0.0:8080 from the deploy on")


if __name__ == "__main__":
    main()
