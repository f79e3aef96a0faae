"""The least that Python can do with announcements of destroyed sockets: receive each, and forget it.

`python -I -S recv_loop.py blocking|drained` prints `ready`, and how many there were once it gets SIGTERM.
`blocking` waits for each message; `drained` sleeps a tenth of a second, and then takes what there is, one by
one. Standard library only.
"""

from __future__ import annotations

import signal
import socket
import sys
import time
from types import FrameType

_NETLINK_SOCK_DIAG = 4
_GROUPS = 0b1111  # SKNLGRP_INET_TCP_DESTROY and its like: TCP and UDP, IPv4 and IPv6
_SO_RCVBUFFORCE = 33
_ROOM = 64 << 20
_PAUSE_S = 0.1


class _Stopped(Exception):  # noqa: N818 - it is none
    pass


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise _Stopped


def main() -> None:
    """Receive until told to stop."""
    diag = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
    diag.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM // 2)
    diag.bind((0, _GROUPS))
    signal.signal(signal.SIGTERM, _stop)
    signal.alarm(300)
    buffer = bytearray(8192)
    receive = diag.recv_into
    count = 0
    print("ready", flush=True)
    try:
        if sys.argv[1] == "blocking":
            while True:
                receive(buffer)
                count += 1
        diag.setblocking(False)
        while True:
            time.sleep(_PAUSE_S)
            try:
                while True:
                    receive(buffer)
                    count += 1
            except BlockingIOError:
                pass
    except _Stopped:
        print(count, flush=True)


if __name__ == "__main__":
    main()
