"""Addresses as text and as 16 raw bytes (network order; IPv4 in the first 4, the rest zero)."""

from __future__ import annotations

import ipaddress
import socket

from sockrec.errors import UsageError

IPV4_ANY = "0.0.0.0"  # noqa: S104 - shown, never bound
IPV6_ANY = "::"


def to_text(raw: bytes, ipv6: bool) -> str:
    """Return the address in its whole, usual form: what inet_ntop(3) gives."""
    return socket.inet_ntop(socket.AF_INET6, raw[:16]) if ipv6 else socket.inet_ntop(socket.AF_INET, raw[:4])


def parse(text: str) -> str:
    """Return an address as captures store it; raises `UsageError` if it is none."""
    try:
        address = ipaddress.ip_address(text.strip("[]").split("%")[0])
    except ValueError:
        raise UsageError(f"{text!r} is not an IP address") from None
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    return socket.inet_ntop(family, address.packed)


def endpoint(address: str | None, port: int | None) -> str:
    """Return `10.0.0.5:7071`, `[::1]:7071`; port 0 as `*`, no address as `?`. Not escaped."""
    shown = "?" if address is None else f"[{address}]" if ":" in address else address
    return f"{shown}:{port or '*'}"
