"""A shop that serves one customer at a time, and customers who will not wait for ever."""

import contextlib
import socket
import sys
import threading
import time


def shop(address: str, port: str) -> None:
    """Serve whoever comes, one after the other; from the tenth on something it needs is slow."""
    listener = socket.create_server((address, int(port)), backlog=8)
    print("ready", flush=True)  # noqa: T201 - whoever started it waits for this line
    served = 0
    while True:
        connection, _ = listener.accept()
        served += 1
        with connection, contextlib.suppress(OSError):
            connection.recv(100)
            time.sleep(0.02 if served < 10 else 3)
            connection.sendall(b"thank you")


def customers(address: str, port: str, number: str) -> None:
    """Ask so many at once, each again and again; each gives up after 4 s."""
    threads = [
        threading.Thread(target=_customer, args=(address, int(port), one / int(number)), daemon=True)
        for one in range(int(number))
    ]
    for thread in threads:
        thread.start()
    print("ready", flush=True)  # noqa: T201
    threads[0].join()


def _customer(address: str, port: int, patience: float) -> None:
    while True:
        time.sleep(0.5 + patience)
        with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=4) as asking:
            asking.sendall(b"please")
            asking.recv(100)


if __name__ == "__main__":
    {"shop": shop, "customers": customers}[sys.argv[1]](*sys.argv[2:])
