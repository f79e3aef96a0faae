"""A host of all that makes a table of sockets hard to put together, written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.catalog.captures import Part, began

LAST = 40
# Nothing was recorded between the two recordings.
GAP = (19, 25)


def write_host(root: Path) -> Path:
    """Write it: two recordings with a gap, the first cut into two segments."""
    first = Part(root, 0, 9, recording="20261120T103200-aaaa")
    second = Part(root, 10, GAP[0], recording="20261120T103200-aaaa", part=1)
    third = Part(root, GAP[1], LAST, recording="20261120T103225-bbbb", part=0)
    _listeners(first, second, third)
    _connections(first, second, third)
    for part in (first, second, third):
        part.write()
    return root


def _listeners(first: Part, second: Part, third: Part) -> None:
    # Cut by the segments' edge, killed, and there again under another pid.
    first.socket(1, 0, 9, "found", "carried")
    second.socket(1, 9, 14, "carried", "closed")
    second.exactly(ended=14.4)
    second.stopped(1, 14.4, cause="signal", signal=9, by_pid=99, by_program="bash")
    second.socket(2, 17, 19, "opened", "stopped", pid=4377)
    third.socket(2, 25, LAST, "found", "stopped", pid=4377)
    for part, (begun, ended) in zip(
        (first, second, third),
        (("found", "carried"), ("carried", "stopped"), ("found", "stopped")),
        strict=True,
    ):
        low, high = {0: (0, 9), 1: (9, 19)}.get(part.part, (0, 0)) if part is not third else (25, LAST)
        part.socket(
            3, low, high, begun, ended, local_port=53, protocol="udp", state="UNCONN", program="named", pid=53
        )
        part.socket(
            4,
            low,
            high,
            begun,
            ended,
            family="inet6",
            local_address="::",
            remote_address="::",
            local_port=22,
            program="sshd",
            pid=22,
        )
        part.process(53, low, high, begun, ended, comm="named", argv=["named"])
        part.process(22, low, high, begun, ended, comm="sshd", argv=["/usr/sbin/sshd"])


def _connections(first: Part, second: Part, third: Part) -> None:
    # A program that writes another title, a state that changes, an owner that is gone, queues that move.
    first.connection(10, 2, 5, "opened", "changed")
    first.connection(10, 6, 9, "changed", "carried", state="CLOSE_WAIT")
    second.connection(10, 9, 12, "carried", "closed", state="CLOSE_WAIT")
    first.process(4121, 0, 4, "found", "changed", argv=["/opt/myapp"])
    first.process(4121, 5, 9, "changed", "carried", argv=["myapp: worker"])
    second.process(4121, 9, 14, "carried", "closed", argv=["myapp: worker"])
    first.connection(11, 3, 4, "opened", "changed")
    first.connection(11, 5, 8, "changed", "closed", state="TIME_WAIT", owner="last", inode=0)
    first.connection(
        12,
        1,
        9,
        "opened",
        "carried",
        family="inet6",
        local_address="::ffff:10.0.0.5",
        remote_address="::ffff:10.0.0.9",
    )
    second.connection(
        12,
        9,
        19,
        "carried",
        "stopped",
        family="inet6",
        local_address="::ffff:10.0.0.5",
        remote_address="::ffff:10.0.0.9",
    )
    first.connection(13, 4, 6, "opened", "closed", state="CLOSE", remote_address="0.0.0.0", remote_port=0)
    for at, received, sent in ((2.01, 100, 0), (4.01, 100, 7), (8.01, 0, 0)):
        first.active(10, at, recv_q=received, send_q=sent, total_retrans=int(at), rtt_us=int(at * 1000))
    second.active(10, 10.01, recv_q=4096)
    first.active(1, 3.01, recv_q=5, backlog_limit=128)
    first.active(1, 7.01, recv_q=0, backlog_limit=128)
    for number, at in enumerate((26.2, 27.2, 28.2)):
        # No sample saw these.
        third.closed(100 + number, at, at + 0.1)
    third.connection(14, 26, 30, "opened", "closed", pid=None, program=None, owner="exited")
    third.exactly(begun=26.5, ended=30.005)


def hostile(root: Path, names: list[str]) -> Path:
    """Write a host with a listener and a connection of each name, as its program and its command line."""
    part = Part(root, 0, 3, host="<img src=x>")
    for number, name in enumerate(names):
        facts: dict[str, Any] = {"pid": 500 + number, "program": name, "local_port": 7000 + number}
        part.socket(number, 0, 1, "found", "closed", **facts)
        part.connection(100 + number, 0, 3, "found", "stopped", **facts)
        part.process(500 + number, 0, 3, "found", "stopped", argv=[name], comm=name[:15])
        part.stopped(number, 1.5, cause="exit", exit_code=1, **facts)
    part.write()
    return root


def moment(sample: float) -> str:
    """Return when a sample began, for the command line."""
    return began(sample).isoformat()
