"""Small real programs for tests: each runs under a name of its own until it is told to end."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.netns import Namespace

# Python looks for its library beside argv[0], which is not where these have theirs.
HOME = {"PYTHONHOME": f"{sys.base_prefix}:{sys.base_exec_prefix}", "PATH": os.environ["PATH"]}

LISTENER = """
import socket, sys, time
kept = []
for spec in sys.argv[1:]:
    address, _, port = spec.rpartition(":")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kept.append(socket.create_server((address, int(port)), family=family, backlog=7))
print("ready", flush=True)
time.sleep(600)
"""

IDLE_PAIRS = """
import resource, socket, sys, time
pairs = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (2 * pairs + 100,) * 2)
listener = socket.create_server(("127.0.0.1", 9000), backlog=4096)
kept = []
for _ in range(pairs):
    client = socket.create_connection(("127.0.0.1", 9000))
    kept += [client, listener.accept()[0]]
print("ready", flush=True)
time.sleep(600)
"""


def start(
    namespace: Namespace, name: str, source: str, *words: str, stdin: int | None = None
) -> subprocess.Popen[str]:
    """Start a program in a namespace under argv[0] `name`; returns when it printed `ready`."""
    # nsenter would take its own name for argv[0]: the shell's exec gives the program the one we want.
    script = 'name=$1 python=$2; shift 2; exec -a "$name" "$python" -S -c "$@"'
    process = namespace.popen(
        "bash",
        "-c",
        script,
        "bash",
        name,
        sys.executable,
        source,
        *words,
        stdout=subprocess.PIPE,
        stdin=stdin,
        env=HOME,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    """Kill a program and wait for it."""
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
