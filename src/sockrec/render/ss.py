"""The text that ss of iproute2 6.1 prints: which sockets, in which order, with which words.

Rules are those of misc/ss.c. Only blanks differ: ss fits its columns to the terminal, here they are as
wide as what stands in them, and no line ends in blanks. Tables that ss lists unasked and no capture holds
(netlink, packet, vsock, XDP, MPTCP) are left out. As everywhere, what steers a terminal is printed as `?`
(`names.printable`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from sockrec.model import states
from sockrec.model.addresses import IPV6_ANY
from sockrec.model.ss_row import Holder, SsRow, SsUnixRow
from sockrec.render.names import Names, encode, printable
from sockrec.render.ss_conditions import Ports, Predicate
from sockrec.render.ss_flags import SsFlags
from sockrec.render.ss_info import info_words, memory_word, timer_word

USUAL_EPHEMERAL_PORTS: Final = (32768, 60999)
"""What Linux sets net.ipv4.ip_local_port_range to. ss gives these ports no names: they are drawn by lot."""

_STATES: Final = {
    "ESTABLISHED": "ESTAB",
    "SYN_SENT": "SYN-SENT",
    "SYN_RECV": "SYN-RECV",
    "FIN_WAIT1": "FIN-WAIT-1",
    "FIN_WAIT2": "FIN-WAIT-2",
    "TIME_WAIT": "TIME-WAIT",
    "CLOSE": "UNCONN",
    "CLOSE_WAIT": "CLOSE-WAIT",
    "LAST_ACK": "LAST-ACK",
}
_UNIX_TABLES: Final = {"STREAM": "u_str", "SEQPACKET": "u_seq", "DGRAM": "u_dgr"}
# ss has names for the few protocols whose tables it knows; a raw socket of any other is `???` to it.
_RAW_NAMES: Final = {6: "tcp", 17: "udp", 33: "dccp", 58: "icmp6", 132: "sctp"}
# In this order ss asks for them.
_INET_TABLES: Final = ("raw", "udp", "tcp")
_MAPPED: Final = "::ffff:"
# A longer address or path does not push the columns of all the other rows apart.
_WIDEST: Final = 64


class _Line(NamedTuple):
    """What stands in the columns of a row; `rest` may go on in lines that begin with a tab."""

    table: str
    state: str
    recv_q: str
    send_q: str
    local: str
    local_port: str
    peer: str
    peer_port: str
    rest: str


_HEADER: Final = _Line(
    "Netid", "State", "Recv-Q", "Send-Q", "Local Address:", "Port", "Peer Address:", "Port", "Process"
)
_RIGHT: Final = frozenset(("local", "peer"))
# Nothing stands between an address and its port: the address ends in a colon, or in a blank.
_GLUED: Final = frozenset(("local_port", "peer_port"))


def ss_lines(
    rows: Iterable[SsRow],
    unix_rows: Iterable[SsUnixRow],
    flags: SsFlags,
    names: Names,
    ephemeral: Ports = USUAL_EPHEMERAL_PORTS,
) -> Iterator[str]:
    """Return what ss prints for the sockets of one moment, line by line, each with its newline.

    Rows of a protocol and family come in the kernel's own order, which is kept; which are shown, and in
    which blocks, follows `flags`. `ephemeral` are the first and last port that the recorded host drew
    ports from (net.ipv4.ip_local_port_range). Raises `UsageError` at once for a filter with a name that the
    recorded host did not know. Encode with `names.encode`.
    """
    predicate = Predicate(flags.filter, names, flags.tables & {"tcp", "udp"}, ephemeral)
    printer = _Printer(flags, names, ephemeral)
    lines = [printer.unix_line(row) for row in _shown_unix(unix_rows, flags) if predicate.accepts_unix(row)]
    lines += [printer.line(row) for row in _shown(rows, flags) if predicate.accepts(row)]
    return _laid_out(lines, flags)


def ss_text(
    rows: Iterable[SsRow],
    unix_rows: Iterable[SsUnixRow],
    flags: SsFlags,
    names: Names,
    ephemeral: Ports = USUAL_EPHEMERAL_PORTS,
) -> bytes:
    """Return what ss writes for the sockets of one moment; see `ss_lines`."""
    return encode("".join(ss_lines(rows, unix_rows, flags, names, ephemeral)))


def _shown_unix(rows: Iterable[SsUnixRow], flags: SsFlags) -> Iterator[SsUnixRow]:
    if not flags.unix:
        return
    for row in rows:
        # sock_diag leaves out what no process can hold.
        if not row.inode or not flags.states >> states.NUMBERS.get(row.state, states.CLOSE) & 1:
            continue
        if _UNIX_TABLES.get(row.type) in flags.tables:
            yield row


def _shown(rows: Iterable[SsRow], flags: SsFlags) -> Iterator[SsRow]:
    """Yield the internet sockets asked for, table by table, IPv4 before IPv6."""
    blocks: dict[tuple[str, str], list[SsRow]] = {}
    for row in rows:
        number = states.NUMBERS.get(row.state, states.CLOSE)
        # TCP that is bound and does nothing else: told from Linux 6.8 on, asked for by no ss 6.1.
        if row.protocol == "tcp" and number == states.CLOSE:
            continue
        if row.protocol in flags.tables and flags.states >> number & 1:
            blocks.setdefault((row.protocol, row.family), []).append(row)
    wanted = [family for family in ("inet", "inet6") if getattr(flags, family)]
    for table in _INET_TABLES:
        for family in wanted:
            for row in blocks.get((table, family), ()):
                # Where one family is listed alone, /proc is read whole nevertheless.
                if flags.only in (None, family) or row.socket_id < 0:
                    yield row


def _laid_out(lines: list[_Line], flags: SsFlags) -> Iterator[str]:
    """Yield lines with their columns below each other."""
    hidden = {"table"} - {"table" if flags.several else ""} | {"state"} - {
        "state" if flags.several_states else ""
    }
    columns = [name for name in _Line._fields[:-1] if name not in hidden]
    places = {name: _Line._fields.index(name) for name in columns}
    if flags.header:
        lines.insert(0, _HEADER)
    widths = {
        name: max((len(line[place]) for line in lines if len(line[place]) <= _WIDEST), default=0)
        for name, place in places.items()
    }
    for line in lines:
        text = ""
        for name, place in places.items():
            cell = line[place]
            padded = cell.rjust(widths[name]) if name in _RIGHT else cell.ljust(widths[name])
            text += padded if not text or name in _GLUED else f" {padded}"
        first, newline, more = line.rest.partition("\n")
        yield f"{text} {first}".rstrip() + f"{newline}{more}\n"


class _Printer:
    """Makes lines under one set of flags and names; remembers what it has worked out before."""

    def __init__(self, flags: SsFlags, names: Names, ephemeral: Ports) -> None:
        self._flags, self._names, self._ephemeral = flags, names, ephemeral
        self._ports: dict[tuple[str, int], str] = {}
        self._hosts: dict[str, str] = {}

    def line(self, row: SsRow) -> _Line:
        """Return the line of an internet socket."""
        send_q = row.send_q
        if row.state == "LISTEN" and row.backlog_limit is not None:
            send_q = row.backlog_limit
        local = self._address(row.local_address, row)
        if row.interface:
            local += f"%{printable(row.interface)}"
        return _Line(
            self._table(row),
            _STATES.get(row.state) or printable(row.state),
            str(row.recv_q),
            str(send_q),
            f"{local}:",
            self._port(row.local_port, row.protocol),
            f"{self._address(row.remote_address, row)}:",
            self._port(row.remote_port, row.protocol),
            self._rest(row),
        )

    def unix_line(self, row: SsUnixRow) -> _Line:
        """Return the line of a UNIX socket. ss tells the peer by its inode alone, whatever its name."""
        send_q = row.send_q
        if row.state == "LISTEN" and row.backlog_limit is not None:
            send_q = row.backlog_limit
        return _Line(
            _UNIX_TABLES[row.type],
            _STATES.get(row.state) or printable(row.state),
            str(row.recv_q),
            str(send_q),
            f"{printable(row.path) if row.path else '*'} ",
            str(row.inode),
            "* ",
            str(row.peer_inode or 0),
            " ".join(self._unix_words(row)),
        )

    def _table(self, row: SsRow) -> str:
        if row.protocol == "raw" and row.socket_id > 0:
            return _RAW_NAMES.get(row.local_port, "???")
        return row.protocol

    def _address(self, address: str, row: SsRow) -> str:
        if address == IPV6_ANY and not row.v6only:
            return "*"
        shown = self._hosts.get(address)
        if shown is None:
            name = self._host(address) if self._flags.resolve else None
            shown = name or printable(address)
            shown = self._hosts[address] = f"[{shown}]" if ":" in shown else shown
        return shown

    def _host(self, address: str) -> str | None:
        if address.startswith(_MAPPED) and "." in address:
            return self._names.host(address) or self._names.host(address[len(_MAPPED) :])
        return self._names.host(address)

    def _port(self, port: int, protocol: str) -> str:
        if port == 0:
            return "*"
        if self._flags.numeric:
            return str(port)
        key = (protocol, port)
        name = self._ports.get(key)
        if name is None:
            name = self._ports[key] = self._named_port(port, protocol)
        return name

    def _named_port(self, port: int, protocol: str) -> str:
        if protocol == "raw":
            return printable(self._names.protocols.get(port) or f"ipproto-{port}")
        first, last = self._ephemeral
        return str(port) if first <= port <= last else self._names.port(port, protocol)

    def _rest(self, row: SsRow) -> str:
        """Return what stands in the column Process, and below the row."""
        flags = self._flags
        words = list(self._users(row.holders))
        # Out of /proc ss takes no more of a raw socket than its addresses and queues.
        told = row.protocol != "raw" or row.socket_id > 0
        if flags.options and (timer := timer_word(row)):
            words.append(timer)
        if flags.details and told:
            words += _details(row)
        if flags.cgroup and row.cgroup:
            words.append(f"cgroup:{printable(row.cgroup)}")
        inside: list[str] = []
        if flags.memory and row.memory is not None and told:
            inside.append(memory_word(row.memory))
        if flags.info and row.protocol == "tcp":
            inside += info_words(row, flags.numeric, flags.options)
        if not inside or flags.oneline:
            return " ".join(words + inside)
        return f"{' '.join(words)}\n\t {' '.join(inside)}"

    def _users(self, holders: tuple[Holder, ...]) -> Iterator[str]:
        """Yield `users:((name,pid,fd),...)`: ss shows what it found last first."""
        if not self._flags.processes or not holders:
            return
        # It takes the name from /proc/PID/stat, up to the first closing bracket.
        users = (
            f'("{printable(holder.comm.partition(")")[0])}",pid={holder.pid},fd={holder.fd})'
            for holder in sorted(holders, key=lambda holder: (holder.pid, holder.fd), reverse=True)
        )
        yield f"users:({','.join(users)})"

    def _unix_words(self, row: SsUnixRow) -> Iterator[str]:
        flags = self._flags
        yield from self._users(row.holders)
        if flags.memory and row.memory is not None:
            yield memory_word(row.memory)
        if not flags.details:
            return
        if row.shutdown is not None:
            yield _directions(row.shutdown)
        if row.vfs_inode is not None:
            device = row.vfs_device or 0
            yield f"ino:{row.vfs_inode} dev:{_major(device)}/{_minor(device)}"
        if row.waiting is not None:
            yield " ".join(("peers:", *(str(inode) for inode in row.waiting)))


def _details(row: SsRow) -> Iterator[str]:
    """Yield the words of `-e`."""
    # sock_diag knows no user of a connection that has not been accepted yet; captures name its listener's.
    asked_for = row.state == "SYN_RECV" and not row.inode and row.tcp is None
    if row.uid and not asked_for:
        yield f"uid:{row.uid}"
    yield f"ino:{row.inode}"
    if row.socket_id > 0:
        yield f"sk:{row.socket_id:x}"
    if row.mark:
        yield f"fwmark:{row.mark:#x}"
    if row.cgroup:
        yield f"cgroup:{printable(row.cgroup)}"
    if row.family == "inet6" and row.v6only is not None:
        yield f"v6only:{int(row.v6only)}"
    if row.shutdown is not None:
        yield _directions(row.shutdown)


def _directions(shutdown: int) -> str:
    """Return `<->`, with a dash for each direction that was shut down (SHUTDOWN_MASK, net/sock.h)."""
    return f"{'-' if shutdown & 1 else '<'}-{'-' if shutdown & 2 else '>'}"


def _major(device: int) -> int:
    # As glibc's major(3) reads a device number, though the kernel packs this one otherwise.
    return (device >> 8 & 0xFFF) | (device >> 32 & ~0xFFF)


def _minor(device: int) -> int:
    return (device & 0xFF) | (device >> 12 & ~0xFF)
