"""`sockrec demo`: a small real incident, recorded and answered."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

_PORT = 7071
_ADDRESS = "10.0.0.5"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("demo")(demo)


def demo(
    capture: Annotated[
        Path | None,
        typer.Option("--capture", "-C", help="Folder to record into and keep; a temporary one if not given."),
    ] = None,
) -> None:
    """Make a small real incident here, record it, and answer what happened.

    A server listens on port 7071, clients use it, it crashes, and comes back three seconds later:
    in a network namespace of its own where the kernel allows one, else on loopback.
    """
    from sockrec.demo import namespace

    alone = namespace.enter(_ADDRESS)
    address = _ADDRESS if alone else "127.0.0.1"
    _tell("a network namespace of its own" if alone else "loopback: no namespace of our own is allowed here")
    if capture is not None:
        _play(capture, address)
        return
    with tempfile.TemporaryDirectory(prefix="sockrec-demo-") as folder:
        _play(Path(folder) / "capture", address)


def _play(capture: Path, address: str) -> None:
    """Record the incident, then ask."""
    _record(capture, address)
    where = ("-C", str(capture))
    _show("info", *where)
    _show("sql", *where, "SELECT state, count(*) AS rows FROM sockets GROUP BY ALL ORDER BY rows DESC, state")
    _show("replay", *where, "--at", "start+2s", "-tulpn")
    _show("replay", *where, "--at", "end", "-tan")
    _show("port", *where, str(_PORT))
    _show("when", *where, *f"port {_PORT} stopped listening".split())


def _record(capture: Path, address: str) -> None:
    """Run the recorder while the incident happens: 2 s of service, a crash, 3 s without, 2 s again."""
    from sockrec.demo.incident import Incident

    command = _command("record", "-C", str(capture), "--interval", "200ms")
    _tell(f"$ {shlex.join(['sockrec', *command[3:]])} &")
    with Incident(address, _PORT) as incident, subprocess.Popen(command) as recorder:
        try:
            _wait_for_first_sample(capture, recorder)
            pid = incident.start()
            _tell(f"myapp[{pid}] listens on {address}:{_PORT}, clients come ...")
            incident.let_clients_in(7)
            time.sleep(2.5)
            incident.crash()
            _tell(f"myapp[{pid}] crashed (SIGSEGV) ...")
            time.sleep(3)
            _tell(f"myapp[{incident.start()}] listens again ...")
            time.sleep(1.5)
        finally:
            recorder.send_signal(signal.SIGINT)
    if recorder.returncode:
        raise typer.Exit(recorder.returncode)


def _wait_for_first_sample(capture: Path, recorder: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until and recorder.poll() is None:
        if any(journal.stat().st_size for journal in capture.glob("journal/host=*/*.journal")):
            return
        time.sleep(0.02)


def _show(*words: str) -> None:
    """Run one of our own commands, shown as it would be typed."""
    _tell(f"\n$ {shlex.join(['sockrec', *words])}")
    status = subprocess.run(_command(*words), check=False).returncode
    if status:
        raise typer.Exit(status)


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "sockrec", *words]


def _tell(text: str) -> None:
    typer.echo(text, err=True)
    sys.stderr.flush()
