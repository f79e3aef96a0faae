"""Commands on a terminal of their own, and in a pipe."""

from __future__ import annotations

import base64
import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from select import select

from tests.support.command import CLEAN


@dataclass(frozen=True, slots=True)
class Shown:
    """What a command wrote: `out` and `err` apart in pipes, together in `out` on a terminal.

    `many` tells what it took too: processor seconds, and most bytes of memory at once.
    """

    status: int
    out: bytes
    err: bytes = b""
    seconds: float = 0
    peak: int = 0


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


# Importing takes most of a command's time: each of many is a child of one process that has imported it all.
_MANY = """
import base64, json, os, resource, signal, sys, tempfile
import duckdb, numpy, pyarrow.parquet
import sockrec.api, sockrec.cli
from sockrec.cli import demo, events, info, port, record, replay, sql, when
from sockrec.render import formats, sentences, summary
for words, text in json.load(sys.stdin):
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as given:
        given.write(text.encode("utf-8", "surrogateescape"))
        given.seek(0)
        if not (child := os.fork()):
            # What goes wrong ends this child, and not the machine.
            signal.alarm(int(sys.argv[1]))
            resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
            resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 30, 4 << 30))
            os.dup2(given.fileno(), 0)
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.argv = ["sockrec", *words]
            sockrec.cli.main()
        _, status, usage = os.wait4(child, 0)
        code = os.waitstatus_to_exitcode(status)
        told = [os.pread(one.fileno(), min(os.fstat(one.fileno()).st_size, 4 << 20), 0) for one in (out, err)]
    took = usage.ru_utime + usage.ru_stime, usage.ru_maxrss << 10
    print(json.dumps([code, *(base64.b64encode(one).decode() for one in told), *took]), flush=True)
"""


def many(
    commands: Sequence[Sequence[str]],
    stdin: Sequence[str] | None = None,
    env: Mapping[str, str] = CLEAN,
    seconds: int = 60,
) -> list[Shown]:
    """Run the entry point of the installed command for each, with its text on stdin and its output in files.

    One that takes longer than so many seconds is killed: its status is then that of SIGALRM.
    """
    texts = [""] * len(commands) if stdin is None else stdin
    done = subprocess.run(
        [sys.executable, "-c", _MANY, str(seconds)],
        input=json.dumps([[list(words), text] for words, text in zip(commands, texts, strict=True)]),
        capture_output=True,
        text=True,
        env=env,
        timeout=60 + seconds * len(commands),
        check=True,
    )
    found = []
    for line in done.stdout.splitlines():
        status, out, err, took, peak = json.loads(line)
        found.append(Shown(status, base64.b64decode(out), base64.b64decode(err), took, peak))
    assert len(found) == len(commands), done.stderr
    return found
