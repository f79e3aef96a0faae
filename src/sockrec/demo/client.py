"""One client: a few requests over each connection, again and again. Run as a program of its own."""

import socket
import sys
import time


def visit(address: str, port: int, source: str, pause: float, until: float) -> None:
    """Connect, ask five times, leave; a server that is away is tried again."""
    try:
        with socket.create_connection((address, port), timeout=1, source_address=(source, 0)) as connection:
            for _ in range(5):
                if time.monotonic() > until:
                    return
                connection.sendall(b"2000")
                left = 2000
                while left:
                    piece = connection.recv(left)
                    if not piece:
                        return
                    left -= len(piece)
                time.sleep(pause)
    except OSError:
        time.sleep(0.2)


def main(address: str, port: int, source: str, pause: float, seconds: float) -> None:
    """Visit again and again for so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        visit(address, port, source, pause, until)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4]), float(sys.argv[5]))
