"""Programs run in a namespace with name databases of the test's own, on every machine the same."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.netns import Namespace

_KEPT = ("passwd", "group", "services", "protocols", "ld.so.cache")
_RUN = 'mount --bind "$0" /etc && exec "$@"'


class OwnEtc:
    """A folder that programs see as /etc: the host's users and services, other hosts and networks, no DNS."""

    def __init__(self, folder: Path, hosts: bytes = b"", networks: bytes = b"") -> None:
        self.folder = folder
        self.folder.mkdir(exist_ok=True)
        for name in _KEPT:
            if Path("/etc", name).exists():
                shutil.copy(Path("/etc", name), folder / name)
        (folder / "hosts").write_bytes(hosts)
        (folder / "networks").write_bytes(networks)
        (folder / "nsswitch.conf").write_text("passwd: files\nhosts: files\nnetworks: files\n")

    def command(self, namespace: Namespace, *words: str | os.PathLike[str]) -> list[str]:
        """Return the argument list that runs a program there, which sees the folder as /etc."""
        return namespace.command("unshare", "--mount", "sh", "-c", _RUN, self.folder, *words)

    def netstat(self, namespace: Namespace, words: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
        """Run netstat there, in the C locale, to its end."""
        return subprocess.run(
            self.command(namespace, "netstat", *words),
            capture_output=True,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )


def difference(theirs: bytes, ours: bytes) -> str:
    """Return what differs between two texts, for a failing test to show."""
    real, made = (text.decode("utf-8", "backslashreplace").split("\n") for text in (theirs, ours))
    lines = [
        f"netstat {one!r}\nours    {other!r}" for one, other in zip(real, made, strict=False) if one != other
    ]
    return "\n".join(["", f"{len(real)} lines, {len(made)} lines", *lines[:20]])
