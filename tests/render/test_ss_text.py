"""ss's style where the installed ss can't judge: columns, hostile names, rows that only captures have."""

from __future__ import annotations

import pytest

from sockrec.errors import UsageError
from sockrec.model.ss_row import Holder, SocketMemory, SsRow, SsUnixRow, TcpInfo
from sockrec.render.names import Names
from sockrec.render.ss import ss_lines, ss_text
from sockrec.render.ss_flags import parse_flags

ROW = SsRow("tcp", "inet", "10.0.0.5", 7071, "10.0.0.9", 40000, "ESTABLISHED", socket_id=0x1F, inode=77)
UNIX = SsUnixRow("STREAM", "LISTEN", 5, "/run/x.sock", backlog_limit=9)
HOSTILE = "a\x1b[2J\nb\u202e"
HARMLESS = "a?[2J?b???"


def shown(flags: str, *rows: SsRow | SsUnixRow, names: Names | None = None) -> list[str]:
    inet = [row for row in rows if isinstance(row, SsRow)]
    unix = [row for row in rows if isinstance(row, SsUnixRow)]
    return ss_text(inet, unix, parse_flags(flags.split()), names or Names()).decode().split("\n")[:-1]


def test_columns_stand_below_each_other() -> None:
    rows = (
        ROW,
        ROW._replace(local_address="127.0.0.1", recv_q=1234567, state="FIN_WAIT1", send_q=8),
        ROW._replace(family="inet6", local_address="fd00::5", remote_address="fd00::9", remote_port=22),
        ROW._replace(protocol="udp", holders=(Holder(9, "named", 3),)),
        UNIX,
    )
    head, *lines = shown("-anp", *rows)
    assert " ".join(head.split()) == "Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port Process"
    for line in lines:
        words = line.split()
        for name, word in zip(("Netid", "State", "Recv-Q", "Send-Q"), words, strict=False):
            place = head.index(name)
            assert line[place : place + len(word) + 1].rstrip() == word
        # A colon, or a UNIX socket's blank, with the address right before it and the port right after.
        for place in (head.index(":Port"), head.rindex(":Port")):
            assert line[place] in ": "
            assert " " not in (line[place - 1], line[place + 1])
    assert [line[head.index("Process") :] for line in lines].count('users:(("named",pid=9,fd=3))') == 1


def test_no_line_ends_in_blanks_and_a_table_without_rows_is_its_header() -> None:
    lines = shown("-aniem", ROW, ROW._replace(tcp=TcpInfo(snd_cwnd=10)), UNIX)
    assert all(line == line.rstrip() for line in lines)
    assert len(lines) == 5
    assert len(shown("-an")) == 1
    assert shown("-Han") == []


def test_a_long_path_moves_its_own_line_alone() -> None:
    short, long = UNIX, UNIX._replace(path="/" + "x" * 106)
    alone, both = shown("-xa", short), shown("-xa", short, long)
    assert both[:2] == alone
    assert long.path is not None
    assert long.path in both[2]


def test_names_steer_no_terminal() -> None:
    row = ROW._replace(
        interface=HOSTILE, holders=(Holder(1, HOSTILE, 3),), cgroup=f"/{HOSTILE}", congestion=HOSTILE,
        tcp=TcpInfo(snd_cwnd=10), ulp=HOSTILE, local_port=22, remote_address="10.0.0.8",
    )  # fmt: skip
    names = Names(services={(22, "tcp"): HOSTILE}, hosts={"10.0.0.8": HOSTILE}, protocols={1: HOSTILE})
    raw = ROW._replace(protocol="raw", local_port=1, state="UNCONN")
    lines = shown("-arpiem --cgroup", row, raw, UNIX._replace(path=HOSTILE, holders=row.holders), names=names)
    assert len(lines) == 5
    text = "\n".join(lines)
    assert text.count(HARMLESS) == 11
    assert text.replace("\n", "").replace("\t", "").isprintable()


def test_bytes_that_are_no_utf8_are_printed_as_they_are() -> None:
    latin = b"/run/caf\xe9".decode("utf-8", "surrogateescape")
    assert b"/run/caf\xe9 5 " in ss_text([], [UNIX._replace(path=latin)], parse_flags(["-xa"]), Names())


def test_a_holders_name_ends_at_its_first_bracket() -> None:
    """It is read from /proc/PID/stat as `(%[^)])`."""
    assert (
        'users:(("(sd-pam",pid=1,fd=3))'
        in shown("-tap", ROW._replace(holders=(Holder(1, "(sd-pam)", 3),)))[1]
    )


def test_blocks_come_in_sss_order_whatever_the_rows() -> None:
    rows = [
        ROW._replace(
            protocol=protocol, family=family, local_address=address, remote_address=address, recv_q=n
        )
        for n, (protocol, family, address) in enumerate(
            (protocol, family, address)
            for protocol in ("tcp", "udp", "raw")
            for family, address in (("inet6", "fd00::1"), ("inet", "10.0.0.1"))
        )
    ]
    assert [line.split()[2] for line in shown("-Han", *rows, UNIX)] == ["0", "5", "4", "3", "2", "1", "0"]


def test_what_ss_never_hears_of_is_not_shown() -> None:
    """TCP that is bound and idle (sock_diag, Linux 6.8), UNIX sockets that no process can hold, UDP-Lite."""
    idle = ROW._replace(state="CLOSE", remote_address="0.0.0.0", remote_port=0)
    embryo = UNIX._replace(inode=0, state="CONNECTING")
    lite = ROW._replace(protocol="udplite")
    assert len(shown("-an", idle, embryo, lite)) == 1
    assert len(shown("-an", idle._replace(protocol="udp"))) == 2


def test_a_request_has_no_user() -> None:
    """sock_diag says 0; captures put the listener's user there, as netstat shows it."""
    request = ROW._replace(state="SYN_RECV", inode=0, uid=33)
    assert "uid:" not in shown("-tae", request)[1]
    assert "uid:33" in shown("-tae", request._replace(tcp=TcpInfo(snd_cwnd=10)))[1]
    assert "uid:33" in shown("-tae", request._replace(state="ESTABLISHED"))[1]


def test_a_socket_out_of_proc_has_no_cookie() -> None:
    assert "sk:" not in shown("-tae", ROW._replace(socket_id=-5))[1]
    assert "sk:1f" in shown("-tae", ROW)[1]


def test_what_was_not_recorded_is_left_out() -> None:
    """No memory, no tcp_info: no line of zeros below the row."""
    assert shown("-tanim", ROW)[1:] == [shown("-tan", ROW)[1]]
    old = SocketMemory(1, 2, 3, 4, -5, 6, 7)
    assert shown("-tanm", ROW._replace(memory=old))[2] == "\t skmem:(r1,rb2,t3,tb4,f4294967291,w6,o7)"


def test_ports_of_the_recorded_hosts_own_range_have_no_names() -> None:
    names = Names(services={(7071, "tcp"): "myapp", (40000, "tcp"): "lots"})
    flags = parse_flags(["-t"])
    assert "10.0.0.5:myapp" in ss_text([ROW], [], flags, names).decode()
    assert "10.0.0.9:40000" in ss_text([ROW], [], flags, names).decode()
    other = ss_text([ROW], [], flags, names, (1024, 9999)).decode()
    assert "10.0.0.5:7071" in other
    assert "10.0.0.9:lots" in other


def test_a_name_in_the_filter_that_the_host_did_not_know_is_told_at_once() -> None:
    """Not when the first line is wanted: by then a header may have been printed."""
    with pytest.raises(UsageError, match="no port 'nothing'"):
        ss_lines([], [], parse_flags(["-t", "dport", "=", ":nothing"]), Names())
