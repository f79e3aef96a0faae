"""How TCP connections ended: resets sent and received, errors reported, and the cause that they make.

The tracepoints see every network namespace, as those of `transitions` do. What belongs to which end (Linux
6.18, net/ipv4/tcp*.c): a reset received comes just before the change to CLOSE. One sent comes just before it
(`ss -K`, keepalive) or, by the socket's user, between it and the socket's end. Where data reached a socket
that its program had closed, "received" is traced although it is we who reset, and "sent" after the end.
An error is reported just after the change to CLOSE, unless the program had closed the socket.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from sockrec.errors import KernelError
from sockrec.kernel.arrays import I32, I64, U8
from sockrec.kernel.tracing import IN_INTERRUPT, Trace, Tracer
from sockrec.kernel.transitions import DESTROY, STATE_CHANGE, Transitions, addresses
from sockrec.model import states

RECEIVED: Final = "tcp/tcp_receive_reset"
SENT: Final = "tcp/tcp_send_reset"
ERROR: Final = "sock/inet_sk_error_report"

CAUSES: Final = (
    None,
    "closed by us",
    "closed by the peer",
    "reset by us",
    "reset by the peer",
    "timed out",
    "refused",
    "unreachable",
)
"""The words of the codes that `causes` gives; 0 is not known."""
CLOSED_BY_US: Final = 1
CLOSED_BY_PEER: Final = 2
RESET_BY_US: Final = 3
RESET_BY_PEER: Final = 4
TIMED_OUT: Final = 5
REFUSED: Final = 6
UNREACHABLE: Final = 7

# Left out where the kernel tells the state: what is no connection (TIME_WAIT 6, LISTEN 10, NEW_SYN_RECV 12).
_SENT_CONDITIONS: Final = ("skaddr!=0 && state!=6 && state!=10 && state!=12", "skaddr!=0")
# Resets report EPIPE (32) or ECONNRESET (104) as well; 0 tells that a queue of errors has something.
_CONDITIONS: Final = {
    RECEIVED: ("",),
    SENT: _SENT_CONDITIONS,
    ERROR: (f"protocol=={socket.IPPROTO_TCP} && error!=0 && error!=32 && error!=104",),
}
_LOST: Final = {
    RECEIVED: "which connections their peers reset",
    SENT: "which connections were reset here",
    ERROR: "which connections timed out or found nobody",
}

# What ICMP and ICMPv6 errors become: icmp_err_convert, tab_unreach; a device that went down.
_UNREACHABLE: Final = (
    errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.ENONET, errno.EACCES,
    errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.EPROTO,
)  # fmt: skip
_SYN_SENT, _FIN_WAIT1, _FIN_WAIT2 = (states.NUMBERS[n] for n in ("SYN_SENT", "FIN_WAIT1", "FIN_WAIT2"))
_CLOSING, _CLOSE_WAIT, _LAST_ACK = (states.NUMBERS[n] for n in ("CLOSING", "CLOSE_WAIT", "LAST_ACK"))
# From CLOSE to the end within one call takes about 1,000 ns; a program that reads on needs a wake-up.
_ONE_CALL_NS: Final = 10_000

Mask = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Resets:
    """Resets in the order of their times, each array of length n; times are CLOCK_BOOTTIME nanoseconds.

    `skaddr` is the socket's kernel address, as in `Transitions`.
    """

    times: I64
    skaddr: I64

    def __len__(self) -> int:
        return len(self.times)


@dataclass(slots=True)
class SocketErrors:
    """Errors that TCP sockets reported, in the order of their times, each array of length n.

    `times` are CLOCK_BOOTTIME nanoseconds, `error` the errno; addresses and ports are as in `Transitions`.
    """

    times: I64
    error: I32
    family: U8
    local: U8
    remote: U8
    local_port: I32
    remote_port: I32

    def __len__(self) -> int:
        return len(self.times)


def enable(tracer: Tracer) -> list[str]:
    """Enable these tracepoints; returns a line for each that this kernel lacks: what is lost."""
    lines = []
    for name, conditions in _CONDITIONS.items():
        for condition in conditions:
            try:
                tracer.enable(name, condition)
            except KernelError as error:
                why = str(error)
            else:
                break
        else:
            lines.append(f"{why}: it is not known {_LOST[name]}")
    return lines


def resets_received(trace: Trace) -> Resets:
    """Return the resets received in one reading, and those that late data made (see above)."""
    return _resets(trace, RECEIVED)


def resets_sent(trace: Trace) -> Resets:
    """Return the resets that connections sent in one reading.

    One that is sent just after the socket's end has the end's time: it belongs to no later socket.
    """
    found = _resets(trace, SENT)
    ends = trace.events.get(DESTROY)
    if not len(found) or ends is None or not len(ends):
        return found
    changes = trace.events[STATE_CHANGE]
    others = [each.records["skaddr"].astype(np.int64) for each in (ends, changes)]
    address = np.concatenate([found.skaddr, *others])
    times = np.concatenate([found.times, ends.times, changes.times])
    kind = np.repeat((2, 1, 0), (len(found), len(ends), len(changes)))
    before = _before(address, times, kind, len(found))
    late = (before >= 0) & (kind[before] == 1)
    moved = np.where(late, times[before], found.times)
    order = np.argsort(moved, kind="stable")
    return Resets(moved[order], found.skaddr[order])


def errors(trace: Trace) -> SocketErrors:
    """Return the errors reported in one reading, but those that resets make."""
    events = trace.events.get(ERROR)
    if events is None:
        none, byte, address = np.empty(0, np.int64), np.empty(0, np.uint8), np.empty((0, 16), np.uint8)
        word = np.empty(0, np.int32)
        return SocketErrors(none, word, byte, address, address, word, word)
    records = events.records
    local, remote = addresses(events)
    return SocketErrors(
        times=events.times,
        error=records["error"].astype(np.int32),
        family=records["family"].astype(np.uint8),
        local=local,
        remote=remote,
        local_port=records["sport"].astype(np.int32),
        remote_port=records["dport"].astype(np.int32),
    )


def sockets_of(found: SocketErrors, changes: Transitions) -> I64:
    """Return the kernel address of each error's socket, 0 where it ended no connection.

    It is the socket whose change to CLOSE is the last change between these two ends before the error. Both
    may be some microseconds apart: `changes` are those of the same reading, better with the last before.
    """
    if not len(found):
        return np.empty(0, np.int64)
    keys = np.concatenate([_tuples(found), _tuples(changes)])
    _, key = np.unique(keys, return_inverse=True)
    times = np.concatenate([found.times, changes.times])
    kind = np.arange(len(keys)) < len(found)
    before = _before(key.reshape(-1).astype(np.int64), times, kind.astype(np.int64), len(found))
    row = before - len(found)
    ended = row >= 0
    ended[ended] = changes.new_state[row[ended]] == states.CLOSE
    result = np.zeros(len(found), np.int64)
    result[ended] = changes.skaddr[row[ended]]
    return result


def ended_in_interrupt(trace: Trace) -> Mask:
    """Say of each row of `transitions.cookies` whether that socket ended in an interrupt."""
    events = trace.events.get(DESTROY)
    if events is None or "sock_cookie" not in (events.records.dtype.names or ()):
        return np.empty(0, np.bool_)
    inside: Mask = (events.records["common_flags"] & IN_INTERRUPT) != 0
    return inside


def causes(
    ends: Transitions, received: Mask, sent: Mask, error: I32, *, whole: bool | Mask = True
) -> npt.NDArray[np.uint8]:
    """Return how connections ended, a code of `CAUSES` each.

    `ends` are their last changes to CLOSE. `received`: a reset since the change before that. `sent`: one
    since then, up to the socket's end or its next change. `error`: what was reported for it (`sockets_of`)
    after this change and before the next, 0 for nothing. `whole`: nothing of these can be missing;
    otherwise what only their absence tells is not known.

    A listener's end is no connection's: 0. An orderly end of which the peer's last word never came is the
    counters' to tell: `unanswered`.
    """
    last = ends.old_state
    connecting = last == _SYN_SENT
    # connect(2) that finds no free port fails between SYN_SENT and CLOSE, before it sent anything.
    aborted = connecting & (ends.thread >= 0) & (ends.local_port != 0)
    rules = (
        (last == states.LISTEN, 0),
        (error == errno.ETIMEDOUT, TIMED_OUT),
        (np.isin(error, _UNREACHABLE), UNREACHABLE),
        (connecting & (received | (error == errno.ECONNREFUSED)), REFUSED),
        (aborted & whole, CLOSED_BY_US),
        (connecting, 0),
        # Before "received", which late data makes too. A real reset is never answered by one.
        (sent, RESET_BY_US),
        (received, RESET_BY_PEER),
        # Our FIN was never acknowledged, and no program there to be told.
        ((last == _FIN_WAIT1) & whole, TIMED_OUT),
        ((last == _FIN_WAIT2) | (last == _CLOSING), CLOSED_BY_US),
        (last == _LAST_ACK, CLOSED_BY_PEER),
    )
    found: U8 = np.select([where for where, _ in rules], [code for _, code in rules], 0).astype(np.uint8)
    return found


def unanswered(cause: U8, last_state: U8, send_q: I64) -> U8:
    """Return the causes, with orderly ends timed out where our last bytes or FIN stayed unacknowledged.

    `last_state` is the one before CLOSE, `send_q` of the announcement: LAST_ACK and CLOSING end in the same
    way when the acknowledgement comes and when the kernel gives up waiting for it.
    """
    orderly = (cause == CLOSED_BY_US) | (cause == CLOSED_BY_PEER)
    waited = (last_state == _LAST_ACK) | (last_state == _CLOSING)
    told: U8 = np.where(orderly & waited & (send_q > 0), np.uint8(TIMED_OUT), cause)
    return told


def bytes_written(last_state: U8, client: Mask, bytes_acked: I64, send_q: I64) -> I64:
    """Return how many bytes the program wrote to each socket, from the counters of its announcement.

    They count our FIN, queued by then in FIN_WAIT1, FIN_WAIT2, CLOSING and LAST_ACK, and at the `client`
    (who sent a SYN) the SYN. Which were acknowledged: without `send_q`. A socket announced without
    its peer's port was disconnected and has lost its counters; its `send_q` means nothing.
    """
    fin = np.isin(last_state, (_FIN_WAIT1, _FIN_WAIT2, _CLOSING, _LAST_ACK))
    written: I64 = bytes_acked + send_q - client - fin
    return written


def bytes_from_peer(
    ends: Transitions, cause: U8, ended_at: I64, in_interrupt: Mask, bytes_received: I64, recv_q: I64
) -> I64:
    """Return how many bytes came in order from the peer, from the counters of the announcement.

    The counter has the peer's FIN, if that came: it did in CLOSE_WAIT, LAST_ACK and CLOSING. FIN_WAIT2 is
    left when it comes, and when the program closes or has closed, without waiting for it. Such a
    socket ends at once, and what its program has not read can only be the FIN.
    `ends` as for `causes`; `ended_at` and `in_interrupt` are of the socket's end (`transitions.cookies`,
    `ended_in_interrupt`).
    """
    last = ends.old_state
    here = (ends.thread >= 0) & (ended_at - ends.times < _ONE_CALL_NS)
    fin = np.where(in_interrupt | here, recv_q > 0, True) & (last == _FIN_WAIT2) & (cause == CLOSED_BY_US)
    fin |= np.isin(last, (_CLOSE_WAIT, _LAST_ACK, _CLOSING))
    came: I64 = bytes_received - fin
    return came


def _resets(trace: Trace, name: str) -> Resets:
    events = trace.events.get(name)
    if events is None:
        none = np.empty(0, np.int64)
        return Resets(none, none)
    return Resets(events.times, events.records["skaddr"].astype(np.int64))


def _tuples(ends: SocketErrors | Transitions) -> npt.NDArray[np.void]:
    """Return family, addresses and ports of each row as one value."""
    raw = np.zeros((len(ends), 40), np.uint8)
    raw[:, 0] = ends.family
    raw[:, 2:4] = ends.local_port.astype(np.uint16)[:, None].view(np.uint8)
    raw[:, 4:6] = ends.remote_port.astype(np.uint16)[:, None].view(np.uint8)
    raw[:, 8:24], raw[:, 24:] = ends.local, ends.remote
    return raw.view("V40")[:, 0]


def _before(key: I64, times: I64, kind: I64, count: int) -> npt.NDArray[np.intp]:
    """Return of each of the first rows the row before it that has its key, -1 for none.

    `kind` orders those of one time.
    """
    order = np.lexsort((kind, times, key))
    before = np.full(len(key), -1)
    alike = key[order[1:]] == key[order[:-1]]
    before[order[1:][alike]] = order[:-1][alike]
    return before[:count]
