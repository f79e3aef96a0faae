"""Addresses by themselves, as netstat of net-tools 2.10 prints them in routes and groups.

Rules and buffer sizes are those of INET_rresolve (lib/inet.c) and INET6_rresolve (lib/inet6.c).
"""

from __future__ import annotations

from typing import Final

from sockrec.model.addresses import IPV4_ANY, IPV6_ANY
from sockrec.render.names import Names, byte_length, cut, printable

# Sizes of netstat's own buffers, less the final NUL.
NAME_CUT: Final = 127

_V4_MAPPED: Final = "::ffff:"


def ipv4_host(address: str, names: Names, numeric: bool) -> str:
    """Return the name of an IPv4 address, cut to netstat's buffer, or the address."""
    name = None if numeric or address == IPV4_ANY else names.host(address)
    return cut(name, NAME_CUT) if name else printable(address)


def ipv6_host(address: str, names: Names, numeric: bool) -> str:
    """Return the name of an IPv6 address, or the address; `[::]` is how netstat names the any-address.

    getnameinfo(3) refuses a name that does not fit into netstat's buffer, which shows the address then.
    """
    if not numeric:
        if address == IPV6_ANY:
            return "[::]"
        name = names.host(address)
        if name and byte_length(name) <= NAME_CUT:
            return name
    mapped = address.startswith(_V4_MAPPED) and "." in address
    return printable(address[len(_V4_MAPPED) :] if mapped else address)
