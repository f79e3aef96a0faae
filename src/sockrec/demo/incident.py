"""The incident itself: who does what when, and the truth about it for whoever checks the answers."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that was done between two readings of the wall clock."""

    what: str
    not_before: datetime
    not_after: datetime
    pid: int


@dataclass(slots=True)
class Incident:
    """A service and its clients; every process it starts is ended with it.

    `program` is the service's argv[0]; `sources` are the clients' addresses.
    """

    address: str
    port: int = 7071
    program: str = "myapp"
    sources: Sequence[str] = ("127.0.0.1",)
    truth: list[Moment] = field(default_factory=list)
    _service: subprocess.Popen[str] | None = None
    _clients: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self) -> int:
        """Start the service; returns its pid once it listens."""
        before = datetime.now(UTC)
        service = self._service = _python(self.program, "myapp.py", self.address, str(self.port))
        next(iter(service.stdout or ()), None)  # it says when it listens
        self.truth.append(Moment("started listening", before, datetime.now(UTC), service.pid))
        return service.pid

    def let_clients_in(self, seconds: float, pause: float = 0.15) -> None:
        """Start a client at each source, with so long between requests; each ends after so many seconds."""
        for source in self.sources:
            words = (self.address, str(self.port), source, str(pause), str(seconds))
            self._clients.append(_python("client", "client.py", *words))

    def crash(self) -> None:
        """Make the service die of a segmentation fault."""
        service, self._service = self._service, None
        if service is None:
            return
        before = datetime.now(UTC)
        service.send_signal(signal.SIGSEGV)
        service.wait()
        self.truth.append(Moment("stopped listening", before, datetime.now(UTC), service.pid))

    def close(self) -> None:
        """End what still runs."""
        for process in (*self._clients, *([self._service] if self._service else [])):
            process.terminate()
            process.wait()
        self._clients.clear()
        self._service = None

    def __enter__(self) -> Incident:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _python(name: str, script: str, *words: str) -> subprocess.Popen[str]:
    """Start one of our scripts under a name of its own."""
    command = [name, "-S", script, *words]
    # Python looks for its library beside argv[0], which this is not.
    home = {"PYTHONHOME": f"{sys.base_prefix}:{sys.base_exec_prefix}"}
    return subprocess.Popen(
        command, executable=sys.executable, stdout=subprocess.PIPE, text=True, env=home, cwd=_HERE
    )
