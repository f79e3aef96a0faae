"""A program that forgets the connections it is done with, and a database that closes idle ones."""

import socket
import sys
import threading
import time


def database(address: str, port: str) -> None:
    """Answer once, and close a connection that was idle for 2 s."""
    listener = socket.create_server((address, int(port)), backlog=64)
    print("ready", flush=True)  # noqa: T201 - whoever started it waits for this line
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    with connection:
        connection.settimeout(2)
        try:
            while connection.recv(100):
                connection.sendall(b"42")
        except TimeoutError:
            pass


def reports(address: str, port: str, pause: str, leaks: str) -> None:
    """Open a connection for each question; from then on forget so many of them, and close the others."""
    print("ready", flush=True)  # noqa: T201
    forgotten = []
    while True:
        connection = socket.create_connection((address, int(port)))
        connection.sendall(b"?")
        connection.recv(100)
        if len(forgotten) < int(leaks):
            forgotten.append(connection)
        else:
            connection.close()
        time.sleep(float(pause))


if __name__ == "__main__":
    {"database": database, "reports": reports}[sys.argv[1]](*sys.argv[2:])
