"""The text that netstat of net-tools 2.10 prints for internet sockets, byte for byte.

Formats, cuts and order are those of netstat.c and lib/inet.c, in the C locale. The judge is the
installed program: the tests compare with it. One thing differs on purpose: control characters in
names that processes or captures bring along are printed as `?` (see `names.printable`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from sockrec.model import states
from sockrec.model.addresses import IPV4_ANY, IPV6_ANY
from sockrec.model.netstat_row import NetstatRow
from sockrec.render.names import Names, byte_length, cut, encode, pad, printable
from sockrec.render.netstat_flags import NetstatFlags

_ADDRESS_WIDTH: Final = 23
_ADDRESS_CUT: Final = 22
# Sizes of netstat's own buffers, less the final NUL.
_WIDE_CUT: Final = 127
_PORT_CUT: Final = 63
_SCTP_ADDRESS_CUT: Final = 63
_SCTP_PORT_CUT: Final = 15
_PROGRAM_CUT: Final = 19
_CMDLINE_CUT: Final = 511

_HEADER: Final = "Proto Recv-Q Send-Q Local Address           Foreign Address         State      "
_V4_MAPPED: Final = "::ffff:"
# In the order of netstat's blocks: its name of the protocol, and the services database of its ports.
_NAMES: Final = {
    "tcp": ("tcp", "tcp"),
    "sctp": ("sctp", "sctp"),
    "udp": ("udp", "udp"),
    "udplite": ("udpl", "udp"),
    "raw": ("raw", "raw"),
}
PROTOCOLS: Final = tuple(_NAMES)
"""In the order of their blocks."""
_FAMILIES: Final = ("inet", "inet6")
_PLACES: Final = {name: 4 * place for place, name in enumerate(_NAMES)}
_DATAGRAM_TIMERS: Final = {"on": "on1", "keepalive": "on2", "timewait": "unkn-3", "probe": "unkn-4"}


def titled_suffix(flags: NetstatFlags) -> str:
    """Return what netstat puts behind the title of a block of sockets."""
    if flags.all:
        return "(servers and established)"
    return "(only servers)" if flags.listening else "(w/o servers)"


def shown_address(address: str) -> str:
    """Return an address as `-n` prints it, whole.

    inet_ntop(3) writes a v4-mapped address as ::ffff:1.2.3.4; netstat drops what precedes it.
    """
    mapped = address.startswith(_V4_MAPPED) and "." in address
    return printable(address[len(_V4_MAPPED) :] if mapped else address)


def shown_protocol(protocol: str, family: str) -> str:
    """Return netstat's name of a protocol and family: `tcp6`, `udpl`."""
    name = _NAMES[protocol][0] if protocol in _NAMES else printable(protocol)
    return name + ("6" if family == "inet6" and protocol != "sctp" else "")


def shown_state(protocol: str, state: str) -> str:
    """Return what stands in the column of states."""
    if protocol in ("tcp", "sctp"):
        return printable(state)
    if protocol == "raw":
        return str(states.NUMBERS.get(state, states.CLOSE))
    if state == "ESTABLISHED":
        return "ESTABLISHED"
    return "" if states.NUMBERS.get(state) == states.CLOSE else "UNKNOWN"


def program_column(pid: int | None, argv0: str) -> str:
    """Return netstat's `PID/Program name` of an owner, cut as netstat cuts it; `-` for no owner."""
    if pid is None:
        return "-"
    name = cut(argv0, _CMDLINE_CUT)
    if name.startswith("/"):
        name = name[name.rindex("/") + 1 :]
    return cut(f"{pid}/{printable(name)}", _PROGRAM_CUT)


class Cells(NamedTuple):
    """What stands in the columns of a socket's line between and behind its queues."""

    protocol: str
    local: str
    remote: str
    state: str
    program: str


class Printer:
    """Prints rows under one set of flags and names; remembers what it has worked out before."""

    def __init__(self, flags: NetstatFlags, names: Names) -> None:
        self._flags = flags
        self._names = names
        self._hosts: dict[str, str] = {}
        self._ports: dict[tuple[str, int], str] = {}
        self._programs: dict[tuple[int, str], str] = {}

    def _named_host(self, address: str, numeric: bool) -> str:
        if not numeric:
            if address == IPV6_ANY:
                return "[::]"
            name = None if address == IPV4_ANY else self._names.host(address)
            if name:
                return cut(name, _WIDE_CUT)
        return shown_address(address)

    def _host(self, address: str) -> str:
        host = self._hosts.get(address)
        if host is None:
            host = self._hosts[address] = self._named_host(address, self._flags.numeric_hosts)
        return host

    def _port(self, port: int, database: str) -> str:
        if port == 0:
            return "*"
        if self._flags.numeric_ports:
            return str(port)
        key = (database, port)
        name = self._ports.get(key)
        if name is None:
            name = self._ports[key] = cut(self._names.port(port, database), _PORT_CUT)
        return name

    def _endpoint(self, address: str, port: int, database: str) -> str:
        """Return address:port, cut unless `-W`."""
        host, service = self._host(address), self._port(port, database)
        host_length, service_length = byte_length(host), byte_length(service)
        if self._flags.wide:
            return cut(f"{host}:{service}", _WIDE_CUT)
        if host_length + service_length > _ADDRESS_CUT:
            service_length = min(service_length, _ADDRESS_CUT - 4)
            return f"{cut(host, _ADDRESS_CUT - service_length)}:{cut(service, service_length)}"
        return f"{host}:{service}"

    def suffix(self, row: NetstatRow, timer: str) -> str:
        """Return the columns of -e, -p and -o."""
        text = ""
        if self._flags.extend:
            user = str(row.uid) if self._flags.numeric_users else self._names.user(row.uid)
            text = f" {pad(user, 10)} {row.inode:<10d}"
        if self._flags.programs:
            text += " " + pad(self._program(row), 20)
        if self._flags.timers:
            text += f" {timer}"
        return text

    def _program(self, row: NetstatRow) -> str:
        # netstat finds owners through inodes and living processes: no inode, no owner.
        if not row.inode or row.owner != "held" or row.pid is None:
            return "-"
        key = (row.pid, row.argv0)
        program = self._programs.get(key)
        if program is None:
            program = self._programs[key] = program_column(row.pid, row.argv0)
        return program

    def line(self, row: NetstatRow) -> str:
        """Return the line of a socket."""
        if row.protocol == "sctp":
            return self._sctp_line(row)
        cells = self.cells(row)
        timer = row.timer
        if row.protocol != "tcp":
            timer = _DATAGRAM_TIMERS.get(timer, timer)
        seconds = 0.0 if timer == "off" else row.timer_seconds
        retransmits = row.retransmits if row.protocol == "tcp" else 0
        timers = (
            f"{printable(timer)} ({seconds:2.2f}/{retransmits}/{row.probes})" if self._flags.timers else ""
        )
        return (
            f"{cells.protocol:<5s} {row.recv_q:6d} {row.send_q:6d}"
            f" {pad(cells.local, _ADDRESS_WIDTH)} {pad(cells.remote, _ADDRESS_WIDTH)} {cells.state:<11s}"
            f"{self.suffix(row, timers)}\n"
        )

    def cells(self, row: NetstatRow) -> Cells:
        """Return what stands in the columns of a socket's line, not filled up."""
        name, state = shown_protocol(row.protocol, row.family), shown_state(row.protocol, row.state)
        if row.protocol == "sctp":
            local, remote = (
                self._sctp_endpoint(*end)
                for end in ((row.local_address, row.local_port), (row.remote_address, row.remote_port))
            )
            return Cells(name, local, "" if _is_sctp_endpoint(row) else remote, state, self._program(row))
        database = _NAMES[row.protocol][1]
        return Cells(
            name,
            self._endpoint(row.local_address, row.local_port, database),
            self._endpoint(row.remote_address, row.remote_port, database),
            state,
            self._program(row),
        )

    def _sctp_endpoint(self, address: str, port: int) -> str:
        """Return address:port as SCTP's lines have it; ports have no names, nothing is cut."""
        flags = self._flags
        numeric = flags.numeric_hosts or flags.numeric_ports or flags.numeric_users or flags.symbolic
        host = cut(self._named_host(address, numeric), _SCTP_ADDRESS_CUT)
        return f"{host}:{cut(str(port) if port else '*', _SCTP_PORT_CUT)}"

    def _sctp_line(self, row: NetstatRow) -> str:
        """Return the line of an SCTP endpoint or association."""
        cells = self.cells(row)
        if _is_sctp_endpoint(row):
            start = f"sctp                {pad(cells.local, 47)}"
        else:
            start = f"sctp  {row.recv_q:6d} {row.send_q:6d} {pad(cells.local, 23)} {pad(cells.remote, 23)}"
        return f"{start} {cells.state:<11s}{self.suffix(row, '')}\n"


def _is_sctp_endpoint(row: NetstatRow) -> bool:
    return row.remote_port == 0


def _is_shown(row: NetstatRow, flags: NetstatFlags) -> bool:
    """Tell whether netstat prints a socket under -a, -l or neither."""
    if row.protocol == "tcp":
        # Bound, neither listening nor connecting: sock_diag tells of it, /proc/net/tcp never does.
        if row.state == "CLOSE":
            return False
        return flags.all or flags.listening == (row.remote_port == 0)
    if row.protocol == "sctp":
        return flags.all or flags.listening == _is_sctp_endpoint(row)
    return flags.all or flags.listening == (row.remote_address in (IPV4_ANY, IPV6_ANY))


def block_of(row: NetstatRow, flags: NetstatFlags) -> int | None:
    """Return the number of the block that netstat prints a socket in, in their order; None if it does not.

    SCTP comes as endpoints, then associations, both families in each, as /proc/net/sctp has them. netstat
    looks for IPv6 ones in a file that no kernel has, so `-6` alone shows none.
    """
    if row.protocol not in _NAMES or row.family not in _FAMILIES or not getattr(flags, row.protocol):
        return None
    family = "inet" if row.protocol == "sctp" else row.family
    if not getattr(flags, family) or not _is_shown(row, flags):
        return None
    later = row.protocol == "sctp" and not _is_sctp_endpoint(row)
    return _PLACES[row.protocol] + 2 * later + _FAMILIES.index(row.family)


def header(flags: NetstatFlags) -> str:
    """Return the two lines over the block of internet sockets."""
    text = f"Active Internet connections {titled_suffix(flags)}\n{_HEADER}"
    if flags.extend:
        text += " User       Inode     "
    if flags.programs:
        text += f" {'PID/Program name':<20s}"
    if flags.timers:
        text += " Timer"
    return text + "\n"


def netstat_lines(rows: Iterable[NetstatRow], flags: NetstatFlags, names: Names) -> Iterator[str]:
    """Yield what `LC_ALL=C netstat` prints for internet sockets, line by line, each with its newline.

    `rows` are those of one moment in the kernel's own order, which is kept inside a block; which
    of them are shown, and in which blocks, follows `flags`. Encode with `names.encode`.
    """
    if not flags.titled:
        return
    blocks: dict[int, list[NetstatRow]] = {}
    for row in rows:
        if (block := block_of(row, flags)) is not None:
            blocks.setdefault(block, []).append(row)
    yield header(flags)
    printer = Printer(flags, names)
    for block in sorted(blocks):
        yield from map(printer.line, blocks[block])


def netstat_text(rows: Iterable[NetstatRow], flags: NetstatFlags, names: Names) -> bytes:
    """Return what `LC_ALL=C netstat` writes for internet sockets; see `netstat_lines`."""
    return encode("".join(netstat_lines(rows, flags, names)))
