"""The service: answers each request with as many bytes as it asks for. Run as a program of its own."""

import resource
import socket
import sys
import threading


def answer(connection: socket.socket) -> None:
    """Serve one client until it closes."""
    with connection:
        while request := connection.recv(64):
            connection.sendall(b"x" * int(request))


def main(address: str, port: int) -> None:
    """Listen and serve for ever."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it crashes on purpose
    with socket.create_server((address, port), backlog=16) as listener:
        print("listening", flush=True)  # noqa: T201 - whoever started it waits for this line
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=answer, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
