"""The stage of the sample captures: a host, a network around it, a recorder, and a note of what is true.

A scenario starts programs on the host or outside it, records the host, does something between two readings
of the clock, and says what that makes true. Nothing on the stage outlives it.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from sockrec.demo import namespace
from tests.support.netns import Namespace

HOST = "10.0.0.5"
GATEWAY = "10.0.0.1"
PEERS = ("10.0.0.21", "10.0.0.22", "10.0.0.23")
DEMO = Path(namespace.__file__).parent
PYTHON = "/usr/bin/python3"  # the system's: other users may run it, too
# Python looks for its library beside argv[0], which is not where these have theirs.
_HOME = {"PYTHONHOME": "/usr", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


@dataclass(slots=True)
class Act:
    """Something that was done between two readings of the wall clock."""

    not_before: datetime
    not_after: datetime


@dataclass(slots=True)
class Stage:
    """A host `HOST` behind a cable, and `GATEWAY` with `PEERS` at its other end, which is not recorded.

    `folder` is that of the scenario: its `capture/` is recorded anew, its `truth.json` written at the end.
    Programs are the functions of its `roles.py`.
    """

    folder: Path
    story: str
    name: str = "web-1"
    peers: Sequence[str] = PEERS
    host: Namespace = field(init=False)
    outside: Namespace = field(init=False)
    _findings: list[dict[str, Any]] = field(default_factory=list)
    _allowed: dict[str, str] = field(default_factory=dict)
    _ends: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Stage:
        namespace.call_it(self.name)
        self.host = self._ends.enter_context(Namespace(()))
        self.outside = self._ends.enter_context(Namespace(()))
        eth0 = ("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", self.outside.name)
        self._ip(self.host, *eth0)
        for place, addresses in ((self.host, [HOST]), (self.outside, [GATEWAY, *self.peers])):
            for address in addresses:
                self._ip(place, "address", "add", f"{address}/24", "dev", "eth0")
            self._ip(place, "link", "set", "eth0", "up")
        self._ip(self.host, "route", "add", "default", "via", GATEWAY)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.close()
        if kind is None:
            write_truth(self.folder, self.story, self._findings, self._allowed)

    def start(
        self, name: str, *words: str, outside: bool = False, user: str | None = None, script: str = "roles.py"
    ) -> subprocess.Popen[str]:
        """Start a role under a name of its own; returns when it has said (in a line) that it is ready."""
        where = DEMO if script in {"myapp.py", "client.py"} else self.folder
        command = [name, "-S", script, *words]
        process = self.popen(command, outside=outside, user=user, executable=PYTHON, cwd=where)
        if script != "client.py":  # which says nothing
            said(process)
        return process

    def popen(
        self, command: Sequence[str], *, outside: bool = False, user: str | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """Start a program; it is ended with the stage."""
        with (self.outside if outside else self.host).entered():
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, text=True, user=user, env=_HOME, **options
            )
        self._ends.callback(_end, process)
        return process

    @contextmanager
    def recording(self, *words: str) -> Iterator[None]:
        """Record the host, from the first sample until the block ends."""
        capture = self.folder / "capture"
        shutil.rmtree(capture, ignore_errors=True)
        # A busy machine must not thin out so short a recording.
        record = [sys.executable, "-m", "sockrec", "record", "-C", "capture", "--priority", "normal"]
        with self.host.entered():
            recorder = subprocess.Popen([*record, "--max-cpu", "off", *words], cwd=self.folder)
        try:
            while not any(path.stat().st_size > 10_000 for path in capture.glob("journal/host=*/*.journal")):
                if recorder.poll() is not None:
                    raise RuntimeError("the recorder ended")
                time.sleep(0.1)
            yield
        finally:
            recorder.send_signal(signal.SIGINT)
            status = recorder.wait()
        if status:
            raise RuntimeError(f"the recorder ended with status {status}")
        shutil.rmtree(capture / "journal")

    @contextmanager
    def act(self) -> Iterator[Act]:
        """Do something between two readings of the clock."""
        now = datetime.now(UTC)
        act = Act(now, now)
        yield act
        act.not_after = datetime.now(UTC)

    def tell(self, kind: str, act: Act, about: Sequence[str] = (), cause: Sequence[str] = ()) -> None:
        """Note what must be found: when it began, words that say who, and words that say why."""
        self._findings.append(told(kind, act, about, cause))

    def allow(self, kind: str, why: str) -> None:
        """Note what may be found as well."""
        self._allowed[kind] = why

    def set_(self, setting: str, value: str) -> None:
        """Set a kernel setting of the host's network, such as net.ipv4.ip_local_port_range."""
        self.host.run("sysctl", "-qw", f"{setting}={value}", check=True)

    @staticmethod
    def _ip(place: Namespace, *words: str) -> None:
        subprocess.run(["ip", "-n", place.name, *words], check=True)


def said(process: subprocess.Popen[str]) -> str:
    """Return the next line that a program says; raises `RuntimeError` if it ends without one."""
    line = process.stdout.readline() if process.stdout is not None else ""
    if not line:
        raise RuntimeError(f"{process.args!r} said nothing")
    return line.strip()


def told(kind: str, act: Act, about: Sequence[str] = (), cause: Sequence[str] = ()) -> dict[str, Any]:
    """Return one thing that must be found, as `truth.json` has it."""
    return {
        "kind": kind,
        "about": list(about),
        "not_before": act.not_before.isoformat(),
        "not_after": act.not_after.isoformat(),
        "cause": list(cause),
    }


def write_truth(
    folder: Path, story: str, findings: Sequence[dict[str, Any]], allowed: dict[str, str], **more: Any
) -> None:
    """Write `truth.json`: what must be found in a capture, what may be, and what else is known."""
    truth = {"story": story, "findings": findings, "allowed": allowed, **more}
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
