"""The text that netstat of net-tools 2.10 prints of routing tables (`-r`), byte for byte.

Formats, cuts and order are those of rprint_fib and rprint_cache (lib/inet_gr.c) and rprint_fib6
(lib/inet6_gr.c), in the C locale.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from sockrec.model.addresses import IPV4_ANY
from sockrec.model.network import Route
from sockrec.render.names import Names, cut, pad, printable
from sockrec.render.netstat_flags import NetstatFlags
from sockrec.render.netstat_hosts import NAME_CUT, ipv4_host, ipv6_host

# linux/route.h, linux/ipv6_route.h
_UP: Final = 0x0001
_GATEWAY: Final = 0x0002
_HOST: Final = 0x0004
_MODIFIED: Final = 0x0020
_REJECT: Final = 0x0200
_DEFAULT: Final = 0x00010000
_ALLONLINK: Final = 0x00020000
_ADDRCONF: Final = 0x00040000
_NONEXTHOP: Final = 0x00200000
_EXPIRES: Final = 0x00400000
_CACHE: Final = 0x01000000
_FLOW: Final = 0x02000000

_IPV4_LETTERS: Final = (
    (_HOST, "H"), (0x0008, "R"), (0x0010, "D"), (_MODIFIED, "M"), (_DEFAULT, "d"), (_ALLONLINK, "a"),
    (_ADDRCONF, "c"), (_NONEXTHOP, "o"), (_EXPIRES, "e"), (_CACHE, "c"), (_FLOW, "f"), (0x04000000, "p"),
    (0x80000000, "l"), (0x0040, "u"), (0x0080, "w"), (0x0100, "i"), (0x0400, "n"),
)  # fmt: skip
_IPV6_LETTERS: Final = (
    (_UP, "U"), (_REJECT, "!"), (_GATEWAY, "G"), (_HOST, "H"), (_DEFAULT, "D"), (_ADDRCONF, "A"),
    (_CACHE, "C"), (_ALLONLINK, "a"), (_EXPIRES, "e"), (_MODIFIED, "m"), (_NONEXTHOP, "n"), (_FLOW, "f"),
)  # fmt: skip

_TABLE_HEADERS: Final = {
    1: "Destination     Gateway         Genmask         Flags Metric Ref    Use Iface\n",
    2: "Destination     Gateway         Genmask         Flags   MSS Window  irtt Iface\n",
    3: "Destination     Gateway         Genmask         Flags Metric Ref    Use Iface    MSS   Window irtt\n",
}
_CACHE_HEADERS: Final = {
    1: "Source          Destination     Gateway         Flags Metric Ref    Use Iface\n",
    2: "Source          Destination     Gateway         Flags   MSS Window  irtt Iface\n",
    3: "Source          Destination     Gateway         Flags Metric Ref    Use Iface    "
    "MSS   Window irtt  TOS HHRef HHUptod     SpecDst\n",
}
_IPV6_HEADER: Final = "Destination                    Next Hop                   Flag Met Ref  Use If\n"
_ADDRESS_CUT: Final = 15


def netstat_routes(rows: Iterable[Route], flags: NetstatFlags, names: Names) -> Iterator[str]:
    """Yield the routing tables line by line, each with its newline.

    `rows` are those of one moment in the kernel's order. The tables are those of `flags.families`. IPv4's
    cache is empty in every kernel since 3.6. A host that has IPv6 always has a route of it.
    """
    held = list(rows)
    numeric = flags.numeric_hosts or flags.symbolic
    for family in flags.families:
        routes = [row for row in held if row.family == family]
        if family == "inet":
            yield from _ipv4_tables(routes, flags, names, numeric)
        elif routes:
            yield from _ipv6_tables(routes, flags, names, numeric)
        else:
            yield "INET6 (IPv6) not configured in this system.\n"
            return


def _columns(extend: int) -> int:
    """Return which columns so many -e ask for: 1 metric, 2 MSS, 3 both; with three -e there are none."""
    return {1: 2, 2: 1}.get(1 + extend, (1 + extend) & 3)


def _ipv4_tables(rows: Sequence[Route], flags: NetstatFlags, names: Names, numeric: bool) -> Iterator[str]:
    columns = _columns(flags.extend)
    if flags.fib:
        yield "Kernel IP routing table\n" + _TABLE_HEADERS.get(columns, "")
        for row in rows:
            if row.flags & _UP and columns:
                yield _ipv4_line(row, columns, names, numeric)
    if flags.cache:
        yield "Kernel IP routing cache\n" + _CACHE_HEADERS.get(columns, "")


def _ipv4_line(row: Route, columns: int, names: Names, numeric: bool) -> str:
    destination = pad(cut(_destination(row, names, numeric), _ADDRESS_CUT), 15)
    gateway = pad(cut(ipv4_host(row.gateway, names, numeric), _ADDRESS_CUT), 15)
    interface = printable(row.interface)
    reject = row.flags & _REJECT
    if reject:
        gateway = pad("-", 15)
    letters = _ipv4_letters(row.flags)
    start = f"{destination} {gateway} {_netmask(row.prefix_length):<15s} {letters:<5s}"
    metric, uses = _int(row.metric), _int(row.uses)
    mtu, window, irtt = _int(row.mtu), _int(row.window_size), _int(row.irtt)
    if columns == 2:
        if reject:
            return f"{start}     - -          - -\n"
        return f"{start} {mtu:5d} {window:<5d} {irtt:6d} {interface}\n"
    if reject:
        tail = "        -     -      -" if columns == 3 else ""
        return f"{start} {metric:<6d} -  {uses:7d} -{tail}\n"
    if columns == 1:
        return f"{start} {metric:<6d} {_int(row.refs):<2d} {uses:7d} {interface}\n"
    return (
        f"{start} {metric:<6d} {_int(row.refs):<3d} {uses:6d} {pad(cut(interface, 6), 6)}   "
        f"{mtu:<5d} {window:<6d} {irtt:d}\n"
    )


def _destination(row: Route, names: Names, numeric: bool) -> str:
    """Return the name of a destination: of a host, or of a network; there is one for 0.0.0.0/0 alone."""
    if numeric:
        return printable(row.destination)
    if row.destination == IPV4_ANY:
        return IPV4_ANY if row.prefix_length else "default"
    if row.flags & _HOST:
        return ipv4_host(row.destination, names, numeric)
    return names.network(row.destination) or printable(row.destination)


def _netmask(prefix_length: int) -> str:
    ones = min(max(prefix_length, 0), 32)
    return socket.inet_ntoa(((1 << 32) - (1 << (32 - ones))).to_bytes(4, "big"))


def _ipv4_letters(flags: int) -> str:
    # The sign of rejection takes the place of what stood before it.
    start = "!" if flags & _REJECT else _letters(flags, ((_UP, "U"), (_GATEWAY, "G")))
    return start + _letters(flags, _IPV4_LETTERS)


def _letters(flags: int, meaning: Sequence[tuple[int, str]]) -> str:
    return "".join(letter for bit, letter in meaning if flags & bit)


def _ipv6_tables(rows: Sequence[Route], flags: NetstatFlags, names: Names, numeric: bool) -> Iterator[str]:
    for wanted, title, cached in ((flags.fib, "table", False), (flags.cache, "cache", True)):
        if wanted:
            yield f"Kernel IPv6 routing {title}\n{_IPV6_HEADER}"
            for row in rows:
                if bool(row.flags & _CACHE) == cached:
                    yield _ipv6_line(row, names, numeric)


def _ipv6_line(row: Route, names: Names, numeric: bool) -> str:
    destination = cut(f"{ipv6_host(row.destination, names, numeric)}/{row.prefix_length}", NAME_CUT)
    gateway = ipv6_host(row.gateway, names, numeric)
    return (
        f"{pad(destination, 30)} {pad(gateway, 26)} {_letters(row.flags, _IPV6_LETTERS):<4s} "
        f"{_int(row.metric):<3d} {_int(row.refs):<1d} {_int(row.uses):6d} {printable(row.interface)}\n"
    )


def _int(number: int) -> int:
    """Return what C's int makes of a number: metrics of 2^31 and more are negative in netstat."""
    return (number + (1 << 31)) % (1 << 32) - (1 << 31)
