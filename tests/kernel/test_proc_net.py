"""Taking the text of /proc/net apart; that it agrees with sock_diag is shown in test_sockets."""

from __future__ import annotations

import socket
import threading

import numpy as np
import pytest

from sockrec.errors import KernelError
from sockrec.kernel import proc_net, proc_unix
from sockrec.kernel.arrays import FIELD, NULL
from sockrec.model import states
from tests.support.netns import Namespace

HEADER = b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
WHOLE = (
    b"   0: 0500000A:1B9F 0600000A:A410 01 0000000C:0000000B 01:00000019 00000003  1000        2 73121 4 "
    b"00000000abcdef01 20 4 30 10 -1\n"
)
TIME_WAIT = (
    b"9999: 0100007F:0050 0100007F:C350 06 00000000:00000000 03:0000176F 00000000     0        0 0 3 "
    b"0000000000000000\n"
)
UDP6 = (
    b"12345: 0000000000000000FFFF00000100007F:0035 00000000000000000000000000000000:0000 07 "
    b"00000000:00000300 00:00000000 00000000   101        0 18446744 2 0000000000000000 42\n"
)


def test_a_whole_line_and_a_short_one() -> None:
    sockets = proc_net.parse_inet(HEADER + WHOLE + TIME_WAIT, "tcp", socket.IPPROTO_TCP, 1_000_000)
    assert sockets.local[0].tobytes() == bytes([10, 0, 0, 5]) + bytes(12)
    assert sockets.remote[0].tobytes() == bytes([10, 0, 0, 6]) + bytes(12)
    assert sockets.local_port.tolist() == [7071, 80]
    assert sockets.remote_port.tolist() == [42000, 50000]
    assert sockets.state.tolist() == [states.ESTABLISHED, states.TIME_WAIT]
    assert (sockets.uid.tolist(), sockets.inode.tolist()) == ([1000, 0], [73121, 0])
    assert (sockets.protocol.tolist(), sockets.family.tolist(), sockets.cookie.tolist()) == (
        [6, 6],
        [2, 2],
        [0, 0],
    )
    expected = {
        "recv_q": [11, 0], "send_q": [12, 0], "timer": [1, 3], "timer_deadline": [1_250_000, 60_990_000],
        "retransmits": [3, 0], "probes": [2, 0], "snd_cwnd": [10, NULL], "snd_ssthresh": [0x7FFFFFFF, NULL],
        "drops": [NULL, NULL], "rtt_us": [NULL, NULL],
    }  # fmt: skip
    for name, values in expected.items():
        assert sockets.activity[FIELD[name]].tolist() == values, name


def test_ipv6_addresses_and_drops() -> None:
    sockets = proc_net.parse_inet(HEADER + UDP6, "udp6", socket.IPPROTO_UDP, 0)
    assert socket.inet_ntop(socket.AF_INET6, sockets.local[0].tobytes()) == "::ffff:127.0.0.1"
    assert sockets.family.tolist() == [10]
    assert sockets.activity[[FIELD["drops"], FIELD["recv_q"]], 0].tolist() == [42, 768]
    assert sockets.activity[FIELD["retransmits"], 0] == NULL


def test_no_lines() -> None:
    assert len(proc_net.parse_inet(HEADER, "tcp", socket.IPPROTO_TCP, 0)) == 0


@pytest.mark.parametrize(
    "line",
    [
        b"garbage\n",
        b"\n",
        WHOLE.replace(b":1B9F", b":1B9"),
        WHOLE.replace(b":1B9F", b":1B9G"),
        WHOLE.replace(b"0500000A:1B9F 0600000A:A410", b"0500000A:1B9F00 0600000A:A4"),
        WHOLE.replace(b" 1000 ", b" nobody "),
        WHOLE.replace(b" 73121 ", b" "),
        WHOLE[:60] + b"\n",
        TIME_WAIT + b"   1: 0100007F:0050\n",
        UDP6,
    ],
)
def test_a_line_of_another_form_is_an_error(line: bytes) -> None:
    with pytest.raises(KernelError, match="/proc/net/tcp"):
        proc_net.parse_inet(HEADER + WHOLE + line, "tcp", socket.IPPROTO_TCP, 0)


def test_a_udp_line_without_its_drops_is_an_error() -> None:
    with pytest.raises(KernelError):
        proc_net.parse_inet(HEADER + UDP6.replace(b" 42\n", b"\n"), "udp6", socket.IPPROTO_UDP, 0)


UNIX_HEADER = b"Num       RefCount Protocol Flags    Type St Inode Path\n"
UNIX_ROW = b"00000000abcdef01: 00000002 00000000 00010000 0001 01 73124 /run/x\n"


def test_a_path_with_line_breaks_stays_one() -> None:
    odd = UNIX_ROW.replace(b"/run/x", b"/run/a\n\nb: c\n")
    sockets = proc_unix.parse(UNIX_HEADER + odd + UNIX_ROW + UNIX_ROW.replace(b" /run/x", b""))
    assert sockets.paths(np.arange(3)) == ["/run/a\n\nb: c\n", "/run/x", None]
    assert sockets.state.tolist() == [states.LISTEN] * 3


@pytest.mark.parametrize(
    "text",
    [
        b"",
        UNIX_HEADER + b"garbage\n",
        UNIX_HEADER + UNIX_ROW.replace(b" /run/x", b"") + b"garbage\n",
        UNIX_ROW + UNIX_ROW,
    ],
)
def test_unix_text_of_another_form_is_an_error(text: bytes) -> None:
    with pytest.raises(KernelError, match="/proc/net/unix"):
        proc_unix.parse(text)


def test_a_thread_reads_the_namespace_that_it_is_in(netns: Namespace) -> None:
    found: list[list[int]] = []

    def read() -> None:
        with netns.entered(), socket.create_server(("10.0.0.5", 7071)):
            sockets = proc_net.inet("tcp", socket.IPPROTO_TCP)
            assert sockets is not None
            found.append(sockets.local_port.tolist())

    thread = threading.Thread(target=read)
    thread.start()
    thread.join(10)
    assert found == [[7071]]


def test_a_file_that_the_kernel_lacks_is_none() -> None:
    assert proc_net.inet("dccp", 33) is None
