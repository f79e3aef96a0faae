"""Sockets of one reading as structs of arrays: one row per socket, no Python object per socket."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Final

import numpy as np
import numpy.typing as npt

from sockrec.model.tables import ACTIVITY

NULL: Final = int(np.iinfo(np.int64).min)
"""The "no value" of every int64 array of this floor."""

ACTIVITY_FIELDS: Final = ACTIVITY.names[ACTIVITY.names.index("recv_q") :]
"""Rows of `InetSockets.activity`: the columns of the activity table from `recv_q` on."""

FIELD: Final = {name: row for row, name in enumerate(ACTIVITY_FIELDS)}
"""The row of `InetSockets.activity` that holds a column of the activity table."""

MEMORY_FIELDS: Final = (
    "rmem", "rcvbuf", "wmem", "sndbuf", "fwd_alloc", "wmem_queued", "optmem", "backlog", "drops",
)  # fmt: skip
"""Rows of `UnixSockets.memory`: SK_MEMINFO_* (linux/sock_diag.h), in its order."""

U8 = npt.NDArray[np.uint8]
I8 = npt.NDArray[np.int8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


@dataclass(slots=True)
class InetSockets:
    """Internet sockets, each array of length n, in the kernel's own order.

    `protocol` is the IPPROTO_* number, `family` AF_INET or AF_INET6, `state` the kernel's number
    (12 and 13 folded into 3 and 7). `cookie` is 0 where unknown. Addresses are 16 bytes in network
    order, IPv4 in the first 4. `shutdown` and `v6only` are -1 where not told, `mark` is `NULL` there;
    `cgroup` is the id of a cgroup v2, 0 where not told; `congestion` and `ulp` are numbers of
    `sockrec.kernel.kernel_names`, 0 for none. `activity` has a row per name in `ACTIVITY_FIELDS`, with its
    units; `timer` is the kernel's code 0 to 4, `timer_deadline` and the times CLOCK_BOOTTIME microseconds.
    """

    protocol: U8
    family: U8
    state: U8
    cookie: I64
    local: U8
    remote: U8
    local_port: I32
    remote_port: I32
    ifindex: I32
    uid: I64
    inode: I64
    shutdown: I8
    v6only: I8
    mark: I64
    cgroup: I64
    congestion: I32
    ulp: I32
    activity: I64

    def __len__(self) -> int:
        return len(self.state)

    @classmethod
    def allocate(cls, n: int) -> InetSockets:
        """Return n rows of undefined content, but for what not every way of reading tells: not told."""
        return cls(
            protocol=np.empty(n, np.uint8),
            family=np.empty(n, np.uint8),
            state=np.empty(n, np.uint8),
            cookie=np.empty(n, np.int64),
            local=np.empty((n, 16), np.uint8),
            remote=np.empty((n, 16), np.uint8),
            local_port=np.empty(n, np.int32),
            remote_port=np.empty(n, np.int32),
            ifindex=np.empty(n, np.int32),
            uid=np.empty(n, np.int64),
            inode=np.empty(n, np.int64),
            shutdown=np.full(n, -1, np.int8),
            v6only=np.full(n, -1, np.int8),
            mark=np.full(n, NULL, np.int64),
            cgroup=np.zeros(n, np.int64),
            congestion=np.zeros(n, np.int32),
            ulp=np.zeros(n, np.int32),
            activity=np.empty((len(ACTIVITY_FIELDS), n), np.int64),
        )

    @classmethod
    def empty(cls) -> InetSockets:
        """Return no rows."""
        return cls.allocate(0)

    @classmethod
    def concat(cls, parts: Iterable[InetSockets]) -> InetSockets:
        """Return the rows of all parts, in their order."""
        parts = list(parts)
        whole = cls.allocate(sum(map(len, parts)))
        start = 0
        for part in parts:
            whole.rows(start, start + len(part)).assign(part)
            start += len(part)
        return whole

    def rows(self, start: int, stop: int) -> InetSockets:
        """Return rows [start, stop) as a view: writing to it writes here."""
        views = {f.name: getattr(self, f.name)[start:stop] for f in fields(self) if f.name != "activity"}
        return InetSockets(activity=self.activity[:, start:stop], **views)

    def assign(self, other: InetSockets) -> None:
        """Copy all rows of another of the same length into these."""
        for f in fields(self):
            getattr(self, f.name)[...] = getattr(other, f.name)


@dataclass(slots=True)
class UnixSockets:
    """UNIX sockets, each array of length n, in the kernel's own order.

    `type` is the SOCK_* number, `state` a number of `states.UNIX_NAMES`, `cookie` 0 where unknown and
    negative where it had to be made; `inode` is 0 of what no process can hold; `peer_inode`, `uid`,
    `refcount`, the queues, the file's inode and device, and `memory` (a row per name in `MEMORY_FIELDS`) are
    `NULL` where unknown, `shutdown` is -1 there. As with TCP, a LISTEN row's `recv_q` counts connections not
    accepted yet, its `send_q` is 0 and its `backlog_limit` what listen(2) allowed; elsewhere queues are bytes
    and `backlog_limit` is `NULL`.
    Names stay raw: row i's is `name_bytes[name_start[i]:][:name_length[i]]`, of length -1 if unnamed.
    """

    cookie: I64
    type: U8
    state: U8
    inode: I64
    peer_inode: I64
    uid: I64
    refcount: I64
    recv_q: I64
    send_q: I64
    backlog_limit: I64
    shutdown: I8
    vfs_inode: I64
    vfs_device: I64
    memory: I64
    name_bytes: U8 = field(repr=False)
    name_start: I64
    name_length: I64

    def __len__(self) -> int:
        return len(self.state)

    @classmethod
    def empty(cls) -> UnixSockets:
        """Return no rows."""
        none, byte = np.empty(0, np.int64), np.empty(0, np.uint8)
        memory = np.empty((len(MEMORY_FIELDS), 0), np.int64)
        return cls(
            cookie=none, type=byte, state=byte, inode=none, peer_inode=none, uid=none, refcount=none,
            recv_q=none, send_q=none, backlog_limit=none, shutdown=byte.view(np.int8), vfs_inode=none,
            vfs_device=none, memory=memory, name_bytes=byte, name_start=none, name_length=none,
        )  # fmt: skip

    def paths(self, rows: npt.NDArray[np.intp]) -> list[str | None]:
        r"""Return the bound names of some rows as text; None for an unnamed socket.

        As /proc/net/unix prints them: an abstract name begins with @ and so shows each of its NULs.
        Bytes that are not UTF-8 become \xNN escapes.
        """
        return [
            _path(self.name_bytes[start : start + length].tobytes()) if length > 0 else None
            for start, length in zip(
                self.name_start[rows].tolist(), self.name_length[rows].tolist(), strict=True
            )
        ]


def _path(raw: bytes) -> str:
    # unix(7): a path's length counts its final NUL; an abstract name begins with NUL, and any may follow.
    raw = raw.replace(b"\0", b"@") if raw[0] == 0 else raw.split(b"\0", 1)[0]
    return raw.decode("utf-8", "backslashreplace")
