"""Who listened, who connected where, and who was let in: in a stretch of time, each fact once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sockrec.catalog.sources import literal
from sockrec.model.programs import known_as, known_as_sql

if TYPE_CHECKING:
    from sockrec.catalog import Catalog

# What the kernel has where nothing else was recorded.
_EPHEMERAL: Final = (32_768, 60_999)


@dataclass(frozen=True, slots=True)
class Span:
    """The time from `first_us` to `last_us`, microseconds UTC, of one host or of all; None: no bound."""

    host: str | None = None
    first_us: int | None = None
    last_us: int | None = None

    def touches(self, begins: str, ends: str, host: str = "host") -> str:
        """Return the condition that what lasts from `begins` to `ends` is of this time, and host."""
        parts = ["true" if self.host is None else f"{host} = {literal(self.host)}"]
        if self.first_us is not None:
            parts.append(f"{ends} >= make_timestamptz({self.first_us})")
        if self.last_us is not None:
            parts.append(f"{begins} <= make_timestamptz({self.last_us})")
        return " AND ".join(parts)


@dataclass(frozen=True, slots=True)
class Seen:
    """A program that listened on an address, or connected to it.

    `port` is None where it is an ephemeral one; `program` as people know it; `user` is a name, or the uid
    where that has none. The bounds are those of the first time.
    """

    host: str
    protocol: str
    port: int | None
    program: str | None
    address: str
    pid: int | None = None
    user: str | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None


@dataclass(frozen=True, slots=True)
class Peers:
    """Whom a program was connected with: an address of each network, and the port of the server's end."""

    host: str
    protocol: str
    port: int
    program: str | None
    addresses: list[str]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the hosts themselves: their ephemeral ports, and the names of their users."""

    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    users: Mapping[tuple[str, int], str] = field(default_factory=dict)

    def is_ephemeral(self, host: str, port: int) -> bool:
        """Tell whether the host's kernel hands out a port by itself."""
        low, high = self.ranges.get(host, _EPHEMERAL)
        return low <= port <= high

    def user(self, host: str, uid: int | None) -> str | None:
        """Return the user's name, or the uid; None if that is not known."""
        return None if uid is None else self.users.get((host, uid)) or str(uid)

    def is_ephemeral_sql(self, port: str, host: str = "host") -> str:
        """Return `is_ephemeral` of columns."""
        cases = [
            f"WHEN {literal(name)} THEN {port} BETWEEN {low} AND {high}"
            for name, (low, high) in self.ranges.items()
        ]
        default = f"{port} BETWEEN {_EPHEMERAL[0]} AND {_EPHEMERAL[1]}"
        return f"CASE {host} {' '.join(cases)} ELSE {default} END" if cases else default


_RANGES: Final = """
SELECT host, trim(value) FROM limits WHERE name = 'net.ipv4.ip_local_port_range' ORDER BY first_seen
"""


def facts(catalog: Catalog) -> Facts:
    """Return what was recorded of the hosts, as of the last time."""
    ranges: dict[str, tuple[int, int]] = {}
    for host, value in catalog.rows(_RANGES):
        numbers = value.split()
        if len(numbers) == 2 and all(number.isdecimal() for number in numbers):
            ranges[host] = (int(numbers[0]), int(numbers[1]))
    users = {
        (str(recording.get("host")), int(uid)): str(name)
        for recording in catalog.recordings
        for uid, name in _names(recording).items()
        if uid.isdecimal()
    }
    return Facts(ranges, users)


def _names(recording: Mapping[str, Any]) -> Mapping[str, Any]:
    names = recording.get("names")
    users = names.get("users") if isinstance(names, dict) else None
    return users if isinstance(users, dict) else {}


_PLAIN: Final = "replace({}, '::ffff:', '')"
# UDP sockets without a peer on ephemeral ports are those of clients, mostly.
_LISTENS: Final = "(state = 'LISTEN' OR (remote_port = 0 AND protocol <> 'tcp'))"
_LISTENING: Final = f"""
SELECT host, protocol, CASE WHEN protocol NOT LIKE 'udp%' OR NOT {{ephemeral}} THEN local_port END AS port,
    program, {_PLAIN.format("local_address")} AS address, uid,
    arg_min(pid, first_seen) AS pid, arg_min_null(begun_after, first_seen) AS not_before,
    min(first_seen) AS not_after
FROM sockets WHERE {_LISTENS} GROUP BY ALL HAVING bool_or({{touches}})
"""
# Rows of sockets, and connections that no sample saw. A request that is not answered yet is none.
_TALKED: Final = f"""
WITH listened AS (
    SELECT DISTINCT host, netns, protocol, local_port FROM sockets
    WHERE {_LISTENS} AND (protocol = 'tcp' OR NOT {{ephemeral}})
), talked AS (
    SELECT host, netns, protocol, local_port, remote_address, remote_port, program, pid,
        CASE WHEN state = 'SYN_SENT' THEN 'client' END AS role, begun_after AS not_before,
        first_seen AS not_after
    FROM sockets
    WHERE remote_port <> 0 AND protocol <> 'raw' AND state <> 'SYN_RECV' AND {{touches}}
    UNION ALL
    SELECT host, netns, protocol, local_port, remote_address, remote_port, program, pid, role,
        opened_at AS not_before, coalesce(opened_at, not_before) AS not_after
    FROM base.events
    WHERE kind = 'closed' AND NOT sampled AND remote_port <> 0
        AND (established_at IS NOT NULL OR role = 'client') AND {{told_touches}}
)
"""
# Who has an ephemeral port at its own end has connected; where only the peer has, it did, to a listener that
# is gone since.
_CONNECTED: Final = f"""{_TALKED}, connected AS (
    SELECT t.* REPLACE ({_PLAIN.format("t.remote_address")} AS remote_address)
    FROM talked t ANTI JOIN listened l ON l.host = t.host AND l.netns = t.netns
        AND l.protocol = t.protocol AND l.local_port = t.local_port
    WHERE t.program IS NOT NULL AND t.role IS DISTINCT FROM 'server'
        AND (t.role = 'client' OR {{t_local}} OR NOT {{t_remote}}) AND {{programs}}
)
"""
_ACCEPTED: Final = f"""{_TALKED}, accepted AS (
    SELECT t.* REPLACE ({_PLAIN.format("t.remote_address")} AS remote_address)
    FROM talked t SEMI JOIN listened l ON l.host = t.host AND l.netns = t.netns
        AND l.protocol = t.protocol AND l.local_port = t.local_port
    WHERE t.role IS DISTINCT FROM 'client'
)
"""
# An address of the network that it is told as: of /24, and of /64 where its text has all of that. Millions of
# addresses are few of them.
_NETWORK: Final = r"""coalesce(nullif(regexp_extract(address, '^(\d+\.){3}'), '') || '0',
        nullif(regexp_extract(address, '^([0-9a-f]+:){4}'), '') || ':', address)"""
_NETWORKS: Final = f"""
SELECT host, protocol, port, program, list(DISTINCT {_NETWORK}) FROM (
    SELECT DISTINCT host, protocol, {{port}} AS port, program, remote_address AS address FROM {{rows}}
) GROUP BY host, protocol, port, program
"""
_PROGRAMS: Final = """
SELECT program FROM sockets WHERE remote_port <> 0 AND program IS NOT NULL
UNION SELECT program FROM base.events WHERE kind = 'closed' AND program IS NOT NULL
"""
_GOING_OUT: Final = f"""
SELECT host, {known_as_sql("program")} AS named, count(DISTINCT (protocol, remote_address, remote_port)),
    arg_min({{{{'protocol': protocol, 'port': remote_port, 'address': remote_address, 'pid': pid,
        'not_before': not_before, 'not_after': not_after}}}}, not_after)
FROM connected WHERE NOT (starts_with(remote_address, '127.') OR remote_address = '::1')
GROUP BY host, named ORDER BY host, named
"""


def listening(catalog: Catalog, span: Span) -> list[Seen]:
    """Return who listened, by address and user. UDP ports that are ephemeral are told as one."""
    known = facts(catalog)
    sql = _LISTENING.format(
        ephemeral=known.is_ephemeral_sql("local_port"), touches=span.touches("first_seen", "last_seen")
    )
    return [
        Seen(
            *(host, protocol, port, known_as(program), address, pid, known.user(host, uid)),
            *(not_before, not_after),
        )
        for host, protocol, port, program, address, uid, pid, not_before, not_after in catalog.rows(sql)
    ]


def connecting(catalog: Catalog, span: Span) -> list[Peers]:
    """Return who connected where, tried to included, as far as the program is known."""
    return _networks(catalog, span, _CONNECTED, "remote_port", "connected")


def accepted(catalog: Catalog, span: Span) -> list[Peers]:
    """Return whose connections came in on which port."""
    return _networks(catalog, span, _ACCEPTED, "local_port", "accepted")


def going_out(catalog: Catalog, span: Span, usual: Collection[str]) -> list[tuple[Seen, int]]:
    """Return what other programs than the `usual` ones connected to first, and to how many places in all.

    Beyond this host's loopback.
    """
    names = [name for (name,) in catalog.rows(_PROGRAMS) if known_as(name) not in usual]
    if not names:
        return []
    programs = f"t.program IN ({', '.join(map(literal, names))})"
    sql = f"{_talked(_CONNECTED, facts(catalog), span, programs)}{_GOING_OUT.format()}"
    return [
        (Seen(host=host, program=program, **first), places)
        for host, program, places, first in catalog.rows(sql)
    ]


def _networks(catalog: Catalog, span: Span, sql: str, port: str, rows: str) -> list[Peers]:
    asked = f"{_talked(sql, facts(catalog), span)}{_NETWORKS.replace('{port}', port).replace('{rows}', rows)}"
    return [
        Peers(host, protocol, number, known_as(program), addresses)
        for host, protocol, number, program, addresses in catalog.rows(asked)
    ]


def _talked(sql: str, known: Facts, span: Span, programs: str = "true") -> str:
    return sql.format(
        ephemeral=known.is_ephemeral_sql("local_port"),
        t_local=known.is_ephemeral_sql("t.local_port", "t.host"),
        t_remote=known.is_ephemeral_sql("t.remote_port", "t.host"),
        touches=span.touches("first_seen", "last_seen"),
        told_touches=span.touches("coalesce(opened_at, not_before)", "not_after"),
        programs=programs,
    )
