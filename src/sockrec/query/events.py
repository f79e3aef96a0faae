"""What happened, in order: rows of the view `events` that are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sockrec.catalog.views import EVENTS
from sockrec.errors import UsageError
from sockrec.query import grammar, words
from sockrec.query.when import of_peer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sockrec.catalog import Catalog

COLUMNS: Final = EVENTS.names
KINDS: Final = ("listening", "stopped listening", "opened", "closed", "exited", "exec", "lost")
# How one event comes after another: by when it was known to have happened.
ORDER: Final = "not_after, not_before, host, kind, local_port, remote_port, pid"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events are asked for: those that fit everything that is given.

    `port` is that of either end. An event may have happened between two moments: it counts when it may have
    happened in [`first_us`, `last_us`] (microseconds UTC, both inside). Events that were lost could have
    been any: they are told of too, unless `kinds` leaves them out.
    """

    port: int | None = None
    protocol: str | None = None
    pid: int | None = None
    address: str | None = None
    peer_port: int | None = None
    kinds: tuple[str, ...] = ()
    first_us: int | None = None
    last_us: int | None = None

    @property
    def is_of_some(self) -> bool:
        """Whether events of some sockets or processes only are asked for."""
        return not (self.port is None and self.pid is None and self.address is None)


def wanted(
    port: int | str | None = None,
    pid: int | str | None = None,
    peer: str | None = None,
    kinds: Sequence[str] = (),
    first_us: int | None = None,
    last_us: int | None = None,
) -> Wanted:
    """Return what is asked for from what was typed; raises `UsageError` for what makes no sense."""
    number, protocol = (None, None) if port is None else grammar.port_and_protocol(str(port))
    address, peer_port = (None, None) if peer is None else grammar.peer(peer)
    if first_us is not None and last_us is not None and last_us < first_us:
        raise UsageError("--to is before --from")
    return Wanted(
        number,
        protocol,
        None if pid is None else grammar.process_id(str(pid)),
        address,
        peer_port,
        tuple(map(_kind, kinds)),
        first_us,
        last_us,
    )


def select(wanted: Wanted, source: str = "events") -> str:
    """Return the SELECT of the events asked for, unordered: `COLUMNS`, then `told` and `is_match`.

    `told` says in words how a process or a listener ended; `is_match` is false for losses that are told
    of because any event may be among them.
    """
    chosen = f"SELECT *, {_TOLD} AS told, {{}} AS is_match FROM {source} WHERE {{}}"
    some = [*_of(wanted), *_when(wanted)]
    if wanted.kinds:
        some.append(f"kind IN ({', '.join(repr(kind) for kind in wanted.kinds)})")
    # Each end by itself: a filter on one column reaches the files, one on either of two does not.
    ends = ["true"]
    if (port := wanted.port) is not None:
        ends = [f"local_port = {port}", f"remote_port = {port} AND local_port <> {port}"]
    parts = [chosen.format("true", " AND ".join([end, *some])) for end in ends]
    if wanted.is_of_some and not wanted.kinds:
        parts.append(chosen.format("false", " AND ".join(["kind = 'lost'", *_when(wanted)])))
    return " UNION ALL ".join(parts)


def ordered(wanted: Wanted) -> str:
    """Return the SELECT of the events asked for, in order of time."""
    return f"SELECT * FROM ({select(wanted)}) ORDER BY {ORDER}"


def latest(wanted: Wanted, count: int) -> str:
    """Return the SELECT of the last so many of them, in order of time."""
    backwards = ", ".join(f"{name} DESC" for name in ORDER.split(", "))
    last = f"SELECT * FROM ({select(wanted)}) ORDER BY {backwards} LIMIT {count}"
    return f"SELECT * FROM ({last}) ORDER BY {ORDER}"


def were_told(catalog: Catalog) -> bool:
    """Tell whether any event source told anything, or all that is known comes from samples."""
    return bool(catalog.rows("SELECT 1 FROM base.events LIMIT 1"))


_TOLD: Final = f"""CASE kind WHEN 'exited' THEN {words.process_cause()}
    WHEN 'stopped listening' THEN {words.listener_cause()} END"""


def _kind(text: str) -> str:
    word = " ".join(text.lower().replace("-", " ").replace("_", " ").split())
    found = {"stopped": "stopped listening", **{kind: kind for kind in KINDS}}.get(word)
    if found is None:
        raise UsageError(f"there is no kind of event {text!r}: give one of {', '.join(KINDS)}")
    return found


def _of(wanted: Wanted) -> list[str]:
    conditions = []
    if wanted.protocol is not None:
        conditions.append(f"protocol = '{wanted.protocol}'")
    if wanted.pid is not None:
        conditions.append(f"pid = {wanted.pid}")
    if wanted.address is not None:
        conditions.append(of_peer(wanted.address, wanted.peer_port))
    return conditions


def _when(wanted: Wanted) -> list[str]:
    conditions = []
    if wanted.first_us is not None:
        conditions.append(f"not_after >= make_timestamptz({wanted.first_us})")
    if wanted.last_us is not None:
        conditions.append(f"not_before <= make_timestamptz({wanted.last_us})")
    return conditions
