"""The multicast groups that interfaces listen to, from /proc/net/igmp and /proc/net/igmp6.

Layout: igmp_mc_seq_show (net/ipv4/igmp.c) and igmp6_mc_seq_show (net/ipv6/mcast.c).
"""

from __future__ import annotations

import struct

from sockrec.kernel.net_table import MOST_BYTES, NetTable, Parsed, interface_name, ipv4_address, ipv6_address
from sockrec.model.network import Group


def table(most_bytes: int = MOST_BYTES) -> NetTable[Group]:
    """Return the reader of both files: IPv4's groups, then IPv6's."""
    return NetTable({"igmp": parse_ipv4, "igmp6": parse_ipv6}, most_bytes)


def parse_ipv4(text: bytes) -> Parsed[Group]:
    """Take apart /proc/net/igmp: a line for each interface, and behind it one for each of its groups."""
    rows: list[Group] = []
    odd = 0
    here: tuple[int, str] | None = None
    for line in text.split(b"\n")[1:-1]:
        try:
            if not line.startswith(b"\t"):
                here = None  # of a line that can't be read, the groups can't be told either
                here = _interface(line)
            elif here is None:
                odd += 1
            else:
                number, users, *_ = line.split()
                address = ipv4_address(number)
                rows.append(Group("inet", *here, address, int(users)))
        except (ValueError, struct.error):
            odd += 1
    return Parsed(rows, odd)


def _interface(line: bytes) -> tuple[int, str]:
    index, rest = line.split(b"\t", 1)
    return int(index), interface_name(rest[: rest.index(b":")].rstrip(b" "))


def parse_ipv6(text: bytes) -> Parsed[Group]:
    """Take apart /proc/net/igmp6: a line for each group, and no title."""
    rows: list[Group] = []
    odd = 0
    for line in text.split(b"\n")[:-1]:
        try:
            index, name, number, users, *_ = line.split()
            address = ipv6_address(number)
            rows.append(Group("inet6", int(index), interface_name(name), address, int(users)))
        except ValueError:
            odd += 1
    return Parsed(rows, odd)
