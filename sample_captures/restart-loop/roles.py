"""A service that cannot start, for want of something it looks for only after it listens."""

import socket
import sys
import time


def api(address: str, port: str) -> None:
    """Listen, serve for 2 s, find out what is missing, and exit with status 1."""
    until = time.monotonic() + 2
    kept = []
    with socket.create_server((address, int(port))) as listener:
        print("ready", flush=True)  # noqa: T201 - whoever started it waits for this line
        while (left := until - time.monotonic()) > 0:
            listener.settimeout(left)
            try:
                kept.append(listener.accept()[0])
                kept[-1].sendall(b"x" * 2000)
            except TimeoutError:
                break
    sys.exit(1)


if __name__ == "__main__":
    api(*sys.argv[1:])
