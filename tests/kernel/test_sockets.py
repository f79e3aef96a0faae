"""All kinds of sockets in all states that can be made: what sock_diag and /proc/net say of them agrees."""

from __future__ import annotations

import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from sockrec.kernel.arrays import FIELD, NULL, InetSockets
from sockrec.kernel.sockets import NUMBERS, Reading, SocketReader
from sockrec.model import states
from tests.support.all_kinds import Population, other_population, tcp_population, until
from tests.support.netns import Namespace

pytestmark = pytest.mark.moments


@pytest.fixture(scope="module")
def population() -> Iterator[Population]:
    """Give the namespace with everything in it."""
    with ExitStack() as stack:
        made = Population(stack)
        tcp_population(made)
        other_population(made)
        time.sleep(0.3)
        with made.here.entered(), SocketReader() as reader:
            until(lambda: bool((reader.read().inet.activity[FIELD["retransmits"]] > 0).any()))
        yield made


# /proc has timers in ticks of 10 ms, and each way its own time of reading.
APART_US = 25_000


def read_both(namespace: Namespace) -> tuple[Reading, Reading]:
    """Read by both ways so close together that no count or timer moved in between."""
    with namespace.entered(), SocketReader() as diag, SocketReader(netlink=False) as proc:
        for _ in range(50):
            first, second, third = diag.read(), proc.read(), diag.read()
            moving = [
                FIELD[name] for name in ("retransmits", "probes", "timer", "recv_q", "send_q", "snd_cwnd")
            ]
            if len(first.inet) != len(third.inet):
                continue
            before, after = first.inet.activity, third.inet.activity
            # The first probe of a closed window starts its timer anew, and none of the counts tells.
            due = FIELD["timer_deadline"]
            still = np.array_equal(before[moving], after[moving])
            if still and (np.abs(after[due] - before[due]) <= APART_US).all():
                return third, second
    raise AssertionError("the population never stood still")


def block(sockets: InetSockets, protocol: str, family: int) -> InetSockets:
    """Return the rows of one of netstat's blocks, without TCP sockets that are only bound."""
    chosen = (sockets.protocol == NUMBERS[protocol]) & (sockets.family == family)
    if protocol == "tcp":
        chosen &= sockets.state != states.CLOSE
    names = InetSockets.__dataclass_fields__
    rows = {
        name: getattr(sockets, name)[..., chosen] if name == "activity" else getattr(sockets, name)[chosen]
        for name in names
    }
    return InetSockets(**rows)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("protocol", ["tcp", "udp", "udplite", "raw"])
def test_both_ways_agree_in_order_and_in_columns(population: Population, protocol: str, family: int) -> None:
    by_diag, by_proc = (block(reading.inet, protocol, family) for reading in read_both(population.here))
    assert len(by_diag) >= 2
    for name in ("protocol", "state", "local", "remote", "local_port", "remote_port", "uid", "inode"):
        np.testing.assert_array_equal(getattr(by_diag, name), getattr(by_proc, name), err_msg=name)
    # Of requests sock_diag tells SYN-ACKs that were sent again, /proc also timeouts at which none was sent:
    # those of TCP_DEFER_ACCEPT (num_retrans and num_timeout of struct request_sock).
    requests = by_diag.state == states.SYN_RECV
    sent, timeouts = (one.activity[FIELD["retransmits"]] for one in (by_diag, by_proc))
    assert (sent[requests] <= timeouts[requests]).all()
    np.testing.assert_array_equal(sent[~requests], timeouts[~requests])
    counted = ["recv_q", "send_q", "timer", "probes" if protocol == "tcp" else "drops"]
    for name in counted:
        np.testing.assert_array_equal(
            by_diag.activity[FIELD[name]], by_proc.activity[FIELD[name]], err_msg=name
        )
    # Of a listener /proc/net/tcp shows other numbers there.
    others = by_diag.state != states.LISTEN
    for name in ("snd_cwnd", "snd_ssthresh"):
        ours, theirs = (sockets.activity[FIELD[name], others] for sockets in (by_diag, by_proc))
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
    timed = by_diag.activity[FIELD["timer"]] != 0
    deadline = FIELD["timer_deadline"]
    apart = by_diag.activity[deadline, timed] - by_proc.activity[deadline, timed]
    assert (np.abs(apart) <= APART_US).all(), apart
    assert (by_diag.activity[deadline, ~timed] == NULL).all()
    assert (by_proc.activity[deadline, ~timed] == NULL).all()


def test_the_population_has_every_state_and_every_timer(population: Population) -> None:
    sockets = read_both(population.here)[0].inet
    tcp = sockets.protocol == socket.IPPROTO_TCP
    names = {states.NAMES[number] for number in sockets.state[tcp].tolist()}
    assert names == set(states.NAMES.values())
    assert set(sockets.activity[FIELD["timer"], tcp].tolist()) == {0, 1, 2, 3, 4}
    requests = tcp & (sockets.state == states.SYN_RECV)
    assert sorted(sockets.uid[requests].tolist()) == [1234, 1235, 1236, 1237, 1238]
    assert (sockets.activity[FIELD["retransmits"], tcp] > 0).any()
    datagrams = sockets.protocol == socket.IPPROTO_UDP
    assert set(sockets.state[datagrams].tolist()) == {states.ESTABLISHED, states.CLOSE}
    assert (sockets.activity[FIELD["drops"], datagrams] > 0).any()
    assert (sockets.activity[FIELD["recv_q"], datagrams] > 0).any()


def test_what_ss_shows_of_each_tcp_socket_is_what_is_read(population: Population) -> None:
    """An independent reader of the same kernel: matched by cookie, compared where nothing moved meanwhile."""
    with population.here.entered(), SocketReader() as reader:
        sockets = reader.read().inet
        lines = population.here.run("ss", "-HOtaneim", check=True).stdout.splitlines()
        after = reader.read().inet
    np.testing.assert_array_equal(sockets.cookie, after.cookie)
    still = sockets.activity == after.activity
    shown = {}
    for line in lines:
        found = re.search(r" sk:([0-9a-f]+) ", line)
        assert found, line
        shown[int(found[1], 16)] = line
    tcp = np.flatnonzero(sockets.protocol == socket.IPPROTO_TCP)
    only_bound = [row for row in tcp if sockets.state[row] == states.CLOSE]
    assert len(only_bound) == 3
    assert set(sockets.cookie[tcp].tolist()) - set(sockets.cookie[only_bound].tolist()) == set(shown) - set(
        sockets.cookie[only_bound].tolist()
    )
    patterns = {
        "rmem": r"skmem:\(r(\d+)",
        "rcvbuf": r",rb(\d+)",
        "wmem": r",t(\d+)",
        "sndbuf": r",tb(\d+)",
        "drops": r",d(\d+)\)",
        "snd_mss": r" mss:(\d+)",
        "rcv_mss": r" rcvmss:(\d+)",
        "pmtu": r" pmtu:(\d+)",
        "snd_cwnd": r" cwnd:(\d+)",
        "bytes_sent": r" bytes_sent:(\d+)",
        "bytes_acked": r" bytes_acked:(\d+)",
        "bytes_received": r" bytes_received:(\d+)",
        "segs_out": r" segs_out:(\d+)",
        "segs_in": r" segs_in:(\d+)",
        "data_segs_out": r" data_segs_out:(\d+)",
        "data_segs_in": r" data_segs_in:(\d+)",
        "rcv_space": r" rcv_space:(\d+)",
        "unacked": r" unacked:(\d+)",
        "notsent_bytes": r" notsent:(\d+)",
        "snd_wnd": r" snd_wnd:(\d+)",
        "backoff": r" backoff:(\d+)",
        "delivered": r" delivered:(\d+)",
    }
    compared: Counter[str] = Counter()
    for row in tcp:
        if int(sockets.cookie[row]) not in shown:
            continue
        line = shown[int(sockets.cookie[row])]
        inode = re.search(r" ino:(\d+)", line)
        assert int(sockets.inode[row]) == (int(inode[1]) if inode else 0)
        for name, pattern in patterns.items():
            found = re.search(pattern, line)
            if found and still[FIELD[name], row] and sockets.state[row] != states.LISTEN:
                assert int(sockets.activity[FIELD[name], row]) == int(found[1]), (name, line)
                compared[name] += 1
        rtt = re.search(r" rtt:([\d.]+)/([\d.]+)", line)
        if rtt and still[FIELD["rttvar_us"], row]:
            measured = sockets.activity[[FIELD["rtt_us"], FIELD["rttvar_us"]], row]
            assert [round(1000 * float(part)) for part in rtt.groups()] == measured.tolist()
            compared["rtt_us"] += 1
    assert {"rmem", "sndbuf", "bytes_received", "segs_in", "snd_wnd", "rtt_us", "delivered"} <= set(compared)


def test_a_listener_has_its_queue_and_its_limit(population: Population) -> None:
    sockets = read_both(population.here)[0].inet
    listening = (sockets.protocol == socket.IPPROTO_TCP) & (sockets.state == states.LISTEN)
    assert sorted(sockets.activity[FIELD["recv_q"], listening].tolist()) == [0] * 6 + [1] * 3
    assert set(sockets.activity[FIELD["send_q"], listening].tolist()) == {0}
    assert set(sockets.activity[FIELD["backlog_limit"], listening].tolist()) == {7}
    assert (sockets.activity[FIELD["backlog_limit"], ~listening] == NULL).all()
    # A listener has no round trips, and its tcp_info keeps its queue where `unacked` is.
    assert (sockets.activity[FIELD["unacked"], listening] == NULL).all()


def test_listeners_alone_are_read_as_with_all_others(population: Population) -> None:
    with population.here.entered(), SocketReader() as reader:
        reading = reader.read_listeners()
        everything = reader.read().inet
    assert reading is not None
    assert not reading.failed
    listening = (everything.protocol == socket.IPPROTO_TCP) & (everything.state == states.LISTEN)
    assert listening.sum() == 9
    for name in InetSockets.__dataclass_fields__:
        mine, all_of_it = getattr(reading.inet, name), getattr(everything, name)
        np.testing.assert_array_equal(
            mine, all_of_it[..., listening] if name == "activity" else all_of_it[listening]
        )
    with population.here.entered(), SocketReader(netlink=False) as reader:
        assert reader.read_listeners() is None, "from /proc it would cost as much as all of them"


def test_cookies_name_sockets(population: Population) -> None:
    first, second = (read_both(population.here)[0].inet for _ in range(2))
    known = first.protocol != socket.IPPROTO_RAW  # this kernel may have no raw_diag
    assert len(set(first.cookie[known].tolist())) == known.sum()
    assert (first.cookie[known] != 0).all()
    np.testing.assert_array_equal(first.cookie, second.cookie)


def test_a_cookie_stays_through_fin_wait2_and_time_wait(netns: Namespace) -> None:
    with ExitStack() as stack, netns.entered(), SocketReader() as reader:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        client = stack.enter_context(socket.create_connection(listener.getsockname()))
        server = stack.enter_context(listener.accept()[0])
        port = client.getsockname()[1]
        cookies = set()

        def reached(state: int) -> bool:
            sockets = reader.read().inet
            (row,) = np.flatnonzero(sockets.local_port == port)
            cookies.add(int(sockets.cookie[row]))
            return int(sockets.state[row]) == state

        assert reached(states.ESTABLISHED)
        client.close()
        until(lambda: reached(5))  # FIN_WAIT2, once the peer's delayed acknowledgement is in
        server.close()
        until(lambda: reached(states.TIME_WAIT))
    assert len(cookies) == 1


def test_a_reading_says_when_it_was(netns: Namespace) -> None:
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    with netns.entered(), SocketReader() as reader:
        reading = reader.read()
    after = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    assert before <= reading.began_us < reading.ended_us <= after
    assert (reading.incomplete, reading.failed) == ((), frozenset())
