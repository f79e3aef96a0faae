"""A statistics server that is too slow, and those who send to it."""

import socket
import sys
import time


def statsd(address: str, port: str, room: str, slow_after: str) -> None:
    """Count datagrams, with room for so many bytes of them; after so many seconds each takes 50 ms."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, int(room))
    receiver.bind((address, int(port)))
    print("ready", flush=True)  # noqa: T201 - whoever started it waits for this line
    until = time.monotonic() + float(slow_after)
    while True:
        receiver.recv(2_000)
        if time.monotonic() > until:
            time.sleep(0.05)


def sender(address: str, port: str) -> None:
    """Send 100 datagrams a second."""
    print("ready", flush=True)  # noqa: T201
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        while True:
            sending.sendto(b"requests:1|c\n" * 20, (address, int(port)))
            time.sleep(0.01)


if __name__ == "__main__":
    {"statsd": statsd, "sender": sender}[sys.argv[1]](*sys.argv[2:])
