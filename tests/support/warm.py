"""The entry point of the installed command, without an interpreter's start each time.

Importing takes most of a command's time. Each run is a child of a process that has imported everything and
done nothing: what it prints, and how it ends, is that of a process of its own. Tests of starting, signals,
terminals and privileges run the installed command itself.
"""

from __future__ import annotations

import atexit
import base64
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_SERVER = """
import base64, importlib, json, os, pkgutil, resource, signal, sys, tempfile, time
import duckdb, numpy, pyarrow.parquet
import sockrec.api, sockrec.cli, sockrec.render
for package in (sockrec.cli, sockrec.render):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
for line in sys.stdin:
    words, text, env, folder, seconds = json.loads(line)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as given:
        given.write(text.encode("utf-8", "surrogateescape"))
        given.seek(0)
        if not (child := os.fork()):
            # What goes wrong ends this child, and not the machine.
            signal.alarm(seconds)
            resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
            resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 30, 4 << 30))
            for number, one in enumerate((given, out, err)):
                os.dup2(one.fileno(), number)
            sys.stdin = open(0, encoding="utf-8", closefd=False)
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(env)
            time.tzset()
            sys.argv = ["sockrec", *words]
            sys.exit(sockrec.cli.main())
        _, status, usage = os.wait4(child, 0)
        code = os.waitstatus_to_exitcode(status)
        told = [os.pread(one.fileno(), 64 << 20, 0) for one in (out, err)]
    took = usage.ru_utime + usage.ru_stime, usage.ru_maxrss << 10
    print(json.dumps([code, *(base64.b64encode(one).decode() for one in told), *took]), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """How a command ended, and what it wrote; on a terminal all of it is `out`.

    Where it was run here: processor seconds that it took, and most bytes of memory at once.
    """

    status: int
    out: bytes
    err: bytes = b""
    seconds: float = 0
    peak: int = 0


_idle: list[subprocess.Popen[str]] = []


def run(
    words: Sequence[str],
    env: Mapping[str, str],
    stdin: str = "",
    seconds: int = 120,
    folder: Path | None = None,
) -> Shown:
    """Run the command, in the current folder unless another is named.

    One that takes longer than so many seconds ends with the status of SIGALRM.
    """
    try:
        server = _idle.pop()
    except IndexError:
        server = _start()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps([list(words), stdin, dict(env), str(folder or Path.cwd()), seconds]) + "\n")
    server.stdin.flush()
    status, out, err, took, peak = json.loads(server.stdout.readline())
    _idle.append(server)
    return Shown(status, base64.b64decode(out), base64.b64decode(err), took, peak)


def _start() -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _SERVER]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(_end, server)
    return server


def _end(server: subprocess.Popen[str]) -> None:
    server.kill()
    server.communicate()
