"""A network namespace for the demo alone, where the kernel allows one."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path
from typing import Final

_CLONE_NEWNET: Final = 0x4000_0000
_CLONE_NEWUTS: Final = 0x0400_0000
_CLONE_NEWUSER: Final = 0x1000_0000
# include/uapi/linux/sockios.h, if.h
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_SIOCSIFADDR: Final = 0x8916
_IFF_UP: Final = 1


def enter(*addresses: str) -> bool:
    """Move this process into a new network namespace with these IPv4 addresses on its loopback.

    Returns false, and changes nothing, where that is not allowed (no root and no user namespaces).
    Must be called while the process has one thread.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(_CLONE_NEWNET) != 0:
        if libc.unshare(_CLONE_NEWNET | _CLONE_NEWUSER) != 0:
            return False
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        _raise_up(control, b"lo")
        for number, address in enumerate(addresses):
            _set_address(control, f"lo:{number}".encode(), address)
    return True


def call_it(name: str) -> None:
    """Give this process and its children a host name of their own; after `enter` allowed a namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUTS) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWUTS)")
    socket.sethostname(name)


def _raise_up(control: socket.socket, name: bytes) -> None:
    request = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sH22x", name, 0))
    flags = struct.unpack("16sH22x", request)[1]
    fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", name, flags | _IFF_UP))


def _set_address(control: socket.socket, name: bytes, address: str) -> None:
    sockaddr = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
    fcntl.ioctl(control, _SIOCSIFADDR, struct.pack("16s", name) + sockaddr + bytes(8))
