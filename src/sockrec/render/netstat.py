"""The text that netstat of net-tools 2.10 prints for internet sockets, byte for byte.

Formats, cuts and order are those of netstat.c and lib/inet.c, in the C locale. The judge is the
installed program: the tests compare with it. One thing differs on purpose: control characters in
names that processes or captures bring along are printed as `?` (see `names.printable`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

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
_BLOCKS: Final = (
    # protocol, its name in netstat, the services database its ports are looked up in
    ("tcp", "tcp", "tcp"),
    ("sctp", "sctp", "sctp"),
    ("udp", "udp", "udp"),
    ("udplite", "udpl", "udp"),
    ("raw", "raw", "raw"),
)
PROTOCOLS: Final = tuple(protocol for protocol, _, _ in _BLOCKS)
"""In the order of their blocks."""
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
    name = next((shown for known, shown, _ in _BLOCKS if known == protocol), printable(protocol))
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


class _Printer:
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

    def endpoint(self, address: str, port: int, database: str) -> str:
        """Return address:port, cut unless `-W`, filled up to the column."""
        host, service = self._host(address), self._port(port, database)
        host_length, service_length = byte_length(host), byte_length(service)
        if self._flags.wide:
            text = cut(f"{host}:{service}", _WIDE_CUT)
        elif host_length + service_length > _ADDRESS_CUT:
            service_length = min(service_length, _ADDRESS_CUT - 4)
            text = f"{cut(host, _ADDRESS_CUT - service_length)}:{cut(service, service_length)}"
        else:
            text = f"{host}:{service}"
        return pad(text, _ADDRESS_WIDTH)

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

    def line(self, row: NetstatRow, name: str, database: str) -> str:
        """Return the line of a TCP, UDP, UDP-Lite or raw socket."""
        local = self.endpoint(row.local_address, row.local_port, database)
        remote = self.endpoint(row.remote_address, row.remote_port, database)
        timer = row.timer
        state, retransmits = shown_state(row.protocol, row.state), row.retransmits
        if row.protocol != "tcp":
            retransmits = 0
            timer = _DATAGRAM_TIMERS.get(timer, timer)
        seconds = 0.0 if timer == "off" else row.timer_seconds
        timers = (
            f"{printable(timer)} ({seconds:2.2f}/{retransmits}/{row.probes})" if self._flags.timers else ""
        )
        return (
            f"{name:<5s} {row.recv_q:6d} {row.send_q:6d} {local} {remote} {state:<11s}"
            f"{self.suffix(row, timers)}\n"
        )

    def sctp_line(self, row: NetstatRow) -> str:
        """Return the line of an SCTP endpoint or association; ports have no names, nothing is cut."""
        flags = self._flags
        numeric = flags.numeric_hosts or flags.numeric_ports or flags.numeric_users or flags.symbolic

        def endpoint(address: str, port: int) -> str:
            host = cut(self._named_host(address, numeric), _SCTP_ADDRESS_CUT)
            return f"{host}:{cut(str(port) if port else '*', _SCTP_PORT_CUT)}"

        local = endpoint(row.local_address, row.local_port)
        if _is_sctp_endpoint(row):
            start = f"sctp                {pad(local, 47)}"
        else:
            remote = endpoint(row.remote_address, row.remote_port)
            start = f"sctp  {row.recv_q:6d} {row.send_q:6d} {pad(local, 23)} {pad(remote, 23)}"
        return f"{start} {printable(row.state):<11s}{self.suffix(row, '')}\n"


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
    blocks: dict[tuple[str, str], list[NetstatRow]] = {}
    for row in rows:
        if _is_shown(row, flags):
            blocks.setdefault((row.protocol, row.family), []).append(row)
    yield header(flags)
    printer = _Printer(flags, names)
    wanted = {name for name in ("tcp", "sctp", "udp", "udplite", "raw") if getattr(flags, name)}
    families = [family for family in ("inet", "inet6") if getattr(flags, family)]
    for protocol, name, database in _BLOCKS:
        if protocol not in wanted:
            continue
        if protocol == "sctp":
            yield from _sctp_lines(blocks, flags, printer)
            continue
        for family in families:
            shown = name + ("6" if family == "inet6" else "")
            for row in blocks.get((protocol, family), ()):
                yield printer.line(row, shown, database)


def _sctp_lines(
    blocks: dict[tuple[str, str], list[NetstatRow]], flags: NetstatFlags, printer: _Printer
) -> Iterator[str]:
    """Yield SCTP lines: endpoints, then associations; both families, as /proc/net/sctp has them.

    netstat looks for IPv6 ones in a file that no kernel has, so `-6` alone shows none.
    """
    if not flags.inet:
        return
    rows = blocks.get(("sctp", "inet"), []) + blocks.get(("sctp", "inet6"), [])
    for row in sorted(rows, key=_is_sctp_endpoint, reverse=True):
        yield printer.sctp_line(row)


def netstat_text(rows: Iterable[NetstatRow], flags: NetstatFlags, names: Names) -> bytes:
    """Return what `LC_ALL=C netstat` writes for internet sockets; see `netstat_lines`."""
    return encode("".join(netstat_lines(rows, flags, names)))
