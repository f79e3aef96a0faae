"""Dumps over NETLINK_ROUTE (rtnetlink(7)): whole messages, and the attributes inside of them.

Tables of interfaces and addresses are short and their messages are all different, so that they are taken
apart one by one, unlike those of sock_diag.
"""

from __future__ import annotations

import errno
import os
import random
import socket
import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

from sockrec.kernel.netlink import (
    HEADER_BYTES,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    TIMEOUT_SECONDS,
    NetlinkError,
    open_netlink,
)

# The kernel fills at most 32 KiB per receive today, and may send one larger message alone.
_WINDOW: Final = 256 << 10
_MOST_DISCARDED: Final = 1 << 12
_MAX_ERRNO: Final = 4095  # MAX_ERRNO, include/linux/err.h
_HEADER: Final = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE: Final = struct.Struct("=HH")  # nlattr: length, type
_CODE: Final = struct.Struct("=i")
# NLA_F_NESTED and NLA_F_NET_BYTEORDER are no part of a type.
_TYPE_MASK: Final = 0x3FFF
_NUMBERS: Final = {1: struct.Struct("=B"), 2: struct.Struct("=H"), 4: struct.Struct("=I")}

Attributes = Mapping[int, bytes]


class Dump(NamedTuple):
    """The messages of one dump in the kernel's order, each without its nlmsghdr.

    `incomplete` says why some may be missing or doubled; it is empty for a whole dump.
    """

    messages: list[bytes]
    incomplete: str = ""


class RouteSocket:
    """One NETLINK_ROUTE socket, of the network namespace that the thread is in when it is made.

    Raises OSError where the kernel or a sandbox refuses such sockets.
    """

    def __init__(self) -> None:
        self._buffer = bytearray(_WINDOW)
        self._socket = open_netlink(socket.NETLINK_ROUTE)

    def fileno(self) -> int:
        """Return the descriptor, for the ioctls of netdevice(7): they are asked of the same namespace."""
        return self._socket.fileno()

    def dump(self, kind: int, answer: int, request: bytes) -> Dump:
        """Ask for a dump with a message of type `kind`, and receive all its messages of type `answer`.

        Raises `NetlinkError` if the kernel refuses it, or answers with what is no netlink. A dump that the
        kernel could not finish, or whose answer stops coming, is returned with `incomplete` set.
        """
        sequence = random.getrandbits(32)
        head = _HEADER.pack(HEADER_BYTES + len(request), kind, NLM_F_REQUEST | NLM_F_DUMP, sequence, 0)
        messages: list[bytes] = []
        ended = False
        incomplete = ""
        try:
            self._socket.send(head + request)
            while not ended:
                found, ended, interrupted = parse(self._receive(), answer, sequence)
                messages += found
                if interrupted:
                    incomplete = "they changed while the kernel listed them"
        except NetlinkError:
            raise
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                incomplete = "the kernel ran out of buffers"
            elif error.errno == errno.EAGAIN:
                incomplete = f"the kernel did not go on within {TIMEOUT_SECONDS} s"
            else:
                raise NetlinkError(error.errno, error.strerror) from error
        finally:
            if not ended:
                self._discard()
        return Dump(messages, incomplete)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _receive(self) -> bytes:
        # With MSG_TRUNC the true length comes back, even of a datagram that does not fit.
        size = self._socket.recv_into(self._buffer, _WINDOW, socket.MSG_TRUNC)
        if size > _WINDOW:
            raise NetlinkError(errno.EMSGSIZE, f"a netlink datagram of {size} bytes")
        return bytes(self._buffer[:size])

    def _discard(self) -> None:
        """Fetch what the kernel still has to say to a dump that was given up: it must not meet the next one.

        A new socket would be of the namespace that the thread is in by now.
        """
        for _ in range(_MOST_DISCARDED):
            try:
                self._socket.recv_into(self._buffer, _WINDOW, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                continue  # it tells of the dump that is given up


def parse(datagram: bytes, answer: int, sequence: int) -> tuple[list[bytes], bool, bool]:
    """Return a datagram's messages of type `answer`, whether the dump ends in it, and NLM_F_DUMP_INTR.

    Messages of another sequence are answers to an earlier request that was given up: left out. Raises
    `NetlinkError` with the kernel's errno for an error, and with EBADMSG if the lengths do not chain.
    """
    messages: list[bytes] = []
    ended = interrupted = False
    position = 0
    while position < len(datagram):
        if position + HEADER_BYTES > len(datagram):
            raise NetlinkError(errno.EBADMSG, "a netlink message is cut off")
        length, kind, flags, number, _ = _HEADER.unpack_from(datagram, position)
        end = position + length
        if length < HEADER_BYTES or end > len(datagram):
            raise NetlinkError(errno.EBADMSG, f"a netlink message says that it has {length} bytes")
        if number == sequence:
            interrupted |= bool(flags & NLM_F_DUMP_INTR)
            if kind == answer:
                messages.append(datagram[position + HEADER_BYTES : end])
            elif kind in (NLMSG_DONE, NLMSG_ERROR):
                _raise_refused(datagram[position + HEADER_BYTES : end])
                ended = True
        position += (length + 3) & ~3
    return messages, ended, interrupted


def _raise_refused(body: bytes) -> None:
    if len(body) < _CODE.size:
        return
    code = -_CODE.unpack_from(body)[0]
    if code > _MAX_ERRNO:
        raise NetlinkError(errno.EBADMSG, f"a netlink message names the error {code}, which none is")
    if code > 0:
        raise NetlinkError(code, os.strerror(code))


def attributes(data: bytes, start: int = 0) -> Attributes:
    """Return the attributes (struct nlattr) from `start` on, by type; the last of a type wins.

    Raises `NetlinkError` (EBADMSG) where a length runs past the end or is none.
    """
    found: dict[int, bytes] = {}
    position, size = start, len(data)
    while position < size:
        if position + _ATTRIBUTE.size > size:
            raise NetlinkError(errno.EBADMSG, "a netlink attribute is cut off")
        length, kind = _ATTRIBUTE.unpack_from(data, position)
        end = position + length
        if length < _ATTRIBUTE.size or end > size:
            raise NetlinkError(errno.EBADMSG, f"a netlink attribute says that it has {length} bytes")
        found[kind & _TYPE_MASK] = data[position + _ATTRIBUTE.size : end]
        position += (length + 3) & ~3
    return found


def attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute as it stands in a request."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def number(found: Attributes, kind: int, size: int = 4) -> int | None:
    """Return an unsigned number of `size` bytes (1, 2 or 4), None if there is no such attribute.

    Raises `NetlinkError` (EBADMSG) if it has another size.
    """
    value = found.get(kind)
    if value is None:
        return None
    if len(value) != size:
        raise NetlinkError(errno.EBADMSG, f"netlink attribute {kind} has {len(value)} bytes, not {size}")
    answer: int = _NUMBERS[size].unpack(value)[0]
    return answer


def text(found: Attributes, kind: int) -> str | None:
    """Return a C string, undecodable bytes as PEP 383 surrogates; None if there is no such attribute."""
    value = found.get(kind)
    return None if value is None else value.partition(b"\0")[0].decode("utf-8", "surrogateescape")
