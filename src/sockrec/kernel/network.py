"""One reading of what a network namespace is beside its sockets, and of what was announced to change."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from sockrec.errors import KernelError
from sockrec.kernel import counters, groups, limits, routes
from sockrec.kernel.host import boot_us
from sockrec.kernel.links import Addresses, LinkReader, Links
from sockrec.kernel.net_table import Reading
from sockrec.kernel.network_changes import NetworkChangesSource
from sockrec.model.network import Address, Group, Interface, Limit, LinkCounters, Route

_EVERYTHING: Final = ("links", "addresses", "routes", "groups", "limits", "counters")
# How a kind of change is called, and the rows that it is about.
_CHANGED: Final = {"links": "interfaces", "addresses": "addresses", "routes": "routes", "groups": "groups"}


Told = TypeVar("Told", Links, Addresses)


class _Table(Protocol):
    def read(self) -> Reading[Any]: ...


@dataclass(slots=True)
class NetworkReading:
    """What one reading found; `began_us`, `ended_us` are CLOCK_BOOTTIME microseconds.

    None stands for what was not read, or not whole. `announced` names the tables of which nothing had changed
    until just before.
    """

    began_us: int
    ended_us: int
    interfaces: Sequence[Interface] | None = None
    link_counters: Sequence[LinkCounters] | None = None
    addresses: Sequence[Address] | None = None
    routes: Sequence[Route] | None = None
    groups: Sequence[Group] | None = None
    limits: Sequence[Limit] | None = None
    counters: counters.Reading | None = None
    announced: frozenset[str] = frozenset()


class NetworkReader:
    """Reads the network namespace that the calling thread is in when it is made, by that thread."""

    def __init__(self) -> None:
        self._links = LinkReader()
        self._tables: dict[str, _Table] = {
            "routes": routes.table(),
            "groups": groups.table(),
            "limits": limits.Limits(),
        }
        self._counters = counters.CounterReader()
        self._troubles: dict[str, tuple[str, ...]] = {}
        self._changes: NetworkChangesSource | None = None
        self._unannounced = ""
        try:
            self._changes = NetworkChangesSource()
        except KernelError as error:
            self._unannounced = str(error)

    @property
    def unavailable(self) -> tuple[str, ...]:
        """A line for each thing that is missing or not announced, and for what the last reading had not."""
        told = (self._unannounced,) if self._changes is None else self._changes.unavailable
        troubles = (line for lines in self._troubles.values() for line in lines)
        return (*self._links.unavailable, *filter(None, told), *troubles)

    @property
    def announces(self) -> Collection[str]:
        """The tables of which the kernel announces every change."""
        if self._changes is None:
            return ()
        kinds = ("interfaces", "addresses", "routes")
        return (*kinds, "groups") if self._changes.announces_groups else kinds

    def read(self) -> NetworkReading:
        """Read everything; what can't be read stands in `unavailable`."""
        return self._read(_EVERYTHING, frozenset())

    def read_announced(self) -> NetworkReading | None:
        """Read what was announced to have changed since this was last called; None if nothing was."""
        if self._changes is None:
            return None
        try:
            changes = self._changes.drain()
        except KernelError as error:
            self._changes.close()
            self._changes, self._unannounced = None, str(error)
            return None
        kinds = [kind for kind in _CHANGED if getattr(changes, kind)]
        if not kinds:
            return None
        announced = frozenset() if changes.lost else {_CHANGED[kind] for kind in kinds} & {*self.announces}
        return self._read(kinds, frozenset(announced))

    def close(self) -> None:
        """Close all sockets and files."""
        self._links.close()
        if self._changes is not None:
            self._changes.close()

    def _read(self, kinds: Collection[str], announced: frozenset[str]) -> NetworkReading:
        reading = NetworkReading(boot_us(), 0, announced=announced)
        if "links" in kinds:
            links = self._told("links", self._links.read_links)
            if links is not None:
                reading.interfaces, reading.link_counters = links.interfaces, links.counters
        if "addresses" in kinds:
            addresses = self._told("addresses", self._links.read_addresses)
            if addresses is not None:
                reading.addresses = addresses.addresses
        for kind, table in self._tables.items():
            if kind in kinds:
                told = table.read()
                self._troubles[kind] = told.incomplete
                setattr(reading, kind, None if told.unread else told.rows)
        if "counters" in kinds:
            reading.counters = self._counters.read()
            self._troubles["counters"] = reading.counters.incomplete
        reading.ended_us = boot_us()
        return reading

    def _told(self, kind: str, read: Callable[[], Told]) -> Told | None:
        """Return what was read whole, else None: sockets are recorded whatever rtnetlink says."""
        try:
            told = read()
        except KernelError as error:
            self._troubles[kind] = (str(error),)
            return None
        self._troubles[kind] = told.incomplete
        return None if told.incomplete else told
