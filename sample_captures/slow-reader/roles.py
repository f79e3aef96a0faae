"""A server that sends without end, one that never reads, and their clients."""

import contextlib
import socket
import sys
import threading
import time


def exporter(address: str, port: str) -> None:
    """Send to whoever connects for as long as it takes it; one of them never does."""
    listener = socket.create_server((address, int(port)))
    print("ready", flush=True)  # noqa: T201 - whoever started it waits for this line
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_send, args=(connection,), daemon=True).start()


def ingest(address: str, port: str, healthy: str) -> None:
    """Read what comes for so many seconds, then read no more: it waits for a lock it will never get."""
    listener = socket.create_server((address, int(port)))
    print("ready", flush=True)  # noqa: T201
    connection, _ = listener.accept()
    until = time.monotonic() + float(healthy)
    while time.monotonic() < until:
        connection.recv(10_000)
    time.sleep(600)


def viewer(address: str, port: str, reads: str) -> None:
    """Fetch; read for so many seconds, then not any more, and stay."""
    with socket.create_connection((address, int(port))) as connection:
        print("ready", flush=True)  # noqa: T201
        until = time.monotonic() + float(reads)
        while time.monotonic() < until:
            connection.recv(10_000)
        time.sleep(600)


def feeder(address: str, port: str) -> None:
    """Send a little, several times a second."""
    with socket.create_connection((address, int(port))) as connection:
        print("ready", flush=True)  # noqa: T201
        _send(connection)


def _send(connection: socket.socket) -> None:
    with contextlib.suppress(OSError), connection:
        while True:
            connection.sendall(b"x" * 2_000)
            time.sleep(0.02)


if __name__ == "__main__":
    {"exporter": exporter, "ingest": ingest, "viewer": viewer, "feeder": feeder}[sys.argv[1]](*sys.argv[2:])
