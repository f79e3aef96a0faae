"""netstat's text where the installed program can't be asked: hostile names, SCTP, names from JSON.

What it can be asked is proven in test_netstat_against_netstat.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockrec.errors import CaptureError
from sockrec.model.netstat_row import NetstatRow
from sockrec.render.names import Names, byte_length, cut, encode, printable
from sockrec.render.netstat import netstat_text, program_column
from sockrec.render.netstat_flags import parse_flags
from tests.support import databases

LISTENER = NetstatRow(
    "tcp", "inet", "0.0.0.0", 80, "0.0.0.0", 0, "LISTEN",
    uid=33, inode=7, pid=12, argv0="/usr/sbin/x", owner="held",
)  # fmt: skip


def lines(rows: list[NetstatRow], flags: str, names: Names | None = None) -> list[bytes]:
    """Return the lines under the header."""
    return netstat_text(rows, parse_flags(flags.split()), names or Names()).split(b"\n")[2:-1]


@pytest.mark.parametrize(
    ("argv0", "shown"),
    [
        ("evil\x1b]0;owned\x07", b"12/evil?]0;owned?   "),
        ("two\nlines\r\t", b"12/two?lines??      "),
        ("del\x7f", b"12/del?             "),
        # U+0085 and U+009B take two bytes in UTF-8; a lone byte 0x9b is CSI to an 8-bit terminal.
        ("nel\x85csi\x9b2J", b"12/nel??csi??2J     "),
        ("csi\udc9b2J", b"12/csi?2J           "),
        ("x\u202e1.2\u2028", b"12/x???1.2???       "),
        # Harmless bytes stay, in UTF-8 or not.
        ("caf\udce9", b"12/caf\xe9             "),
        ("größe", "12/größe          ".encode()),
        # Cut after 19 bytes, inside a character.
        ("x" * 15 + "é", b"12/" + b"x" * 15 + b"\xc3 "),
    ],
)
def test_control_characters_never_reach_a_terminal(argv0: str, shown: bytes) -> None:
    (line,) = lines([LISTENER._replace(argv0=argv0)], "-tlnp")
    assert line.endswith(b"LISTEN      " + shown)


def test_control_characters_of_a_capture_from_elsewhere_are_shown_as_question_marks() -> None:
    names = Names({33: "\x1b[2J"}, {(80, "tcp"): "ht\ntp"}, {}, {"10.0.0.5": "ho\x9bst"})
    row = LISTENER._replace(local_address="10.0.0.5", state="LIST\x1bEN", timer="o\x07ff")
    hostile_address = LISTENER._replace(local_address="\x1b[31m1.2.3.4")
    text = b"".join(lines([row, hostile_address], "-tleo", names))
    assert not any(byte < 0x20 or byte == 0x7F for byte in text)
    assert b"ho??st:ht?tp" in text
    assert b" ?[2J       7 " in text


@given(st.text(st.characters(codec=None) | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF)))
def test_printable_keeps_the_length_and_what_is_harmless(text: str) -> None:
    encodable = "".join(
        letter for letter in text if not "\ud800" <= letter <= "\udc7f" and not "\udd00" <= letter <= "\udfff"
    )
    shown = printable(encodable)
    assert byte_length(shown) == byte_length(encodable)
    for letter in shown:
        assert ord(letter) >= 0x20
        assert not 0x7F <= ord(letter) < 0xA0
        assert not 0xDC80 <= ord(letter) < 0xDCA0
    assert shown.replace("?", "") == printable(encodable.replace("?", "")).replace("?", "")


@given(st.text(), st.integers(0, 40))
def test_cut_takes_the_first_bytes(text: str, most: int) -> None:
    assert encode(cut(text, most)) == text.encode()[:most]


def test_an_owner_is_named_only_while_it_holds_the_socket() -> None:
    held = lines([LISTENER], "-tlnp")[0]
    assert held.endswith(b" 12/x                ")
    nobody = b" -                   "
    for row in (
        LISTENER._replace(owner="last"),
        LISTENER._replace(owner="no permission"),
        LISTENER._replace(inode=0),
        LISTENER._replace(pid=None),
    ):
        assert lines([row], "-tlnp")[0].endswith(nobody)


def test_a_program_name_is_what_follows_the_last_slash_of_the_first_511_bytes() -> None:
    assert program_column(1, "/usr/bin/python3") == "1/python3"
    assert program_column(1, "python3 /a/b") == "1/python3 /a/b"
    assert program_column(1, "/" + "a" * 506 + "/bcd/never") == "1/bcd"
    assert program_column(1, "/" + "a" * 505 + "/bcd/never") == "1/"
    assert program_column(1, "/folder/") == "1/"
    assert program_column(4194304, "") == "4194304/"


def test_tcp_sockets_that_are_only_bound_are_not_shown() -> None:
    bound = LISTENER._replace(state="CLOSE")
    assert lines([bound], "-tan") == []
    assert lines([bound], "-tln") == []


def test_sctp_endpoints_come_before_associations_and_ports_have_no_names() -> None:
    association = NetstatRow("sctp", "inet", "10.0.0.5", 80, "10.0.0.6", 5000, "ESTABLISHED", 3, 4)
    endpoint = NetstatRow("sctp", "inet6", "::", 80, "::", 0, "LISTEN", uid=1, inode=9)
    names = Names(services={(80, "tcp"): "http"}, hosts={"10.0.0.5": "here"})
    assert lines([association, endpoint], "-Sa", names) == [
        b"sctp                [::]:80                                         LISTEN     ",
        b"sctp       3      4 here:80                 10.0.0.6:5000           ESTABLISHED",
    ]
    # Any numeric flag makes addresses numeric there, and -o has nothing to say.
    assert lines([association], "-So --numeric-ports", names) == [
        b"sctp       3      4 10.0.0.5:80             10.0.0.6:5000           ESTABLISHED "
    ]
    assert lines([association, endpoint], "-Sln") == [
        b"sctp                :::80                                           LISTEN     "
    ]
    assert lines([association, endpoint], "-S6an") == []


def test_blocks_and_families_keep_netstats_order_whatever_the_rows_have() -> None:
    rows = [
        LISTENER._replace(protocol=protocol, family=family, inode=number, state="LISTEN")
        for number, (protocol, family) in enumerate(
            (protocol, family)
            for protocol in ("raw", "udplite", "udp", "tcp")
            for family in ("inet6", "inet")
            for _ in range(2)
        )
    ]
    shown = [(line.split()[0].decode(), int(line.split()[-1])) for line in lines(rows, "-anel -4 -6")]
    assert shown == [
        ("tcp", 14), ("tcp", 15), ("tcp6", 12), ("tcp6", 13),
        ("udp", 10), ("udp", 11), ("udp6", 8), ("udp6", 9),
        ("udpl", 6), ("udpl", 7), ("udpl6", 4), ("udpl6", 5),
        ("raw", 2), ("raw", 3), ("raw6", 0), ("raw6", 1),
    ]  # fmt: skip


def test_names_are_read_from_a_recordings_json() -> None:
    names = Names.from_json(
        {
            "users": {"33": "www-data"},
            "services": {"tcp": {"80": "http"}, "udp": {"80": "other"}},
            "protocols": {"1": "icmp"},
            "hosts": {"10.0.0.5": "web-1"},
        }
    )
    assert (names.user(33), names.user(34)) == ("www-data", "34")
    assert (names.port(80, "tcp"), names.port(80, "udp"), names.port(81, "tcp")) == ("http", "other", "81")
    assert (names.port(1, "raw"), names.host("10.0.0.5"), names.host("10.0.0.6")) == ("icmp", "web-1", None)
    assert Names.from_json({}).user(0) == "0"


@pytest.mark.parametrize(
    "data", [{"users": {"x": "y"}}, {"services": {"tcp": 5}}, {"hosts": [1]}, {"users": 3}]
)
def test_malformed_names_are_a_capture_error(data: dict[str, object]) -> None:
    with pytest.raises(CaptureError, match=r"malformed.*use -n"):
        Names.from_json(data)


def test_of_several_services_on_a_port_the_last_is_named() -> None:
    names = databases.names_of(
        users=[(0, "root"), (0, "toor")],
        services=[("first", 514, "tcp"), ("second", 514, "tcp"), ("syslog", 514, "udp")],
        protocols=[("ip", 0), ("hopopt", 0)],
    )
    assert names.port(514, "tcp") == "second"
    assert names.port(514, "udp") == "syslog"
    assert names.user(0) == "root"
    assert names.protocols[0] == "hopopt"
