"""`netstat -c` beside a load: which of its connections somebody who watches that gets to see."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.netns import Namespace


@dataclass(slots=True)
class Watched:
    """What it printed: every TCP socket with a peer, as local and remote `address:port`.

    A remnant is one that was seen in TIME_WAIT only: gone already, and for a minute nobody's.
    """

    open: set[tuple[str, str]] = field(default_factory=set)
    remnants: set[tuple[str, str]] = field(default_factory=set)
    listings: int = 0

    def of_port(self, port: int) -> tuple[int, int]:
        """Return how many clients of a port it saw open, and of how many others a remnant."""
        to = f":{port}"
        opened = {pair for pair in self.open if pair[1].endswith(to)}
        return len(opened), len({pair for pair in self.remnants if pair[1].endswith(to)} - opened)


@contextmanager
def netstat(folder: Path, namespace: Namespace) -> Iterator[Watched]:
    """Run it, a listing a second, from its first listing to the end of the block."""
    path = folder / "netstat.txt"
    seen = Watched()
    with path.open("w") as output:
        process = namespace.popen("netstat", "-c", "-tn", stdout=output)
    try:
        until = time.monotonic() + 10
        while not path.stat().st_size and time.monotonic() < until:
            time.sleep(0.01)
        yield seen
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    # The last line may be cut off.
    for line in path.read_text().splitlines()[:-1]:
        words = line.split()
        seen.listings += words[:1] == ["Proto"]
        if words[:1] == ["tcp"]:
            _, _, _, local, remote, state = words[:6]
            (seen.remnants if state == "TIME_WAIT" else seen.open).add((local, remote))
