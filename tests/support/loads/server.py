"""The server of a load: takes so many connections, answers each as its header asks, and counts.

    python -S -m tests.support.loads.server --port 9000 --count 10000 --result FILE [--each FILE]

Prints `ready` once it listens, and `counted` once it has written the result. That is JSON: see `Side` in
`run.py`. `--each` has a line a connection: client's address and port, server's address, bytes received,
bytes sent, who closed first.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import time
from collections import deque
from pathlib import Path

from tests.support.loads.protocol import CLIENT, HEADER, addresses

# Connections that the client closes first are closed so many later: it has done so by then.
_LATER = 512


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bind", default="0.0.0.0")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--network", default="127.0")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seconds", type=int, default=120, help="it is killed after so long")
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--each", type=Path)
    options = parser.parse_args()
    signal.alarm(options.seconds)
    listener = socket.create_server((options.bind, options.port), backlog=4096)
    print("ready", flush=True)  # noqa: T201
    began = time.time_ns()
    received = sent = 0
    lines = []
    answer = bytes(1 << 16)
    names = addresses(options.network, 1 << 14)
    waiting: deque[int] = deque()
    accept = listener._accept  # type: ignore[attr-defined]  # a descriptor: half the cost of an object
    for _ in range(options.count):
        fd, (peer, port) = accept()
        request = os.read(fd, 1 << 16)
        _, up, down, address, first = HEADER.unpack_from(request)
        got = len(request)
        while got < up:
            got += len(os.read(fd, 1 << 16))
        received += got
        sent += os.write(fd, answer[:down])
        lines.append((peer, port, names[address], got, down, first))
        if first == CLIENT:
            waiting.append(fd)
        else:
            os.close(fd)
        if len(waiting) > _LATER:
            _close(waiting.popleft())
    while waiting:
        _close(waiting.popleft())
    ended = time.time_ns()
    facts = {"pid": os.getpid(), "connections": options.count, "bytes_sent": sent, "bytes_received": received}
    options.result.write_text(json.dumps(facts | {"began_ns": began, "ended_ns": ended}))
    if options.each:
        with options.each.open("w") as file:
            file.writelines(" ".join(map(str, line)) + "\n" for line in lines)
    print("counted", flush=True)  # noqa: T201
    signal.alarm(options.seconds)
    signal.pause()  # the listener stays until whoever started this ends it


def _close(fd: int) -> None:
    if os.read(fd, 1):
        raise AssertionError("the client said more than it announced")
    os.close(fd)


if __name__ == "__main__":
    main()
