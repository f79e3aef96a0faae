"""An interface in ifconfig's long form, as `LC_ALL=C netstat -ie` of net-tools 2.10 prints it.

The order of lines, words and blanks is lib/interface.c's, its slips included. What is printed of an
interface has passed through C's types on its way: `flags` is a short, `txqueuelen` an int of which -1 means
unknown, a base address 16 bits and an interrupt 8 (struct ifmap).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from sockrec.model.addresses import IPV4_ANY
from sockrec.model.network import Address, Interface
from sockrec.render.hardware_types import COMPRESSED, hardware_type
from sockrec.render.names import printable

IFF_UP, IFF_BROADCAST, IFF_DEBUG, IFF_LOOPBACK, IFF_POINTOPOINT = 0x1, 0x2, 0x4, 0x8, 0x10
IFF_NOTRAILERS, IFF_RUNNING, IFF_NOARP, IFF_PROMISC, IFF_ALLMULTI = 0x20, 0x40, 0x80, 0x100, 0x200
IFF_MASTER, IFF_SLAVE, IFF_MULTICAST, IFF_PORTSEL, IFF_AUTOMEDIA = 0x400, 0x800, 0x1000, 0x2000, 0x4000
IFF_DYNAMIC: Final = 0x8000

_FLAGS: Final = (
    (IFF_UP, "UP"), (IFF_BROADCAST, "BROADCAST"), (IFF_DEBUG, "DEBUG"), (IFF_LOOPBACK, "LOOPBACK"),
    (IFF_POINTOPOINT, "POINTOPOINT"), (IFF_NOTRAILERS, "NOTRAILERS"), (IFF_RUNNING, "RUNNING"),
    (IFF_NOARP, "NOARP"), (IFF_PROMISC, "PROMISC"), (IFF_ALLMULTI, "ALLMULTI"), (IFF_SLAVE, "SLAVE"),
    (IFF_MASTER, "MASTER"), (IFF_MULTICAST, "MULTICAST"), (IFF_DYNAMIC, "DYNAMIC"),
)  # fmt: skip

_INDENT: Final = "        "
# rtnetlink's scopes (RT_SCOPE_*) as the kernel's own bits (IPV6_ADDR_*, net/ipv6.h)
_HOST, _LINK, _SITE, _COMPATIBLE = 0x10, 0x20, 0x40, 0x80
_SCOPES: Final = {254: _HOST, 253: _LINK, 200: _SITE}
_SCOPE_NAMES: Final = ((_LINK, "link"), (_SITE, "site"), (_HOST, "host"))
_V4_MAPPED: Final = "::ffff:"

# What exceeds a size is shown in it, in tenths. The largest has a divisor of its own: ten times as many
# bytes would not fit into 64 bits.
_SIZES: Final = ((1 << 50, "PiB"), (1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_EXBIBYTE: Final = 1 << 60
_EXBIBYTE_TENTH: Final = 115292150460684697
_PORTS_FROM: Final = 0x100
_U64: Final = (1 << 64) - 1

# struct interface of lib/interface.h, from `hwaddr` on: is there a line in /proc/net/dev, and its beginning
_MEMORY: Final = struct.Struct("=32sixxxxQQQ")


class ProcCounters(NamedTuple):
    """The counters of an interface as /proc/net/dev sums them up (dev_seq_printf_stats in the kernel)."""

    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    rx_fifo: int
    rx_frame: int
    rx_compressed: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int
    tx_fifo: int
    collisions: int
    tx_carrier: int
    tx_compressed: int


def as_short(number: int) -> int:
    """Return a number as a C `short` holds it."""
    return ((number + 0x8000) & 0xFFFF) - 0x8000


def as_int(number: int) -> int:
    """Return a number as a C `int` holds it."""
    return ((number + 0x80000000) & 0xFFFFFFFF) - 0x80000000


def long_lines(
    name: str, interface: Interface, counters: ProcCounters | None, addresses: Sequence[Address]
) -> Iterator[str]:
    """Yield the lines of one name of an interface, the blank one behind it included.

    `name` is the interface's own or an alias of it; `addresses` are the interface's, in the kernel's order.
    """
    flags = as_short(interface.flags)
    yield f"{printable(name)}: {_flags(flags)}  mtu {as_int(interface.mtu)}\n"
    yield from _ipv4(name, flags, [each for each in addresses if each.family == "inet"])
    if name == interface.name:
        yield from (_ipv6(each) for each in addresses if each.family == "inet6")
    yield _hardware(interface, counters)
    if flags & IFF_PORTSEL:
        # Which port (struct ifmap again) is not recorded: drivers that choose one left the kernel long ago.
        yield f"{_INDENT}media unknown{'autoselect' if flags & IFF_AUTOMEDIA else ''}\n"
    if counters is not None:
        yield from _counted(counters, compressed=interface.hardware_type in COMPRESSED)
    yield from _device(interface)
    yield "\n"


def _closed(opened: str, words: Sequence[str]) -> str:
    """Return words in brackets as netstat closes them: without any it takes the opening one back."""
    return f"{opened}<{','.join(words)}>" if words else opened


def _flags(flags: int) -> str:
    words = [word for bit, word in _FLAGS if flags & bit]
    # Of no flag at all it takes back a bracket that it had closed.
    return _closed(f"flags={flags}", words) if flags else "flags=0<"


def _ipv4(name: str, flags: int, addresses: Sequence[Address]) -> Iterator[str]:
    """Yield the line of the address that the ioctls of netdevice(7) give a name.

    Each asks by name and by what the one before answered; where the kernel has no such address under that
    name it answers with the first one of the name.
    """
    labelled = [each for each in addresses if each.label == name]
    if not labelled:
        return

    def asked(address: str) -> Address:
        return next((each for each in labelled if each.address == address), labelled[0])

    first = labelled[0]
    destination = first.peer or first.address
    broadcast = asked(destination).broadcast or IPV4_ANY
    mask = _mask(asked(broadcast).prefix_length)
    line = f"{_INDENT}inet {printable(first.address)}  netmask {mask}"
    if flags & IFF_BROADCAST:
        line += f"  broadcast {printable(broadcast)}"
    if flags & IFF_POINTOPOINT:
        line += f"  destination {printable(destination)}"
    yield line + "\n"


def _mask(prefix_length: int) -> str:
    length = min(max(prefix_length, 0), 32)
    return socket.inet_ntoa(struct.pack("!I", (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF))


def _ipv6(address: Address) -> str:
    scope = _SCOPES.get(address.scope, 0)
    if _is_compatible(address.address):
        scope |= _COMPATIBLE
    words = ["compat"] if scope & _COMPATIBLE else []
    if not scope & ~_COMPATIBLE:
        words.append("global")
    words += [word for bit, word in _SCOPE_NAMES if scope & bit]
    text = address.address
    if text.startswith(_V4_MAPPED) and "." in text:
        text = text[len(_V4_MAPPED) :]
    return (
        _closed(
            f"{_INDENT}inet6 {printable(text)}  prefixlen {address.prefix_length}  scopeid 0x{scope:x}", words
        )
        + "\n"
    )


def _is_compatible(text: str) -> bool:
    """Tell whether an address is IPv4-compatible (::/96), which rtnetlink's scope does not say."""
    if not text.startswith("::"):
        return False
    try:
        address = int.from_bytes(socket.inet_pton(socket.AF_INET6, text))
    except (OSError, ValueError):
        return False  # a capture may hold any text
    return 1 < address < 1 << 32


def _hardware(interface: Interface, counters: ProcCounters | None) -> str:
    known = hardware_type(interface.hardware_type)
    line = _INDENT + known.name
    memory = _fetched(interface.hardware_address, counters)
    if known.address is not None and (any(memory) or not known.hides_null):
        line += " " + printable(known.address(memory))
    queue_length = as_int(interface.queue_length)
    if queue_length != -1:
        line += f"  txqueuelen {queue_length}"
    return f"{line}  ({known.title})\n"


def _fetched(hardware_address: str | None, counters: ProcCounters | None) -> bytes:
    """Return what netstat has in memory of an address: 8 bytes of it, zeros, and behind them its counters."""
    try:
        address = bytes.fromhex((hardware_address or "").replace(":", ""))
    except ValueError:
        address = b""  # a capture may hold any text
    known = (1, counters.rx_packets, counters.tx_packets, counters.rx_bytes) if counters else (0, 0, 0, 0)
    return _MEMORY.pack(address[:8], *known)


def _size(count: int) -> str:
    if count > _EXBIBYTE:
        tenths, unit = count // _EXBIBYTE_TENTH, "EiB"
    else:
        size, unit = next(((size, unit) for size, unit in _SIZES if count > size), (1, "B"))
        tenths = 10 * count // size
    return f"{tenths // 10}.{tenths % 10} {unit}"


def _counted(counters: ProcCounters, *, compressed: bool) -> Iterator[str]:
    yield (
        f"{_INDENT}RX packets {counters.rx_packets}  bytes {counters.rx_bytes} ({_size(counters.rx_bytes)})\n"
    )
    if compressed:
        yield f"{_INDENT}RX compressed:{counters.rx_compressed}\n"
    yield (
        f"{_INDENT}RX errors {counters.rx_errors}  dropped {counters.rx_dropped}"
        f"  overruns {counters.rx_fifo}  frame {counters.rx_frame}\n"
    )
    yield (
        f"{_INDENT}TX packets {counters.tx_packets}  bytes {counters.tx_bytes} ({_size(counters.tx_bytes)})\n"
    )
    if compressed:
        yield f"{_INDENT}TX compressed {counters.tx_compressed}\n"
    yield (
        f"{_INDENT}TX errors {counters.tx_errors}  dropped {counters.tx_dropped} overruns {counters.tx_fifo}"
        f"  carrier {counters.tx_carrier}  collisions {counters.collisions}\n"
    )


def _device(interface: Interface) -> Iterator[str]:
    irq, base, dma = interface.irq & 0xFF, interface.base_address & 0xFFFF, interface.dma & 0xFF
    start, end = interface.mem_start & _U64, interface.mem_end & _U64
    if not (irq or start or dma or base >= _PORTS_FROM):
        return
    line = f"{_INDENT}device "
    if irq:
        line += f"interrupt {irq}  "
    if base >= _PORTS_FROM:
        line += f"base 0x{base:x}  "
    if start:
        line += f"memory 0x{start:x}-{end:x}  "
    if dma:
        line += f"  dma 0x{dma:x}"
    yield line + "\n"
