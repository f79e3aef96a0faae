"""What a network namespace was at a moment: interfaces, addresses, routes, groups, limits and counters.

They are read at a pace of their own: what is told of a moment is what the last reading before it found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from sockrec.model.network import Address, Counter, Group, Interface, Limit, LinkCounters, Route
from sockrec.replay.rows import IN_FILES, unescaped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sockrec.replay.moment import Asked, Sample

Fact = TypeVar("Fact", Interface, Address, Route, Group, Limit)

# Beginnings and ends are of readings: what began at one and has not ended by another holds in between.
_HOLDS: Final = """
SELECT {columns} FROM parts.{table}
WHERE host = $host AND recording = $recording AND first_seen <= make_timestamptz($until)
    AND (ended_by IS NULL OR ended_by > make_timestamptz($until)) AND {in_files}
ORDER BY rank
"""
_LATEST: Final = """
SELECT {columns} FROM parts.{table}
WHERE host = $host AND recording = $recording AND read_at <= make_timestamptz($until) AND {in_files}
QUALIFY row_number() OVER (PARTITION BY {identity} ORDER BY read_at DESC) = 1
ORDER BY {order}
"""


class Network:
    """What one host's network namespace was in a sample; `at_us`: as known by that moment, if it is later."""

    def __init__(self, capture: Asked, sample: Sample, at_us: int | None = None) -> None:
        self._capture = capture
        self._sample = sample
        self._until = max(sample.ended_us, at_us or 0)

    @property
    def is_known(self) -> bool:
        """Whether any of it was recorded: captures before format 4 have none, nor has one just begun."""
        (found,) = self._ask(
            "SELECT count(*) FROM samples WHERE host = $host AND recording = $recording"
            " AND began_at <= make_timestamptz($until) AND network_read_at IS NOT NULL",
            began=False,
        )
        return bool(found[0])

    def interfaces(self) -> list[Interface]:
        """Return the interfaces."""
        return self._holds("interfaces", Interface)

    def addresses(self) -> list[Address]:
        """Return the addresses of all interfaces, in the kernel's order."""
        return self._holds("addresses", Address)

    def routes(self) -> list[Route]:
        """Return the routes, in the kernel's order, IPv4's first."""
        return self._holds("routes", Route)

    def groups(self) -> list[Group]:
        """Return the multicast groups, in the kernel's order, IPv4's first."""
        return self._holds("groups", Group)

    def limits(self) -> list[Limit]:
        """Return the kernel's settings."""
        return self._holds("limits", Limit)

    def link_counters(self) -> list[LinkCounters]:
        """Return what the interfaces had counted."""
        rows = self._latest("link_counters", LinkCounters._fields, "ifindex, name", "ifindex")
        return [LinkCounters(*map(_plain, row)) for row in rows]

    def counters(self) -> list[Counter]:
        """Return the protocol statistics, file by file as the kernel orders them."""
        rows = self._latest("counters", Counter._fields, "source, section, name", "source, place")
        return [Counter(*map(_plain, row)) for row in rows]

    def _holds(self, table: str, kind: type[Fact]) -> list[Fact]:
        sql = _HOLDS.format(columns=_columns(kind._fields), table=table, in_files=IN_FILES.format(table))
        return [kind(*map(_plain, row)) for row in self._ask(sql)]

    def _latest(self, table: str, columns: Iterable[str], identity: str, order: str) -> list[tuple[Any, ...]]:
        return self._ask(
            _LATEST.format(
                columns=_columns(columns),
                table=table,
                identity=identity,
                order=order,
                in_files=IN_FILES.format(table),
            )
        )

    def _ask(self, sql: str, *, began: bool = True) -> list[tuple[Any, ...]]:
        values = {"host": self._sample.host, "recording": self._sample.recording, "until": self._until}
        if began:
            values["began"] = self._sample.began_us
        return self._capture.run(lambda connection: connection.execute(sql, values).fetchall())


def _columns(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _plain(value: Any) -> Any:
    return unescaped(value) if isinstance(value, str) else value
