"""What a host normally has open: the services it offers, and the connections that its programs make.

Networks stand for the addresses in them: /24 of IPv4, /64 of IPv6, loopback as one. `ANY` among users,
addresses or peers is every one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, TypeVar

ANY: Final = "any"
MOST_NETWORKS: Final = 8
"""More peers' networks than these are told as wider ones, and more of those as any."""

_WIDTHS: Final[Mapping[int, tuple[int, int]]] = {4: (24, 16), 6: (64, 48)}
_LOOPBACKS: Final = tuple(ipaddress.ip_network(one) for one in ("127.0.0.0/8", "::1/128"))
# Many services have the same peers.
_CACHED: Final = 100_000
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Listens:
    """One service: what listens on a port, with the names of its users and the addresses it is bound to.

    `port` is None for UDP sockets on ephemeral ports, and the protocol number of raw sockets. `program` is
    None where it is not known, which is every program.
    """

    protocol: str
    port: int | None
    program: str | None
    users: frozenset[str] = frozenset({ANY})
    addresses: frozenset[str] = frozenset({ANY})
    peers: frozenset[str] = frozenset({ANY})

    @property
    def key(self) -> tuple[object, ...]:
        """What makes it this service, in the order of a file."""
        return (self.protocol, self.port is None, self.port or 0, self.program or "")


@dataclass(frozen=True, slots=True)
class Connects:
    """The connections that one program makes to one port of its `peers`; `port` None is any ephemeral one."""

    program: str
    protocol: str
    port: int | None
    peers: frozenset[str] = frozenset({ANY})

    @property
    def key(self) -> tuple[object, ...]:
        """What makes it this one, in the order of a file."""
        return (self.program, self.protocol, self.port is None, self.port or 0)


Entry = TypeVar("Entry", Listens, Connects)


@dataclass(frozen=True, slots=True)
class Baseline:
    """All that a host normally has open, in order, each service once."""

    listens: tuple[Listens, ...] = ()
    connects: tuple[Connects, ...] = ()

    @property
    def entries(self) -> tuple[Listens | Connects, ...]:
        """All of it, in the order of a file."""
        return (*self.listens, *self.connects)

    def added(self, other: Baseline) -> Baseline:
        """Return what one of both has: more is learned, nothing forgotten."""
        return Baseline(
            together((*self.listens, *other.listens)), together((*self.connects, *other.connects))
        )


def together(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return entries in the order of a file, those of one service as one."""
    found: dict[tuple[object, ...], Entry] = {}
    for entry in entries:
        known = found.get(entry.key)
        found[entry.key] = entry if known is None else _united(known, entry)
    return tuple(found[key] for key in sorted(found))


def _united(one: Entry, other: Entry) -> Entry:
    peers = folded(one.peers | other.peers)
    if isinstance(one, Listens) and isinstance(other, Listens):
        users, addresses = _either(one.users, other.users), _either(one.addresses, other.addresses)
        return replace(one, users=users, addresses=addresses, peers=peers)
    return replace(one, peers=peers)


def _either(one: frozenset[str], other: frozenset[str]) -> frozenset[str]:
    return frozenset({ANY}) if ANY in one | other else one | other


@lru_cache(maxsize=_CACHED)
def network(address: str) -> str:
    """Return the network that an address is told as; `address` may be any of it."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    for loopback in _LOOPBACKS:
        if found in loopback:
            return str(loopback)
    return str(ipaddress.ip_network((found, _WIDTHS[found.version][0]), strict=False))


def folded(networks: Iterable[str]) -> frozenset[str]:
    """Return at most `MOST_NETWORKS` networks that hold all of these, none of them inside another; or any."""
    texts = set(networks)
    if ANY in texts:
        return frozenset({ANY})
    parsed = _outermost(map(_parsed, texts))
    if len(parsed) > MOST_NETWORKS:
        parsed = _outermost(_widened(one) for one in parsed)
    if len(parsed) > MOST_NETWORKS:
        return frozenset({ANY})
    return frozenset(map(str, parsed))


def outside(networks: Iterable[str], known: Iterable[str]) -> frozenset[str]:
    """Return those networks that are in none of the known ones; any network is in `ANY` alone."""
    usual = set(known)
    if ANY in usual:
        return frozenset()
    parsed = {_parsed(one) for one in usual}
    widths = {one.prefixlen for one in parsed}
    return frozenset(one for one in networks if one == ANY or not _inside(_parsed(one), parsed, widths))


def ordered(networks: Iterable[str]) -> list[str]:
    """Return addresses or networks in the order of their numbers, IPv4 first; what is none in front."""

    def place(text: str) -> tuple[int, int, int, str]:
        try:
            found = ipaddress.ip_network(text)
        except ValueError:
            return (0, 0, 0, text)
        return (found.version, int(found.network_address), found.prefixlen, text)

    return sorted(networks, key=place)


@lru_cache(maxsize=_CACHED)
def _parsed(text: str) -> Network:
    return ipaddress.ip_network(text)


@lru_cache(maxsize=_CACHED)
def _widened(one: Network) -> Network:
    width = _WIDTHS[one.version][1]
    return one if one.prefixlen <= width else one.supernet(new_prefix=width)


def _outermost(networks: Iterable[Network]) -> set[Network]:
    every = set(networks)
    if len({one.prefixlen for one in every}) < 2:
        return every
    found: set[Network] = set()
    widths: set[int] = set()
    for one in sorted(every, key=lambda each: (each.version, each.prefixlen)):
        if not _inside(one, found, widths):
            found.add(one)
            widths.add(one.prefixlen)
    return found


def _inside(one: Network, others: set[Network], widths: set[int]) -> bool:
    """Tell whether a network is one of some, or in one: a look for each of their widths, however many."""
    return one in others or any(
        width < one.prefixlen and one.supernet(new_prefix=width) in others for width in widths
    )
