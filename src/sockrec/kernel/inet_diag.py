"""Internet sockets from sock_diag dumps (sock_diag(7), linux/inet_diag.h, struct tcp_info in linux/tcp.h).

Messages of one length and one order of attributes share a layout, which is a NumPy record type: a
chunk of such messages is viewed through it and its columns are copied out whole.
"""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sockrec.kernel import kernel_names
from sockrec.kernel.arrays import FIELD, NULL, InetSockets
from sockrec.kernel.inet_fields import AGES, BBR_INFO, MEMORY, MESSAGE, PACKED, RATES, SETTINGS, TCP_INFO
from sockrec.kernel.netlink import HEADER_BYTES, DiagSocket, Dump, Messages, NetlinkError, Words
from sockrec.model import states
from sockrec.model.tcp_columns import TCP_COUNTERS, TCP_DETAILS

IPPROTO_SCTP: Final = 132
IPPROTO_UDPLITE: Final = 136

_TCPDIAG_GETSOCK: Final = 18
_SOCK_DIAG_BY_FAMILY: Final = 20
_INFO: Final = 2  # INET_DIAG_INFO
_VEGASINFO: Final = 3  # INET_DIAG_VEGASINFO: what the congestion control tells, whichever it is
_CONG: Final = 4  # INET_DIAG_CONG
_SKMEMINFO: Final = 7  # INET_DIAG_SKMEMINFO
_BBRINFO: Final = 16  # INET_DIAG_BBRINFO
_ULP_INFO: Final = 19  # INET_DIAG_ULP_INFO
_ULP_NAME: Final = 1  # INET_ULP_INFO_NAME, nested in it
_WANTED: Final = 1 << (_INFO - 1) | 1 << (_VEGASINFO - 1) | 1 << (_CONG - 1) | 1 << (_SKMEMINFO - 1)
_OF_TCP: Final = {_INFO: TCP_INFO, _BBRINFO: BBR_INFO}
# Every state there is or will be, TCP_BOUND_INACTIVE (1 << 13) too.
_ALL_STATES: Final = 0xFFFFFFFF

# Messages are taken apart in chunks that stay in the processor's cache from column to column.
_CHUNK: Final = 8192

_MESSAGE_BYTES: Final = 72
_IDENTITY: Final = ("family", "state", "cookie", "local_port", "remote_port", "ifindex", "uid", "inode")
_TOLD_OF_LISTENERS: Final = {"retransmits", "probes", "snd_cwnd", "reordering", *RATES}
_COUNTERS: Final = np.array(
    [FIELD[column.name] for column in (*TCP_COUNTERS, *TCP_DETAILS) if column.name not in _TOLD_OF_LISTENERS]
).reshape(-1, 1)
_UNKNOWN_RTT: Final = 0xFFFFFFFF

# Association states (enum sctp_state) as the TCP states that netstat shows for them.
_SCTP_STATES: Final = np.array([7, 2, 2, 1, 4, 5, 8, 9, 7, 7, 10, 7, 7, 7, 7, 7], np.uint8)


def dump_tcp(diag: DiagSocket, listeners_only: bool = False) -> Dump:
    """Dump TCP of both families in one walk of the kernel's tables, in the order of /proc/net/tcp{,6}.

    Listeners live in a short table of their own, so asking for them alone does not walk the others.
    This is the request from before sock_diag, which alone takes AF_UNSPEC for "both".
    """
    wanted = 1 << states.LISTEN if listeners_only else _ALL_STATES
    request = struct.pack("=BBBB48xII", socket.AF_UNSPEC, 0, 0, _WANTED, wanted, 0)
    return diag.dump(_TCPDIAG_GETSOCK, request)


def dump(diag: DiagSocket, protocol: int, family: int) -> Dump:
    """Dump the sockets of one protocol (IPPROTO_*) and address family (struct inet_diag_req_v2)."""
    request = struct.pack("=BBBBI48x", family, protocol, _WANTED, 0, _ALL_STATES)
    return diag.dump(_SOCK_DIAG_BY_FAMILY, request)


def decode(messages: Messages, protocol: int, out: InetSockets) -> None:
    """Write one dump into `out`, whose length is the number of messages.

    Raises `NetlinkError` (EBADMSG) if a message is shorter than struct inet_diag_msg or its attributes
    overrun it. What a message lacks, an older kernel's shorter tcp_info too, becomes `NULL`.
    """
    out.protocol[:] = protocol & 0xFF
    read_at = _times(messages)
    for start in range(0, len(messages), _CHUNK):
        stop = min(start + _CHUNK, len(messages))
        lengths = messages.lengths[start:stop]
        for length in [lengths[0]] if (lengths == lengths[0]).all() else np.unique(lengths):
            rows = start + np.flatnonzero(lengths == length)
            while len(rows):
                rows = _decode_alike(messages, rows, int(length), protocol, read_at, out)
    _settle(messages, protocol, out)


def _times(messages: Messages) -> npt.NDArray[np.int64]:
    """Return when each message was made: as its datagram was."""
    first = np.searchsorted(messages.starts, messages.datagrams)
    return np.repeat(messages.times, np.diff(first, append=len(messages)))


def _decode_alike(
    messages: Messages,
    rows: npt.NDArray[np.intp],
    length: int,
    protocol: int,
    read_at: npt.NDArray[np.int64],
    out: InetSockets,
) -> npt.NDArray[np.intp]:
    """Decode those of the rows that are laid out as the first is; return the others."""
    words = _rows_of_words(messages, rows, length)
    layout = _layout(length, _attributes(words[0].tobytes()[:length]), protocol == socket.IPPROTO_TCP)
    alike = (words[:, layout.places] == layout.headers).all(axis=1)
    others: npt.NDArray[np.intp] = rows[~alike]
    if len(others):
        rows, words = rows[alike], words[alike]
    records = words.view(layout.record)[:, 0]
    where: Any = slice(rows[0], rows[-1] + 1) if rows[-1] - rows[0] + 1 == len(rows) else rows
    for name in _IDENTITY:
        getattr(out, name)[where] = records[name]
    out.local.view("V16")[where, 0] = records["local"]
    out.remote.view("V16")[where, 0] = records["remote"]
    for name in layout.settings:
        getattr(out, name)[where] = records[name]
    for name, field in FIELD.items():
        out.activity[field, where] = records[name] if name in layout.names else NULL
    for name, (packed, shift, mask) in PACKED.items() if "wscales" in layout.names else ():
        out.activity[FIELD[name], where] = records[packed] >> shift & mask
    for name in AGES & layout.names:
        out.activity[FIELD[name], where] = read_at[where] - 1000 * out.activity[FIELD[name], where]
    if "bbr_bw_high" in layout.names:
        high = records["bbr_bw_high"].astype(np.int64)
        out.activity[FIELD["bbr_bw"], where] = high << 32 | records["bbr_bw_low"]
    if layout.congestion is not None:
        out.congestion[where] = kernel_names.numbers(words[:, layout.congestion])
    if layout.ulp is not None:
        out.ulp[where] = _upper_layers(words[:, layout.ulp])
    if protocol == socket.IPPROTO_TCP and "retransmits" not in layout.names:
        timer, count = records["timer"], records["idiag_retrans"]
        out.activity[FIELD["retransmits"], where] = np.where(timer == 1, count, 0)
        out.activity[FIELD["probes"], where] = np.where((timer == 2) | (timer == 4), count, 0)
    return others


def _upper_layers(words: Words) -> npt.NDArray[np.int32]:
    """Return the numbers of the names that nested attributes begin with; what follows differs by socket."""
    found = np.full(len(words), kernel_names.NONE, np.int32)
    heads = words[:, 0]
    for head in [heads[0]] if (heads == heads[0]).all() else np.unique(heads):
        length, kind = struct.unpack("=HH", head.tobytes())
        if kind == _ULP_NAME and length > 4:
            these = heads == head
            found[these] = kernel_names.numbers(words[these, 1 : (length + 3) // 4])
    return found


def _rows_of_words(messages: Messages, rows: npt.NDArray[np.intp], length: int) -> Words:
    """Return messages of one length as a matrix: a view where they lie behind each other, else a copy."""
    width = (length + 3) // 4
    starts = messages.starts[rows]
    if rows[-1] - rows[0] + 1 == len(rows) and starts[-1] - starts[0] == width * (len(rows) - 1):
        return messages.words[starts[0] : starts[-1] + width].reshape(len(rows), width)
    copy: Words = np.lib.stride_tricks.sliding_window_view(messages.words, width)[starts]
    return copy


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the columns lie in messages of one length whose words at `places` are `headers`.

    `settings` are those columns that are no activity; `congestion` and `ulp` the words of these attributes.
    """

    record: np.dtype[np.void]
    names: frozenset[str]
    settings: tuple[str, ...]
    congestion: slice | None
    ulp: slice | None
    places: list[int]
    headers: Words


def _attributes(message: bytes) -> tuple[tuple[int, int, int], ...]:
    """Return type, offset and length of each attribute (struct nlattr), as they follow each other."""
    found = []
    offset = HEADER_BYTES + _MESSAGE_BYTES
    while offset + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, offset)
        if length < 4 or offset + length > len(message):
            break
        found.append((kind, offset, length))
        offset += (length + 3) & ~3
    if offset < len(message) or len(message) < HEADER_BYTES + _MESSAGE_BYTES:
        raise NetlinkError(errno.EBADMSG, "a sock_diag message is cut off")
    if len({kind for kind, _, _ in found}) < len(found):
        raise NetlinkError(errno.EBADMSG, "a sock_diag message has an attribute twice")
    return tuple(found)


@lru_cache(maxsize=256)
def _layout(length: int, attributes: tuple[tuple[int, int, int], ...], tcp: bool) -> _Layout:
    fields = [(name, kind, HEADER_BYTES + offset) for name, kind, offset in MESSAGE]
    settings = []
    words: dict[int, slice] = {}
    for number, start, size in attributes:
        if size >= 8:
            words[number] = slice(start // 4 + 1, (start + size + 3) // 4)
        if number in SETTINGS:
            name, kind = SETTINGS[number]
            if 4 + np.dtype(kind).itemsize <= size:
                fields.append((name, kind, start + 4))
                settings.append(name)
        known = MEMORY if number == _SKMEMINFO else _OF_TCP.get(number, ()) if tcp else ()
        fields += [
            (name, kind, start + 4 + offset)
            for name, kind, offset in known
            if 4 + offset + np.dtype(kind).itemsize <= size
        ]
    names, formats, offsets = zip(*fields, strict=True)
    record = np.dtype(
        {"names": names, "formats": formats, "offsets": offsets, "itemsize": (length + 3) // 4 * 4}
    )
    headers = b"".join(struct.pack("=HH", size, number) for number, _, size in attributes)
    return _Layout(
        record,
        frozenset(names),
        tuple(settings),
        words.get(_CONG) if tcp else None,
        words.get(_ULP_INFO) if tcp else None,
        [start // 4 for _, start, _ in attributes],
        np.frombuffer(headers, np.uint32),
    )


def _settle(messages: Messages, protocol: int, out: InetSockets) -> None:
    """Give the raw columns the meaning that the activity table states."""
    activity = out.activity
    if protocol == IPPROTO_SCTP:
        associations = np.flatnonzero(out.remote_port)
        out.state[associations] = _SCTP_STATES[out.state[associations] & 15]
    out.state[out.state == states.NEW_SYN_RECV] = states.SYN_RECV
    out.state[out.state == states.BOUND_INACTIVE] = states.CLOSE

    running = np.flatnonzero(activity[FIELD["timer"]])
    milliseconds = activity[FIELD["timer_deadline"], running]
    activity[FIELD["timer_deadline"]] = NULL
    activity[FIELD["timer_deadline"], running] = messages.times_of(running) + 1000 * milliseconds

    listening = np.flatnonzero(out.state == states.LISTEN)
    activity[FIELD["backlog_limit"], listening] = activity[FIELD["send_q"], listening]
    activity[FIELD["send_q"], listening] = 0
    if protocol != socket.IPPROTO_TCP:
        return
    # tcp_get_info() stops early for a listener, and keeps its queue in some of the fields.
    activity[_COUNTERS, listening] = NULL
    min_rtt = activity[FIELD["min_rtt_us"]]
    min_rtt[min_rtt == _UNKNOWN_RTT] = NULL
    for name, kind, _ in TCP_INFO:
        if kind == "=i8":
            column = activity[FIELD[name]]
            over = (column < (-1 if name in RATES else 0)) & (column != NULL)
            column[over] = np.iinfo(np.int64).max
    _own_requests(out)


def _own_requests(out: InetSockets) -> None:
    """Give SYN_RECV rows the uid of their listener, as /proc/net/tcp does; sock_diag says 0."""
    requests = np.flatnonzero((out.state == states.SYN_RECV) & (out.inode == 0) & (out.uid == 0))
    if not len(requests):
        return
    listeners = np.flatnonzero(out.state == states.LISTEN)
    owners = dict(zip(_endpoints(out, listeners).tolist(), out.uid[listeners].tolist(), strict=True))
    # A flood has many requests and few listeners.
    endpoints, member = np.unique(_endpoints(out, requests), return_inverse=True)
    uids = [owners.get(key, owners.get(key[:8] + bytes(16), 0)) for key in endpoints.tolist()]
    out.uid[requests] = np.asarray(uids, np.int64)[member]


def _endpoints(out: InetSockets, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.void]:
    """Return family, port (4 bytes each) and address (16) of the local end of each row."""
    keys = np.empty((len(rows), 6), np.uint32)
    keys[:, 0] = out.family[rows]
    keys[:, 1] = out.local_port[rows]
    keys[:, 2:] = out.local[rows].view(np.uint32)
    return keys.view("V24")[:, 0]
