"""`sockrec service`: a systemd unit for a recorder that is always on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

_UNITS = Path("etc/systemd/system")
_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
# What PrivateTmp= hides from the service.
_HIDDEN = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - named, not used
# sd_booted(3)
_BOOTED = Path("/run/systemd/system")
_UNIT_MODE = 0o644
# string_is_safe() of systemd: escaped or not, ExecStart= takes none of these in a program's path.
_UNFIT = re.compile(r"""["'\\\x00-\x1f\x7f]""")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("service", context_settings={"allow_interspersed_args": False})(service)


def service(
    further: Annotated[
        list[str] | None, typer.Argument(metavar="[-- OPTION ...]", help="Further options of record.")
    ] = None,
    interval: Annotated[
        str, typer.Option(help="At most this long between two samples (50ms or more).")
    ] = "1s",
    max_size: Annotated[str, typer.Option(help="Keep the capture below this; off for no limit.")] = "2GiB",
    max_age: Annotated[str, typer.Option(help="Keep nothing that is older; off for no limit.")] = "7d",
    thin_after: Annotated[
        str, typer.Option(help="Keep activity that is older at one row a minute; off for all of it.")
    ] = "24h",
    install: Annotated[bool, typer.Option("--install", help="Write it to /etc/systemd/system.")] = False,
    root: Annotated[
        Path | None,
        # What can't be read there is told as what can't be written is: a missing privilege, not a typo.
        typer.Option(help="With --install: the folder of another system, an image.", readable=False),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --install: replace another unit of that name.")
    ] = False,
) -> None:
    """Print a systemd unit that records always, within bounded disk.

    It records into /var/lib/sockrec/service, with no more rights than it needs. `systemctl status sockrec`
    shows how it goes. With --install the unit is written where systemd finds it; the next command is
    then `systemctl enable --now sockrec`.
    """
    from sockrec.errors import UsageError
    from sockrec.model import amounts
    from sockrec.recorder import privileges
    from sockrec.render.unit import STATE, unit

    if not install and (root is not None or force):
        raise UsageError("--root and --force go with --install")
    words = ["--interval", interval]
    for name, bound in (("--max-size", max_size), ("--max-age", max_age), ("--thin-after", thin_after)):
        words += [] if bound == "off" else [name, bound]
    words += further or []
    memory = _check(words)
    program = _program()
    text = unit(
        [*program, "record", "--capture", f"/var/lib/{STATE}/service", *words],
        capabilities=privileges.SERVICE,
        memory_bytes=amounts.parse_bytes(memory),
        reads_home=_lies_in(_HOMES),
        reads_tmp=_lies_in(_HIDDEN),
    )
    if install:
        _install(text, root, force=force)
    else:
        typer.echo(text, nl=False)


def _check(words: list[str]) -> str:
    """Have record judge its options; return what it takes for the memory."""
    from typer.main import get_command

    from sockrec.cli import record
    from sockrec.errors import UsageError

    app = typer.Typer(add_completion=False)
    record.register(app)
    command = get_command(app)
    given = command.make_context("record", list(words)).params
    if given["command"]:
        raise UsageError("a service records until it is stopped: it runs no COMMAND")
    if given["capture"]:
        raise UsageError("the service records into /var/lib/sockrec: for another disk, mount it there")
    if given["for_"]:
        raise UsageError("a service records until it is stopped: leave out --for")
    command.main(["--check", *words], standalone_mode=False)
    return str(given["max_memory"])


def _program() -> list[str]:
    """Return the command that this is, with an absolute path."""
    from sockrec.errors import UsageError

    called = Path(sys.argv[0])
    if called.name == "sockrec" and os.access(called, os.X_OK):
        program = [os.path.abspath(called)]  # noqa: PTH100 - a link is kept: it outlives what it points to
    else:
        program = [sys.executable, "-m", "sockrec"]
    if _UNFIT.search(program[0]):
        raise UsageError(f"systemd starts no program of such a name: make a link to {program[0]}")
    return program


def _lies_in(folders: tuple[Path, ...]) -> bool:
    """Say whether any of what runs here lies in one of these folders."""
    from sockrec import __file__ as package

    paths = [sys.argv[0], sys.executable, sys.prefix, sys.base_prefix, sys.exec_prefix, str(package)]
    found = {Path(path).absolute() for path in paths} | {Path(path).resolve() for path in paths}
    return any(path.is_relative_to(folder) for path in found for folder in folders)


def _install(text: str, root: Path | None, *, force: bool) -> None:
    from sockrec.errors import KernelError, UsageError
    from sockrec.render.unit import NAME

    if root is None and os.geteuid() != 0:
        raise KernelError("only root may install a service: run it with sudo")
    path = (root or Path("/")) / _UNITS / NAME
    try:
        there = _text(path)
        if there not in (None, text) and not force:
            raise UsageError(
                f"another unit is there: compare {path} with what `sockrec service` prints, or --force"
            )
        if there != text:
            _write(path, text)
    except OSError as error:
        raise KernelError(f"cannot write {path}: {error.strerror or error}") from None
    said = f"sockrec: {path} is {'written' if there != text else 'as it was'}"
    if root is None and _BOOTED.is_dir():
        done = subprocess.run(["systemctl", "daemon-reload"], stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise KernelError(f"{path} is written, but systemctl daemon-reload failed: {done.stderr.strip()}")
    where = "" if root is None else f" --root={root}"
    now = " --now" if root is None else ""
    typer.echo(f"{said}; next: systemctl{where} enable{now} sockrec", err=True)


def _text(path: Path) -> str | None:
    """Return what stands in a file, None if there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        # A link that leads nowhere is somebody's wish too.
        return "" if path.is_symlink() else None


def _write(path: Path, text: str) -> None:
    """Write a file so that systemd, and a crash, find the old one or the new one; raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(fd, _UNIT_MODE)
            file.flush()
            os.fsync(fd)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise
