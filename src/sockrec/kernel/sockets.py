"""One reading of all sockets of a network namespace: sock_diag first, /proc/net for what it lacks."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Final

from sockrec.errors import KernelError
from sockrec.kernel import inet_diag, proc_net, proc_unix, unix_diag
from sockrec.kernel.arrays import InetSockets, UnixSockets
from sockrec.kernel.host import boot_us
from sockrec.kernel.netlink import DiagSocket, Dump, Messages, NetlinkError

NUMBERS: Final = {
    "tcp": socket.IPPROTO_TCP,
    "sctp": inet_diag.IPPROTO_SCTP,
    "udp": socket.IPPROTO_UDP,
    "udplite": inet_diag.IPPROTO_UDPLITE,
    "raw": socket.IPPROTO_RAW,
}
"""The protocols read, by the names that captures give them, in netstat's order."""

Request = Callable[[DiagSocket], Dump]

_ATTEMPTS: Final = 4  # the first, and three more where the kernel could not finish
_REFUSED: Final = {errno.EPERM, errno.EACCES, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.ENOSYS}
_ABSENT: Final = {errno.ENOENT, errno.EOPNOTSUPP, errno.EINVAL}
# Kernels are built without these, and then hold none of their sockets: nothing is missing.
_OPTIONAL: Final = {"sctp", "udplite"}
_LOST: Final = "cookies and memory sizes"
_LOST_ALL: Final = (
    "cookies, tcp_info, memory sizes, UNIX peers and queues, sockets that are only bound, SCTP, and"
    " readings of the listeners alone when the CPU budget is short"
)


@dataclass(slots=True)
class Reading:
    """All sockets as one reading found them; `began_us`, `ended_us` are CLOCK_BOOTTIME microseconds.

    `incomplete` has a line for each thing that could not be read whole. `failed` names the protocols
    (of `NUMBERS`, or `unix`) of which a socket's absence from this reading proves nothing.

    No reading is atomic: a socket that changes state meanwhile may be met twice, with one cookie, and
    the removal of its neighbour in a hash chain may hide one from a single reading.
    """

    inet: InetSockets
    unix: UnixSockets
    began_us: int
    ended_us: int
    incomplete: tuple[str, ...]
    failed: frozenset[str]


class SocketReader:
    """Reads the sockets of the network namespace that the calling thread is in when it is made.

    Where netlink is refused, or a protocol has no sock_diag, /proc/net is read from then on, by the
    thread that calls `read`: it must be in the same namespace. `netlink=False` reads only /proc/net.
    Raises `KernelError` if neither can be read.
    """

    def __init__(self, netlink: bool = True) -> None:
        self._diag: DiagSocket | None = None
        self._requests = _requests()
        self._one_walk = self._requests["tcp"]
        self._from_proc: set[str] = set()
        self._unavailable: list[str] = []
        self._incomplete: list[str] = []
        self._failed: set[str] = set()
        if netlink:
            try:
                self._diag = DiagSocket()
            except OSError as error:
                self._replace_all(f"sock_diag is refused ({error.strerror})")
        else:
            self._replace_all("sock_diag is not to be used")
        if self._diag is None and not proc_net.FOLDER.is_dir():
            raise KernelError(
                "neither sock_diag nor /proc/net can be read: allow netlink sockets, or mount /proc"
            )

    @property
    def unavailable(self) -> tuple[str, ...]:
        """A line for each thing that was replaced or is missing, with what is lost; whole after a `read`."""
        return tuple(self._unavailable)

    def read(self) -> Reading:
        """Read all sockets now.

        Raises `KernelError` where the kernel's answer can't be taken apart: it is not guessed at.
        """
        self._incomplete, self._failed = [], set()
        if self._diag is not None:
            self._diag.rewind()
        began_us = boot_us()
        blocks = [(number, block) for name, number in NUMBERS.items() for block in self._inet(name)]
        try:
            unix = self._unix()
            ended_us = boot_us()
            inet = InetSockets.allocate(sum(len(block) for _, block in blocks))
            start = 0
            for number, block in blocks:
                rows = inet.rows(start, start + len(block))
                if isinstance(block, Messages):
                    inet_diag.decode(block, number, rows)
                else:
                    rows.assign(block)
                start += len(block)
        except NetlinkError as error:
            raise KernelError(
                f"sock_diag answers in an unknown form ({error.strerror}): report this kernel"
            ) from error
        return Reading(inet, unix, began_us, ended_us, tuple(self._incomplete), frozenset(self._failed))

    def read_listeners(self) -> Reading | None:
        """Read the listening TCP sockets alone; None where that costs as much as reading all.

        Raises `KernelError` as `read` does.
        """
        if self._diag is None or self._requests["tcp"] != self._one_walk:
            return None
        self._incomplete, self._failed = [], set()
        self._diag.rewind()
        began_us = boot_us()
        try:
            messages = self._dump(self._diag, "tcp", partial(inet_diag.dump_tcp, listeners_only=True))
            inet = InetSockets.allocate(len(messages))
            inet_diag.decode(messages, NUMBERS["tcp"], inet)
        except NetlinkError as error:
            raise KernelError(f"sock_diag does not list listeners: {error.strerror}") from error
        incomplete, failed = tuple(self._incomplete), frozenset(self._failed)
        return Reading(inet, UnixSockets.empty(), began_us, boot_us(), incomplete, failed)

    def close(self) -> None:
        """Close the netlink socket."""
        if self._diag is not None:
            self._diag.close()

    def __enter__(self) -> SocketReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _inet(self, name: str) -> list[Messages] | list[InetSockets]:
        dumps = self._dumps(name)
        if dumps is not None:
            return dumps
        blocks = []
        for file in (name, f"{name}6"):
            try:
                block = proc_net.inet(file, NUMBERS[name])
            except OSError as error:
                self._fail(name, f"/proc/net/{file}: {error.strerror}")
                continue
            if block is not None:
                blocks.append(block)
        if not blocks and name not in _OPTIONAL:
            self._fail(name, f"neither sock_diag nor /proc/net/{name} can be read")
        return blocks

    def _unix(self) -> UnixSockets:
        dumps = self._dumps("unix")
        if dumps is not None:
            if not dumps:
                return UnixSockets.empty()
            sockets = unix_diag.decode(dumps[0])
            if not unix_diag.is_telling_less(sockets):
                return sockets
            told = self._proc_unix()
            return sockets if told is None else proc_unix.complete(sockets, told)
        told = self._proc_unix()
        return UnixSockets.empty() if told is None else told

    def _proc_unix(self) -> UnixSockets | None:
        try:
            told = proc_unix.unix()
        except OSError as error:
            self._fail("unix", f"/proc/net/unix: {error.strerror}")
            return None
        if told is None:
            self._fail("unix", "neither sock_diag nor /proc/net/unix can be read")
        return told

    def _dumps(self, name: str) -> list[Messages] | None:
        """Return the dumps of a protocol; None where /proc/net has to do, nothing where it failed."""
        if self._diag is None or name in self._from_proc:
            return None
        try:
            return [self._dump(self._diag, name, request) for request in self._requests[name]]
        except NetlinkError as error:
            if error.errno in _REFUSED:
                self._diag.close()
                self._diag = None
                self._replace_all(f"sock_diag is refused ({error.strerror})")
            elif error.errno not in _ABSENT:
                self._fail(name, f"sock_diag: {error.strerror}")
                return []
            elif name == "tcp" and len(self._requests[name]) == 1:
                self._requests[name] = _of_both_families(socket.IPPROTO_TCP)
                return self._dumps(name)
            else:
                self._replace(name)
            return None

    def _dump(self, diag: DiagSocket, name: str, request: Request) -> Messages:
        position = diag.position
        for _ in range(_ATTEMPTS):
            diag.rewind(position)
            messages = diag.messages(request(diag))
            if not messages.incomplete:
                return messages
        self._fail(name, messages.incomplete)
        return messages

    def _fail(self, name: str, why: str) -> None:
        self._incomplete.append(f"{name}: {why}")
        self._failed.add(name)

    def _replace(self, name: str) -> None:
        self._from_proc.add(name)
        present = (proc_net.FOLDER / name).exists()
        if name == "sctp" and present:
            self._unavailable.append(
                "sctp: this kernel has SCTP without sctp_diag: its sockets are not recorded"
            )
        elif present:
            self._unavailable.append(
                f"{name}: this kernel has no sock_diag for it: read from /proc/net/{name}, without {_LOST}"
            )

    def _replace_all(self, why: str) -> None:
        self._unavailable.append(f"{why}: sockets are read from /proc/net, without {_LOST_ALL}")


def _requests() -> dict[str, tuple[Request, ...]]:
    both = {name: _of_both_families(number) for name, number in NUMBERS.items()}
    return both | {"tcp": (inet_diag.dump_tcp,), "unix": (unix_diag.dump,)}


def _of_both_families(protocol: int) -> tuple[Request, ...]:
    return tuple(
        partial(inet_diag.dump, protocol=protocol, family=family)
        for family in (socket.AF_INET, socket.AF_INET6)
    )
