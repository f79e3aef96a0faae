"""Socket states: kernel numbers, the names stored in captures, and the names people type.

Numbers: `enum` in the kernel's include/net/tcp_states.h. Stored names are netstat's, which are the
kernel's own; a UDP or raw socket without a peer is `UNCONN`, as ss calls it (the kernel reuses
TCP_CLOSE for it).
"""

from __future__ import annotations

from typing import Final

from sockrec.errors import UsageError

ESTABLISHED: Final = 1
SYN_SENT: Final = 2
SYN_RECV: Final = 3
FIN_WAIT1: Final = 4
FIN_WAIT2: Final = 5
TIME_WAIT: Final = 6
CLOSE: Final = 7
CLOSE_WAIT: Final = 8
LAST_ACK: Final = 9
LISTEN: Final = 10
NEW_SYN_RECV: Final = 12
BOUND_INACTIVE: Final = 13

NAMES: Final[dict[int, str]] = {
    1: "ESTABLISHED",
    2: "SYN_SENT",
    3: "SYN_RECV",
    4: "FIN_WAIT1",
    5: "FIN_WAIT2",
    6: "TIME_WAIT",
    7: "CLOSE",
    8: "CLOSE_WAIT",
    9: "LAST_ACK",
    10: "LISTEN",
    11: "CLOSING",
    # A request socket that became a full one between two reads: the same state to everybody.
    12: "SYN_RECV",
    # Bound, neither listening nor connecting (Linux 6.8): only sock_diag shows it, as CLOSE.
    13: "CLOSE",
}
# UNIX sockets that no process can hold: not accepted yet, or orphaned. Numbers of SS_* (linux/net.h).
CONNECTING: Final = 2
DISCONNECTING: Final = 4
UNIX_NAMES: Final = {
    ESTABLISHED: "ESTABLISHED",
    CONNECTING: "CONNECTING",
    DISCONNECTING: "DISCONNECTING",
    CLOSE: "UNCONN",
    LISTEN: "LISTEN",
}
NUMBERS: Final[dict[str, int]] = {name: number for number, name in reversed(NAMES.items())}
NUMBERS["UNCONN"] = CLOSE

_ALIASES: Final = {
    "ESTAB": "ESTABLISHED",
    "LISTENING": "LISTEN",
    "CLOSED": "CLOSE",
    "SYNSENT": "SYN_SENT",
    "SYNRECV": "SYN_RECV",
    "SYN_RECEIVED": "SYN_RECV",
    "FIN_WAIT_1": "FIN_WAIT1",
    "FIN_WAIT_2": "FIN_WAIT2",
    "TIMEWAIT": "TIME_WAIT",
    "CLOSEWAIT": "CLOSE_WAIT",
    "LASTACK": "LAST_ACK",
    "UNCONNECTED": "UNCONN",
}


def parse(text: str) -> str:
    """Return the stored name of a state given by any name of netstat or ss, in any case.

    Raises `UsageError` for a word that is no state.
    """
    word = text.strip().upper().replace("-", "_")
    word = _ALIASES.get(word, word)
    if word not in NUMBERS:
        known = ", ".join(NUMBERS)
        raise UsageError(f"{text!r} is not a socket state; the states are {known}")
    return word
