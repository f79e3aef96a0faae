"""Interfaces, counters and addresses as rtnetlink's messages hold them (rtnetlink(7), linux/if_link.h)."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Final

from sockrec.kernel import rtnetlink
from sockrec.kernel.netlink import NetlinkError
from sockrec.model.addresses import IPV4_ANY
from sockrec.model.network import Address, Interface

IFF_LOWER_UP: Final = 1 << 16

# Types of requests and of their answers, linux/rtnetlink.h
RTM_NEWLINK, RTM_GETLINK = 16, 18
RTM_NEWADDR, RTM_GETADDR = 20, 22
RTM_NEWSTATS, RTM_GETSTATS = 92, 94

# linux/if_link.h
_IFLA_ADDRESS, _IFLA_BROADCAST, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK = 1, 2, 3, 4, 5
_IFLA_MASTER, _IFLA_TXQLEN, _IFLA_MAP, _IFLA_OPERSTATE, _IFLA_LINKINFO = 10, 13, 14, 16, 18
_IFLA_EXT_MASK, _IFLA_CARRIER_CHANGES, _IFLA_LINK_NETNSID = 29, 35, 37
_IFLA_INFO_KIND: Final = 1
_RTEXT_FILTER_SKIP_STATS: Final = 1 << 3
_IFLA_STATS_LINK_64: Final = 1
# linux/if_addr.h
_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 3, 4, 8

_IFINFOMSG: Final = struct.Struct("=BxHiII")  # family, hardware type, index, flags, change
_IFADDRMSG: Final = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_IF_STATS_MSG: Final = struct.Struct("=BxxxII")  # family, index, filter
_MAP: Final = struct.Struct("=QQQHBB")  # struct rtnl_link_ifmap
_COUNTERS: Final = struct.Struct("=24Q")  # struct rtnl_link_stats64, as far as it is kept

_OPERSTATES: Final = ("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up")
_FAMILIES: Final[dict[int, tuple[str, int]]] = {socket.AF_INET: ("inet", 4), socket.AF_INET6: ("inet6", 16)}

LINKS: Final = _IFINFOMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + rtnetlink.attribute(
    _IFLA_EXT_MASK, struct.pack("=I", _RTEXT_FILTER_SKIP_STATS)
)
"""The request for all interfaces, without their counters."""
STATS: Final = _IF_STATS_MSG.pack(socket.AF_UNSPEC, 0, 1 << (_IFLA_STATS_LINK_64 - 1))
"""The request for the counters of all interfaces (struct rtnl_link_stats64 of each)."""
ADDRESSES: Final = _IFADDRMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
"""The request for all addresses."""


def decode_link(message: bytes) -> tuple[Interface, int | None]:
    """Return the interface of an RTM_NEWLINK message, without its speed, and IFLA_CARRIER_CHANGES.

    Raises `NetlinkError` (EBADMSG) for a message that can't be taken apart.
    """
    _, hardware_type, index, flags, _ = _head(_IFINFOMSG, message)
    found = rtnetlink.attributes(message, _IFINFOMSG.size)
    name = rtnetlink.text(found, _IFLA_IFNAME)
    if not name:
        raise NetlinkError(errno.EBADMSG, f"rtnetlink tells of interface {index} without a name")
    info = rtnetlink.attributes(found.get(_IFLA_LINKINFO, b""))
    operstate = rtnetlink.number(found, _IFLA_OPERSTATE, 1) or 0
    mapped = found.get(_IFLA_MAP, bytes(_MAP.size))
    mem_start, mem_end, base_address, irq, dma, _ = _head(_MAP, mapped)
    # The index of a namespace that is not ours names nothing, or something else, in ours.
    below = None if _IFLA_LINK_NETNSID in found else rtnetlink.number(found, _IFLA_LINK)
    interface = Interface(
        ifindex=index,
        name=name,
        kind=rtnetlink.text(info, _IFLA_INFO_KIND),
        hardware_type=hardware_type,
        hardware_address=_hardware(found, _IFLA_ADDRESS),
        hardware_broadcast=_hardware(found, _IFLA_BROADCAST),
        mtu=rtnetlink.number(found, _IFLA_MTU) or 0,
        flags=flags,
        operstate=_OPERSTATES[operstate] if operstate < len(_OPERSTATES) else str(operstate),
        queue_length=rtnetlink.number(found, _IFLA_TXQLEN) or 0,
        speed=None,
        master=rtnetlink.number(found, _IFLA_MASTER),
        link=below or None,
        mem_start=mem_start,
        mem_end=mem_end,
        base_address=base_address,
        irq=irq,
        dma=dma,
    )
    return interface, rtnetlink.number(found, _IFLA_CARRIER_CHANGES)


def decode_counters(message: bytes) -> tuple[int, tuple[int, ...]] | None:
    """Return index and counters, in the order of `LinkCounters`, of an RTM_NEWSTATS message.

    None if it has no counters; raises as `decode_link` does.
    """
    _, index, _ = _head(_IF_STATS_MSG, message)
    counted = rtnetlink.attributes(message, _IF_STATS_MSG.size).get(_IFLA_STATS_LINK_64)
    return None if counted is None else (index, _head(_COUNTERS, counted))


def decode_address(message: bytes) -> Address | None:
    """Return the address of an RTM_NEWADDR message, None if it is neither IPv4 nor IPv6.

    Raises as `decode_link` does.
    """
    number, prefix_length, flags, scope, index = _head(_IFADDRMSG, message)
    if number not in _FAMILIES:
        return None
    family, size = _FAMILIES[number]

    def address(kind: int) -> str | None:
        value = found.get(kind)
        if value is None:
            return None
        if len(value) != size:
            raise NetlinkError(errno.EBADMSG, f"rtnetlink tells of an {family} address of {len(value)} bytes")
        return socket.inet_ntop(number, value)

    found = rtnetlink.attributes(message, _IFADDRMSG.size)
    local, other = address(_IFA_LOCAL), address(_IFA_ADDRESS)
    if local is None and other is None:
        raise NetlinkError(errno.EBADMSG, f"rtnetlink tells of an {family} address that is not there")
    if family == "inet" and other is None:
        other = IPV4_ANY  # an IPv4 address of zeros is left out of the message
    wide = rtnetlink.number(found, _IFA_FLAGS)
    return Address(
        ifindex=index,
        family=family,
        address=local or other or "",
        prefix_length=prefix_length,
        label=rtnetlink.text(found, _IFA_LABEL) or "",
        peer=other if local is not None and other != local else None,
        broadcast=address(_IFA_BROADCAST) if family == "inet" else None,
        scope=scope,
        flags=flags if wide is None else wide,
    )


def _head(form: struct.Struct, data: bytes) -> tuple[int, ...]:
    if len(data) < form.size:
        raise NetlinkError(errno.EBADMSG, f"rtnetlink sent {len(data)} bytes where {form.size} are due")
    return form.unpack_from(data)


def _hardware(found: rtnetlink.Attributes, kind: int) -> str | None:
    value = found.get(kind)
    return value.hex(":") if value else None
