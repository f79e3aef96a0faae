r"""Names for numbers as the recorded host knew them, and text made safe for a terminal.

netstat prints the bytes that a process chose; its text is replayed byte for byte where those are harmless,
and with `?` for what steers a terminal. That goes for pipes and files too: `replay | less -R`, and a file
that somebody looks at with cat, end on a terminal. Bytes that are no UTF-8 stand in a capture, and are
printed, as `\xff`; whole texts are exact in `sql --format json`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sockrec.errors import CaptureError

# C0, DEL and C1; the lone bytes (PEP 383) that an 8-bit terminal takes for C1; what breaks a line
# or reorders it (Unicode Standard Annex 9: a name could dress up as other columns).
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\udc80-\udc9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def _question_marks(found: re.Match[str]) -> str:
    return "?" * byte_length(found[0])


def printable(text: str) -> str:
    """Return text with every control character replaced by `?`, one for each byte of it.

    Controls are C0 (ESC and newline among them), DEL and C1 (U+0080 to U+009F, or a lone byte of
    that value), line separators and marks of direction. Everything else is kept as it is,
    undecodable bytes (PEP 383 surrogates) included, and the length in bytes never changes, so
    columns stay where netstat puts them.
    """
    if text.isprintable():
        return text
    return _CONTROL.sub(_question_marks, text)


def encode(text: str) -> bytes:
    """Return the bytes that text stands for: UTF-8, with PEP 383 surrogates as their bytes."""
    return text.encode("utf-8", "surrogateescape")


def byte_length(text: str) -> int:
    """Return how many bytes text takes: what C's strlen would say."""
    return len(text) if text.isascii() else len(encode(text))


def cut(text: str, most: int) -> str:
    """Return at most the first `most` bytes of text, as strncpy(3) cuts: inside a character too."""
    if byte_length(text) <= most:
        return text
    return encode(text)[:most].decode("utf-8", "surrogateescape")


def pad(text: str, width: int) -> str:
    """Return text filled up with blanks to `width` bytes: C's `%-*s`."""
    return text + " " * (width - byte_length(text))


@dataclass(frozen=True, slots=True)
class Names:
    """What the recorded host called users, ports, protocols, addresses and networks.

    `users` by uid; `services` by (port, `tcp` or `udp` or `raw`); `protocols` by number;
    `hosts` by whole address as the capture spells it; `networks` likewise, by an IPv4 network's first
    address (networks(5)). What is missing prints as its number.
    """

    users: Mapping[int, str] = field(default_factory=dict)
    services: Mapping[tuple[int, str], str] = field(default_factory=dict)
    protocols: Mapping[int, str] = field(default_factory=dict)
    hosts: Mapping[str, str] = field(default_factory=dict)
    networks: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Names:
        """Return the names held in a recording's JSON; raises `CaptureError` if they are malformed.

        Its shape: `{"users": {"0": "root"}, "services": {"tcp": {"80": "http"}}, "protocols":
        {"1": "icmp"}, "hosts": {"127.0.0.1": "localhost"}, "networks": {"10.0.0.0": "lab"}}`; any of
        the five may be missing.
        """
        try:
            return cls(
                {int(uid): str(name) for uid, name in data.get("users", {}).items()},
                {
                    (int(port), protocol): str(name)
                    for protocol, ports in data.get("services", {}).items()
                    for port, name in ports.items()
                },
                {int(number): str(name) for number, name in data.get("protocols", {}).items()},
                {str(address): str(name) for address, name in data.get("hosts", {}).items()},
                {str(address): str(name) for address, name in data.get("networks", {}).items()},
            )
        except (AttributeError, ValueError) as error:
            raise CaptureError(f"the names in this recording are malformed ({error}); use -n") from None

    def user(self, uid: int) -> str:
        """Return the user's name, or the uid."""
        return printable(self.users.get(uid) or str(uid))

    def host(self, address: str) -> str | None:
        """Return the name of an address, or None."""
        name = self.hosts.get(address)
        return printable(name) if name else None

    def network(self, address: str) -> str | None:
        """Return the name of the IPv4 network that begins at an address, or None."""
        name = self.networks.get(address)
        return printable(name) if name else None

    def port(self, port: int, database: str) -> str:
        """Return the name of a port in the services `database` (`tcp`, `udp`), or its number.

        With `raw`, the port of a raw socket is a protocol number and is named as one.
        """
        name = self.protocols.get(port) if database == "raw" else None
        name = name or self.services.get((port, database))
        return printable(name) if name else str(port)
