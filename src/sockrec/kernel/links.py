"""Interfaces, what they have counted, and their addresses, read through rtnetlink(7).

Interfaces and counters are two dumps: without counters the kernel answers far more cheaply, and most
messages are then, byte for byte, those of the last reading.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from errno import EINVAL, EOPNOTSUPP
from types import TracebackType
from typing import Final, NamedTuple, TypeVar

from sockrec.errors import KernelError
from sockrec.kernel import link_messages as wire
from sockrec.kernel.link_speed import Speeds
from sockrec.kernel.netlink import NetlinkError
from sockrec.kernel.rtnetlink import RouteSocket
from sockrec.model.network import Address, Interface, LinkCounters

_ATTEMPTS: Final = 4  # the first, and three more where something changed meanwhile
_IPV6_ORDER: Final = "/proc/thread-self/net/if_inet6"
_READ_BYTES: Final = 1 << 16
# What kernels before 4.7 say to RTM_GETSTATS.
_UNKNOWN_REQUEST: Final = {EINVAL, EOPNOTSUPP}
_MOVED: Final = "they changed while they were read"

Fact = TypeVar("Fact")


class Links(NamedTuple):
    """The interfaces of a namespace and their counters, in the kernel's order.

    `incomplete` has a line for each thing that could not be read whole: what is missing then proves nothing.
    """

    interfaces: list[Interface]
    counters: list[LinkCounters]
    incomplete: tuple[str, ...] = ()


class Addresses(NamedTuple):
    """The addresses of a namespace; `incomplete` as in `Links`.

    IPv4 comes first, each interface's in the order of SIOCGIFCONF (netdevice(7)), which is the dump's; then
    IPv6 in the order of /proc/net/if_inet6, a hash table's, which is not the dump's.
    """

    addresses: list[Address]
    incomplete: tuple[str, ...] = ()


class LinkReader:
    """Reads interfaces and addresses of the namespace that the calling thread is in when it is made.

    From then on any thread may use it. Where netlink is refused it reads nothing, and says so.
    """

    def __init__(self) -> None:
        self._unavailable: list[str] = []
        self._route: RouteSocket | None = None
        self._order: _Ipv6Order | None = None
        self._why_no_order = ""
        self._speeds = Speeds()
        self._interfaces: dict[bytes, Interface] = {}
        self._addresses: dict[bytes, Address | None] = {}
        self._counted = True
        try:
            self._route = RouteSocket()
        except OSError as error:
            self._unavailable.append(
                f"rtnetlink is refused ({error.strerror}): interfaces and addresses are not recorded"
            )
            return
        try:
            self._order = _Ipv6Order()
        except OSError as error:
            self._why_no_order = str(error.strerror)

    @property
    def unavailable(self) -> tuple[str, ...]:
        """A line for each thing that is missing, with what is lost; whole after both have been read."""
        return tuple(self._unavailable)

    def read_links(self) -> Links:
        """Read interfaces and counters now.

        Raises `KernelError` where the kernel's answer can't be taken apart: it is not guessed at.
        """
        if self._route is None:
            return Links([], [], ("interfaces: rtnetlink is refused",))
        for _ in range(_ATTEMPTS):
            interfaces, why = self._read_interfaces(self._route)
            counted, why_not_counted = self._read_counters(self._route)
            if not why and not why_not_counted:
                if not self._counted or counted.keys() == {each.ifindex for each in interfaces}:
                    break
                why_not_counted = _MOVED
        self._speeds.forget_all_but(each.ifindex for each in interfaces)
        counters = [
            LinkCounters(each.ifindex, each.name, *counted[each.ifindex])
            for each in interfaces
            if each.ifindex in counted
        ]
        reasons = (("interfaces", why), ("counters of interfaces", why_not_counted))
        return Links(interfaces, counters, tuple(f"{what}: {reason}" for what, reason in reasons if reason))

    def read_addresses(self) -> Addresses:
        """Read addresses now; raises as `read_links` does."""
        if self._route is None:
            return Addresses([], ("addresses: rtnetlink is refused",))
        for _ in range(_ATTEMPTS):
            messages, why, _ = _dump(self._route, wire.RTM_GETADDR, wire.RTM_NEWADDR, wire.ADDRESSES)
            if not why:
                break
        self._addresses = _decoded(wire.decode_address, messages, self._addresses)
        found = [address for address in self._addresses.values() if address is not None]
        ipv4 = [address for address in found if address.family == "inet"]
        ipv6 = [address for address in found if address.family == "inet6"]
        return Addresses(ipv4 + self._ordered(ipv6), (f"addresses: {why}",) if why else ())

    def close(self) -> None:
        """Close the socket and the file."""
        if self._route is not None:
            self._route.close()
        if self._order is not None:
            self._order.close()

    def __enter__(self) -> LinkReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_interfaces(self, route: RouteSocket) -> tuple[list[Interface], str]:
        messages, why, _ = _dump(route, wire.RTM_GETLINK, wire.RTM_NEWLINK, wire.LINKS)

        def decode(message: bytes) -> Interface:
            each, carrier_changes = wire.decode_link(message)
            carrier = bool(each.flags & wire.IFF_LOWER_UP)
            depends_on = (each.flags, each.operstate, carrier_changes)
            speed = self._speeds.of(route.fileno(), each.ifindex, each.name, carrier, depends_on)
            return each._replace(speed=speed)

        self._interfaces = _decoded(decode, messages, self._interfaces)
        return list(self._interfaces.values()), why

    def _read_counters(self, route: RouteSocket) -> tuple[dict[int, tuple[int, ...]], str]:
        if not self._counted:
            return {}, ""
        messages, why, code = _dump(route, wire.RTM_GETSTATS, wire.RTM_NEWSTATS, wire.STATS)
        if code in _UNKNOWN_REQUEST:
            self._counted = False
            self._unavailable.append(
                "this kernel has no RTM_GETSTATS (Linux 4.7): counters of interfaces are not recorded"
            )
            return {}, ""
        decoded = _decoded(wire.decode_counters, messages, {})
        return dict(each for each in decoded.values() if each is not None), why

    def _ordered(self, addresses: list[Address]) -> list[Address]:
        """Return IPv6 addresses in the order of /proc/net/if_inet6; what it lacks comes last."""
        if not addresses:
            return addresses
        if self._order is None:
            line = (
                f"/proc/net/if_inet6 can't be read ({self._why_no_order}): IPv6 addresses of one interface"
                " are not in netstat's order"
            )
            if line not in self._unavailable:
                self._unavailable.append(line)
            return addresses
        ranks = self._order.ranks()
        return sorted(addresses, key=lambda each: ranks.get((each.address, each.ifindex), len(ranks)))


class _Ipv6Order:
    """/proc/net/if_inet6 of the namespace in which it is opened, kept open."""

    def __init__(self) -> None:
        self._file = os.open(_IPV6_ORDER, os.O_RDONLY | os.O_CLOEXEC)
        self._text = b""
        self._ranks: dict[tuple[str, int], int] = {}

    def ranks(self) -> dict[tuple[str, int], int]:
        """Return the place of each (address, interface index) in the file."""
        text = b""
        try:
            while part := os.pread(self._file, _READ_BYTES, len(text)):
                text += part
        except OSError as error:
            raise KernelError(f"/proc/net/if_inet6 can't be read: {error.strerror}") from error
        if text != self._text:
            self._ranks = parse_if_inet6(text)
            self._text = text
        return self._ranks

    def close(self) -> None:
        os.close(self._file)


def parse_if_inet6(text: bytes) -> dict[tuple[str, int], int]:
    """Return the place of each (address, interface index) in /proc/net/if_inet6.

    Raises `KernelError` for a line of another form.
    """
    ranks: dict[tuple[str, int], int] = {}
    for line in text.split(b"\n"):
        if not line:
            continue
        try:
            address, index, _ = line.split(None, 2)
            key = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(address.decode("ascii"))), int(index, 16)
        except ValueError as error:
            raise KernelError(
                f"/proc/net/if_inet6 has a line of an unknown form ({error}): report this kernel"
            ) from error
        ranks[key] = len(ranks)
    return ranks


def _dump(route: RouteSocket, kind: int, answer: int, request: bytes) -> tuple[list[bytes], str, int]:
    """Return the messages of a dump, why some may be missing, and the error that refused it, or 0."""
    try:
        messages, incomplete = route.dump(kind, answer, request)
    except NetlinkError as error:
        return [], f"rtnetlink: {error.strerror}", error.errno or 0
    return messages, incomplete, 0


def _decoded(
    decode: Callable[[bytes], Fact], messages: list[bytes], known: dict[bytes, Fact]
) -> dict[bytes, Fact]:
    """Return what each message says; what it said the last time is not taken apart again."""
    try:
        return {message: known[message] if message in known else decode(message) for message in messages}
    except NetlinkError as error:
        raise KernelError(
            f"rtnetlink answers in an unknown form ({error.strerror}): report this kernel"
        ) from error
