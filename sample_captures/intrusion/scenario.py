"""Make this capture anew: a scan, a listener whose program file is gone, and regular calls home.

Run as root: `python -m sample_captures.intrusion.scenario`.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from sample_captures.stage import HOST, PYTHON, Stage, said

STORY = (
    "a stranger at 10.0.0.66 tries more than a thousand ports of the host, of which five are open; then a"
    " program started from /tmp/.cache, whose file is removed, listens on port 31337 and calls"
    " 203.0.113.77:443 every 7 s"
)
MASTER = "203.0.113.77"  # the Internet, as documentation has it
SERVICES = (("sshd", "22"), ("httpd", "80"), ("mysqld", "3306"), ("redis", "6379"), ("search", "9200"))


def main() -> None:
    """Record it."""
    with Stage(Path(__file__).parent, STORY, peers=("10.0.0.66", MASTER)) as stage:
        for name, port in SERVICES:
            stage.start(name, HOST, port, script="myapp.py")
        stage.start("master", "master", MASTER, "443", outside=True)
        with stage.recording():
            time.sleep(5)
            with stage.act() as scan:
                scanner = stage.start("nmap", "scanner", "10.0.0.66", HOST, outside=True)
                said(scanner)
            time.sleep(3)
            with stage.act() as break_in:
                _implant(stage)
                time.sleep(2)
            time.sleep(80)
        stage.tell("scan-in", scan, about=["10.0.0.66"], cause=["5 ports"])
        stage.tell("scan-in", scan, about=["nobody listens"], cause=["OutRsts"])
        stage.tell("deleted-executable", break_in, about=["31337"], cause=["/tmp/.cache/kworker"])  # noqa: S108
        stage.tell("beacon", break_in, about=["203.0.113.77:443"], cause=["kworker", "every 7 s"])


def _implant(stage: Stage) -> None:
    """Start it from a copy of Python that is removed as soon as it runs."""
    place = Path("/tmp/.cache")  # noqa: S108 - where such things lie
    place.mkdir()
    try:
        program = shutil.copy(Path(PYTHON).resolve(), place / "kworker")
        command = ["kworker", "-S", "roles.py", "implant", "0.0.0.0", "31337", MASTER]  # noqa: S104
        implant = stage.popen(command, executable=str(program), cwd=stage.folder)
        said(implant)
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
