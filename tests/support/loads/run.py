"""Loads between a server and a client of their own, and what each of the two counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from tests.support.loads.protocol import SERVER
from tests.support.netns import Namespace
from tests.support.programs import HOME

_ROOT = Path(__file__).parents[3]
# A load that takes longer than this on the slowest machine does not work.
_SECONDS = 120
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def python_named(folder: Path, name: str) -> Path:
    """Return a link to Python under another name: what the kernel and argv[0] then call the program."""
    link = folder / name
    if not link.exists():
        link.symlink_to(os.path.realpath(sys.executable))
    return link


class Connection(NamedTuple):
    """One connection as the server counted it."""

    client_address: str
    client_port: int
    server_address: str
    bytes_up: int
    bytes_down: int
    closed_first: int


@dataclass(frozen=True, slots=True)
class Side:
    """What one side of a load counted: payload bytes, and when the first and the last was done."""

    pid: int
    connections: int
    bytes_sent: int
    bytes_received: int
    began: datetime
    ended: datetime

    @classmethod
    def read(cls, path: Path) -> Side:
        """Read what a side has written at its end."""
        facts = json.loads(path.read_text())
        times = [
            _EPOCH + timedelta(microseconds=facts.pop(name) // 1000) for name in ("began_ns", "ended_ns")
        ]
        return cls(**facts, began=times[0], ended=times[1])


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted of a whole load."""

    client: Side
    server: Side
    each: list[Connection]
    port: int

    def ends(self, role: str) -> list[tuple[str, int, str, int, int, int, str]]:
        """Return every connection as one of its ends is to be found in a capture.

        That is local address and port, remote address and port, bytes sent and received, and how it ended.
        """
        found = []
        for one in self.each:
            client, server = (one.client_address, one.client_port), (one.server_address, self.port)
            ours = (one.closed_first == SERVER) == (role == "server")
            how = "closed by us" if ours else "closed by the peer"
            if role == "client":
                found.append((*client, *server, one.bytes_up, one.bytes_down, how))
            else:
                found.append((*server, *client, one.bytes_down, one.bytes_up, how))
        return found


class Load:
    """A server that listens from the beginning to the end of the block, and a client started by `start`.

    `network` are the first two numbers of the addresses that the client connects to: it must reach
    them. Their programs are `loadserver` and `loadclient`.
    """

    def __init__(
        self,
        folder: Path,
        server_in: Namespace,
        client_in: Namespace | None = None,
        *,
        port: int,
        count: int,
        rate: int = 0,
        closer: str = "alternate",
        network: str = "127.0",
    ) -> None:
        self.port = port
        self._folder = folder
        self._client_in = client_in or server_in
        stem = f"{server_in.name}-{port}"
        self._files = [folder / f"{stem}.{what}" for what in ("client", "server", "each")]
        common = [
            "--port",
            str(port),
            "--count",
            str(count),
            "--network",
            network,
            "--seconds",
            str(_SECONDS),
        ]
        self._words = [*common, "--rate", str(rate), "--closer", closer, "--result", str(self._files[0])]
        words = [*common, "--result", str(self._files[1]), "--each", str(self._files[2])]
        self._server = self._popen(server_in, "server", words)
        self._client: subprocess.Popen[str] | None = None
        assert self._server.stdout is not None
        if self._server.stdout.readline() != "ready\n":
            raise AssertionError("the load's server did not start")

    def _popen(self, namespace: Namespace, side: str, words: list[str]) -> subprocess.Popen[str]:
        program = python_named(self._folder, f"load{side}")
        command = (str(program), "-S", "-m", f"tests.support.loads.{side}", *words)
        return namespace.popen(*command, cwd=_ROOT, env=HOME, stdout=subprocess.PIPE)

    def start(self) -> None:
        """Start the client."""
        self._client = self._popen(self._client_in, "client", self._words)

    def finish(self) -> Counted:
        """Wait for the client and for what the server has counted by then; the server listens on."""
        assert self._client is not None
        if self._client.wait(_SECONDS):
            raise AssertionError("the load's client failed")
        assert self._server.stdout is not None
        if self._server.stdout.readline() != "counted\n":
            raise AssertionError("the load's server failed")
        lines = (line.split() for line in self._files[2].read_text().splitlines())
        each = [Connection(a, int(b), c, int(d), int(e), int(f)) for a, b, c, d, e, f in lines]
        client, server = Side.read(self._files[0]), Side.read(self._files[1])
        return Counted(client, server, each, self.port)

    def run(self) -> Counted:
        """Run the client to its end."""
        self.start()
        return self.finish()

    def __enter__(self) -> Load:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in (self._client, self._server):
            if process is not None:
                process.kill()
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()
