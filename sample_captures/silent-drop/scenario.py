"""Make this capture anew: connections to an address from which no answer comes.

Run as root: `python -m sample_captures.silent-drop.scenario`.
"""

from __future__ import annotations

import time
from pathlib import Path

from sample_captures.stage import GATEWAY, PEERS, Stage

STORY = (
    "mailer and two workers connect to 192.0.2.10:443; the gateway takes their SYNs and passes none on, nor"
    " does it say so: the clients wait in SYN_SENT; at 10.0.0.1:443 the same programs are answered"
)


def main() -> None:
    """Record it."""
    with Stage(Path(__file__).parent, STORY) as stage:
        # A router that forwards nothing drops what is not for itself, without a word.
        stage.outside.run("sysctl", "-qw", "net.ipv4.ip_forward=0", check=True)
        stage.start("web", GATEWAY, "443", script="myapp.py", outside=True)
        stage.start("cache", GATEWAY, "443", PEERS[0], "1", "100", script="client.py", outside=True)
        with stage.recording():
            time.sleep(5)
            stage.start("probe", GATEWAY, "443", "2", "1")
            with stage.act() as silence:
                stage.start("mailer", "192.0.2.10", "443", "600", "1")
                for _ in range(2):
                    stage.start("worker", "192.0.2.10", "443", "15", "1")
            time.sleep(45)
        stage.tell(
            "connect-stuck", silence, about=["192.0.2.10:443"], cause=["mailer and worker", "no answer"]
        )


if __name__ == "__main__":
    main()
