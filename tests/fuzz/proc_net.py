"""Texts of /proc/net. Input: a byte that says which file, then its text."""

from __future__ import annotations

import socket

from sockrec.errors import KernelError
from sockrec.kernel import proc_net, proc_unix
from tests.fuzz import kernel_seeds

_FILES = ("tcp", "tcp6", "udp", "udp6", "raw", "unix")
_NUMBERS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "raw": socket.IPPROTO_RAW}


def seeds() -> list[bytes]:
    """Return the files as they are."""
    return [bytes([place]) + kernel_seeds.proc_net()[name] for place, name in enumerate(_FILES)]


def check(data: bytes) -> None:
    """Take it apart; only `KernelError` may be raised."""
    name = _FILES[data[0] % len(_FILES)] if data else "tcp"
    text = data[1:]
    try:
        if name == "unix":
            found = proc_unix.parse(text)
            assert len(found.inode) <= text.count(b"\n")
            assert int(found.name_length.clip(0).sum()) <= len(text)
        else:
            sockets = proc_net.parse_inet(text, name, _NUMBERS[name.removesuffix("6")], 1_000_000)
            assert len(sockets) <= len(text.splitlines())
    except KernelError:
        return
