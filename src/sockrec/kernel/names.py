"""The host's name databases, read as netstat reads them without -n, to be kept in a capture.

A capture is replayed elsewhere; names must be those of the host it was recorded on. All answers
are dicts of strings, ready for JSON: numbers are decimal text, bytes that are no UTF-8 backslash escapes.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path


class _Service(ctypes.Structure):
    """Of struct servent (getservent(3)); s_port is in network order."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("aliases", ctypes.c_void_p),
        ("port", ctypes.c_int),
        ("protocol", ctypes.c_char_p),
    )


class _Protocol(ctypes.Structure):
    """Of struct protoent (getprotoent(3))."""

    _fields_ = (("name", ctypes.c_char_p), ("aliases", ctypes.c_void_p), ("number", ctypes.c_int))


class _Network(ctypes.Structure):
    """Of struct netent (getnetent(3)); the number is in host order."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("aliases", ctypes.c_void_p),
        ("family", ctypes.c_int),
        ("number", ctypes.c_uint32),
    )


def users(uids: Iterable[int]) -> dict[str, str]:
    """Return {uid: user name} for those of the given uids that have one (getpwuid(3))."""
    found = {}
    for uid in uids:
        try:
            found[str(uid)] = _text(os.fsencode(pwd.getpwuid(uid).pw_name))
        except KeyError:
            continue
    return found


def services() -> dict[str, dict[str, str]]:
    """Return {protocol: {port: service name}} for `tcp`, `udp` and `raw`.

    Enumerated through getservent(3), as netstat does, so that nsswitch.conf decides where from. The
    last entry of a port wins, as in netstat, where getservbyport(3) would give the first.
    """
    found: dict[str, dict[str, str]] = {"tcp": {}, "udp": {}, "raw": {}}
    for entry in _services():
        protocol = _text(entry.protocol)
        if protocol in found:
            found[protocol][str(socket.ntohs(entry.port & 0xFFFF))] = _text(entry.name)
    return found


def protocols() -> dict[str, str]:
    """Return {protocol number: name}; the last entry of a number wins, as in netstat.

    netstat names the "port" of a raw socket from here, and only then from the `raw` services.
    """
    return {str(entry.number): _text(entry.name) for entry in _protocols()}


def hosts(path: str | Path = "/etc/hosts") -> dict[str, str]:
    """Return {address: first name} of the hosts file (hosts(5)), addresses as inet_ntop(3) has them.

    The first line of an address wins. As in glibc's reader of that file, `::1` and v4-mapped lines
    answer for their IPv4 address too. DNS is not asked: it may hang when it is most needed.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="backslashreplace").splitlines()
    except FileNotFoundError:
        return {}
    found: dict[str, str] = {}
    for line in lines:
        words = line.partition("#")[0].split()
        if len(words) > 1:
            for address in _addresses(words[0]):
                found.setdefault(address, words[1])
    return found


def networks() -> dict[str, str]:
    """Return {first address: name} of the networks database (networks(5)); the first entry of one wins."""
    found: dict[str, str] = {}
    for entry in _networks():
        found.setdefault(socket.inet_ntoa(entry.number.to_bytes(4, "big")), _text(entry.name))
    return found


def _addresses(text: str) -> Iterator[str]:
    """Yield the addresses that a line of the hosts file answers for; none if it is malformed."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            packed = socket.inet_pton(family, text)
        except OSError:
            continue
        yield socket.inet_ntop(family, packed)
        if packed == socket.inet_pton(socket.AF_INET6, "::1"):
            yield "127.0.0.1"
        elif packed[:12] == bytes(10) + b"\xff\xff":
            yield socket.inet_ntop(socket.AF_INET, packed[12:])


def _services() -> Iterator[_Service]:
    libc = ctypes.CDLL(None)
    libc.getservent.restype = ctypes.POINTER(_Service)
    libc.setservent(1)
    while entry := libc.getservent():
        yield entry.contents
    libc.endservent()


def _protocols() -> Iterator[_Protocol]:
    libc = ctypes.CDLL(None)
    libc.getprotoent.restype = ctypes.POINTER(_Protocol)
    libc.setprotoent(1)
    while entry := libc.getprotoent():
        yield entry.contents
    libc.endprotoent()


def _networks() -> Iterator[_Network]:
    libc = ctypes.CDLL(None)
    libc.getnetent.restype = ctypes.POINTER(_Network)
    libc.setnetent(1)
    while entry := libc.getnetent():
        yield entry.contents
    libc.endnetent()


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
