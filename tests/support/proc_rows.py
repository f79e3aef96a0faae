"""The sockets of a namespace as /proc tells them, read without any of sockrec's own readers.

Layout: proc(5) and the kernel's net/ipv4/{tcp_ipv4,udp,raw}.c.
"""

from __future__ import annotations

import contextlib
import pwd
import socket
import struct
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from sockrec.model import states
from sockrec.model.netstat_row import NetstatRow
from sockrec.render.names import Names
from tests.support import databases
from tests.support.netns import Namespace

_TIMERS = {0: "off", 1: "on", 2: "keepalive", 3: "timewait", 4: "probe"}


def _address(text: str) -> tuple[str, str, int]:
    """Return (family, address, port) of a word like 0500000A:1B9F."""
    hexadecimal, port = text.split(":")
    raw = b"".join(
        struct.pack("=I", int(hexadecimal[place : place + 8], 16)) for place in range(0, len(hexadecimal), 8)
    )
    family = socket.AF_INET if len(raw) == 4 else socket.AF_INET6
    return "inet" if len(raw) == 4 else "inet6", socket.inet_ntop(family, raw), int(port, 16)


def _row(protocol: str, line: str, owners: dict[int, tuple[int, str]]) -> NetstatRow:
    words = line.split()
    family, local_address, local_port = _address(words[1])
    _, remote_address, remote_port = _address(words[2])
    send_q, recv_q = (int(part, 16) for part in words[4].split(":"))
    timer, ticks = (int(part, 16) for part in words[5].split(":"))
    state = states.NAMES[int(words[3], 16)]
    if protocol != "tcp" and state == "CLOSE":
        state = "UNCONN"
    inode = int(words[9])
    pid, argv0 = owners.get(inode, (None, ""))
    return NetstatRow(
        protocol=protocol,
        family=family,
        local_address=local_address,
        local_port=local_port,
        remote_address=remote_address,
        remote_port=remote_port,
        state=state,
        recv_q=recv_q,
        send_q=send_q,
        uid=int(words[7]),
        inode=inode,
        pid=pid,
        argv0=argv0,
        owner="held" if pid is not None else "kernel",
        timer=_TIMERS[timer],
        timer_seconds=ticks / 100,
        retransmits=int(words[6], 16),
        probes=int(words[8]),
    )


def _owners(pids: Iterable[int]) -> dict[int, tuple[int, str]]:
    """Return the lowest of these pids that holds each socket inode, with its argv[0]."""
    owners: dict[int, tuple[int, str]] = {}
    for pid in sorted(pids):
        process = Path(f"/proc/{pid}")
        targets = [str(descriptor.readlink()) for descriptor in (process / "fd").iterdir()]
        held = [int(target[8:-1]) for target in targets if target.startswith("socket:[")]
        if held:
            argv0 = (process / "cmdline").read_bytes().split(b"\0")[0]
            for inode in held:
                owners.setdefault(inode, (pid, argv0.decode("utf-8", "surrogateescape")))
    return owners


def rows_from_proc(namespace: Namespace, pids: Iterable[int]) -> list[NetstatRow]:
    """Return every internet socket of a namespace in the kernel's order; `pids` may hold them."""
    owners = _owners(pids)
    rows: list[NetstatRow] = []
    with namespace.entered():
        for protocol in ("tcp", "udp", "udplite", "raw"):
            for suffix in ("", "6"):
                table = Path(f"/proc/thread-self/net/{protocol}{suffix}")
                if table.exists():
                    lines = table.read_text().splitlines()[1:]
                    rows.extend(_row(protocol, line, owners) for line in lines)
    return rows


@cache
def _databases() -> tuple[list[tuple[str, int, str]], list[tuple[str, int]]]:
    services = []
    for line in subprocess.run(
        ["getent", "services"], capture_output=True, text=True, check=True
    ).stdout.splitlines():
        name, number = line.split()[:2]
        port, protocol = number.split("/")
        services.append((name, int(port), protocol))
    protocols = []
    for line in subprocess.run(
        ["getent", "protocols"], capture_output=True, text=True, check=True
    ).stdout.splitlines():
        name, number = line.split()[:2]
        protocols.append((name, int(number)))
    return services, protocols


def names_of(namespace: Namespace, rows: list[NetstatRow]) -> Names:
    """Return the names that this machine, seen from a namespace, has for what is in these rows."""
    hosts: dict[str, str] = {}
    with namespace.entered():
        for address in {row.local_address for row in rows} | {row.remote_address for row in rows}:
            # Without an answer (EAI_AGAIN) netstat prints the address, too.
            with contextlib.suppress(socket.gaierror):
                name = socket.getnameinfo((address, 0), 0)[0]
                if name != address:
                    hosts[address] = name
    services, protocols = _databases()
    return databases.names_of(
        ((entry.pw_uid, entry.pw_name) for entry in pwd.getpwall()), services, protocols, hosts
    )
