"""One UNIX socket at one moment, as replay finds it and the formats of netstat and ss show it."""

from __future__ import annotations

from typing import NamedTuple


class UnixRow(NamedTuple):
    """One UNIX socket at one moment, as `netstat -x` and `ss -x` show it.

    `state` is LISTEN, ESTABLISHED or UNCONN of a socket that a process can hold, CONNECTING or DISCONNECTING
    of one that none can yet, or any more; an abstract `path` begins with @; None if it has none. `argv0`,
    `pid` and `owner` are as in `NetstatRow`.
    """

    refcount: int
    type: str
    state: str
    inode: int
    path: str | None
    peer_inode: int | None = None
    recv_q: int = 0
    send_q: int = 0
    pid: int | None = None
    argv0: str = ""
    owner: str = ""
