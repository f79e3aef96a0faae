"""A client with a connection for each request, and the service that it asks."""

import contextlib
import socket
import sys
import time


def service(address: str, port: str) -> None:
    """Answer each connection once; whoever asked closes it."""
    listener = socket.create_server((address, int(port)), backlog=64)
    print("ready", flush=True)  # noqa: T201 - whoever started it waits for this line
    while True:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(100)
            connection.sendall(b"42")
            connection.recv(100)


def checkout(address: str, port: str, pause: str) -> None:
    """Ask over a new connection each time; where there is none to be had, say so once and go on."""
    print("ready", flush=True)  # noqa: T201
    said = False
    while True:
        try:
            with socket.create_connection((address, int(port)), timeout=2) as connection:
                connection.sendall(b"?")
                connection.recv(100)
        except OSError as error:
            if not said:
                print(error, flush=True)  # noqa: T201 - the scenario waits for it
                said = True
        time.sleep(float(pause))


if __name__ == "__main__":
    {"service": service, "checkout": checkout}[sys.argv[1]](*sys.argv[2:])
