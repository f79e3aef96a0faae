"""UNIX sockets from /proc/net/unix (proc(5)): where sock_diag is refused, and for what it leaves out.

unix_diag does not tell how many references a socket has, and passes over connections that nobody has
accepted yet. The first can be told from it most of the time, the second never.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from sockrec.errors import KernelError
from sockrec.kernel.arrays import MEMORY_FIELDS, NULL, UnixSockets
from sockrec.kernel.proc_net import read
from sockrec.model import states

_ACCEPTING: Final = 0x10000  # __SO_ACCEPTCON
_CONNECTED: Final = (2, 3)  # SS_CONNECTING (not accepted yet), SS_CONNECTED
_ROW: Final = re.compile(
    rb"^([0-9a-fA-F]+): ([0-9A-F]{8}) ([0-9A-F]{8}) ([0-9A-F]{8}) ([0-9A-F]{4}) ([0-9A-F]{2}) +(\d+)"
    rb"(?: ([^\n]*))?\n",
    re.MULTILINE,
)
# Of two hashed in the kernel's table, and of the process or queue that it lies in.
_OWN_REFERENCES: Final = 2
# Cookies made here are below all of those that `-inode` could be.
_MADE: Final = -(1 << 62)


def unix() -> UnixSockets | None:
    """Return the sockets of /proc/net/unix; None where the kernel lacks it.

    Raises `KernelError` for text that it can't take apart, and OSError.
    """
    text = read("unix")
    return None if text is None else parse(text)


def references(peer_inode: npt.NDArray[np.int64], inode: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return how many references the sockets of a dump have: their own, and one of each whose peer they are.

    That is what the kernel counts unless a connection waits to be accepted, which no dump shows.
    """
    known, counts = np.unique(peer_inode[peer_inode > 0], return_counts=True)
    refcount = np.full(len(inode), _OWN_REFERENCES, np.int64)
    if len(known):
        place = np.minimum(np.searchsorted(known, inode), len(known) - 1)
        found = known[place] == inode
        refcount[found] += counts[place[found]]
    return refcount


def complete(dumped: UnixSockets, told: UnixSockets) -> UnixSockets:
    """Return the sockets of a dump with what /proc/net/unix tells beside: references, and those not accepted.

    The two are read one after the other: what one of them alone has is taken as it is there.
    """
    order = np.argsort(dumped.inode)
    ordered = dumped.inode[order]
    held = np.flatnonzero(told.inode > 0)
    place = np.searchsorted(ordered, told.inode[held])
    known = place < len(ordered)
    known[known] = ordered[place[known]] == told.inode[held][known]
    where = order[place[known]]
    refcount = dumped.refcount.copy()
    refcount[where] = told.refcount[held[known]]
    dumped = replace(dumped, refcount=refcount)
    waiting = np.flatnonzero(told.inode == 0)
    if not len(waiting):
        return dumped
    # Each goes behind the nearest socket before it that the dump has too.
    behind = np.full(len(told), -1, np.int64)
    behind[held[known]] = where
    last = np.maximum.accumulate(np.where(behind >= 0, np.arange(len(told)), -1))[waiting]
    return _insert(dumped, told, waiting, np.where(last >= 0, behind[last] + 1, 0))


def _insert(
    dumped: UnixSockets, told: UnixSockets, waiting: npt.NDArray[np.intp], places: npt.NDArray[np.int64]
) -> UnixSockets:
    """Return the sockets of a dump with some of /proc/net/unix among them, before those places."""
    columns = {
        f.name: np.insert(getattr(dumped, f.name), places, getattr(told, f.name)[..., waiting], axis=-1)
        for f in fields(UnixSockets)
        if f.name != "name_bytes"
    }
    starts = told.name_start[waiting] + len(dumped.name_bytes)
    columns["name_start"] = np.insert(dumped.name_start, places, starts)
    return UnixSockets(name_bytes=np.concatenate((dumped.name_bytes, told.name_bytes)), **columns)


def parse(text: bytes) -> UnixSockets:
    """Take apart /proc/net/unix; raises `KernelError` for text that is no row and in no path.

    A path may hold line breaks: a line that does not begin as a row does goes on with the path before.
    """
    header, _, body = text.partition(b"\n")
    rows = list(_ROW.finditer(body))
    if not header.startswith(b"Num") or (body and (not rows or rows[0].start())):
        raise KernelError("/proc/net/unix has a line of an unknown form: report this kernel")
    ends = [*(row.start() for row in rows[1:]), len(body)][: len(rows)]
    names = [
        b"" if row[8] is None else body[row.start(8) : end - 1] for row, end in zip(rows, ends, strict=True)
    ]
    if any(row[8] is None and end != row.end() for row, end in zip(rows, ends, strict=True)):
        raise KernelError("/proc/net/unix has a line of an unknown form: report this kernel")
    try:
        return _sockets(rows, names)
    except OverflowError as error:
        raise KernelError(
            f"/proc/net/unix has a number that is none ({error}): report this kernel"
        ) from error


def _sockets(rows: Sequence[re.Match[bytes]], names: Sequence[bytes]) -> UnixSockets:
    flags = np.array([int(row[4], 16) for row in rows], np.int64)
    progress = np.array([int(row[6], 16) for row in rows], np.int64)
    inode = np.array([int(row[7]) for row in rows], np.int64)
    state = np.full(len(rows), states.CLOSE, np.uint8)
    state[np.isin(progress, _CONNECTED)] = states.ESTABLISHED
    state[(flags & _ACCEPTING) != 0] = states.LISTEN
    unheld = inode == 0
    state[unheld] = np.where(progress == states.CONNECTING, states.CONNECTING, states.DISCONNECTING)[unheld]
    unknown = np.full(len(rows), NULL, np.int64)
    lengths = np.array([len(name) or -1 for name in names], np.int64)
    return UnixSockets(
        cookie=_cookies(rows, names, unheld),
        type=np.array([int(row[5], 16) for row in rows], np.uint8),
        state=state,
        inode=inode,
        peer_inode=unknown,
        uid=unknown,
        refcount=np.array([int(row[2], 16) for row in rows], np.int64),
        recv_q=unknown,
        send_q=unknown,
        backlog_limit=unknown,
        shutdown=np.full(len(rows), -1, np.int8),
        vfs_inode=unknown,
        vfs_device=unknown,
        memory=np.full((len(MEMORY_FIELDS), len(rows)), NULL, np.int64),
        name_bytes=np.frombuffer(b"".join(names), np.uint8),
        name_start=np.cumsum(np.maximum(lengths, 0)) - np.maximum(lengths, 0),
        name_length=lengths,
    )


def _cookies(
    rows: Sequence[re.Match[bytes]], names: Sequence[bytes], unheld: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Return 0, and for sockets without an inode an identity made of the (hashed) kernel address.

    Where that is hidden (kptr_restrict), of the path and how many have it.
    """
    cookies = np.zeros(len(rows), np.int64)
    seen: dict[int, int] = {}
    for place in np.flatnonzero(unheld).tolist():
        address = int(rows[place][1], 16)
        identity = address or zlib.crc32(names[place]) << 16
        number = seen[identity] = seen.get(identity, -1) + 1
        cookies[place] = _MADE - ((identity + number) & ((1 << 61) - 1))
    return cookies
