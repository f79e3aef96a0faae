"""A baseline learned from what a capture has seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from sockrec.errors import NothingMatchedError
from sockrec.model.baseline import ANY, Baseline, Connects, Listens, folded, network, together
from sockrec.query.baseline import seen
from sockrec.query.baseline.seen import Facts, Peers, Seen, Span

if TYPE_CHECKING:
    from sockrec.catalog import Catalog

# A program that connects to more ephemeral ports than these is told which, each time (passive FTP).
_MOST_PORTS: Final = 8


def learn(catalog: Catalog, span: Span) -> Baseline:
    """Return what hosts had open in a stretch of time.

    Connections whose program is not known are left out: a recorder that may not see owners learns services
    alone. Raises `NothingMatchedError` if no sample was taken then.
    """
    if not catalog.rows(f"SELECT 1 FROM samples WHERE {span.touches('began_at', 'ended_at')} LIMIT 1"):
        raise NothingMatchedError("nothing was recorded in that time")
    listens = services(seen.listening(catalog, span), seen.accepted(catalog, span))
    return Baseline(listens, outgoing(seen.connecting(catalog, span), seen.facts(catalog)))


def services(listening: Iterable[Seen], accepted: Iterable[Peers] = ()) -> tuple[Listens, ...]:
    """Return what listened as services; `accepted` is whose connections came in.

    Of UDP and raw sockets nobody knows the peers: they are any.
    """
    peers: defaultdict[tuple[str, int | None], list[Peers]] = defaultdict(list)
    for each in accepted:
        peers[each.protocol, each.port].append(each)
    rows = list(listening)
    programs: defaultdict[tuple[str, int | None], set[str | None]] = defaultdict(set)
    for one in rows:
        programs[one.protocol, one.port].add(one.program)
    found = []
    for one in rows:
        place = one.protocol, one.port
        # A listener may hand what it accepted to another program: then all of the port's are meant.
        mine = [
            address
            for each in peers.get(place, ())
            if each.program == one.program or each.program not in programs[place]
            for address in each.addresses
        ]
        networks = _networks(mine) if one.protocol == "tcp" else frozenset({ANY})
        users = frozenset() if one.user is None else frozenset({one.user})
        found.append(Listens(*place, one.program, users, frozenset({one.address}), networks))
    return together(found)


def outgoing(connecting: Iterable[Peers], known: Facts) -> tuple[Connects, ...]:
    """Return who connected where, with the peers as networks."""
    rows = list(connecting)
    ephemeral: defaultdict[tuple[str | None, str], set[int]] = defaultdict(set)
    for one in rows:
        if known.is_ephemeral(one.host, one.port):
            ephemeral[one.program, one.protocol].add(one.port)
    by_port: defaultdict[tuple[str, str, int | None], set[str]] = defaultdict(set)
    for one in rows:
        mine = ephemeral[one.program, one.protocol]
        port = None if one.port in mine and len(mine) > _MOST_PORTS else one.port
        if one.program is not None:
            by_port[one.program, one.protocol, port].update(one.addresses)
    return together(Connects(*place, _networks(addresses)) for place, addresses in by_port.items())


def _networks(addresses: Iterable[str]) -> frozenset[str]:
    return folded({network(address) for address in addresses})
