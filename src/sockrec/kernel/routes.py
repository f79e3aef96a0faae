"""The routing tables that netstat shows, from /proc/net/route and /proc/net/ipv6_route.

Layout: fib_route_seq_show (net/ipv4/fib_trie.c) and ipv6_route_native_seq_show (net/ipv6/ip6_fib.c).
"""

from __future__ import annotations

import socket
import struct
from typing import Any, Final

from sockrec.kernel.net_table import MOST_BYTES, NetTable, Parsed, interface_name, ipv4_address, ipv6_address
from sockrec.model.network import Route

_TAIL: Final = Route._fields.index("destination") + 1


def table(most_bytes: int = MOST_BYTES) -> NetTable[Route]:
    """Return the reader of both tables: IPv4's main table, then IPv6's routes of all tables."""
    return NetTable({"route": parse_ipv4, "ipv6_route": parse_ipv6}, most_bytes)


def parse_ipv4(text: bytes) -> Parsed[Route]:
    """Take apart /proc/net/route."""
    rows: list[Route] = []
    odd = 0
    # Routes differ in their destinations; the rest is the same few values again and again.
    tails: dict[tuple[bytes, bytes], tuple[Any, ...]] = {}
    for line in text.split(b"\n")[1:-1]:
        try:
            interface, destination, rest = line.split(b"\t", 2)
            tail = tails.get((interface, rest))
            if tail is None:
                tail = tails[interface, rest] = _ipv4_tail(interface, rest)
            rows.append(Route("inet", ipv4_address(destination), *tail))
        except (ValueError, struct.error):
            odd += 1
    return Parsed(rows, odd)


def _ipv4_tail(interface: bytes, rest: bytes) -> tuple[Any, ...]:
    """Return what follows the destination in a `Route`."""
    gateway, flags, references, uses, metric, mask, mtu, window, irtt = rest.split()
    return Route(
        family="inet",
        destination="",
        prefix_length=_prefix_length(mask),
        source=None,
        source_length=0,
        gateway=ipv4_address(gateway),
        interface=interface_name(interface),
        flags=int(flags, 16),
        metric=int(metric) & 0xFFFFFFFF,  # the kernel prints an unsigned number as a signed one
        refs=int(references),
        uses=int(uses),
        mtu=int(mtu),
        window_size=int(window),
        irtt=int(irtt),
    )[_TAIL:]


def _prefix_length(mask: bytes) -> int:
    bits = f"{int.from_bytes(socket.inet_aton(ipv4_address(mask))):032b}"
    if "01" in bits:
        raise ValueError(f"{mask!r} is no netmask")
    return bits.count("1")


def parse_ipv6(text: bytes) -> Parsed[Route]:
    """Take apart /proc/net/ipv6_route, which has no title."""
    rows: list[Route] = []
    odd = 0
    tails: dict[bytes, tuple[Any, ...]] = {}
    for line in text.split(b"\n")[:-1]:
        try:
            destination, rest = line.split(b" ", 1)
            tail = tails.get(rest)
            if tail is None:
                tail = tails[rest] = _ipv6_tail(rest)
            rows.append(Route("inet6", ipv6_address(destination), *tail))
        except ValueError:
            odd += 1
    return Parsed(rows, odd)


def _ipv6_tail(rest: bytes) -> tuple[Any, ...]:
    """Return what follows the destination in a `Route`."""
    words = rest.split()
    if len(words) == 8:
        words.append(b"")  # a route without a device
    length, source, source_length, gateway, metric, references, uses, flags, interface = words
    return Route(
        family="inet6",
        destination="",
        prefix_length=int(length, 16),
        source=ipv6_address(source),
        source_length=int(source_length, 16),
        gateway=ipv6_address(gateway),
        interface=interface_name(interface),
        flags=int(flags, 16),
        metric=int(metric, 16),
        refs=int(references, 16),
        uses=int(uses, 16),
        mtu=0,
        window_size=0,
        irtt=0,
    )[_TAIL:]
