"""Tables below /proc/net that change seldom: taken apart again only when their text has changed."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple, TypeVar

from sockrec.kernel.proc_net import FOLDER

MOST_BYTES: Final = 16 << 20
"""Of each file so much is read: 131,072 IPv4 routes, about 110,000 IPv6 ones. It bounds memory and time."""

_CHUNK: Final = 1 << 18
# An IPv4 address is printed as the number that its four bytes are on this host.
_NUMBER: Final = struct.Struct("=I")

Row = TypeVar("Row")


def ipv4_address(digits: bytes) -> str:
    """Return the address that a file prints so; raises ValueError or struct.error if it is none."""
    return socket.inet_ntoa(_NUMBER.pack(int(digits, 16)))


def ipv6_address(digits: bytes) -> str:
    """Return the address that a file prints so; raises ValueError if it is none."""
    return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits.decode("ascii")))


def interface_name(name: bytes) -> str:
    """Return the name as captures have it: bytes that are no UTF-8 as backslash escapes."""
    return name.decode("utf-8", "backslashreplace")


class Parsed(NamedTuple, Generic[Row]):
    """What a file's text holds, and how many of its lines have an unknown form."""

    rows: list[Row]
    odd: int


class Reading(NamedTuple, Generic[Row]):
    """All rows in the files' order.

    `changed` says whether they differ from the reading before (true for the first); if not, `rows` is that
    reading's list. `incomplete` says what could not be read. Where a whole file is `unread`, what is missing
    need not be gone.
    """

    rows: list[Row]
    changed: bool
    incomplete: tuple[str, ...]
    unread: bool = False


@dataclass(slots=True)
class _File(Generic[Row]):
    parse: Callable[[bytes], Parsed[Row]]
    text: bytes | None = None
    rows: list[Row] = field(default_factory=list)
    odd: int = 0


class NetTable(Generic[Row]):
    """Some files below /proc/net of the namespace that the reading thread is in, as one table.

    `parsers` are by file name, in the order of the rows; they leave out a last line that has no end.
    """

    def __init__(
        self, parsers: Mapping[str, Callable[[bytes], Parsed[Row]]], most_bytes: int = MOST_BYTES
    ) -> None:
        self._files = {name: _File(parse) for name, parse in parsers.items()}
        self._most = most_bytes
        self._rows: list[Row] | None = None

    def read(self) -> Reading[Row]:
        """Read the files; a missing one (no IPv6) has no rows, one that can't be read leaves its rows out."""
        changed = self._rows is None
        incomplete: list[str] = []
        unread = False
        for name, file in self._files.items():
            try:
                text, cut = _beginning(name, self._most)
            except FileNotFoundError:
                text, cut = b"", False
            except OSError as error:
                text, cut, unread = b"", False, True
                incomplete.append(f"{name}: {error.strerror}")
            if cut:
                incomplete.append(f"{name}: only its first {self._most} bytes are recorded")
            changed |= _update(file, text)
            if file.odd:
                incomplete.append(f"{name}: {file.odd} lines of an unknown form: report this kernel")
        if self._rows is None or changed:
            self._rows = [row for file in self._files.values() for row in file.rows]
        return Reading(self._rows, changed, tuple(incomplete), unread)


def _update(file: _File[Row], text: bytes) -> bool:
    """Take apart a text that is new; tell whether that made other rows of it."""
    if text == file.text:
        return False
    rows, file.odd = file.parse(text)
    file.text = text
    if rows == file.rows:
        return False
    file.rows = rows
    return True


def _beginning(name: str, most: int) -> tuple[bytes, bool]:
    """Return a file's text, at most so many bytes of it, and whether it had more."""
    chunks: list[bytes] = []
    left = most
    descriptor = os.open(FOLDER / name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while left > 0 and (chunk := os.read(descriptor, min(left, _CHUNK))):
            chunks.append(chunk)
            left -= len(chunk)
        more = left <= 0 and bool(os.read(descriptor, 1))
    finally:
        os.close(descriptor)
    return b"".join(chunks), more
