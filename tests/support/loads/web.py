"""nginx under wrk: programs that nobody here wrote, one request a connection, counted by themselves."""

from __future__ import annotations

import re
import subprocess
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from tests.support.netns import Namespace

PORT = 8080
_STATUS_PORT = 8081
# Requests differ in length from one to the next, and the answer, which has it in it, with them.
# With nothing to wait for, wrk would open 20,000 connections a second.
_REQUESTS = """
local number = 0
delay = function()
    return {delay} + number % 3
end
request = function()
    number = number + 1
    return wrk.format("GET", "/" .. string.rep("a", number * 7919 % 997))
end
"""
_CONFIGURATION = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log warn; {user}
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_timeout 0;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    log_format each '$remote_addr $remote_port $bytes_sent $request_length $status $server_addr';
    server {{
        listen {port} backlog=4096;
        access_log {folder}/access.log each buffer=64k;
        location / {{ return 200 "$request_uri\\n"; }}
    }}
    server {{ listen {status_port}; location / {{ stub_status; }} }}
}}
"""


class Request(NamedTuple):
    """One answered request, which was one connection, as nginx logged it."""

    client_address: str
    client_port: int
    bytes_sent: int
    bytes_received: int
    status: int
    server_address: str


class Nginx:
    """An nginx of our own with one worker, from the beginning to the end of the block."""

    def __init__(self, folder: Path, namespace: Namespace) -> None:
        self._folder = folder
        self._namespace = namespace
        text = _CONFIGURATION.format(folder=folder, port=PORT, status_port=_STATUS_PORT, user="user root;")
        (folder / "nginx.conf").write_text(text)
        self._process = namespace.popen("nginx", "-p", folder, "-c", folder / "nginx.conf")
        self.pid = self._process.pid
        until = time.monotonic() + 10
        # It listens before it has a worker.
        while not self._namespace.run("ss", "-Hltn", f"sport = :{_STATUS_PORT}").stdout or not self._workers:
            if self._process.poll() is not None or time.monotonic() > until:
                raise AssertionError("nginx did not start")
            time.sleep(0.01)

    @property
    def worker(self) -> int:
        """The pid of its one worker."""
        (pid,) = self._workers
        return pid

    @property
    def _workers(self) -> list[int]:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def accepted(self) -> int:
        """Return how many connections it has accepted, the ones made by this asking included."""
        with self._namespace.entered():
            status = urllib.request.urlopen(f"http://127.0.0.1:{_STATUS_PORT}/", timeout=10).read().decode()
        found = re.search(r"server accepts handled requests\n (\d+) (\d+)", status)
        assert found is not None
        assert found[1] == found[2], "it took all that it accepted"
        return int(found[1])

    def stop(self) -> list[Request]:
        """End it in its own time, and return what it logged."""
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait(20)
        lines = (line.split() for line in (self._folder / "access.log").read_text().splitlines())
        return [Request(a, int(b), int(c), int(d), int(e), f) for a, b, c, d, e, f in lines]

    def __enter__(self) -> Nginx:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Summary(NamedTuple):
    """What wrk says at its end."""

    pid: int
    requests: int
    socket_errors: int


def wrk(folder: Path, namespace: Namespace, seconds: int, connections: int, delay_ms: int) -> Summary:
    """Ask nginx for so many seconds, over so many connections at once, each for one request.

    Each waits for `delay_ms`, 1 or 2 more before it asks: that makes the pace.
    """
    (folder / "requests.lua").write_text(_REQUESTS.replace("{delay}", str(delay_ms)))
    script = str(folder / "requests.lua")
    url = f"http://127.0.0.1:{PORT}/"
    words = ("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script, url)
    process = namespace.popen(*words, stdout=subprocess.PIPE)
    try:
        text, _ = process.communicate(timeout=seconds + 60)
    finally:
        process.kill()
        process.wait()
    requests = re.search(r"(\d+) requests in ", text)
    assert requests is not None, text
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    return Summary(process.pid, int(requests[1]), sum(map(int, errors.groups())) if errors else 0)
