"""The text that BSD's netstat prints of sockets, as in *Practical UNIX & Internet Security*, chapter 17.5.

Formats and cuts are those of 4.4BSD's usr.bin/netstat/inet.c and unix.c; IPv6, which came later, is KAME's
(NetBSD): its own title, `tcp6` and `udp6`, the same columns. As there:

- An address is `host.service`: at most 16 bytes of the host, 8 of the service's name, 22 in all. A name
  of the host's own domain goes without it; what is any address or port is `*`.
- Without -a a socket is shown if it has a local address. So a server that listens on one address is shown, as
  in the book's sample, and one that listens on all of them is not; UDP likewise.
- A title comes with the first row under it: where there is no row, there is no text.
- Raw, SCTP and UDP-Lite sockets are left out: 4.4BSD prints those of TCP and UDP alone.

What differs, since the sockets are Linux's: BSD prints the newest first, here is the kernel's order; the
Recv-Q of a listener is what waits for accept, where BSD has 0; a v4-mapped address is written whole, then
cut; an address is never taken for a network's (BSD does where the part of its class for hosts is 0). UNIX
sockets: see `bsd_unix_lines`. Control characters are printed as `?` (see `names.printable`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from sockrec.model.addresses import IPV4_ANY, IPV6_ANY
from sockrec.model.netstat_row import NetstatRow
from sockrec.model.unix_row import UnixRow
from sockrec.render.bsd_flags import BsdFlags
from sockrec.render.names import Names, cut, encode, pad, printable

_HOST_CUT: Final = 16
_SERVICE_CUT: Final = 8
_ADDRESS_WIDTH: Final = 22
_HEADER: Final = "Proto Recv-Q Send-Q  Local Address          Foreign Address        (state)\n"
_UNIX_HEADER: Final = "Address  Type   Recv-Q Send-Q    Inode     Conn     Refs  Nextref Addr\n"
_ANY: Final = (IPV4_ANY, IPV6_ANY)

# TCPSTATES of netinet/tcp_fsm.h, where it is not the word that is stored.
_STATES: Final = {
    "SYN_RECV": "SYN_RCVD",
    "FIN_WAIT1": "FIN_WAIT_1",
    "FIN_WAIT2": "FIN_WAIT_2",
    "CLOSE": "CLOSED",
}
_NO_FILE: Final = frozenset({"CONNECTING", "DISCONNECTING"})


class _Printer:
    """Prints internet sockets under one set of flags and names; remembers the hosts it has met."""

    def __init__(self, flags: BsdFlags, names: Names, domain: str) -> None:
        self._numeric = flags.numeric
        self._names = names
        self._domain = domain
        self._hosts: dict[str, str] = {}

    def _named_host(self, address: str) -> str:
        if address in _ANY:
            return "*"
        name = None if self._numeric else self._names.host(address)
        if name is None:
            return cut(printable(address), _HOST_CUT)
        first, dot, domain = name.partition(".")
        return cut(first if dot and domain == self._domain else name, _HOST_CUT)

    def _service(self, port: int, database: str) -> str:
        if port == 0:
            return "*"
        return str(port) if self._numeric else cut(self._names.port(port, database), _SERVICE_CUT)

    def _endpoint(self, address: str, port: int, database: str) -> str:
        host = self._hosts.get(address)
        if host is None:
            host = self._hosts[address] = self._named_host(address)
        return pad(cut(f"{host}.{self._service(port, database)}", _ADDRESS_WIDTH), _ADDRESS_WIDTH)

    def line(self, row: NetstatRow) -> str:
        """Return the line of a TCP or UDP socket."""
        protocol = row.protocol
        name = protocol + ("6" if row.family == "inet6" else "")
        local = self._endpoint(row.local_address, row.local_port, protocol)
        remote = self._endpoint(row.remote_address, row.remote_port, protocol)
        state = f" {printable(_STATES.get(row.state, row.state))}" if protocol == "tcp" else ""
        return f"{name:<5s} {row.recv_q:6d} {row.send_q:6d}  {local} {remote}{state}\n"


def bsd_lines(rows: Iterable[NetstatRow], flags: BsdFlags, names: Names, hostname: str = "") -> Iterator[str]:
    """Yield what BSD's netstat prints for internet sockets, line by line, each with its newline.

    `rows` are those of one moment in the kernel's own order, which is kept: IPv4 before IPv6, TCP before UDP.
    `hostname` is the recorded host's; what follows its first dot is the domain that names are shown without.
    Encode with `names.encode`.
    """
    printer = _Printer(flags, names, hostname.partition(".")[2])
    blocks: dict[tuple[str, str], list[NetstatRow]] = {}
    for row in rows:
        if flags.all or row.local_address not in _ANY:
            blocks.setdefault((row.family, row.protocol), []).append(row)
    protocols = [name for name, wanted in (("tcp", flags.tcp), ("udp", flags.udp)) if wanted]
    for family, version, wanted in (("inet", "", flags.inet), ("inet6", "6", flags.inet6)):
        shown = [row for name in protocols for row in blocks.get((family, name), ())] if wanted else []
        if shown:
            servers = " (including servers)" if flags.all else ""
            yield f"Active Internet{version} connections{servers}\n{_HEADER}"
        for row in shown:
            yield printer.line(row)


def bsd_unix_lines(rows: Iterable[UnixRow], flags: BsdFlags) -> Iterator[str]:
    """Yield what BSD's netstat prints for UNIX sockets, under -a or not; nothing unless `flags.unix`.

    BSD tells sockets apart, and who is connected to whom, by their addresses in the kernel, in hexadecimal.
    Linux tells nobody those: the inode stands in their place. `Conn` is the peer; `Refs` is the first
    datagram socket that is connected to this one, and `Nextref` the next one with the same peer, in the
    order of `rows`; 0 is none. `Inode` is the bound file, which no capture holds: always 0. A socket that no
    process can have open is not in BSD's table of files, and not here.
    """
    if not flags.unix:
        return
    shown = [row for row in rows if row.state not in _NO_FILE]
    first, following = _references(shown)
    if shown:
        yield f"Active UNIX domain sockets\n{_UNIX_HEADER}"
    for row in shown:
        kind = pad(cut(printable(row.type.lower()), 6), 6)
        path = f" {printable(row.path.replace(chr(0), '@'))}" if row.path else ""
        yield (
            f"{row.inode:8x} {kind} {row.recv_q:6d} {row.send_q:6d} {0:8x} {row.peer_inode or 0:8x}"
            f" {first.get(row.inode, 0):8x} {following.get(row.inode, 0):8x}{path}\n"
        )


def _references(rows: Sequence[UnixRow]) -> tuple[dict[int, int], dict[int, int]]:
    """Return unp_refs and unp_nextref of struct unpcb by inode: BSD lists datagram sockets alone."""
    first: dict[int, int] = {}
    following: dict[int, int] = {}
    last: dict[int, int] = {}
    for row in rows:
        if row.type != "DGRAM" or not row.peer_inode:
            continue
        if row.peer_inode in last:
            following[last[row.peer_inode]] = row.inode
        else:
            first[row.peer_inode] = row.inode
        last[row.peer_inode] = row.inode
    return first, following


def bsd_text(
    rows: Iterable[NetstatRow],
    unix_rows: Iterable[UnixRow],
    flags: BsdFlags,
    names: Names,
    hostname: str = "",
) -> bytes:
    """Return all that BSD's netstat writes; see `bsd_lines` and `bsd_unix_lines`."""
    internet = "".join(bsd_lines(rows, flags, names, hostname))
    return encode(internet + "".join(bsd_unix_lines(unix_rows, flags)))
