"""Types of network hardware as net-tools 2.10 knows them: their names, titles and forms of address.

Numbers are ARPHRD_* (linux/if_arp.h); the list is that of `netstat -V`, each type's form that of its file in
net-tools' lib/. Types that are missing here (InfiniBand, GRE, IPv6 tunnels, ...) are `unspec` to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple


class HardwareType(NamedTuple):
    """A type's name and title, and how it writes an address; None if it writes none.

    The form is given the 64 bytes that begin with the address: its first 8, which is what netstat fetches,
    24 zeros, and then what netstat happens to have behind them. `hides_null`: 64 zeros are not written.
    """

    name: str
    title: str
    address: Callable[[bytes], str] | None = None
    hides_null: bool = False


def _joined(mark: str, letter: str, size: int) -> Callable[[bytes], str]:
    form = mark.join([f"%02{letter}"] * size)
    return lambda address: form % tuple(address[:size])


def _callsign(address: bytes) -> str:
    """Write an address of amateur radio (AX.25): six shifted letters and a number."""
    letters = bytes(byte >> 1 for byte in address[:6]).replace(b" ", b"\0").partition(b"\0")[0]
    station = (address[6] & 0x1E) >> 1
    return letters.decode("ascii") + (f"-{station}" if station else "")


def _signed(byte: int) -> int:
    """Return the int that a C `char` is promoted to, as its bits."""
    return byte | 0xFFFFFF00 if byte & 0x80 else byte


def _infrared(address: bytes) -> str:
    # Its buffer has room for 11 characters, and its bytes are signed.
    return ":".join(f"{_signed(byte):02x}" for byte in reversed(address[:4]))[:11]


def _ash(memory: bytes) -> str:
    # It takes each byte for one digit, and reads on far behind the address.
    return f"[{''.join(f'{_signed(byte):x}'[0] for byte in memory)}]"


def _dlci(address: bytes) -> str:
    return str(int.from_bytes(address[:2], "little", signed=True))


def _x25(address: bytes) -> str:
    return address[:16].partition(b"\0")[0].decode("utf-8", "surrogateescape")


_TYPES: Final = {
    0: HardwareType("netrom", "AMPR NET/ROM", _callsign),
    1: HardwareType("ether", "Ethernet", _joined(":", "x", 6)),
    3: HardwareType("ax25", "AMPR AX.25", _callsign),
    7: HardwareType("arcnet", "ARCnet", _joined("", "X", 1)),
    15: HardwareType("dlci", "Frame Relay DLCI", _dlci),
    27: HardwareType("eui64", "Generic EUI-64", _joined(":", "X", 8)),
    256: HardwareType("slip", "Serial Line IP"),
    257: HardwareType("cslip", "VJ Serial Line IP"),
    258: HardwareType("slip6", "6-bit Serial Line IP"),
    259: HardwareType("cslip6", "VJ 6-bit Serial Line IP"),
    264: HardwareType("adaptive", "Adaptive Serial Line IP"),
    270: HardwareType("rose", "AMPR ROSE", _joined("", "x", 5)),
    271: HardwareType("x25", "generic X.25", _x25),
    512: HardwareType("ppp", "Point-to-Point Protocol"),
    513: HardwareType("hdlc", "(Cisco)-HDLC"),
    516: HardwareType("lapb", "LAPB"),
    768: HardwareType("tunnel", "IPIP Tunnel", lambda _: ""),
    770: HardwareType("frad", "Frame Relay Access Device"),
    772: HardwareType("loop", "Local Loopback"),
    774: HardwareType("fddi", "Fiber Distributed Data Interface", _joined("-", "X", 6)),
    776: HardwareType("sit", "IPv6-in-IPv4"),
    780: HardwareType("hippi", "HIPPI", _joined(":", "X", 6)),
    781: HardwareType("ash", "Ash", _ash, hides_null=True),
    782: HardwareType("ec", "Econet"),
    783: HardwareType("irda", "IrLAP", _infrared),
}
_UNSPEC: Final = HardwareType("unspec", "UNSPEC", _joined("-", "X", 16))

COMPRESSED: Final = frozenset({257, 259})
"""The types whose compressed packets netstat counts: SLIP with Van Jacobson's headers."""


def hardware_type(number: int) -> HardwareType:
    """Return what netstat takes a type for."""
    return _TYPES.get(number, _UNSPEC)
