"""The text that `netstat -i` of net-tools 2.10 prints, byte for byte: its table, and with `-e` the long form.

The judge is the installed program in the C locale. netstat takes names and counters from /proc/net/dev,
further names (aliases, which have no counters) from SIOCGIFCONF, the rest from the ioctls of netdevice(7),
and IPv6 addresses from /proc/net/if_inet6. Control characters in names are printed as `?`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from sockrec.model.network import Address, Interface, LinkCounters
from sockrec.render import interface_long as long
from sockrec.render.interface_long import ProcCounters
from sockrec.render.names import byte_length, cut, encode, pad, printable

_TITLE: Final = "Kernel Interface table\n"
_HEADER: Final = "Iface             MTU    RX-OK RX-ERR RX-DRP RX-OVR    TX-OK TX-ERR TX-DRP TX-OVR Flg\n"
_NO_COUNTERS: Final = "     - no statistics available -"
_NAME_WIDTH: Final = 15
_COUNTERS_WIDTH: Final = 56
_U64: Final = (1 << 64) - 1
# Since the fix of CVE-2025-46836, which distributions have in their 2.10, netstat stumbles over the colon
# behind a name of 15 bytes, the longest there is: it shows such an interface with every counter 0.
_READABLE_NAME: Final = 14
_UNREAD: Final = ProcCounters(*[0] * len(ProcCounters._fields))

_LETTERS: Final = (
    (long.IFF_ALLMULTI, "A"), (long.IFF_BROADCAST, "B"), (long.IFF_DEBUG, "D"), (long.IFF_LOOPBACK, "L"),
    (long.IFF_MULTICAST, "M"), (long.IFF_DYNAMIC, "d"), (long.IFF_PROMISC, "P"),
    (long.IFF_NOTRAILERS, "N"), (long.IFF_NOARP, "O"), (long.IFF_POINTOPOINT, "P"), (long.IFF_SLAVE, "s"),
    (long.IFF_MASTER, "m"), (long.IFF_RUNNING, "R"), (long.IFF_UP, "U"),
)  # fmt: skip

_ALIAS: Final = re.compile(rb"(.*):([0-9]+)", re.DOTALL)


def interface_lines(
    interfaces: Iterable[Interface],
    counters: Iterable[LinkCounters],
    addresses: Iterable[Address],
    *,
    all: bool,  # noqa: A002 — netstat's own word for it
    extended: bool,
    titled: bool = True,
) -> Iterator[str]:
    """Yield what `LC_ALL=C netstat -i` prints, line by line, each with its newline.

    `all` (`-a`) shows interfaces that are down too; `extended` (`-e`, once or more) is ifconfig's long form;
    `titled` is false for all but the first table under `-c`. No other flag and no argument changes anything.
    `addresses` are in the kernel's order (that of /proc/net/if_inet6 for IPv6). Encode with `names.encode`.

    An address may have a label that belongs to no interface. netstat then stops before it (on standard
    error: "LABEL: error fetching interface information: Device not found"), and so does this.
    """
    by_name = {each.name: each for each in interfaces}
    counted = {each.ifindex: each for each in counters}
    of_interface: dict[int, list[Address]] = {}
    for address in addresses:
        of_interface.setdefault(address.ifindex, []).append(address)
    labels = {address.label for each in of_interface.values() for address in each if address.family == "inet"}
    if titled:
        yield _TITLE
    if not extended:
        yield _HEADER
    for name in sorted(by_name.keys() | labels, key=_order):
        interface = by_name.get(name.partition(":")[0])
        if interface is None:
            return
        if not (all or interface.flags & long.IFF_UP):
            continue
        summed = _summed(name, counted.get(interface.ifindex)) if name == interface.name else None
        if extended:
            yield from long.long_lines(name, interface, summed, of_interface.get(interface.ifindex, ()))
        else:
            yield _short_line(name, interface, summed)


def interface_text(
    interfaces: Iterable[Interface],
    counters: Iterable[LinkCounters],
    addresses: Iterable[Address],
    *,
    all: bool,  # noqa: A002 — netstat's own word for it
    extended: bool,
    titled: bool = True,
) -> bytes:
    """Return what `LC_ALL=C netstat -i` writes; see `interface_lines`."""
    lines = interface_lines(interfaces, counters, addresses, all=all, extended=extended, titled=titled)
    return encode("".join(lines))


def _order(name: str) -> tuple[bytes, int, bytes, int, bytes]:
    """Return what netstat sorts names by: numbers at the end by value, aliases behind their interface."""
    base, alias = encode(name), b""
    if found := _ALIAS.fullmatch(base):
        base, alias = found.groups()
    stem = base.rstrip(b"0123456789")
    return stem, _number(base[len(stem) :]), base, _number(alias) if alias else -1, alias


def _number(digits: bytes) -> int:
    """Return what C's atoi makes of digits, of which a name has at most 15."""
    return long.as_int(int(digits[:_NAME_WIDTH] or b"0"))


def _summed(name: str, counts: LinkCounters | None) -> ProcCounters | None:
    """Return an interface's counters as netstat reads them in /proc/net/dev."""
    if counts is None:
        return None
    if byte_length(name) > _READABLE_NAME:
        return _UNREAD
    return ProcCounters(
        rx_bytes=_sum(counts.rx_bytes),
        rx_packets=_sum(counts.rx_packets),
        rx_errors=_sum(counts.rx_errors),
        rx_dropped=_sum(counts.rx_dropped, counts.rx_missed_errors),
        rx_fifo=_sum(counts.rx_fifo_errors),
        rx_frame=_sum(
            counts.rx_length_errors, counts.rx_over_errors, counts.rx_crc_errors, counts.rx_frame_errors
        ),
        rx_compressed=_sum(counts.rx_compressed),
        tx_bytes=_sum(counts.tx_bytes),
        tx_packets=_sum(counts.tx_packets),
        tx_errors=_sum(counts.tx_errors),
        tx_dropped=_sum(counts.tx_dropped),
        tx_fifo=_sum(counts.tx_fifo_errors),
        collisions=_sum(counts.collisions),
        tx_carrier=_sum(
            counts.tx_carrier_errors,
            counts.tx_aborted_errors,
            counts.tx_window_errors,
            counts.tx_heartbeat_errors,
        ),
        tx_compressed=_sum(counts.tx_compressed),
    )


def _sum(*counts: int) -> int:
    """Return a sum in 64 bits without a sign; captures hold the same bits with one."""
    return sum(counts) & _U64


def _short_line(name: str, interface: Interface, row: ProcCounters | None) -> str:
    if row is None:
        numbers = f"{_NO_COUNTERS:<{_COUNTERS_WIDTH}}"
    else:
        numbers = (
            f"{row.rx_packets:8d} {row.rx_errors:6d} {row.rx_dropped:6d} {row.rx_fifo:<6d} "
            f"{row.tx_packets:8d} {row.tx_errors:6d} {row.tx_dropped:6d} {row.tx_fifo:6d} "
        )
    flags = long.as_short(interface.flags)
    letters = "".join(letter for bit, letter in _LETTERS if flags & bit) if flags else "[NO FLAGS]"
    shown = pad(cut(printable(name), _NAME_WIDTH), _NAME_WIDTH)
    return f"{shown} {long.as_int(interface.mtu):5d} {numbers}{letters}\n"
