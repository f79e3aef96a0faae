"""Two namespaces joined by a pair of virtual Ethernet devices, with thousands of addresses on one side."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.netns import Namespace

NETWORK = "10.77"
"""First two numbers of the near side's addresses, all of which are its own."""


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def joined() -> Iterator[tuple[Namespace, Namespace]]:
    """Give two fresh namespaces: 10.78.0.1 with all of 10.77.0.0/16, and 10.78.0.2, which reaches those."""
    with Namespace(()) as near, Namespace(()) as far:
        _ip("-n", near.name, "link", "add", "eth0", "type", "veth", "peer", "eth0", "netns", far.name)
        for namespace, address in ((near, "10.78.0.1/24"), (far, "10.78.0.2/24")):
            _ip("-n", namespace.name, "address", "add", address, "dev", "eth0")
            _ip("-n", namespace.name, "link", "set", "eth0", "up")
        _ip("-n", near.name, "route", "add", "local", f"{NETWORK}.0.0/16", "dev", "lo")
        _ip("-n", far.name, "route", "add", f"{NETWORK}.0.0/16", "via", "10.78.0.1")
        yield near, far
