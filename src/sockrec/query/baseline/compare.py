"""What differs between a baseline and what was seen: each service is told once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sockrec.model.baseline import ANY, Baseline, Connects, Listens, ordered, outside, together
from sockrec.query.baseline.seen import Facts

COLUMNS: Final = ("what", "kind", "protocol", "port", "program", "changed", "before", "after", "detail")
NEW, GONE, CHANGED = "new", "gone", "changed"
_WHATS: Final = (NEW, CHANGED, GONE)
# Of several sockets beyond this many the rest is counted.
_MOST_NAMED: Final = 8


@dataclass(frozen=True, slots=True)
class Difference:
    """One service, or what a program connects to, that is not as in the baseline.

    `what` is new, gone (`after` is None) or changed; `changed` names what did: program, address, user, peers.
    `detail` says it in words.
    """

    what: str
    before: Listens | Connects | None
    after: Listens | Connects | None
    changed: tuple[str, ...] = ()
    detail: str = ""

    @property
    def entry(self) -> Listens | Connects:
        """It as it is now, or as it was if it is gone."""
        found = self.after or self.before
        assert found is not None  # noqa: S101 - one of the two is there
        return found

    @property
    def kind(self) -> str:
        """`listens` or `connects`, as in the file."""
        return "listens" if isinstance(self.entry, Listens) else "connects"

    def row(self) -> tuple[Any, ...]:
        """Return it as a row with the columns `COLUMNS`; an ephemeral port is None."""
        one = self.entry
        return (
            *(self.what, self.kind, one.protocol, one.port, one.program, list(self.changed)),
            *(None if side is None else shown(side) for side in (self.before, self.after)),
            self.detail,
        )


def shown(entry: Listens | Connects) -> dict[str, Any]:
    """Return an entry's lists, as the file has them."""
    lists: dict[str, Any] = {"program": entry.program}
    if isinstance(entry, Listens):
        lists |= {"users": sorted(entry.users), "addresses": ordered(entry.addresses)}
    return lists | {"peers": ordered(entry.peers)}


def differences(baseline: Baseline, now: Baseline, known: Facts, host: str) -> list[Difference]:
    """Return what differs: services first, the new ones before those that changed or are gone.

    Fewer users or peers are no difference, nor is a connection that was not made: what is seen may be short,
    and what is usual need not happen in it. A service, or an address of it, that is not there is one.
    """
    return [
        *services(baseline.listens, now.listens, known, host),
        *outgoing(baseline.connects, now.connects, known, host),
    ]


def services(usual: Iterable[Listens], now: Iterable[Listens], known: Facts, host: str) -> list[Difference]:
    """Return how what listens differs.

    A service with the same program on the same port is the same one. Another program on its port replaced
    it, and another ephemeral port of the same program is as good.
    """

    def ephemeral(one: Listens) -> Hashable | None:
        is_one = one.port is None or known.is_ephemeral(host, one.port)
        return (one.protocol, one.program, one.users, one.addresses) if is_one else None

    was, found = list(usual), list(now)
    told = _alike(was, found, _same)
    told += _unnamed(was, found)
    told += _alike(was, found, ephemeral)
    told += _alike(was, found, _same_place)
    told += [Difference(NEW, None, one, detail=_all_of(one)) for one in found]
    told += [Difference(GONE, one, None) for one in was if one.port is not None and one.protocol != "raw"]
    return sorted(told, key=lambda one: (_WHATS.index(one.what), one.entry.key))


def outgoing(usual: Iterable[Connects], now: Iterable[Connects], known: Facts, host: str) -> list[Difference]:
    """Return which connections are new, or go to new networks."""
    by_key = {one.key: one for one in usual}
    told = []
    for one in now:
        old = by_key.get(one.key)
        if old is None and one.port is not None and known.is_ephemeral(host, one.port):
            old = by_key.get(Connects(one.program, one.protocol, None).key)
        if old is None:
            told.append(Difference(NEW, None, one, detail=f"to {_named(one.peers)}"))
        elif new := outside(one.peers, old.peers):
            told.append(Difference(CHANGED, old, one, ("peers",), f"to {_named(new)} too"))
    return sorted(told, key=lambda one: (_WHATS.index(one.what), one.entry.key))


def _alike(
    was: list[Listens], now: list[Listens], key: Callable[[Listens], Hashable | None]
) -> list[Difference]:
    """Take what a key pairs out of both sides, and return how it differs."""
    told = []
    for old, new in _paired(was, now, key):
        was.remove(old)
        now.remove(new)
        told += _compared(old, new)
    return told


def _unnamed(was: list[Listens], now: list[Listens]) -> list[Difference]:
    """Take out what has no program on one side: it is whatever the other side has on that port."""
    told: list[Difference] = []
    met: list[Listens] = []
    for new in list(now):
        there = [old for old in was if (old.protocol, old.port) == (new.protocol, new.port)]
        fits = there if new.program is None else [old for old in there if old.program is None]
        if fits:
            now.remove(new)
            met += fits
            told += _compared(together(replace(old, program=None) for old in fits)[0], new)
    was[:] = [old for old in was if old not in met]
    return told


def _same(one: Listens) -> Hashable | None:
    return one.key


def _same_place(one: Listens) -> Hashable | None:
    """Return what a service keeps that was replaced by another program."""
    return None if one.port is None else (one.protocol, one.port)


def _paired(
    was: Sequence[Listens], now: Sequence[Listens], key: Callable[[Listens], Hashable | None]
) -> list[tuple[Listens, Listens]]:
    """Return the services that a key leaves no doubt of: one on either side has it."""
    sides = []
    for side in (was, now):
        by_key: defaultdict[Hashable, list[Listens]] = defaultdict(list)
        for one in side:
            if (value := key(one)) is not None:
                by_key[value].append(one)
        sides.append(by_key)
    old, new = sides
    return [
        (old[value][0], new[value][0]) for value in old if len(old[value]) == 1 == len(new.get(value, ()))
    ]


def _compared(old: Listens, new: Listens) -> list[Difference]:
    """Return how a service differs, if it does."""
    changed, details = [], []
    if old.program != new.program and None not in (old.program, new.program):
        changed.append("program")
        details.append(f"program {old.program} -> {new.program}")
    if ANY not in old.addresses and old.addresses != new.addresses:
        changed.append("address")
        details.append(_moved(old.addresses, new.addresses))
    if ANY not in old.users and (users := new.users - old.users):
        changed.append("user")
        details.append(f"user {_named(old.users)} -> {_named(users)}")
    # Only of TCP they are known.
    if new.protocol == "tcp" and (peers := outside(new.peers, old.peers)):
        changed.append("peers")
        details.append(f"peers in {_named(peers)}")
    return [Difference(CHANGED, old, new, tuple(changed), "; ".join(details))] if changed else []


def _moved(old: frozenset[str], new: frozenset[str]) -> str:
    come, gone = new - old, old - new
    if come and gone:
        return f"address {_named(gone)} -> {_named(come)}"
    return f"on {_named(come)} too" if come else f"not on {_named(gone)}"


def _all_of(one: Listens) -> str:
    return f"on {_named(one.addresses)} by user {_named(one.users)}"


def _named(texts: frozenset[str]) -> str:
    names = ordered(texts)
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return (", ".join(names[:_MOST_NAMED]) or "nobody") + more
