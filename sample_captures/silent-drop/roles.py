"""Clients of an address that never answers."""

import contextlib
import socket
import sys
import time


def client(address: str, port: str, timeout: str, pause: str) -> None:
    """Ask again and again, with so much patience each time."""
    print("ready", flush=True)  # noqa: T201 - whoever started it waits for this line
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection((address, int(port)), timeout=float(timeout)).close()
        time.sleep(float(pause))


if __name__ == "__main__":
    client(*sys.argv[1:])
