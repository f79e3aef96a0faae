"""Settings of the kernel that bound what sockets can do, from /proc/sys (sysctl(8)).

What stands below /proc/sys/net belongs to the network namespace of the thread that opens a file: of its
settings a namespace sees its own, and those of the whole host that it may know. Sources:
Documentation/networking/ip-sysctl.rst, Documentation/admin-guide/sysctl/net.rst and fs.rst.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sockrec.kernel.net_table import Reading
from sockrec.model.network import Limit

FOLDER: Final = Path("/proc/sys")

NAMES: Final = (
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.core.somaxconn",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_max_tw_buckets",
    "net.ipv4.tcp_max_orphans",
    "net.ipv4.tcp_tw_reuse",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_abort_on_overflow",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_retries2",
    "net.ipv4.tcp_synack_retries",
    "net.ipv4.tcp_mem",
    "net.ipv4.udp_mem",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.core.rmem_max",
    "net.core.wmem_max",
    "net.core.netdev_max_backlog",
    "net.netfilter.nf_conntrack_max",
    "fs.file-max",
    "net.unix.max_dgram_qlen",
)
"""Every setting that is read, by its sysctl name."""


class Limits:
    """The settings as they stand, read again and again."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files = {name: folder.joinpath(*name.split(".")) for name in NAMES}
        self._rows: list[Limit] | None = None

    def read(self) -> Reading[Limit]:
        """Return those that this kernel has, numbers that belong together with one blank in between."""
        rows: list[Limit] = []
        incomplete: list[str] = []
        for name, file in self._files.items():
            try:
                value = file.read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                incomplete.append(f"{name}: {error.strerror}")
                continue
            rows.append(Limit(name, " ".join(value.decode("utf-8", "backslashreplace").split())))
        changed = rows != self._rows
        if self._rows is None or changed:
            self._rows = rows
        return Reading(self._rows, changed, tuple(incomplete), bool(incomplete))
