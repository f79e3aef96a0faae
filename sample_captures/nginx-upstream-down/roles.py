"""The program behind nginx, and browsers in front of it."""

import contextlib
import http.client
import http.server
import sys
import time


class _Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer with a short page."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello\n" * 50)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as its base calls it
        """Keep no log."""


def app(address: str, port: str) -> None:
    """Serve HTTP."""
    server = http.server.ThreadingHTTPServer((address, int(port)), _Answer)
    print("ready", flush=True)  # noqa: T201 - whoever started it waits for this line
    server.serve_forever()


def browser(source: str, address: str, port: str) -> None:
    """Ask for a page twice a second, over one connection as long as it lasts."""
    print("ready", flush=True)  # noqa: T201
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            asking = http.client.HTTPConnection(address, int(port), timeout=5, source_address=(source, 0))
            with contextlib.closing(asking):
                for _ in range(10):
                    asking.request("GET", "/")
                    asking.getresponse().read()
                    time.sleep(0.5)


if __name__ == "__main__":
    {"app": app, "browser": browser}[sys.argv[1]](*sys.argv[2:])
