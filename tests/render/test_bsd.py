"""BSD's netstat as text: the book's table, goldens worked out from 4.4BSD's formats, and C's own printf.

No BSD runs here. Formats and widths are those of usr.bin/netstat/{inet,unix}.c of 4.4BSD and inet6.c of KAME;
the facts of real sockets are the installed netstat's.
"""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockrec.model.netstat_row import NetstatRow
from sockrec.model.unix_row import UnixRow
from sockrec.render.bsd import bsd_text
from sockrec.render.bsd_flags import parse_bsd_flags
from sockrec.render.names import Names, encode
from tests.support.netns import Namespace
from tests.support.netstat_judge import run_netstat
from tests.support.populations import Population
from tests.support.proc_rows import rows_from_proc

HEADER = b"Proto Recv-Q Send-Q  Local Address          Foreign Address        (state)\n"
TITLE = b"Active Internet connections\n" + HEADER
TITLE_A = b"Active Internet connections (including servers)\n" + HEADER
TITLE_6A = b"Active Internet6 connections (including servers)\n" + HEADER
UNIX_TITLE = (
    b"Active UNIX domain sockets\nAddress  Type   Recv-Q Send-Q    Inode     Conn     Refs  Nextref Addr\n"
)


def tcp(local: str, port: int, remote: str, remote_port: int, state: str = "ESTABLISHED") -> NetstatRow:
    """Return an IPv4 or IPv6 TCP socket with empty queues."""
    return NetstatRow("tcp", "inet6" if ":" in local else "inet", local, port, remote, remote_port, state)


def udp(local: str, port: int, remote: str = "0.0.0.0", remote_port: int = 0) -> NetstatRow:
    """Return an IPv4 or IPv6 UDP socket with empty queues."""
    state = "ESTABLISHED" if remote_port else "UNCONN"
    return tcp(local, port, remote, remote_port, state)._replace(protocol="udp")


def text(
    rows: list[NetstatRow],
    words: str,
    names: Names | None = None,
    hostname: str = "",
    unix: list[UnixRow] | None = None,
) -> bytes:
    """Return what is printed under a command line."""
    return bsd_text(rows, unix or [], parse_bsd_flags(words.split()), names or Names(), hostname)


def line(row: NetstatRow, words: str = "-an", names: Names | None = None, hostname: str = "") -> bytes:
    """Return the one line under the header."""
    title, header, shown, end = text([row], words, names, hostname).split(b"\n")
    assert title.startswith(b"Active Internet")
    assert header + b"\n" == HEADER
    assert end == b""
    return shown


# Addresses are made up (the book has none); what they are called is the book's.
_HOSTS = {
    "18.72.0.1": "CHARON.MIT.EDU",
    "18.26.0.2": "GHOTI.LCS.MIT.EDU",
    "140.0.0.3": "amway.ch.apollo.com",
    "18.62.0.4": "E40-008-7.MIT.EDU",
    "18.26.0.5": "MINT.LCS.MIT.EDU",
    "18.72.0.6": "RING0.MIT.EDU",
}
_SERVICES = {(23, "tcp"): "telnet", (513, "tcp"): "login", (161, "udp"): "snmp", (161, "tcp"): "wrong"}
BOOK = Names(services=_SERVICES, hosts=_HOSTS)


def test_the_books_table() -> None:
    """*Practical UNIX & Internet Security*, 17.5, `netstat -f inet` on charon, whose name had no domain.

    It cuts hosts after 16 bytes (`GHOTI.LCS.MIT.ED`, `amway.ch.apollo.`), and what then is over 22
    (`.telne`); and it shows a server without -a, since that listens on one address.
    """
    here = "18.72.0.1"
    rows = [
        tcp(here, 23, "18.26.0.2", 1300),
        tcp(here, 23, "140.0.0.3", 4196),
        tcp(here, 1313, "18.62.0.4", 23)._replace(recv_q=4096),
        tcp(here, 1312, "18.26.0.5", 6001),
        tcp(here, 513, "18.72.0.6", 1023),
        tcp(here, 1030, "0.0.0.0", 0, "LISTEN"),
    ]
    assert text(rows, "-f inet", BOOK, "charon") == TITLE + (
        b"tcp        0      0  CHARON.MIT.EDU.telnet  GHOTI.LCS.MIT.ED.1300  ESTABLISHED\n"
        b"tcp        0      0  CHARON.MIT.EDU.telnet  amway.ch.apollo..4196  ESTABLISHED\n"
        b"tcp     4096      0  CHARON.MIT.EDU.1313    E40-008-7.MIT.ED.telne ESTABLISHED\n"
        b"tcp        0      0  CHARON.MIT.EDU.1312    MINT.LCS.MIT.EDU.6001  ESTABLISHED\n"
        b"tcp        0      0  CHARON.MIT.EDU.login   RING0.MIT.EDU.1023     ESTABLISHED\n"
        b"tcp        0      0  CHARON.MIT.EDU.1030    *.*                    LISTEN\n"
    )


def test_all_blocks_in_bsds_order_whatever_the_rows_have() -> None:
    """IPv4 then IPv6 under its own title, TCP before UDP; in each the kernel's order; raw and SCTP never."""
    rows = [
        udp("::", 53, "::"),
        udp("0.0.0.0", 161),
        tcp("2001:db8::1", 22, "::", 0, "LISTEN"),
        tcp("0.0.0.0", 80, "0.0.0.0", 0, "LISTEN"),
        tcp("10.0.0.5", 7071, "10.0.0.6", 40000),
        *(
            udp("10.0.0.5", 1)._replace(protocol=protocol, family=family)
            for protocol in ("raw", "sctp", "udplite")
            for family in ("inet", "inet6")
        ),
    ]
    unix = [UnixRow(2, "STREAM", "LISTEN", 0xBEEF, "/run/x")]
    inet = TITLE_A + (
        b"tcp        0      0  *.80                   *.*                    LISTEN\n"
        b"tcp        0      0  10.0.0.5.7071          10.0.0.6.40000         ESTABLISHED\n"
        # UDP has no state; the column before it is filled up all the same.
        b"udp        0      0  *.161                  *.*                   \n"
    )
    inet6 = TITLE_6A + (
        b"tcp6       0      0  2001:db8::1.22         *.*                    LISTEN\n"
        b"udp6       0      0  *.53                   *.*                   \n"
    )
    files = UNIX_TITLE + b"    beef stream      0      0        0        0        0        0 /run/x\n"
    assert text(rows, "-an", unix=unix) == inet + inet6 + files
    assert text(rows, "-naf inet", unix=unix) == inet
    assert text(rows, "-naf inet6", unix=unix) == inet6
    assert text(rows, "-naf unix", unix=unix) == files
    # One protocol, of both families.
    heads = (TITLE_A, TITLE_6A)
    assert text(rows, "-anp udp", unix=unix) == b"".join(
        head + block.splitlines(keepends=True)[-1] for head, block in zip(heads, (inet, inet6), strict=True)
    )
    assert text(rows, "-anp tcp -f inet6", unix=unix) == b"".join(inet6.splitlines(keepends=True)[:3])


def test_without_a_what_has_no_local_address_is_not_shown() -> None:
    """inet.c asks for the local address alone: neither for the state nor for the peer."""
    hidden = [
        tcp("0.0.0.0", 80, "0.0.0.0", 0, "LISTEN"),
        tcp("::", 80, "::", 0, "LISTEN"),
        udp("0.0.0.0", 53),
        udp("::", 53, "::"),
    ]
    assert text(hidden, "-n") == b""
    shown = [tcp("127.0.0.1", 80, "0.0.0.0", 0, "LISTEN"), udp("127.0.0.1", 53)]
    assert text([*hidden, *shown], "-n") == TITLE + (
        b"tcp        0      0  127.0.0.1.80           *.*                    LISTEN\n"
        b"udp        0      0  127.0.0.1.53           *.*                   \n"
    )


def test_no_row_no_title() -> None:
    """The title comes with the first row (`static int first`); -a changes nothing of that."""
    assert text([], "") == text([], "-a") == text([], "-f unix") == b""
    assert text([udp("10.0.0.5", 1)], "-anp tcp") == b""


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("LISTEN", "LISTEN"), ("SYN_SENT", "SYN_SENT"), ("SYN_RECV", "SYN_RCVD"),
        ("ESTABLISHED", "ESTABLISHED"), ("CLOSE_WAIT", "CLOSE_WAIT"), ("FIN_WAIT1", "FIN_WAIT_1"),
        ("FIN_WAIT2", "FIN_WAIT_2"), ("CLOSING", "CLOSING"), ("LAST_ACK", "LAST_ACK"),
        ("TIME_WAIT", "TIME_WAIT"), ("CLOSE", "CLOSED"),
    ],
)  # fmt: skip
def test_states_are_those_of_tcp_fsm(stored: str, shown: str) -> None:
    row = tcp("10.0.0.5", 7071, "10.0.0.6", 40000, stored)
    assert (
        line(row) == b"tcp        0      0  10.0.0.5.7071          10.0.0.6.40000         " + shown.encode()
    )


@pytest.mark.parametrize(
    ("address", "port", "shown"),
    [
        # The longest IPv4 address and port are 21 bytes: numbers are never cut.
        ("255.255.255.254", 65535, b"255.255.255.254.65535 "),
        ("10.0.0.5", 0, b"10.0.0.5.*            "),
        # 16 bytes of an IPv6 address are the whole of it, 17 are not; a port of 5 digits fills 22.
        ("2001:db8:1:2::ff", 443, b"2001:db8:1:2::ff.443  "),
        ("2001:db8:1:2::fff", 443, b"2001:db8:1:2::ff.443  "),
        ("2001:db8:1234:5678:9abc:def0:1234:5678", 65535, b"2001:db8:1234:56.65535"),
        ("::1", 631, b"::1.631               "),
        # v4-mapped as inet_ntop(3) writes it, cut like any other.
        ("::ffff:10.0.0.5", 80, b"::ffff:10.0.0.5.80    "),
        ("::ffff:192.168.100.200", 80, b"::ffff:192.168.1.80   "),
    ],
)
def test_addresses_at_the_edges_of_their_widths(address: str, port: int, shown: bytes) -> None:
    other = "::" if ":" in address else "0.0.0.0"
    name = b"tcp6 " if ":" in address else b"tcp  "
    start = name + b"      0      0  "
    assert line(tcp(address, port, other, 0, "LISTEN")) == start + shown + b" *.*                    LISTEN"
    mirrored = tcp(other, 0, address, port)
    assert line(mirrored) == start + b"*.*                    " + shown + b" ESTABLISHED"


@pytest.mark.parametrize(
    ("host", "service", "shown"),
    [
        # 16 and 17 bytes of the host; 5 of the service fit beside 16, 6 do not.
        ("sixteen-bytes-ok", "https", b"sixteen-bytes-ok.https"),
        ("seventeen-bytes-x", "https", b"seventeen-bytes-.https"),
        ("seventeen-bytes-x", "telnet", b"seventeen-bytes-.telne"),
        # 8 and 9 bytes of the service.
        ("web", "kerberos", b"web.kerberos          "),
        ("web", "kerberos5", b"web.kerberos          "),
        # 13 and 14 bytes of the host beside 8.
        ("thirteen-byte", "kerberos", b"thirteen-byte.kerberos"),
        ("fourteen-bytes", "kerberos", b"fourteen-bytes.kerbero"),
        # Only the host's own domain is left out, and only all of it; not the service's dots.
        ("db.example.com", "x.example.com", b"db.x.exampl           "),
        ("db.eu.example.com", "x", b"db.eu.example.co.x    "),
        ("example.com", "x", b"example.com.x         "),
        ("db", "x", b"db.x                  "),
        # Bytes are cut, inside a character too.
        ("fifteen-bytes-xé", "x", b"fifteen-bytes-x\xc3.x    "),
        # Names of hosts and services are hostile.
        ("a\x1b[2J\nb", "\x07\x9b", b"a?[2J?b.???           "),
    ],
)
def test_names_at_the_edges_of_their_widths(host: str, service: str, shown: bytes) -> None:
    names = Names(services={(80, "tcp"): service}, hosts={"10.0.0.5": host, "fd00::5": host})
    for address, version in (("10.0.0.5", b" "), ("fd00::5", b"6")):
        made = line(tcp(address, 80, address, 9), "-a", names, "web-1.example.com")
        assert made.startswith(b"tcp" + version + b"       0      0  " + shown + b" ")
        # -n knows no names.
        assert line(tcp(address, 80, address, 9), "-an", names).split()[3] == f"{address}.80".encode()


def test_services_are_looked_up_under_their_own_protocol() -> None:
    names = Names(services={(514, "tcp"): "shell", (514, "udp"): "syslog", (513, "udp"): "who"})
    for address in ("10.0.0.5", "fd00::5"):
        assert line(tcp(address, 514, address, 513), "-a", names).split()[3:5] == [
            f"{address}.shell".encode(),
            f"{address}.513".encode(),
        ]
        assert line(udp(address, 514, address, 513), "-a", names).split()[3:] == [
            f"{address}.syslog".encode(),
            f"{address}.who".encode(),
        ]


def test_any_address_has_no_name() -> None:
    names = Names(hosts={"0.0.0.0": "everything", "::": "everything"})
    assert b"*.80  " in line(tcp("0.0.0.0", 80, "0.0.0.0", 0, "LISTEN"), "-a", names)
    assert b"*.80  " in line(tcp("::", 80, "::", 0, "LISTEN"), "-a", names)


def test_queues_wider_than_their_columns_shift_the_line() -> None:
    row = tcp("10.0.0.5", 1, "10.0.0.6", 2)
    assert line(row._replace(recv_q=999999, send_q=999999)).startswith(b"tcp   999999 999999  10.0.0.5.1   ")
    assert line(row._replace(recv_q=1000000, send_q=7)).startswith(b"tcp   1000000      7  10.0.0.5.1   ")


def test_a_capture_from_elsewhere_steers_no_terminal() -> None:
    row = tcp("\x1b]0;x\x07", 1, "1\n2", 2, "LIST\x1bEN")
    assert line(row) == b"tcp        0      0  ?]0;x?.1               1?2.2                  LIST?EN"
    unix = [UnixRow(2, "STR\x1b", "LISTEN", 1, "/tmp/\x1b[2J\n\udc9b\udcff a")]
    assert text([], "", unix=unix).removeprefix(UNIX_TITLE) == (
        b"       1 str?        0      0        0        0        0        0 /tmp/?[2J??\xff a\n"
    )


def test_unix_sockets_and_who_is_connected_to_whom() -> None:
    """Each column by hand: `%8x %-6.6s %6d %6d %8x %8x %8x %8x` and ` %.*s` of a bound one."""
    rows = [
        UnixRow(3, "STREAM", "ESTABLISHED", 0x1A, None, 0x1B, recv_q=5, send_q=6),
        UnixRow(3, "STREAM", "ESTABLISHED", 0x1B, "/run/a b", 0x1A),
        UnixRow(2, "DGRAM", "UNCONN", 0xABC, "/dev/log"),
        UnixRow(2, "DGRAM", "ESTABLISHED", 0x2A, None, 0xABC),
        UnixRow(2, "DGRAM", "ESTABLISHED", 0x2B, None, 0xABC),
        UnixRow(2, "DGRAM", "ESTABLISHED", 0x2C, None, 0xABC),
        # Its type is cut after 6 bytes; NULs inside an abstract name are shown as at its beginning.
        UnixRow(2, "SEQPACKET", "LISTEN", 0x123456789, "@abs\0tract"),
        # Not accepted yet; let go of: no process has them, nor has BSD's table of files.
        UnixRow(2, "STREAM", "CONNECTING", 0, "/run/a b"),
        UnixRow(2, "DGRAM", "DISCONNECTING", 0, "/run/gone", 0xABC),
    ]
    expected = UNIX_TITLE + (
        b"      1a stream      5      6        0       1b        0        0\n"
        b"      1b stream      0      0        0       1a        0        0 /run/a b\n"
        b"     abc dgram       0      0        0        0       2a        0 /dev/log\n"
        b"      2a dgram       0      0        0      abc        0       2b\n"
        b"      2b dgram       0      0        0      abc        0       2c\n"
        b"      2c dgram       0      0        0      abc        0        0\n"
        b"123456789 seqpac      0      0        0        0        0        0 @abs@tract\n"
    )
    # All of them with -a or without, since BSD makes no difference here.
    assert text([], "-f unix", unix=rows) == text([], "-anf unix", unix=rows) == expected


_libc = ctypes.CDLL(None)


def c_format(form: bytes, *values: bytes | int) -> bytes:
    """Return what C's printf makes of a format."""
    buffer = ctypes.create_string_buffer(4096)
    arguments = [ctypes.c_long(value) if isinstance(value, int) else value for value in values]
    assert _libc.snprintf(buffer, len(buffer), form, *arguments) < len(buffer)
    return buffer.value


def c_line(row: NetstatRow, host: str, service: str, state: str) -> bytes:
    """Return 4.4BSD's line of a socket both of whose ends have these names, by its own formats."""
    name = (row.protocol + ("6" if row.family == "inet6" else "")).encode()
    made = c_format(b"%-5.5s %6ld %6ld ", name, row.recv_q, row.send_q)
    end = c_format(b"%.*s.", 16, encode(host)) + c_format(b"%.8s", encode(service))
    made += 2 * c_format(b" %-22.22s", end)
    return made + (c_format(b" %s", state.encode()) if row.protocol == "tcp" else b"")


@settings(max_examples=200, deadline=None)
@given(
    st.text(st.characters(blacklist_categories=("C", "Z")), min_size=1, max_size=30),
    st.text(st.characters(blacklist_categories=("C", "Z")), min_size=1, max_size=12),
    st.integers(0, 10**8),
    st.integers(0, 10**8),
    st.sampled_from(("tcp", "udp")),
    st.sampled_from(("10.0.0.5", "fd00::5")),
)
def test_every_line_is_what_c_prints_by_bsds_formats(
    host: str, service: str, recv_q: int, send_q: int, protocol: str, address: str
) -> None:
    row = tcp(address, 80, address, 80, "FIN_WAIT2")._replace(protocol=protocol, recv_q=recv_q, send_q=send_q)
    names = Names(services={(80, protocol): service}, hosts={address: host})
    made = line(row, "-a", names, "h.no-such-domain")
    assert made == c_line(row, host, service, "FIN_WAIT_2")
    # The columns stand where the header has them, as long as the queues fit.
    if max(recv_q, send_q) < 10**6:
        assert len(made) == 66 + (len(" FIN_WAIT_2") if protocol == "tcp" else 0)
        assert {made[place] for place in (5, 12, 19, 20, 43)} == {ord(" ")}


_SAID = {"SYN_RECV": "SYN_RCVD", "FIN_WAIT1": "FIN_WAIT_1", "FIN_WAIT2": "FIN_WAIT_2"}


def _end(said: str, version: str) -> bytes:
    """Return BSD's writing of an address of `netstat -nW`, which leaves out the prefix of a v4-mapped one."""
    host, _, port = said.rpartition(":")
    if host in ("0.0.0.0", "::"):
        host = "*"
    elif version and ":" not in host:
        host = f"::ffff:{host}"
    return c_format(b" %-22.22s", c_format(b"%.16s", host.encode()) + f".{port}".encode())


def from_netstat(namespace: Namespace) -> bytes:
    """Return `netstat -an` of BSD for a namespace, made of what the installed netstat says."""
    said = run_netstat(namespace, ["-tuanW"]).decode().splitlines()[2:]
    made = b""
    for version, title in (("", TITLE_A), ("6", TITLE_6A)):
        lines = []
        for words in (
            words for words in map(str.split, said) if words[0] in (f"tcp{version}", f"udp{version}")
        ):
            start = c_format(b"%-5.5s %6ld %6ld ", words[0].encode(), int(words[1]), int(words[2]))
            state = f" {_SAID.get(words[5], words[5])}" if words[0].startswith("tcp") else ""
            lines.append(start + _end(words[3], version) + _end(words[4], version) + state.encode() + b"\n")
        made += (title if lines else b"") + b"".join(lines)
    return made


@pytest.mark.parametrize("seed", range(4))
def test_real_sockets_are_those_that_the_installed_netstat_shows(seed: int) -> None:
    with Population(seed) as population:
        for _ in range(20):
            before, theirs = rows_from_proc(population.namespace, []), from_netstat(population.namespace)
            made = text(before, "-an")
            if made == text(rows_from_proc(population.namespace, []), "-an"):
                break
        else:
            raise AssertionError("the sockets never held still")
        assert made == theirs
        assert b"\nudp" in made
        assert b" LISTEN\n" in made
