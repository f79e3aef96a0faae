"""UNIX sockets from sock_diag dumps (sock_diag(7), linux/unix_diag.h).

Names make nearly every message another length, so the attributes of all messages are walked side by
side: one step moves every message on by one attribute.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import Final

import numpy as np
import numpy.typing as npt

from sockrec.kernel.arrays import MEMORY_FIELDS, NULL, UnixSockets
from sockrec.kernel.netlink import HEADER_WORDS, DiagSocket, Dump, Messages, NetlinkError, Words
from sockrec.kernel.proc_unix import references
from sockrec.model import states

_SOCK_DIAG_BY_FAMILY: Final = 20
_ALL_STATES: Final = 0xFFFFFFFF
# UDIAG_SHOW_NAME, _VFS, _PEER, _RQLEN, _MEMINFO, _UID; UNIX_DIAG_SHUTDOWN comes always.
_SHOW: Final = 0x01 | 0x02 | 0x04 | 0x10 | 0x20 | 0x40
_NAME: Final = 0  # UNIX_DIAG_NAME
_VFS: Final = 1  # UNIX_DIAG_VFS: struct unix_diag_vfs, inode and device
_PEER: Final = 2  # UNIX_DIAG_PEER
_RQLEN: Final = 4  # UNIX_DIAG_RQLEN
_MEMINFO: Final = 5  # UNIX_DIAG_MEMINFO
_SHUTDOWN: Final = 6  # UNIX_DIAG_SHUTDOWN
_UID: Final = 7  # UNIX_DIAG_UID
_MOST_AHEAD: Final = (1 << 31) - 1
_MESSAGE_WORDS: Final = 4  # struct unix_diag_msg: family, type, state, pad; inode; cookie[2]

Places = npt.NDArray[np.intp]


def dump(diag: DiagSocket) -> Dump:
    """Dump all UNIX sockets of the namespace, in the order of /proc/net/unix."""
    request = struct.pack("=BBHIII8x", socket.AF_UNIX, 0, 0, _ALL_STATES, 0, _SHOW)
    return diag.dump(_SOCK_DIAG_BY_FAMILY, request)


def decode(messages: Messages) -> UnixSockets:
    """Return the sockets of one dump; nothing of it refers to the dump afterwards.

    Raises `NetlinkError` (EBADMSG) if a message is shorter than struct unix_diag_msg or an attribute
    overruns it. What an older kernel does not send (the uid before 4.19) is `NULL`.
    """
    words, starts = messages.words, messages.starts
    body = starts + HEADER_WORDS
    ends = starts + ((messages.lengths.astype(np.intp) + 3) >> 2)
    if (ends < body + _MESSAGE_WORDS).any():
        raise NetlinkError(errno.EBADMSG, "a unix_diag message is cut off")
    attributes = _walk(words, body + _MESSAGE_WORDS, ends)
    head = words[body].view(np.uint8).reshape(-1, 4)
    state = head[:, 2].copy()
    state[(state != states.ESTABLISHED) & (state != states.LISTEN)] = states.CLOSE
    recv_q = _value(words, attributes.get(_RQLEN), 0, len(starts))
    send_q = _value(words, attributes.get(_RQLEN), 1, len(starts))
    backlog_limit = np.full(len(starts), NULL, np.int64)
    listening = np.flatnonzero(state == states.LISTEN)
    backlog_limit[listening] = send_q[listening]
    send_q[listening] = 0
    name_start, name_length = _names(words, attributes.get(_NAME), len(starts))
    inode = words[body + 1].astype(np.int64)
    peer_inode = _value(words, attributes.get(_PEER), 0, len(starts))
    return UnixSockets(
        cookie=np.stack([words[body + 2], words[body + 3]], axis=1).view(np.int64)[:, 0],
        type=head[:, 1].copy(),
        state=state,
        inode=inode,
        peer_inode=peer_inode,
        uid=_value(words, attributes.get(_UID), 0, len(starts)),
        refcount=references(peer_inode, inode),
        recv_q=recv_q,
        send_q=send_q,
        backlog_limit=backlog_limit,
        shutdown=_byte(words, attributes.get(_SHUTDOWN), len(starts)),
        vfs_inode=_value(words, attributes.get(_VFS), 0, len(starts)),
        vfs_device=_value(words, attributes.get(_VFS), 1, len(starts)),
        memory=_memory(words, attributes.get(_MEMINFO), len(starts)),
        name_bytes=words.view(np.uint8).copy(),
        name_start=name_start,
        name_length=name_length,
    )


def is_telling_less(sockets: UnixSockets) -> bool:
    """Tell whether there are sockets that a dump leaves out: connections that wait to be accepted."""
    return bool((sockets.recv_q[sockets.state == states.LISTEN] > 0).any())


def _walk(words: Words, cursor: Places, ends: Places) -> dict[int, Places]:
    """Return, by attribute type, the word where each message has it (struct nlattr); 0 if it has not."""
    found: dict[int, Places] = {}
    rows = np.flatnonzero(cursor < ends)
    while len(rows):
        places = cursor[rows]
        heads = words[places].view(np.uint16).reshape(-1, 2)
        lengths, kinds = heads[:, 0].astype(np.intp), heads[:, 1]
        following = places + ((lengths + 3) >> 2)
        if (lengths < 4).any() or (following > ends[rows]).any():
            raise NetlinkError(errno.EBADMSG, "a unix_diag attribute overruns its message")
        for kind in np.unique(kinds).tolist():
            these = kinds == kind
            found.setdefault(kind, np.zeros(len(ends), np.intp))[rows[these]] = places[these]
        cursor[rows] = following
        rows = rows[following < ends[rows]]
    return found


def _value(words: Words, places: Places | None, offset: int, n: int) -> npt.NDArray[np.int64]:
    """Return the 32-bit value at a word offset of an attribute's payload; `NULL` where there is none."""
    values = np.full(n, NULL, np.int64)
    if places is not None:
        there = np.flatnonzero(places)
        long_enough = _lengths(words, places[there]) >= 4 + 4 * (offset + 1)
        there = there[long_enough]
        values[there] = words[places[there] + 1 + offset]
    return values


def _byte(words: Words, places: Places | None, n: int) -> npt.NDArray[np.int8]:
    """Return the first byte of an attribute's payload; -1 where there is none."""
    values = np.full(n, -1, np.int8)
    if places is not None:
        there = np.flatnonzero(places)
        there = there[_lengths(words, places[there]) > 4]
        values[there] = words[places[there] + 1].view(np.int8)[:: words.itemsize]
    return values


def _memory(words: Words, places: Places | None, n: int) -> npt.NDArray[np.int64]:
    """Return SK_MEMINFO_*; one of them, memory taken in advance, may be below 0 for a moment."""
    memory = np.full((len(MEMORY_FIELDS), n), NULL, np.int64)
    if places is not None:
        there = np.flatnonzero(places)
        at, lengths = places[there], _lengths(words, places[there])
        for place, row in enumerate(memory):
            told = lengths >= 4 * (place + 2)
            row[there[told]] = words[at[told] + 1 + place]
    ahead = memory[MEMORY_FIELDS.index("fwd_alloc")]
    ahead[ahead > _MOST_AHEAD] -= 1 << 32
    return memory


def _names(
    words: Words, places: Places | None, n: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return where each name begins, in bytes from the first word, and its length; -1 if unnamed."""
    starts, lengths = np.zeros(n, np.int64), np.full(n, -1, np.int64)
    if places is not None:
        there = np.flatnonzero(places)
        starts[there] = 4 * (places[there] + 1)
        lengths[there] = _lengths(words, places[there]) - 4
    return starts, lengths


def _lengths(words: Words, places: Places) -> npt.NDArray[np.int64]:
    return words[places].view(np.uint16)[::2].astype(np.int64)
