"""Commands on a terminal of their own, and in a pipe."""

from __future__ import annotations

import os
import pty
import subprocess
import time
from collections.abc import Mapping, Sequence
from select import select

from tests.support.command import CLEAN
from tests.support.warm import Shown, run


def piped(*words: str, env: Mapping[str, str] = CLEAN) -> Shown:
    """Run a command with its output in pipes."""
    done = subprocess.run(words, capture_output=True, env=env, timeout=120, check=False)
    return Shown(done.returncode, done.stdout, done.stderr)


def on_terminal(*words: str, env: Mapping[str, str] = CLEAN, seconds: float = 60) -> Shown:
    """Run a command with its output on a terminal of 80 columns; line ends are as the command wrote them."""
    ours, theirs = pty.openpty()
    settings = ("stty", "-onlcr", "cols", "80", "rows", "24")
    subprocess.run(settings, stdin=theirs, check=True)
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env={**env, "TERM": "xterm-256color"}
    )
    os.close(theirs)
    try:
        out = _read(ours, time.monotonic() + seconds)
        return Shown(process.wait(10), out)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _read(terminal: int, until: float) -> bytes:
    out = b""
    while select([terminal], [], [], max(0, until - time.monotonic()))[0]:
        try:
            piece = os.read(terminal, 1 << 16)
        except OSError:  # EIO: nobody has it open any more
            return out
        if not piece:
            return out
        out += piece
    raise TimeoutError(f"the command did not end; it wrote {out[-500:]!r}")


def many(
    commands: Sequence[Sequence[str]],
    stdin: Sequence[str] | None = None,
    env: Mapping[str, str] = CLEAN,
    seconds: int = 60,
) -> list[Shown]:
    """Run the entry point of the installed command for each, with its text on stdin."""
    texts = [""] * len(commands) if stdin is None else stdin
    return [run(words, env, text, seconds) for words, text in zip(commands, texts, strict=True)]
