"""What differs between two moments: listeners one by one, connections by the service they are to.

The two may be of one capture or of two, of one host or of two. Ephemeral ports say nothing and are folded
away: of a connection only its program and its server's end count.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from sockrec.catalog.sources import literal
from sockrec.model.addresses import endpoint
from sockrec.model.programs import known_as

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from sockrec.catalog import Catalog

COLUMNS: Final = (
    "what",
    "kind",
    "protocol",
    "address",
    "port",
    "program",
    "before",
    "after",
    "same",
    "pids_before",
    "pids_after",
    "detail",
)
KINDS: Final = ("listener", "outbound", "inbound")
_WHATS: Final = ("closed", "moved", "changed", "opened")
Process = tuple[int, str | None]


@dataclass(frozen=True, slots=True)
class Service:
    """What one program has open of one service at one moment.

    `kind` is `listener` (a TCP socket that listens, or another without a peer), `inbound` (connections
    accepted on `port`) or `outbound` (connections made to `address` and `port`). `address` is None for
    inbound ones, whatever they came in on; `port` is None for sockets without a peer on ephemeral ports.
    `ids` are the sockets' socket_ids, `holders` their first holders.
    """

    kind: str
    protocol: str
    address: str | None
    port: int | None
    program: str | None
    ids: frozenset[int] = frozenset()
    holders: frozenset[Process] = frozenset()
    uids: frozenset[int] = frozenset()
    backlog: int | None = None

    @property
    def pids(self) -> frozenset[int]:
        """The pids of the holders."""
        return frozenset(pid for pid, _ in self.holders)


@dataclass(frozen=True, slots=True)
class Difference:
    """One service that is not the same at both moments; `before` or `after` is None where it is not there.

    `what` is opened, closed, changed, or moved: to another address or port. `details` say what changed.
    """

    what: str
    before: Service | None
    after: Service | None
    details: tuple[str, ...] = field(default=())

    @property
    def service(self) -> Service:
        """The service as it is, or as it was if it is gone."""
        found = self.after or self.before
        assert found is not None  # noqa: S101 - one of the two is there
        return found

    def row(self) -> tuple[Any, ...]:
        """Return the difference as a row with the columns `COLUMNS`.

        `before` and `after` count sockets, `same` those that are there both times.
        """
        service, sides = self.service, (self.before, self.after)
        before, after = (frozenset() if side is None else side.ids for side in sides)
        pids = [[] if side is None else sorted(side.pids) for side in sides]
        return (
            *(self.what, service.kind, service.protocol, service.address, service.port, service.program),
            *(len(before), len(after), len(before & after), *pids, "; ".join(self.details)),
        )


# What is left of connections that no process holds any more is over (SYN_RECV is not yet held).
_SERVICES: Final = """
WITH ephemeral AS (
    SELECT try_cast(string_split_regex(trim(value), '\\s+')[1] AS BIGINT) AS low,
        try_cast(string_split_regex(trim(value), '\\s+')[2] AS BIGINT) AS high
    FROM limits WHERE host = {host} AND name = 'net.ipv4.ip_local_port_range'
    ORDER BY first_seen <= {at} DESC, first_seen DESC LIMIT 1
), now AS (
    SELECT * REPLACE (
        replace(local_address, '::ffff:', '') AS local_address,
        replace(remote_address, '::ffff:', '') AS remote_address
    )
    FROM sockets_at({at}) WHERE host = {host} AND (inode <> 0 OR state IN ('LISTEN', 'SYN_RECV'))
), listening AS (
    SELECT DISTINCT netns, local_port FROM now WHERE state = 'LISTEN'
), told AS (
    SELECT n.*, CASE WHEN n.state = 'LISTEN' OR (n.remote_port = 0 AND n.protocol <> 'tcp') THEN 'listener'
            WHEN n.remote_port = 0 THEN NULL
            WHEN n.protocol = 'tcp' AND l.local_port IS NOT NULL THEN 'inbound' ELSE 'outbound' END AS kind,
        coalesce((SELECT low FROM ephemeral), 32768) AS low,
        coalesce((SELECT high FROM ephemeral), 60999) AS high
    FROM now n LEFT JOIN listening l ON l.netns = n.netns AND l.local_port = n.local_port
)
SELECT kind, protocol,
    CASE kind WHEN 'listener' THEN local_address WHEN 'outbound' THEN remote_address END AS address,
    CASE WHEN kind = 'outbound' THEN remote_port
        WHEN kind = 'listener' AND protocol LIKE 'udp%' AND local_port BETWEEN low AND high THEN NULL
        ELSE local_port END AS port,
    program, list(socket_id), list(DISTINCT pid) FILTER (pid IS NOT NULL), list(DISTINCT uid),
    max(backlog_limit)
FROM told WHERE kind IS NOT NULL GROUP BY ALL
"""


def services(catalog: Catalog, host: str, at_us: int) -> list[Service]:
    """Return the services of a host in the sample in force at a moment, microseconds UTC."""
    sql = _SERVICES.format(host=literal(host), at=f"make_timestamptz({at_us})")
    found: dict[Hashable, Service] = {}
    for kind, protocol, address, port, program, ids, pids, uids, backlog in catalog.rows(sql):
        one = Service(
            kind,
            protocol,
            address,
            port,
            known_as(program),
            frozenset(ids),
            frozenset((pid, known_as(program)) for pid in pids or ()),
            frozenset(uids),
            backlog if kind == "listener" and protocol == "tcp" else None,
        )
        key = _place(one), one.program
        found[key] = _together(found[key], one) if key in found else one
    return list(found.values())


def differences(before: Iterable[Service], after: Iterable[Service]) -> list[Difference]:
    """Return what differs, listeners first, then connections made and accepted; the largest change first.

    The same program on the same address and port with another pid was restarted: a listener that changed.
    One that is gone while the same program listens elsewhere moved.
    """
    was, now = list(before), list(after)
    found: list[Difference] = []
    for key in (_same, _same_place, _same_port, _same_address):
        pairs = _paired(was, now, key)
        for old, new in pairs:
            was.remove(old)
            now.remove(new)
            found += _compared(old, new)
    found += [Difference("closed", old, None) for old in was]
    found += [Difference("opened", None, new) for new in now]
    return sorted(found, key=_order)


def _together(one: Service, other: Service) -> Service:
    """Return two parts of a service, of programs with several titles, as one."""
    backlogs = [each.backlog for each in (one, other) if each.backlog is not None]
    return replace(
        one,
        ids=one.ids | other.ids,
        holders=one.holders | other.holders,
        uids=one.uids | other.uids,
        backlog=max(backlogs, default=None),
    )


def _place(service: Service) -> tuple[object, ...]:
    return service.kind, service.protocol, service.address, service.port


def _same(service: Service) -> Hashable | None:
    return _place(service), service.program


def _same_place(service: Service) -> Hashable | None:
    """Return what a listener keeps that was replaced by another program."""
    return _place(service) if service.kind == "listener" and service.port else None


def _same_port(service: Service) -> Hashable | None:
    """Return what a listener keeps that moved to another address."""
    return (service.protocol, service.port, service.program) if _moves(service) else None


def _same_address(service: Service) -> Hashable | None:
    """Return what a listener keeps that moved to another port."""
    return (service.protocol, service.address, service.program) if _moves(service) else None


def _moves(service: Service) -> bool:
    return service.kind == "listener" and bool(service.port) and service.program is not None


def _paired(
    was: Sequence[Service], now: Sequence[Service], key: Callable[[Service], Hashable | None]
) -> list[tuple[Service, Service]]:
    """Return the services that a key leaves no doubt of: one on either side has it."""
    sides: list[dict[Hashable, list[Service]]] = []
    for side in (was, now):
        by_key: defaultdict[Hashable, list[Service]] = defaultdict(list)
        for service in side:
            if (value := key(service)) is not None:
                by_key[value].append(service)
        sides.append(by_key)
    old, new = sides
    return [
        (old[value][0], new[value][0]) for value in old if len(old[value]) == 1 == len(new.get(value, ()))
    ]


def _compared(old: Service, new: Service) -> list[Difference]:
    """Return how two states of a service differ, if they do."""
    if old.kind != "listener" or old.port is None:
        same = len(old.ids & new.ids)
        if len(old.ids) == len(new.ids):
            return []
        return [Difference("changed", old, new, (f"{same:,} of them the same",) if same else ())]
    moved = (old.address, old.port) != (new.address, new.port)
    details = [f"was on {endpoint(old.address, old.port)}"] if moved else []
    if old.program != new.program:
        details.append(f"program {old.program or 'unknown'} -> {new.program or 'unknown'}")
    elif old.pids and new.pids and not old.pids & new.pids:
        details.append(f"restarted: pid {_listed(old.pids)} -> {_listed(new.pids)}")
    if old.uids != new.uids:
        details.append(f"user {_listed(old.uids)} -> {_listed(new.uids)}")
    if old.backlog != new.backlog:
        details.append(f"backlog {_number(old.backlog)} -> {_number(new.backlog)}")
    if len(old.ids) != len(new.ids):
        details.append(f"sockets {len(old.ids):,} -> {len(new.ids):,}")
    return [Difference("moved" if moved else "changed", old, new, tuple(details))] if details else []


def _listed(numbers: Iterable[int]) -> str:
    first, *rest = sorted(numbers)
    return f"{first}" if not rest else f"{first} (+{len(rest)})"


def _number(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _order(difference: Difference) -> tuple[object, ...]:
    service = difference.service
    before, after = (0 if side is None else len(side.ids) for side in (difference.before, difference.after))
    size = 0 if service.kind == "listener" else -abs(after - before)
    rank = _WHATS.index(difference.what) if service.kind == "listener" else 0
    place = (service.protocol, service.port or 0, service.address or "", service.program or "")
    return KINDS.index(service.kind), rank, size, *place
