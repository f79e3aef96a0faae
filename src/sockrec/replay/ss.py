"""The sockets that a sample found, as rows for ss's format.

Queues and timers are of a socket's latest row of `activity`, the rest of its latest that has counters, as in
`sockets_at` (`sockrec.catalog.moments`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sockrec.catalog import counters
from sockrec.catalog.moments import newest
from sockrec.model.ss_row import Bbr, Holder, SocketMemory, SsRow, SsUnixRow, TcpInfo
from sockrec.replay.moment import found_by
from sockrec.replay.rows import HELD, IN_FILES, unescaped

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sockrec.replay.moment import Asked, Sample

_OWNER: Final = ("owner", "fd_pids", "fds")
_QUEUES: Final = ("recv_q", "send_q", "backlog_limit", "drops")
_TIMER: Final = ("timer", "timer_deadline", "retransmits", "probes")
_MEMORY: Final = ("rmem", "rcvbuf", "wmem", "sndbuf", "fwd_alloc", "wmem_queued", "optmem", "backlog")
# How long ago, by the column that tells when.
_AGES: Final = {
    "last_data_sent_ms": "last_data_sent_at",
    "last_data_recv_ms": "last_data_recv_at",
    "last_ack_recv_ms": "last_ack_recv_at",
}
# Always 0 since Linux 4.15.
_INFO: Final = tuple(_AGES.get(name, name) for name in TcpInfo._fields if name != "fackets")
_BBR: Final = tuple(f"bbr_{name}" for name in Bbr._fields)
_SOCKET: Final = (
    "protocol", "family", "local_address", "local_port", "remote_address", "remote_port", "state",
    "socket_id", "interface", "uid", "inode", "shutdown", "v6only", "mark", "cgroup", "congestion", "ulp",
)  # fmt: skip
_TEXTS: Final = frozenset(("protocol", "family", "local_address", "remote_address", "state", "type", "owner"))
_NUMBERS: Final = frozenset(("local_port", "remote_port", "socket_id", "uid", "inode"))
_UNIX_SOCKET: Final = (
    "type", "state", "inode", "path", "peer_inode", "shutdown", "vfs_inode", "vfs_device",
)  # fmt: skip


def _found(table: str, facts: Iterable[str], latest: Iterable[str], counted: Iterable[str]) -> str:
    """Return the statement: `facts` of the rows that held, what is `latest` and `counted` of activity."""
    columns = [*map(_fact, facts), *(_shown("m", name) for name in latest)]
    columns += [_shown("c", name) for name in counted]
    # A socket id is the key of both; what a row tells already it has not to be asked for again.
    held = ", ".join(f"r.{name}" for name in dict.fromkeys((*facts, "socket_id")))
    return f"""
WITH held AS (
    SELECT {held}, r.rank, make_timestamptz($until) AS known_until
    FROM parts.{table} r WHERE {HELD} AND {IN_FILES.format(table)}
    QUALIFY {newest("r")}
), moved AS (
    SELECT a.* FROM parts.activity a
    WHERE {IN_FILES.format("activity")} AND a.host = $host AND a.recording = $recording
        AND a.read_at <= make_timestamptz($until)
)
SELECT {", ".join(columns)}
FROM held h
ASOF LEFT JOIN moved m ON m.socket_id = h.socket_id AND m.read_at <= h.known_until
ASOF LEFT JOIN (FROM moved counted WHERE {counters.has_counters("counted")}) c
    ON c.socket_id = h.socket_id AND c.read_at <= h.known_until
ORDER BY h.rank
"""


def _fact(name: str) -> str:
    """Return a column of a socket; what a row must have and a damaged capture lacks is nothing, or 0."""
    if name in _TEXTS:
        return f"coalesce(h.{name}, '')"
    return f"coalesce(h.{name}, 0)" if name in _NUMBERS else f"h.{name}"


def _shown(alias: str, name: str) -> str:
    return f"epoch_us({alias}.{name})" if name.endswith(("_at", "_deadline")) else f"{alias}.{name}"


_INET_COLUMNS: Final = (*_SOCKET, *_OWNER, *_QUEUES, *_TIMER, *_MEMORY, *_INFO, *_BBR)
_INET: Final = _found("sockets", (*_SOCKET, *_OWNER), (*_QUEUES, *_TIMER), (*_MEMORY, *_INFO, *_BBR))
_UNIX_COLUMNS: Final = (*_UNIX_SOCKET, *_OWNER, *_QUEUES, *_MEMORY)
_UNIX: Final = _found("unix_sockets", (*_UNIX_SOCKET, *_OWNER), _QUEUES, _MEMORY)
_NAMES: Final = f"""
SELECT pid, arg_max(comm, first_seen) FROM parts.processes r
WHERE {HELD} AND {IN_FILES.format("processes")} AND pid IS NOT NULL GROUP BY pid
"""


class SsSockets:
    """What ss would have told of the sockets of one sample.

    What is left of timers, and how long ago something was, is counted from `at_us` (default: the sample's
    end).
    """

    def __init__(self, capture: Asked, sample: Sample, at_us: int | None = None) -> None:
        self._capture = capture
        self._found_by = found_by(sample)
        self._at = sample.ended_us if at_us is None else at_us
        self._known: dict[int, str] | None = None

    def rows(self) -> list[SsRow]:
        """Return the internet sockets, in the kernel's order."""
        return [self._inet(dict(zip(_INET_COLUMNS, values, strict=True))) for values in self._ask(_INET)]

    def unix_rows(self) -> list[SsUnixRow]:
        """Return the UNIX sockets, in the kernel's order."""
        return [self._unix(dict(zip(_UNIX_COLUMNS, values, strict=True))) for values in self._ask(_UNIX)]

    def _inet(self, of: dict[str, Any]) -> SsRow:
        # What goes on without its socket (TIME_WAIT) has none of this, though the socket had.
        is_whole = of["timer"] != "timewait"
        deadline = of["timer_deadline"]
        return SsRow(
            **{name: _plain(of[name]) for name in _SOCKET},
            recv_q=of["recv_q"] or 0,
            send_q=of["send_q"] or 0,
            backlog_limit=of["backlog_limit"],
            timer=of["timer"] or "off",
            timer_ms=0 if deadline is None else max(0, deadline - self._at) // 1000,
            retransmits=of["retransmits"] or 0,
            probes=of["probes"] or 0,
            holders=self._holders(of),
            memory=_memory(of) if is_whole else None,
            tcp=self._info(of) if is_whole and of["protocol"] == "tcp" else None,
            bbr=_bbr(of) if is_whole else None,
        )

    def _unix(self, of: dict[str, Any]) -> SsUnixRow:
        return SsUnixRow(
            **{name: _plain(of[name]) for name in _UNIX_SOCKET},
            recv_q=of["recv_q"] or 0,
            send_q=of["send_q"] or 0,
            backlog_limit=of["backlog_limit"],
            holders=self._holders(of),
            memory=_memory(of),
        )

    def _info(self, of: Mapping[str, Any]) -> TcpInfo | None:
        if of["snd_cwnd"] is None:
            return None
        ages = {
            name: None if of[column] is None else max(0, self._at - of[column]) // 1000
            for name, column in _AGES.items()
        }
        return TcpInfo(**{name: of[name] for name in _INFO if name in TcpInfo._fields}, **ages)

    def _holders(self, of: Mapping[str, Any]) -> tuple[Holder, ...]:
        if of["owner"] != "held" or not of["fds"]:
            return ()
        pairs = zip(of["fd_pids"] or (), of["fds"], strict=False)
        return tuple(
            Holder(pid, self._name(pid), fd) for pid, fd in pairs if pid is not None and fd is not None
        )

    def _name(self, pid: int) -> str:
        """Return the kernel's name of a process; nothing if it was not told."""
        if self._known is None:
            self._known = {pid: unescaped(comm or "") for pid, comm in self._ask(_NAMES)}
        return self._known.get(pid, "")

    def _ask(self, sql: str) -> list[tuple[Any, ...]]:
        names = ("host", "recording", "began", "ended", "until")
        values = {name: self._found_by[name] for name in names if f"${name}" in sql}
        return self._capture.run(lambda connection: connection.execute(sql, values).fetchall())


def _memory(of: Mapping[str, Any]) -> SocketMemory | None:
    """Return the socket's memory; None where not all of it is known."""
    sizes = {name: of[name] for name in _MEMORY}
    return None if None in sizes.values() else SocketMemory(**sizes, drops=of["drops"])


def _bbr(of: Mapping[str, Any]) -> Bbr | None:
    """Return what BBR told; None of a socket that some other algorithm has by now, or had."""
    told = [of[name] for name in _BBR]
    return Bbr(*told) if of["congestion"] == "bbr" and None not in told else None


def _plain(value: Any) -> Any:
    return unescaped(value) if isinstance(value, str) else value
