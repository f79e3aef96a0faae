"""Runs a measurement in network and PID namespaces of its own, where no other process's sockets count.

Outside, `in_namespaces` starts it and takes its result; inside, it is pid 1, so all that it starts ends
with it. Without a PID namespace, it has to end that by itself.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from benchmarks.timing import BenchmarkError

ROOT: Final = Path(__file__).resolve().parent.parent
_MOST_FILES: Final = 1 << 20


def in_namespaces(target: str, seconds: float, *, processes: bool = True, **arguments: Any) -> Any:
    """Call the function `module:name` in new namespaces; return what it returns, by way of JSON.

    `processes`: whether in a PID namespace too, which hides from a recorder who connected and who closed.
    What it writes to stderr appears on ours. Raises `BenchmarkError` if it fails or takes too long.
    """
    mapped = [] if os.geteuid() == 0 else ["--map-root-user"]
    private = ["-p", "-f", "--mount-proc", "--kill-child"] if processes else []
    command = ["unshare", *mapped, "-n", *private, sys.executable]
    command += ["-m", "benchmarks.inside", target, json.dumps(arguments)]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=seconds, cwd=ROOT, check=False)
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"{target} was not done within {seconds:g} s") from None
    if done.returncode:
        raise BenchmarkError(f"{target} ended with {done.returncode}; its last words stand above")
    return json.loads(done.stdout)


def main() -> None:
    """Do what `in_namespaces` asked for."""
    target, arguments = sys.argv[1:]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with contextlib.suppress(ValueError, PermissionError):  # in a user namespace: as many as there may be
        resource.setrlimit(resource.RLIMIT_NOFILE, (_MOST_FILES, _MOST_FILES))
    module, _, name = target.partition(":")
    result = getattr(importlib.import_module(module), name)(**json.loads(arguments))
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
