"""Those who ask a web server."""

import contextlib
import http.client
import random
import sys
import time


def ask(source: str, address: str, port: str, path: str, requests: str, pause: str) -> None:
    """Ask for a page again and again, so many times over each connection, with about so long between."""
    print("ready", flush=True)  # noqa: T201 - whoever started it waits for this line
    while True:
        asking = http.client.HTTPConnection(address, int(port), timeout=10, source_address=(source, 0))
        with contextlib.closing(asking):
            for _ in range(int(requests)):
                asking.request("GET", path)
                asking.getresponse().read()
                time.sleep(float(pause) * random.uniform(0.5, 1.5))  # noqa: S311 - people are not even


if __name__ == "__main__":
    ask(*sys.argv[1:])
