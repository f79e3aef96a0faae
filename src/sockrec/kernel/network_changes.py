"""What changes in a network namespace, as the kernel announces it to the groups of rtnetlink(7).

Only the kind of a change is taken from a message: who wants to know more reads the table anew. Counters do
not announce themselves, nor does another socket's joining of a group that the interface listens to already.
"""

from __future__ import annotations

import errno
import socket
import struct
from types import TracebackType
from typing import Final, NamedTuple

from sockrec.errors import KernelError
from sockrec.kernel.netlink import HEADER_BYTES

_SO_RCVBUFFORCE: Final = 33
_SOL_NETLINK: Final = 270
_NETLINK_ADD_MEMBERSHIP: Final = 1
# Room for about a thousand messages. More is as good as lost: by then everything is to be read anew.
_RECEIVE_BUFFER: Final = 1 << 20
# Bounds one `drain` where somebody goes on and on meanwhile; the rest stays for the next.
_MOST: Final = 1 << 13

# RTNLGRP_*, linux/rtnetlink.h
_LINK, _IPV4_ADDRESS, _IPV4_ROUTE, _IPV6_ADDRESS, _IPV6_ROUTE = 1, 5, 7, 9, 11
_MULTICAST: Final = (37, 38)  # RTNLGRP_IPV4_MCADDR, RTNLGRP_IPV6_MCADDR: Linux 6.15

_HEADER: Final = struct.Struct("=IHHII")
_LINKS, _ADDRESSES, _ROUTES, _GROUPS = 1, 2, 4, 8
_ALL: Final = _LINKS | _ADDRESSES | _ROUTES | _GROUPS
# An interface or an address that goes takes routes and groups with it, of which not all are announced.
_BY_TYPE: Final = {
    16: _LINKS | _ROUTES | _GROUPS,  # RTM_NEWLINK
    17: _ALL,  # RTM_DELLINK
    20: _ADDRESSES | _ROUTES | _GROUPS,  # RTM_NEWADDR
    21: _ADDRESSES | _ROUTES | _GROUPS,  # RTM_DELADDR
    24: _ROUTES,  # RTM_NEWROUTE
    25: _ROUTES,  # RTM_DELROUTE
    56: _GROUPS,  # RTM_NEWMULTICAST
    57: _GROUPS,  # RTM_DELMULTICAST
}


class NetworkChanges(NamedTuple):
    """Which kinds may have changed since the last look.

    Where messages were `lost` (the kernel had no room for them) or are of an unknown kind, that is all.
    """

    links: bool = False
    addresses: bool = False
    routes: bool = False
    groups: bool = False
    lost: bool = False


_NOTHING: Final = NetworkChanges()


class NetworkChangesSource:
    """Announcements of the network namespace that the calling thread is in when this is made.

    Needs no privileges. Raises `KernelError` where the kernel or a sandbox refuses.
    """

    def __init__(self, receive_buffer: int = _RECEIVE_BUFFER) -> None:
        try:
            self._socket = _subscribe(receive_buffer)
        except OSError as error:
            raise KernelError(
                f"changes of the network are not announced ({error.strerror}): "
                "interfaces, addresses and routes are read at their interval only"
            ) from error
        self.announces_groups = _join(self._socket, _MULTICAST)
        """Whether the kernel tells of multicast groups (Linux 6.15); else `groups` follows interfaces."""
        self._header = bytearray(HEADER_BYTES)

    @property
    def unavailable(self) -> tuple[str, ...]:
        """A line for each thing that is not announced."""
        if self.announces_groups:
            return ()
        return (
            "multicast groups are not announced (Linux 6.15 does it): they are read at their interval only",
        )

    def fileno(self) -> int:
        """Return the descriptor that polls readable while announcements wait."""
        return self._socket.fileno()

    def drain(self) -> NetworkChanges:
        """Return what changed since the last call, without waiting.

        Raises `KernelError` where the socket fails.
        """
        changed, lost = 0, False
        receive, header = self._socket.recv_into, self._header
        for _ in range(_MOST):
            try:
                # With MSG_TRUNC the true length comes back; the kernel copies the header alone.
                size = receive(header, HEADER_BYTES, socket.MSG_TRUNC)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise KernelError(
                        f"announcements of the network can't be read: {error.strerror}"
                    ) from error
                changed, lost = _ALL, True
                continue
            length, kind, _, _, _ = _HEADER.unpack(header)
            # An announcement is alone in its datagram.
            changed |= _BY_TYPE.get(kind, _ALL) if size - 3 <= length <= size else _ALL
        if not changed:
            return _NOTHING
        return NetworkChanges(
            bool(changed & _LINKS),
            bool(changed & _ADDRESSES),
            bool(changed & _ROUTES),
            bool(changed & _GROUPS),
            lost,
        )

    def close(self) -> None:
        """Leave the groups."""
        self._socket.close()

    def __enter__(self) -> NetworkChangesSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _subscribe(receive_buffer: int) -> socket.socket:
    route = socket.socket(
        socket.AF_NETLINK,
        socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
        socket.NETLINK_ROUTE,
    )
    try:
        try:
            route.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, receive_buffer)
        except PermissionError:
            route.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        # Before the groups: nothing that another process sends is let in.
        route.connect((0, 0))
        groups = (_LINK, _IPV4_ADDRESS, _IPV4_ROUTE, _IPV6_ADDRESS, _IPV6_ROUTE)
        route.bind((route.getsockname()[0], sum(1 << (group - 1) for group in groups)))
    except BaseException:
        route.close()
        raise
    return route


def _join(route: socket.socket, groups: tuple[int, ...]) -> bool:
    """Join groups, and tell whether the kernel has them."""
    try:
        for group in groups:
            route.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
    except OSError:
        return False
    return True
