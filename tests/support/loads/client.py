"""The client of a load: opens so many short connections at a pace, and counts.

    python -S -m tests.support.loads.client --port 9000 --count 10000 --rate 5000 --result FILE

A batch of connections is opened and written to before the first of it is read from: the switches between
the two processes are shared by all of it. The result is JSON: see `Side` in `run.py`.
"""

from __future__ import annotations

import _socket
import argparse
import json
import os
import signal
import time
from pathlib import Path

from tests.support.loads.protocol import (
    CLOSERS,
    HEADER,
    SERVER,
    addresses,
    bytes_down,
    bytes_up,
    closes_first,
)

_BATCH = 128


def main() -> None:
    """Connect."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", default="127.0", help="first two numbers of the server's addresses")
    parser.add_argument("--addresses", type=int, default=64, help="how many of them are used in turn")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--rate", type=int, default=0, help="connections per second; 0 for no limit")
    parser.add_argument("--closer", choices=CLOSERS, default="alternate")
    parser.add_argument("--seconds", type=int, default=120, help="it is killed after so long")
    parser.add_argument("--result", type=Path, required=True)
    options = parser.parse_args()
    signal.alarm(options.seconds)
    names = addresses(options.network, options.addresses)
    targets = [(name, options.port) for name in names]
    batch = max(1, min(_BATCH, options.rate // 50)) if options.rate else _BATCH
    filling = bytes(1 << 16)
    sent = received = 0
    began_ns, begun = time.time_ns(), time.monotonic()
    for start in range(0, options.count, batch):
        if options.rate:
            time.sleep(max(0.0, begun + start / options.rate - time.monotonic()))
        opened = []
        for index in range(start, min(start + batch, options.count)):
            end = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
            which = index % len(targets)
            end.connect(targets[which])
            up, down = bytes_up(index), bytes_down(index)
            first = closes_first(options.closer, index)
            message = HEADER.pack(index, up, down, which, first) + filling[: up - HEADER.size]
            sent += end.send(message)
            opened.append((end, down, first))
        for end, down, first in opened:
            got = 0
            while got < down:
                got += len(end.recv(1 << 16))
            if first == SERVER and end.recv(1):
                raise AssertionError("the server said more than it was asked for")
            received += got
            end.close()
    facts = {"pid": os.getpid(), "connections": options.count, "bytes_sent": sent, "bytes_received": received}
    options.result.write_text(json.dumps(facts | {"began_ns": began_ns, "ended_ns": time.time_ns()}))


if __name__ == "__main__":
    main()
