"""State changes of TCP sockets, each at its moment: the tracepoint sock:inet_sock_set_state.

It sees every network namespace and names none, nor does it give the socket's cookie. The socket's kernel
address ties the changes of one socket together, until the kernel uses the address again; at the
socket's end tcp:tcp_destroy_sock tells its cookie, which no other socket of the host ever has.

The thread is the one that called connect, listen, close, or exited. In an interrupt it is a bystander
and left out. Outside of one it may still be another user of the socket (packets that came while it held
the socket), `ss -K`, or a kernel worker.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import numpy.typing as npt

from sockrec.errors import KernelError
from sockrec.kernel.arrays import I32, I64, NULL, U8
from sockrec.kernel.tracing import IN_INTERRUPT, Events, Trace, Tracer
from sockrec.model import states

STATE_CHANGE: Final = "sock/inet_sock_set_state"
DESTROY: Final = "tcp/tcp_destroy_sock"
# MPTCP's own sockets and SCTP's come by the same tracepoint.
_CONDITION: Final = f"protocol=={socket.IPPROTO_TCP}"


@dataclass(slots=True)
class Transitions:
    """State changes in the order of their times, each array of length n.

    `times` are CLOCK_BOOTTIME nanoseconds. `skaddr` is the socket's kernel address as a signed number; states
    are the kernel's numbers, NEW_SYN_RECV folded into SYN_RECV. Addresses and ports are as in
    `InetSockets`; what the socket does not have yet is 0 (the local port at CLOSE -> SYN_SENT, the
    remote end of a listener). `thread` is the thread that did it, in the initial PID namespace, and -1 for a
    change made in an interrupt.

    LISTEN -> SYN_RECV is the birth of a connection that came in and no listener's end: that is
    LISTEN -> CLOSE. No change leads to TIME_WAIT: the socket goes to CLOSE and a remnant stays.
    """

    times: I64
    skaddr: I64
    old_state: U8
    new_state: U8
    family: U8
    local: U8
    remote: U8
    local_port: I32
    remote_port: I32
    thread: I64

    def __len__(self) -> int:
        return len(self.times)

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> Transitions:
        """Return some of the rows."""
        return Transitions(*(getattr(self, each.name)[rows] for each in fields(self)))


@dataclass(slots=True)
class Cookies:
    """The cookies of TCP sockets at their ends, in the order of the times, each array of length n.

    `times` are CLOCK_BOOTTIME nanoseconds: when the socket at `skaddr` was given up, after its last change
    to CLOSE. The address may be another socket's from then on.
    """

    times: I64
    skaddr: I64
    cookie: I64

    def __len__(self) -> int:
        return len(self.times)


def enable(tracer: Tracer) -> str:
    """Enable the tracepoints; raises `KernelError` if there are no state changes to be had.

    Returns what is missing, empty for nothing: without cookies, transitions are tied to sockets by
    their addresses alone.
    """
    tracer.enable(STATE_CHANGE, _CONDITION)
    try:
        tracer.enable(DESTROY)
    except KernelError as error:
        return f"{error}: state changes are tied to sockets by addresses only"
    if "sock_cookie" not in tracer.fields(DESTROY):
        return f"{DESTROY} has no cookie: state changes are tied to sockets by addresses only"
    return ""


def transitions(trace: Trace) -> Transitions:
    """Return the state changes of one reading."""
    events = trace.events[STATE_CHANGE]
    records = events.records
    local, remote = addresses(events)
    interrupted = (records["common_flags"] & IN_INTERRUPT) != 0
    return Transitions(
        times=events.times,
        skaddr=records["skaddr"].astype(np.int64),
        old_state=_states(records["oldstate"]),
        new_state=_states(records["newstate"]),
        family=records["family"].astype(np.uint8),
        local=local,
        remote=remote,
        local_port=records["sport"].astype(np.int32),
        remote_port=records["dport"].astype(np.int32),
        thread=np.where(interrupted, -1, records["common_pid"]).astype(np.int64),
    )


def cookies(trace: Trace) -> Cookies:
    """Return the cookies that one reading gave; none where the kernel does not tell them."""
    events = trace.events.get(DESTROY)
    if events is None or "sock_cookie" not in (events.records.dtype.names or ()):
        none = np.empty(0, np.int64)
        return Cookies(none, none, none)
    return Cookies(
        events.times,
        events.records["skaddr"].astype(np.int64),
        events.records["sock_cookie"].astype(np.int64),
    )


def tie(changes: Transitions, ends: Cookies) -> I64:
    """Return the cookie of each state change, `NULL` where its socket had not ended yet.

    Of one kernel address, a change belongs to the next end at that address.
    """
    found = np.full(len(changes), NULL, np.int64)
    if not len(ends):
        return found
    addresses = np.concatenate([changes.skaddr, ends.skaddr])
    times = np.concatenate([changes.times, ends.times])
    is_end = np.arange(len(addresses)) >= len(changes)
    # An end comes after the changes that have its time.
    order = np.lexsort((is_end, times, addresses))
    places = np.where(is_end[order], np.arange(len(order)), len(order))
    following = np.minimum.accumulate(places[::-1])[::-1]
    known = np.flatnonzero(~is_end[order] & (following < len(order)))
    ended = order[following[known]]
    rows = order[known]
    same = addresses[rows] == addresses[ended]
    found[rows[same]] = ends.cookie[ended[same] - len(changes)]
    return found


def _states(numbers: npt.NDArray[np.int32]) -> U8:
    found = numbers.astype(np.uint8)
    found[found == states.NEW_SYN_RECV] = states.SYN_RECV
    return found


def addresses(events: Events) -> tuple[U8, U8]:
    """Return both ends as 16 bytes each, IPv4 in the first 4."""
    ends = []
    ipv4 = events.records["family"] == socket.AF_INET
    for four, sixteen in (("saddr", "saddr_v6"), ("daddr", "daddr_v6")):
        found = np.zeros((len(events), 16), np.uint8)
        found.view("V16")[:, 0] = events.records[sixteen]
        found[ipv4] = 0
        found[ipv4, :4] = np.ascontiguousarray(events.records[four][ipv4]).view(np.uint8).reshape(-1, 4)
        ends.append(found)
    return ends[0], ends[1]
