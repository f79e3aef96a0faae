"""What the kernel read, laid out for the roster: identity, condition and activity as whole arrays."""

from __future__ import annotations

from collections.abc import Collection
from socket import IPPROTO_TCP
from typing import Final

import numpy as np

from sockrec.kernel.arrays import InetSockets, UnixSockets
from sockrec.model.states import LISTEN
from sockrec.recorder import endpoints
from sockrec.recorder.seen import Condition, Ints, Observed

INET_CONDITION: Final = (
    "protocol", "family", "state", "interface", "uid", "inode", "owner",
    "local_port", "remote_port", "local_high", "local_low", "remote_high", "remote_low",
    "shutdown", "v6only", "mark", "cgroup", "congestion", "ulp",
)  # fmt: skip
UNIX_CONDITION: Final = (
    "type", "state", "uid", "inode", "owner", "peer_inode", "path", "shutdown", "vfs_inode", "vfs_device",
)  # fmt: skip
INET_ROW: Final = {name: row for row, name in enumerate(INET_CONDITION)}
UNIX_ROW: Final = {name: row for row, name in enumerate(UNIX_CONDITION)}

_IDENTITY: Final = (
    "protocol", "family", "local_port", "remote_port", "local_high", "local_low", "remote_high", "remote_low",
)  # fmt: skip
_LISTENERS: Final = ((INET_ROW["protocol"], IPPROTO_TCP), (INET_ROW["state"], LISTEN))
_NEGATIVE: Final = -(1 << 63)


def of_inet(sockets: InetSockets, doubtful: Collection[int]) -> Observed:
    """Lay out internet sockets. The owner's column is left at 0: it is not the kernel's to say."""
    local = np.ascontiguousarray(sockets.local).view(np.int64)
    remote = np.ascontiguousarray(sockets.remote).view(np.int64)
    condition = (
        sockets.protocol, sockets.family, sockets.state, sockets.ifindex, sockets.uid, sockets.inode,
        np.zeros(len(sockets), np.int64), sockets.local_port, sockets.remote_port,
        local[:, 0], local[:, 1], remote[:, 0], remote[:, 1],
        sockets.shutdown, sockets.v6only, sockets.mark, sockets.cgroup, sockets.congestion, sockets.ulp,
    )  # fmt: skip
    key = sockets.cookie
    made = np.flatnonzero(key == 0)
    if len(made):
        key = key.copy()
        key[made] = _made_keys(tuple(column[made] for column in condition))
    return Observed(key, condition, sockets.activity, frozenset(doubtful))


def of_listeners(sockets: InetSockets) -> Observed:
    """Lay out a reading of the listening TCP sockets alone."""
    seen = of_inet(sockets, ())
    return Observed(seen.key, seen.condition, seen.activity, scope=_LISTENERS)


def of_unix(sockets: UnixSockets, activity: Ints, paths: Ints, doubtful: Collection[int]) -> Observed:
    """Lay out UNIX sockets; `paths` are the numbers of their paths, `activity` what moves."""
    owner = np.zeros(len(sockets), np.int64)
    condition = (
        sockets.type, sockets.state, sockets.uid, sockets.inode, owner, sockets.peer_inode, paths,
        sockets.shutdown, sockets.vfs_inode, sockets.vfs_device,
    )  # fmt: skip
    key = np.where(sockets.cookie != 0, sockets.cookie, -sockets.inode)
    return Observed(key, condition, activity, frozenset(doubtful))


def _made_keys(condition: Condition) -> Ints:
    """Make identities of protocol, addresses and inode, negative so that no cookie equals one.

    A connected TCP socket has its inode left out: it loses it on its way to TIME_WAIT.
    """
    column = dict(zip(INET_CONDITION, condition, strict=True))
    inode = column["inode"].copy()
    inode[(column["protocol"] == IPPROTO_TCP) & (column["state"] != LISTEN)] = 0
    keys: Ints = endpoints.mixed([*(column[name] for name in _IDENTITY), inode]) | _NEGATIVE
    return keys
