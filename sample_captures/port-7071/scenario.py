"""Make this capture anew: a service that crashes and is restarted 20 s later, for real.

    sudo python -m sample_captures.port-7071.scenario

`myapp` listens on 10.0.0.5:7071 in a network namespace of its own; three clients use it; it dies of
SIGSEGV; its supervisor starts it again 20 s later. Beside it a quiet service runs all the time. The
real recorder records into `capture/`; what really happened is written to `truth.json`.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from sample_captures.stage import Act, told, write_truth
from sockrec.demo import namespace
from sockrec.demo.incident import Incident

HERE = Path(__file__).parent
CAPTURE = HERE / "capture"
STORY = (
    "myapp on port 7071 is killed by SIGSEGV and started again 20 s later; its clients are refused in"
    " between; metricsd on port 9100 runs through it all"
)
CLIENTS = ("10.0.0.21", "10.0.0.22", "10.0.0.23")


def wait_for_sample() -> None:
    """Wait until the recorder has written another sample."""
    (journal,) = CAPTURE.glob("journal/host=*/*.journal")
    size = journal.stat().st_size
    while journal.stat().st_size == size:
        time.sleep(0.001)


def main() -> None:
    """Record the incident and write down the truth."""
    if not namespace.enter("10.0.0.5", *CLIENTS):
        sys.exit("scenario.py: this needs root, or user namespaces: it makes a network namespace")
    namespace.call_it("web-1")
    shutil.rmtree(CAPTURE, ignore_errors=True)
    record = [sys.executable, "-m", "sockrec", "record", "-C", str(CAPTURE), "--interval", "1s"]
    quiet = Incident("127.0.0.1", 9100, "metricsd")
    with Incident("10.0.0.5", 7071, sources=CLIENTS) as incident, quiet:
        quiet.start()
        incident.start()
        incident.let_clients_in(75, pause=1.5)
        with subprocess.Popen(record) as recorder:
            time.sleep(30)
            wait_for_sample()
            # Shortly before the next one, which then finds what a crash leaves behind.
            time.sleep(0.92)
            incident.crash()
            time.sleep(20)
            incident.start()
            time.sleep(25)
            recorder.send_signal(signal.SIGINT)
    moments = [
        {
            "what": f"port 7071 {moment.what}",
            "not_before": moment.not_before.isoformat(),
            "not_after": moment.not_after.isoformat(),
            "pid": moment.pid,
            "program": "myapp",
        }
        for moment in incident.truth
    ]
    _, stop, start = incident.truth
    dies, away = (Act(stop.not_before, until.not_after) for until in (stop, start))
    findings = [
        told(
            "listener-stopped",
            dies,
            about=["7071", f"myapp[{stop.pid}]"],
            cause=["was killed by SIGSEGV", f"Then myapp[{start.pid}] did"],
        ),
        told(
            "connections-refused",
            away,
            about=["10.0.0.5:7071"],
            cause=["3 processes of client", "nobody listened"],
        ),
    ]
    write_truth(HERE, STORY, findings, {}, moments=moments)


if __name__ == "__main__":
    main()
