"""Those who break in: a scanner outside, and what it leaves on the host. Everything it does is harmless."""

import contextlib
import socket
import sys
import threading
import time


def scanner(source: str, address: str) -> None:
    """Try each port up to 1024 and some more, once, and leave whatever answers at once."""
    print("ready", flush=True)  # noqa: T201 - whoever started it waits for this line
    for port in [*range(1, 1025), 3306, 5432, 6379, 8080, 9200, 11211, 27017]:
        with socket.socket() as trying:
            trying.settimeout(1)
            trying.bind((source, 0))
            trying.connect_ex((address, port))
        time.sleep(0.005)
    print("done", flush=True)  # noqa: T201


def master(address: str, port: str) -> None:
    """Hear beacons outside, and answer each."""
    listener = socket.create_server((address, int(port)))
    print("ready", flush=True)  # noqa: T201
    while True:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(100)
            connection.sendall(b"nothing to do")


def implant(address: str, port: str, master_address: str) -> None:
    """Listen, and say every 7 s that it is there."""
    listener = socket.create_server((address, int(port)))
    print("ready", flush=True)  # noqa: T201
    threading.Thread(target=_serve, args=(listener,), daemon=True).start()
    began = time.monotonic()
    turn = 0
    while True:
        with socket.create_connection((master_address, 443)) as telling:
            telling.sendall(b"here")
            telling.recv(100)
        turn += 1
        time.sleep(max(0, began + 7 * turn - time.monotonic()))


def _serve(listener: socket.socket) -> None:
    while True:
        listener.accept()[0].close()


if __name__ == "__main__":
    {"scanner": scanner, "master": master, "implant": implant}[sys.argv[1]](*sys.argv[2:])
