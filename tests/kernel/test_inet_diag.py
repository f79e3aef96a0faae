"""Taking sock_diag's internet socket messages apart, those of other kernels too."""

from __future__ import annotations

import errno
import socket
import struct

import numpy as np
import pytest

from sockrec.kernel import kernel_names
from sockrec.kernel.arrays import ACTIVITY_FIELDS, FIELD, NULL, InetSockets
from sockrec.kernel.inet_diag import IPPROTO_SCTP, decode, dump, dump_tcp
from sockrec.kernel.netlink import DiagSocket, NetlinkError
from sockrec.model import states
from sockrec.model.tcp_columns import TCP_COUNTERS, TCP_DETAILS
from tests.kernel.test_netlink import done, framed, message
from tests.support.netns import Namespace

TCP_INFO, CONGESTION, MEMORY, SHUTDOWN, V6ONLY, MARK, BBR_INFO, ULP, CGROUP = 2, 4, 7, 8, 11, 15, 16, 19, 21
INT64_MAX = (1 << 63) - 1


def attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def tcp_info(length: int = 248, **values: int) -> bytes:
    """Return a tcp_info whose 32-bit words and 64-bit fields are told by where they lie."""
    raw = bytearray(struct.pack("=62I", *range(1000, 1062)) + bytes(100))
    for place, value in values.items():
        struct.pack_into("=Q", raw, int(place[2:]), value)
    return bytes(raw[:length])


def diag(
    *attributes: bytes,
    family: int = socket.AF_INET,
    state: int = 1,
    timer: tuple[int, int, int] = (0, 0, 0),
    local: str = "10.0.0.1",
    ports: tuple[int, int] = (80, 40000),
    cookie: int = 1 << 40 | 7,
    queues: tuple[int, int] = (11, 12),
    uid: int = 1000,
    inode: int = 4_000_000_000,
) -> bytes:
    """Return a message with struct inet_diag_msg and attributes."""
    code, retrans, expires = timer
    head = struct.pack("=BBBB", family, state, code, retrans) + struct.pack("!HH", *ports)
    head += socket.inet_pton(family, local).ljust(16, b"\0") + bytes(range(16))
    head += struct.pack("=iQIIIII", 3, cookie, expires, *queues, uid, inode)
    return message(head + b"".join(attributes))


def decoded(*messages: bytes, protocol: int = socket.IPPROTO_TCP, time: int = 0) -> InetSockets:
    found = framed(b"".join(messages), done(), times=[time, 0])
    out = InetSockets.allocate(len(found))
    out.activity[:] = -77  # whatever is not written shows
    decode(found, protocol, out)
    return out


def test_every_field_comes_from_its_place() -> None:
    memory = struct.pack("=9I", *range(50, 59))
    sockets = decoded(
        diag(
            attribute(SHUTDOWN, b"\0"),
            attribute(MEMORY, memory),
            attribute(TCP_INFO, tcp_info(u_104=5, u_112=7, u_200=6)),
            attribute(BBR_INFO, struct.pack("=5I", 5, 1, 700, 739, 512)),
        ),
        time=2_000_000,
    )
    assert sockets.local[0].tobytes() == bytes([10, 0, 0, 1]) + bytes(12)
    assert sockets.remote[0].tolist() == list(range(16))
    for name, value in {
        "protocol": 6, "family": 2, "state": 1, "cookie": 1 << 40 | 7, "local_port": 80, "remote_port": 40000,
        "ifindex": 3, "uid": 1000, "inode": 4_000_000_000,
    }.items():  # fmt: skip
        assert getattr(sockets, name)[0] == value, name
    got = dict(zip(ACTIVITY_FIELDS, sockets.activity[:, 0].tolist(), strict=True))
    # linux/tcp.h: word numbers within struct tcp_info.
    words = {
        "rto_us": 2, "ato_us": 3, "sacked": 7, "rcv_ssthresh": 16, "advmss": 21, "delivered_ce": 49,
        "dsack_dups": 54, "reord_seen": 55,
        "snd_mss": 4, "rcv_mss": 5, "unacked": 6, "lost": 8, "retrans": 9, "pmtu": 15,
        "rtt_us": 17, "rttvar_us": 18, "snd_ssthresh": 19, "snd_cwnd": 20, "reordering": 22, "rcv_rtt_us": 23,
        "rcv_space": 24, "total_retrans": 25, "segs_out": 34, "segs_in": 35, "notsent_bytes": 36,
        "min_rtt_us": 37, "data_segs_in": 38, "data_segs_out": 39, "delivered": 48, "rcv_ooopack": 56,
        "snd_wnd": 57,
    }  # fmt: skip
    pairs = {
        "bytes_acked": 30, "bytes_received": 32, "delivery_rate": 40, "busy_us": 42, "rwnd_limited_us": 44,
        "sndbuf_limited_us": 46, "bytes_retrans": 52,
    }  # fmt: skip
    expected = {name: 1000 + place for name, place in words.items()}
    expected |= {
        name: int.from_bytes(struct.pack("=II", 1000 + place, 1001 + place), "little")
        for name, place in pairs.items()
    }
    first = struct.pack("=II", 1000, 1001)
    expected |= {"ca_state": first[1], "retransmits": first[2], "probes": first[3], "backoff": first[4]}
    # One byte for both windows' shifts, a bit of another for the rate's limit; ages of 1011 ms and more.
    expected |= {
        "tcp_options": first[5],
        "snd_wscale": first[6] & 15,
        "rcv_wscale": first[6] >> 4,
        "delivery_rate_app_limited": first[7] & 1,
        "last_data_sent_at": 2_000_000 - 1_011_000,
        "last_data_recv_at": 2_000_000 - 1_013_000,
        "last_ack_recv_at": 2_000_000 - 1_014_000,
    }
    expected |= {"bbr_bw": (1 << 32) + 5, "bbr_min_rtt_us": 700, "bbr_pacing_gain": 739, "bbr_cwnd_gain": 512}
    expected |= {"max_pacing_rate": 7, "fwd_alloc": 54, "wmem_queued": 55, "optmem": 56, "backlog": 57}
    expected |= {"pacing_rate": 5, "bytes_sent": 6, "recv_q": 11, "send_q": 12, "backlog_limit": NULL}
    expected |= {
        "rmem": 50,
        "rcvbuf": 51,
        "wmem": 52,
        "sndbuf": 53,
        "drops": 58,
        "timer": 0,
        "timer_deadline": NULL,
    }
    assert got == expected


def test_settings_come_from_their_attributes() -> None:
    """Names of one length and of several, and what follows the name of an upper layer."""

    def nested(name: bytes, more: bytes) -> bytes:
        return attribute(ULP, attribute(1, name) + attribute(3, more))

    told = [
        diag(
            attribute(SHUTDOWN, b"\2"),
            attribute(V6ONLY, b"\1"),
            attribute(MARK, struct.pack("=I", 0xFFFFFFFF)),
            attribute(CGROUP, struct.pack("=Q", 1 << 40 | 5)),
            attribute(CONGESTION, name + b"\0"),
            nested(layer + b"\0", bytes([number]) * 12),
            cookie=number,
        )
        for number, (name, layer) in enumerate(
            ((b"cubic", b"tls"), (b"vegas", b"smc"), (b"cubic", b"mptcp"), (b"a_very_long_one", b"tls"))
        )
    ]
    sockets = decoded(*told, *told, diag(cookie=9))
    assert [kernel_names.name(number) for number in sockets.congestion.tolist()] == [
        *["cubic", "vegas", "cubic", "a_very_long_one"] * 2, None,
    ]  # fmt: skip
    assert [kernel_names.name(number) for number in sockets.ulp.tolist()] == [
        *["tls", "smc", "mptcp", "tls"] * 2, None,
    ]  # fmt: skip
    assert sockets.shutdown.tolist() == [2] * 8 + [-1]
    assert sockets.v6only.tolist() == [1] * 8 + [-1]
    assert sockets.mark.tolist() == [0xFFFFFFFF] * 8 + [NULL]
    assert sockets.cgroup.tolist() == [1 << 40 | 5] * 8 + [0]


@pytest.mark.parametrize("payload", [b"", b"\5", struct.pack("=HH", 60, 1), struct.pack("=HH", 3, 1)])
def test_upper_layers_that_make_no_sense_have_no_name(payload: bytes) -> None:
    assert decoded(diag(attribute(ULP, payload))).ulp.tolist() == [kernel_names.NONE]


def test_what_is_told_of_a_listener() -> None:
    """Its queue lies in fields of tcp_info; when it last received data it can't tell."""
    sockets = decoded(diag(attribute(TCP_INFO, tcp_info(u_104=(1 << 64) - 1)), state=states.LISTEN))
    got = dict(zip(ACTIVITY_FIELDS, sockets.activity[:, 0].tolist(), strict=True))
    known = {name for name, value in got.items() if value != NULL}
    assert known == {
        "recv_q", "send_q", "backlog_limit", "timer", "retransmits", "probes", "snd_cwnd", "reordering",
        "pacing_rate", "max_pacing_rate",
    }  # fmt: skip
    assert (got["snd_cwnd"], got["reordering"], got["pacing_rate"]) == (1020, 1022, -1)


def test_memory_taken_in_advance_may_be_below_0() -> None:
    memory = struct.pack("=4Ii4I", *range(50, 54), -4096, *range(55, 59))
    assert decoded(diag(attribute(MEMORY, memory))).activity[FIELD["fwd_alloc"], 0] == -4096


def test_times_are_counted_from_the_datagram_that_told_them() -> None:
    one, other = (diag(attribute(TCP_INFO, tcp_info()), cookie=number) for number in (1, 2))
    found = framed(one + other, one, done(), times=[5_000_000, 7_000_000, 0])
    out = InetSockets.allocate(3)
    decode(found, socket.IPPROTO_TCP, out)
    assert out.activity[FIELD["last_data_sent_at"]].tolist() == [3_989_000, 3_989_000, 5_989_000]


def test_mixed_lengths_and_layouts_alternating() -> None:
    """Two layouts of one length, others between, attributes unknown: each row has its own values."""
    memory = struct.pack("=9I", *range(50, 59))
    kinds = [
        lambda n: diag(attribute(SHUTDOWN, b"\0"), attribute(MEMORY, memory), cookie=n),
        lambda n: diag(attribute(MEMORY, memory), attribute(SHUTDOWN, b"\0"), cookie=n),
        lambda n: diag(attribute(SHUTDOWN, b"\0"), attribute(99, memory), cookie=n),
        lambda n: diag(cookie=n),
        lambda n: diag(attribute(TCP_INFO, tcp_info()), attribute(200, b"abc"), cookie=n),
    ]
    n = 10_000
    which = np.random.default_rng(7).integers(0, len(kinds), n)
    sockets = decoded(*(kinds[kind](row) for row, kind in enumerate(which)))
    np.testing.assert_array_equal(sockets.cookie, np.arange(n))
    drops = sockets.activity[FIELD["drops"]]
    np.testing.assert_array_equal(drops, np.where(which < 2, 58, NULL))
    np.testing.assert_array_equal(sockets.activity[FIELD["rto_us"]], np.where(which == 4, 1002, NULL))


@pytest.mark.parametrize("length", [8, 104, 192, 228, 231, 248, 300])
def test_an_older_or_newer_tcp_info(length: int) -> None:
    sockets = decoded(diag(attribute(TCP_INFO, tcp_info(length))))
    value = sockets.activity[:, 0]
    assert (value[FIELD["rto_us"]] == NULL) == (length < 12)
    assert (value[FIELD["pacing_rate"]] == NULL) == (length < 112)
    assert (value[FIELD["bytes_sent"]] == NULL) == (length < 208)
    assert (value[FIELD["snd_wnd"]] == NULL) == (length < 232)
    assert value[FIELD["backoff"]] == struct.pack("=I", 1001)[0]


def test_values_of_64_bits_that_do_not_fit() -> None:
    over = tcp_info(u_104=(1 << 64) - 1, u_120=(1 << 64) - 2, u_128=1 << 63, u_160=INT64_MAX)
    value = decoded(diag(attribute(TCP_INFO, over))).activity[:, 0]
    assert value[FIELD["pacing_rate"]] == -1
    assert value[FIELD["bytes_acked"]] == INT64_MAX
    assert value[FIELD["delivery_rate"]] == INT64_MAX
    over = tcp_info(u_104=(1 << 64) - 3)
    assert decoded(diag(attribute(TCP_INFO, over))).activity[FIELD["pacing_rate"], 0] == INT64_MAX


def test_a_round_trip_never_measured_is_no_value() -> None:
    raw = bytearray(tcp_info())
    struct.pack_into("=I", raw, 148, 0xFFFFFFFF)
    assert decoded(diag(attribute(TCP_INFO, bytes(raw)))).activity[FIELD["min_rtt_us"], 0] == NULL


@pytest.mark.parametrize(
    ("timer", "retransmits", "probes"), [(0, 0, 0), (1, 5, 0), (2, 0, 5), (3, 0, 0), (4, 0, 5)]
)
def test_without_tcp_info_the_timer_tells_what_was_counted(timer: int, retransmits: int, probes: int) -> None:
    sockets = decoded(diag(state=states.SYN_RECV, timer=(timer, 5, 250)), time=1_000_000)
    assert sockets.activity[FIELD["retransmits"], 0] == retransmits
    assert sockets.activity[FIELD["probes"], 0] == probes
    assert sockets.activity[FIELD["timer_deadline"], 0] == (1_250_000 if timer else NULL)


def test_states_that_are_others_in_disguise() -> None:
    sockets = decoded(*(diag(state=number) for number in (12, 13, 3, 7)))
    assert sockets.state.tolist() == [3, 7, 3, 7]


def test_requests_get_their_listeners_user() -> None:
    def listener(uid: int, local: str, port: int, family: int = socket.AF_INET) -> bytes:
        return diag(state=states.LISTEN, uid=uid, local=local, ports=(port, 0), family=family)

    def request(local: str, port: int, family: int = socket.AF_INET) -> bytes:
        return diag(state=states.SYN_RECV, uid=0, inode=0, local=local, ports=(port, 9), family=family)

    sockets = decoded(
        listener(1, "0.0.0.0", 80),
        listener(2, "10.0.0.1", 80),
        listener(3, "::", 80, socket.AF_INET6),
        listener(4, "0.0.0.0", 81),
        request("10.0.0.1", 80),
        request("10.0.0.2", 80),
        request("::1", 80, socket.AF_INET6),
        request("10.0.0.1", 82),
    )
    assert sockets.uid.tolist() == [1, 2, 3, 4, 2, 1, 3, 0]


@pytest.mark.parametrize("protocol", [socket.IPPROTO_UDP, 136, socket.IPPROTO_RAW])
def test_other_protocols_have_no_tcp_columns(protocol: int) -> None:
    memory = struct.pack("=9I", *range(50, 59))
    value = decoded(
        diag(attribute(MEMORY, memory), attribute(TCP_INFO, tcp_info())), protocol=protocol
    ).activity[:, 0]
    assert value[FIELD["drops"]] == 58
    assert {int(value[FIELD[column.name]]) for column in (*TCP_COUNTERS, *TCP_DETAILS)} == {NULL}


def test_sctp_states_are_shown_as_netstat_names_them() -> None:
    """RFC 9260 associations have states of their own; endpoints have TCP's."""
    association = [diag(state=number, ports=(80, 9)) for number in range(1, 8)]
    endpoint = [diag(state=number, ports=(80, 0)) for number in (7, 10)]
    sockets = decoded(*association, *endpoint, protocol=IPPROTO_SCTP)
    names = [states.NAMES[number] for number in sockets.state.tolist()]
    assert names[2] == "ESTABLISHED"
    assert names[-2:] == ["CLOSE", "LISTEN"]
    assert sockets.protocol.tolist() == [IPPROTO_SCTP] * 9


@pytest.mark.parametrize(
    "broken",
    [
        message(bytes(68)),
        message(diag()[16:] + struct.pack("=HH", 3, 1)),
        message(diag()[16:] + struct.pack("=HH", 100, 1)),
        message(diag()[16:] + b"\0\0"),
    ],
    ids=["no whole inet_diag_msg", "attribute too short", "attribute too long", "half an attribute"],
)
def test_broken_messages_are_an_error(broken: bytes) -> None:
    with pytest.raises(NetlinkError) as raised:
        decoded(diag(), broken)
    assert raised.value.errno == errno.EBADMSG


def test_both_families_at_once_are_the_two_dumps_interleaved(netns: Namespace) -> None:
    """The request that takes AF_UNSPEC walks the same tables in the same order."""
    with netns.entered(), DiagSocket() as kernel:
        held = []
        for port in range(20):
            for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
                held.append(socket.create_server((address, 0), family=family))
                held.append(socket.create_connection(held[-1].getsockname()[:2]))
            held.append(socket.socket())
            held[-1].bind(("127.0.0.1", 30000 + port))
        read = []
        for request in (
            dump_tcp,
            lambda d: dump(d, socket.IPPROTO_TCP, socket.AF_INET),
            lambda d: dump(d, socket.IPPROTO_TCP, socket.AF_INET6),
        ):
            messages = kernel.messages(request(kernel))
            read.append(InetSockets.allocate(len(messages)))
            decode(messages, socket.IPPROTO_TCP, read[-1])
        for made in held:
            made.close()
    both, four, six = read
    assert (len(four), len(six)) == (80, 60)
    assert both.cookie[both.family == socket.AF_INET].tolist() == four.cookie.tolist()
    assert both.cookie[both.family == socket.AF_INET6].tolist() == six.cookie.tolist()
