"""Workers with what they need: a queue of jobs, a name server, statistics."""

import contextlib
import socket
import sys
import threading
import time


def names(address: str, port: str) -> None:
    """Answer each datagram at once."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, int(port)))
        print("ready", flush=True)  # noqa: T201 - whoever started it waits for this line
        while True:
            question, peer = server.recvfrom(512)
            server.sendto(question, peer)


def statsd(address: str, port: str) -> None:
    """Take datagrams as they come."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, int(port)))
        print("ready", flush=True)  # noqa: T201
        while True:
            server.recv(2_000)


def queue(name: str) -> None:
    """Hand out jobs over a UNIX socket."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name.replace("@", "\0"))
        listener.listen(16)
        print("ready", flush=True)  # noqa: T201
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_hand_out, args=(connection,), daemon=True).start()


def _hand_out(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        while connection.recv(100):
            connection.sendall(b"job")


def worker(address: str, jobs: str, pause: str) -> None:
    """Take a job, look up a name, ask the database, count it; again and again over the same connections."""
    with (
        socket.create_connection((address, 5432)) as database,
        socket.socket(socket.AF_UNIX) as queue,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as counting,
    ):
        database.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        database.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
        queue.connect(jobs.replace("@", "\0"))
        counting.connect(("127.0.0.1", 8125))
        print("ready", flush=True)  # noqa: T201
        while True:
            queue.sendall(b"next")
            queue.recv(100)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
                asking.sendto(b"db.example", (address, 53))
                asking.recv(512)
            database.sendall(b"800")
            left = 800
            while left:
                left -= len(database.recv(left))
            counting.send(b"jobs:1|c")
            time.sleep(float(pause))


if __name__ == "__main__":
    {"names": names, "statsd": statsd, "queue": queue, "worker": worker}[sys.argv[1]](*sys.argv[2:])
