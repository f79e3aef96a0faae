"""Findings of the network's own: each on a capture that shows it, and on those that nearly do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sockrec.query.findings import KINDS, Finding, parse_settings
from tests.catalog.captures import Part, us
from tests.catalog.captures import began as at
from tests.catalog.test_rates import count, count_link
from tests.findings.asking import found, kinds
from tests.support.confusion import BY_HAND, Judge, by_kinds

# A range of 100 ports makes small captures.
RANGE = "net.ipv4.ip_local_port_range"


def limit(part: Part, name: str, value: str, first: float = 0) -> None:
    """Add a setting that holds from one second on."""
    part.rows["limits"].append(
        {
            "recording": part.recording,
            "netns": part.netns,
            "name": name,
            "value": value,
            "first_seen": at(first),
            "last_seen": at(part.last),
            "begun_as": "changed" if first else "found",
            "ended_as": "stopped",
        }
    )


def rises(part: Part, name: str, *values: int, **columns: Any) -> None:
    """Let a counter have these values, read each ten seconds."""
    for turn, value in enumerate(values):
        count(part, 10 * turn, value, 10 * turn - 10 if turn else None, name, **columns)


def half_open(part: Part, requests: int, seconds: int = 3, *, peers: int = 200, **columns: Any) -> None:
    part.socket(1, 0, 60, "found", "stopped")
    for number in range(requests):
        peer = f"203.0.113.{number % peers}"
        asked: dict[str, Any] = {
            "state": "SYN_RECV",
            "pid": None,
            "program": None,
            "owner": "kernel",
            "remote_address": peer,
        }
        part.connection(100 + number, 10, 10 + seconds, **(asked | columns))


def full_with_half_open(part: Part) -> None:
    """The program does not accept: requests wait for it, not for their peers."""
    half_open(part, 80)
    part.active(1, 12, recv_q=8, backlog_limit=7)


def half_open_in_turn(part: Part) -> None:
    """As many, but never at once."""
    part.socket(1, 0, 60, "found", "stopped")
    for number in range(60):
        first = number % 12 * 4
        part.connection(100 + number, first, first + 2, state="SYN_RECV", pid=None, owner="kernel")


def few_and_cookies(part: Part, sent: int) -> None:
    half_open(part, 7)
    rises(part, "SyncookiesSent", 1_000, 1_000 + sent, 1_000 + sent)


def cookies_alone(part: Part, *values: int, overflows: int = 0) -> None:
    rises(part, "SyncookiesSent", *values)
    rises(part, "ListenOverflows", 0, overflows)


STUCK: dict[str, Any] = {
    "state": "SYN_SENT",
    "local_port": 50_000,
    "remote_address": "198.51.100.7",
    "remote_port": 443,
    "program": "curl",
    "pid": 77,
}


def asking(part: Part, last: int, ended_as: str | None = "closed", **columns: Any) -> None:
    part.connection(11, 5, last, "opened", ended_as, **(STUCK | columns))


def gives_up(part: Part, times: int, after: float, **columns: Any) -> None:
    row: dict[str, Any] = {name: value for name, value in STUCK.items() if name != "state"}
    row |= {"role": "client", "established_at": None, "cause": "closed by us"}
    for number in range(times):
        begun = 5 + 3 * number
        part.closed(100 + number, begun, begun + after, **(row | columns))


def slow_but_answered(part: Part) -> None:
    asking(part, 14, "changed")
    part.connection(11, 15, 30, "changed", **(STUCK | {"state": "ESTABLISHED"}))


def answered_between_samples(part: Part) -> None:
    asking(part, 14)
    row: dict[str, Any] = {name: value for name, value in STUCK.items() if name != "state"}
    part.closed(11, 5, 14.9, role="client", established_at=at(14.5), sampled=True, **row)


def refused_late(part: Part) -> None:
    asking(part, 14)
    row: dict[str, Any] = {name: value for name, value in STUCK.items() if name != "state"}
    row |= {"role": "client", "established_at": None, "cause": "refused", "sampled": True}
    part.closed(11, 5, 14.5, **row)


def clients(part: Part, sockets: int, *, spread: int = 1, first_port: int = 40_000, **columns: Any) -> None:
    """Let a client have connections that it closes: `spread` is to how many ports of the peer."""
    for number in range(sockets):
        row: dict[str, Any] = {
            "local_port": first_port + number,
            "remote_port": 9_000 + number % spread,
            "program": "app",
        }
        part.connection(100 + number, 5, 9, ended_as="changed", **(row | columns))
        waits = {"state": "TIME_WAIT", "inode": 0, "owner": "last"}
        part.connection(100 + number, 10, 50, begun="changed", **(row | waits | columns))


def exhausted(part: Part, sockets: int, value: str | None = "40000 40099", **columns: Any) -> None:
    if value is not None:
        limit(part, RANGE, value)
    clients(part, sockets, **columns)


def exhausted_in_turn(part: Part) -> None:
    """Each port is used, but no more than ten at once."""
    limit(part, RANGE, "40000 40099")
    for number in range(100):
        first = number // 10 * 5
        row: dict[str, Any] = {"local_port": 40_000 + number, "remote_port": 9_000, "program": "app"}
        part.connection(100 + number, first, first + 3, **row)


def served(part: Part) -> None:
    """As many connections, but this host is the server: its port is one."""
    limit(part, RANGE, "40000 40099")
    for number in range(100):
        part.connection(100 + number, 5, 30, local_port=7071, remote_port=50_000 + number)


def other_range(part: Part, low: int, high: int) -> None:
    """The range was made another one before the ports were taken."""
    limit(part, RANGE, "40000 40099")
    limit(part, RANGE, f"{low} {high}", 3)
    clients(part, 160)


UDP: dict[str, Any] = {
    "protocol": "udp",
    "state": "UNCONN",
    "local_port": 8125,
    "program": "statsd",
    "pid": 33,
}


def drops(part: Part, *values: int, begun: str = "found", **columns: Any) -> None:
    """Let a UDP socket have dropped so many datagrams, each five seconds."""
    part.socket(1, 0, 60, begun, "stopped", **(UDP | columns))
    for turn, value in enumerate(values):
        part.active(1, 5 * turn, drops=value, recv_q=90_000, rcvbuf=212_992 if turn else None)


def drops_at_its_end(part: Part, dropped: int) -> None:
    row: dict[str, Any] = UDP | {
        "remote_address": "0.0.0.0",
        "remote_port": 0,
        "drops": dropped,
        "role": None,
        "cause": None,
    }
    del row["state"]
    part.closed(9, 5, 6, **row)


def tcp_listener_drops(part: Part) -> None:
    part.socket(1, 0, 60, "found", "stopped")
    for turn, value in enumerate((0, 100)):
        part.active(1, 5 * turn, drops=value)


def udp_counts(part: Part, name: str, *values: int) -> None:
    rises(part, name, *values, source="snmp", section="Udp")


def both_tell(part: Part) -> None:
    """What the counters tell, the socket has told."""
    drops(part, 0, 50)
    udp_counts(part, "RcvbufErrors", 0, 50)


def link(part: Part, *readings: dict[str, int], name: str = "eth0") -> None:
    """Let an interface have counted so, each ten seconds; what is not given counts a million packets."""
    for turn, reading in enumerate(readings):
        packets = {"rx_packets": 1_000_000 * turn, "tx_packets": 1_000_000 * turn}
        count_link(part, 10 * turn, 10 * turn - 10 if turn else None, name, **(packets | reading))


def tracked(part: Part, *values: int, most: str | None = "1000") -> None:
    if most is not None:
        limit(part, "net.netfilter.nf_conntrack_max", most, 1)
    rises(part, "count", *values, source="conntrack", section="")


def closing(part: Part, sockets: int, seconds: int, **columns: Any) -> None:
    part.socket(1, 0, 60, "found", "stopped")
    for number in range(sockets):
        row = {"state": "FIN_WAIT2", "owner": "held", "remote_address": f"10.1.0.{number}"} | columns
        part.connection(100 + number, 5, 5 + seconds, **row)


def closing_in_turn(part: Part) -> None:
    for number in range(30):
        first = number % 2 * 32
        part.connection(100 + number, first, first + 30, state="LAST_ACK", owner="last")


def lossy(part: Part, again: int, segments: int, *, peers: int = 1, begun: str = "opened") -> None:
    for number in range(peers):
        part.connection(11 + number, 5, 50, begun, "stopped", remote_address=f"192.0.2.{9 + number}")
        part.active(11 + number, 6, segs_out=10, total_retrans=0, rcvbuf=1)
        part.active(11 + number, 40, segs_out=segments, total_retrans=again, rcvbuf=1)


def lost_before(part: Part) -> None:
    """All of it was lost before the recording began."""
    part.connection(11, 0, 50, "found", "stopped")
    for second in (0, 40):
        part.active(11, second, segs_out=1_000 + second, total_retrans=500, rcvbuf=1)


def one_of_many(part: Part) -> None:
    """One connection loses, and the others to the same peer carry ten times as much."""
    for number, again in enumerate((60, 0, 0)):
        part.connection(11 + number, 5, 50, "opened", "stopped")
        part.active(11 + number, 40, segs_out=2_000, total_retrans=again, rcvbuf=1)


def lossy_and_short(part: Part, connections: int) -> None:
    """Connections that no sample saw: only their ends tell."""
    for number in range(connections):
        part.closed(100 + number, 5, 6, segs_out=100, total_retrans=10)


def unanswered(part: Part) -> None:
    """Requests that nobody answers are sent again, but on no path that is known to work."""
    for number in range(30):
        row: dict[str, Any] = {"role": "client", "established_at": None, "segs_out": 3, "total_retrans": 2}
        part.closed(100 + number, 5, 5.5, **row)


def rtt(part: Part, *readings: tuple[float, int], id_: int = 11, peer: str = "192.0.2.9") -> None:
    """Let a connection to a peer have round trips: second, and milliseconds."""
    part.connection(id_, 0, 60, "found", "stopped", remote_address=peer)
    for second, ms in readings:
        part.active(id_, second, rtt_us=ms * 1_000, rcvbuf=1)


def flat(ms: int, first: int = 0, last: int = 59) -> list[tuple[float, int]]:
    return [(second, ms) for second in range(first, last + 1)]


def spike(part: Part, ms: int, first: int, last: int, usual: int = 10) -> None:
    rtt(part, *flat(usual, 0, first - 1), *flat(ms, first, last), *flat(usual, last + 1))


def slow_socket_beside(part: Part) -> None:
    """One connection to the peer stood still and keeps its slow number; most are as fast as ever."""
    for number in range(3):
        rtt(part, *flat(10), id_=20 + number)
    rtt(part, *flat(10, 0, 20), *flat(500, 21), id_=11)


def spike_of_short_ones(part: Part) -> None:
    """Connections that no sample saw."""
    for second in range(59):
        part.closed(100 + second, second, second + 0.5, rtt_us=400_000 if 20 <= second < 35 else 10_000)


SHOWN: list[tuple[Callable[[Part], None], list[str]]] = [
    (lambda part: half_open(part, 60), ["syn-flood"]),
    (lambda part: half_open(part, 60, peers=1), ["syn-flood"]),
    (lambda part: half_open(part, 49), []),
    (lambda part: half_open(part, 60, 0), []),
    (half_open_in_turn, []),
    (full_with_half_open, ["accept-queue-full"]),
    (lambda part: few_and_cookies(part, 50), ["syn-flood"]),
    (lambda part: few_and_cookies(part, 49), []),
    (lambda part: cookies_alone(part, 0, 60), ["syn-flood"]),
    (lambda part: cookies_alone(part, 60, 60), []),
    (lambda part: cookies_alone(part, 0, 60, overflows=10), []),
    (lambda part: asking(part, 10), []),
    (lambda part: asking(part, 12), ["connect-stuck"]),
    (lambda part: asking(part, 60, "stopped"), ["connect-stuck"]),
    (slow_but_answered, []),
    (answered_between_samples, []),
    (refused_late, []),
    (lambda part: gives_up(part, 5, 1), ["connect-stuck"]),
    (lambda part: gives_up(part, 4, 1), []),
    (lambda part: gives_up(part, 15, 0.9), []),
    (lambda part: gives_up(part, 1, 50, cause="timed out"), ["connect-stuck"]),
    (lambda part: gives_up(part, 15, 2, cause="refused"), ["connections-refused"]),
    (lambda part: exhausted(part, 80), ["ports-exhausted"]),
    (lambda part: exhausted(part, 79), []),
    (lambda part: exhausted(part, 90, spread=2), []),
    (lambda part: exhausted(part, 90, first_port=40_050), []),
    (lambda part: exhausted(part, 90, None), []),
    (lambda part: exhausted(part, 90, "40099 40000"), []),
    (lambda part: exhausted(part, 90, "many"), []),
    (exhausted_in_turn, []),
    (served, []),
    (lambda part: other_range(part, 40_000, 40_200), []),
    (lambda part: other_range(part, 40_000, 40_199), ["ports-exhausted"]),
    (lambda part: drops(part, 0, 10), ["udp-drops"]),
    (lambda part: drops(part, 0, 9), []),
    (lambda part: drops(part, 500, 500), []),
    (lambda part: drops(part, 500, 509), []),
    (lambda part: drops(part, 500, 510), ["udp-drops"]),
    (lambda part: drops(part, 10, begun="opened"), ["udp-drops"]),
    (lambda part: drops_at_its_end(part, 10), ["udp-drops"]),
    (lambda part: drops_at_its_end(part, 9), []),
    (tcp_listener_drops, []),
    (lambda part: udp_counts(part, "RcvbufErrors", 100, 110), ["udp-drops"]),
    (lambda part: udp_counts(part, "SndbufErrors", 100, 110), ["udp-drops"]),
    (lambda part: udp_counts(part, "RcvbufErrors", 100, 109), []),
    (lambda part: udp_counts(part, "NoPorts", 100, 190), []),
    (lambda part: udp_counts(part, "InCsumErrors", 900, 20), []),
    (both_tell, ["udp-drops"]),
    (lambda part: link(part, {}, {"rx_errors": 10, "rx_crc_errors": 10}), ["interface-errors"]),
    (lambda part: link(part, {}, {"rx_errors": 9}), []),
    (lambda part: link(part, {"rx_errors": 500}, {"rx_errors": 500}), []),
    (lambda part: link(part, {"rx_errors": 500}, {"rx_errors": 20}), []),
    (lambda part: link(part, {}, {"tx_errors": 10, "tx_carrier_errors": 10}), ["interface-errors"]),
    (lambda part: link(part, {}, {"rx_missed_errors": 10}), ["interface-errors"]),
    (lambda part: link(part, {}, {"rx_dropped": 999}), []),
    (lambda part: link(part, {}, {"rx_dropped": 1_100}), ["interface-errors"]),
    (lambda part: link(part, {}, {"rx_dropped": 99, "rx_packets": 200}), []),
    (lambda part: link(part, {}, {"tx_dropped": 1_100}, name="lo"), ["interface-errors"]),
    (lambda part: link(part, {}, {"collisions": 50_000}), ["interface-errors"]),
    (lambda part: link(part, {}, {"collisions": 49_000}), []),
    (lambda part: tracked(part, 500, 900), ["conntrack-full"]),
    (lambda part: tracked(part, 500, 899), []),
    (lambda part: tracked(part, 950), ["conntrack-full"]),
    (lambda part: tracked(part, 500, 900, most=None), []),
    (lambda part: tracked(part, 500, 900, most="0"), []),
    (lambda part: tracked(part, 500, 900, most="many"), []),
    (lambda part: closing(part, 20, 31), ["half-closed"]),
    (lambda part: closing(part, 19, 31), []),
    (lambda part: closing(part, 40, 30), []),
    (lambda part: closing(part, 20, 40, state="CLOSING", owner="last"), ["half-closed"]),
    (lambda part: closing(part, 20, 50, state="TIME_WAIT", owner="last", inode=0), []),
    (closing_in_turn, []),
    (lambda part: lossy(part, 50, 2_500), ["retransmissions"]),
    (lambda part: lossy(part, 49, 500), []),
    (lambda part: lossy(part, 50, 2_510), []),
    (lambda part: lossy(part, 20, 500, peers=3), ["retransmissions"]),
    (lambda part: lossy(part, 20, 500, peers=2), []),
    (lambda part: lossy(part, 100, 500, peers=2), ["retransmissions", "retransmissions"]),
    (lost_before, []),
    (one_of_many, []),
    (lambda part: lossy_and_short(part, 5), ["retransmissions"]),
    (lambda part: lossy_and_short(part, 4), []),
    (unanswered, []),
    (lambda part: spike(part, 60, 20, 34), ["slow-path"]),
    (lambda part: spike(part, 59, 20, 34), []),
    (lambda part: spike(part, 299, 20, 34, usual=100), []),
    (lambda part: spike(part, 300, 20, 34, usual=100), ["slow-path"]),
    (lambda part: spike(part, 900, 20, 29), []),
    (lambda part: spike(part, 900, 30, 30), []),
    (lambda part: spike(part, 400, 15, 58), ["slow-path"]),
    (lambda part: rtt(part, *flat(400)), []),
    (slow_socket_beside, []),
    (spike_of_short_ones, ["slow-path"]),
]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Give what is found of each case: all are hosts of one capture, asked once."""
    root = tmp_path_factory.mktemp("cases")
    for number, (make, _) in enumerate(SHOWN):
        part = Part(root, 0, 60, host=f"case-{number}", recording=f"20261120T103200-{number:04}")
        make(part)
        part.write()
    told: dict[str, list[str]] = {}
    for one in found(root):
        told.setdefault(one.host, []).append(one.kind)
    return told


@pytest.mark.parametrize("number", range(len(SHOWN)))
def test_it_is_found_where_it_is_and_nowhere_else(
    hosts: dict[str, list[str]], number: int, judge: Judge
) -> None:
    _, expected = SHOWN[number]
    told = hosts.get(f"case-{number}", [])
    judge(by_kinds(BY_HAND, told, expected))
    assert told == expected


def told(root: Path, make: Callable[[Part], None], *settings: str, **asked: Any) -> list[Finding]:
    """Return what is found in a capture made so, with thresholds set by name."""
    part = Part(root, 0, 60)
    make(part)
    part.write()
    return found(root, settings=parse_settings(settings, KINDS), **asked)


def test_a_flood_tells_its_peers_and_is_worse_when_the_queue_is_full(tmp_path: Path) -> None:
    (one,) = told(tmp_path / "some", lambda part: half_open(part, 60, peers=20))
    assert (one.severity, one.subject) == ("warning", "tcp 10.0.0.5:7071")
    assert one.numbers == {
        "port": 7071,
        "half_open": 60,
        "requests": 60,
        "peers": 20,
        "top_peer": one.numbers["top_peer"],
        "cookies": 0,
        "dropped": 0,
    }
    assert "60 requests to tcp 10.0.0.5:7071 stood half open at once: 20 peers (most: 203.0.113." in one.text
    assert (one.not_before, one.not_after) == (at(9), at(10.01))
    (full,) = told(tmp_path / "full", lambda part: few_and_cookies(part, 1_500))
    assert (full.severity, full.numbers["cookies"], full.numbers["half_open"]) == ("critical", 1_500, 7)
    assert full.text.endswith(" was full: the kernel answered 1,500 times with a SYN cookie.")
    assert (full.not_before, full.not_after) == (at(0), at(10))
    (none,) = told(tmp_path / "none", lambda part: cookies_alone(part, 0, 60))
    assert (none.severity, none.subject) == ("critical", "a port not known")


def test_how_attempts_without_an_answer_ended_is_told(tmp_path: Path) -> None:
    def make(part: Part) -> None:
        asking(part, 60, "stopped")
        gives_up(part, 2, 3)
        gives_up(part, 1, 20, cause="timed out", remote_address="::ffff:198.51.100.7", id_=200)

    def gives_up(part: Part, times: int, after: float, id_: int = 100, **columns: Any) -> None:
        row: dict[str, Any] = {name: value for name, value in STUCK.items() if name != "state"}
        row |= {"role": "client", "established_at": None, "cause": "closed by us"}
        for number in range(times):
            part.closed(id_ + number, 20, 20 + after, **(row | columns))

    (one,) = told(tmp_path, make)
    assert (one.severity, one.subject) == ("critical", "curl to tcp 198.51.100.7:443")
    assert one.numbers == {
        "port": 443,
        "attempts": 4,
        "timed_out": 1,
        "unreachable": 0,
        "given_up": 2,
        "trying": 1,
        "longest_us": us(at(60)) - us(at(5.01)),
    }
    assert "4 times and got no answer, for 55 s at the longest: 1 timed out, 2 given up, 1 not" in one.text
    assert (one.not_before, one.not_after) == (at(4), at(5.01))


@pytest.mark.parametrize(
    ("sockets", "settings", "peer", "severity"),
    [
        (80, {}, "192.0.2.9", "warning"),
        (98, {}, "192.0.2.9", "critical"),
        (98, {"reuse": "1"}, "192.0.2.9", "notice"),
        (98, {"reuse": "2"}, "192.0.2.9", "critical"),
        (98, {"reuse": "2"}, "127.0.0.1", "notice"),
    ],
)
def test_how_bad_it_is_that_ports_run_out(
    tmp_path: Path, sockets: int, settings: dict[str, str], peer: str, severity: str
) -> None:
    def make(part: Part) -> None:
        for value in settings.values():
            limit(part, "net.ipv4.tcp_tw_reuse", value)
        exhausted(part, sockets, remote_address=peer)

    (one,) = told(tmp_path, make)
    assert (one.severity, one.subject) == (severity, f"app to tcp {peer}:9000")
    # Those that close at once are in TIME_WAIT at once.
    assert one.numbers["taken"] == sockets
    assert (one.numbers["ports"], one.numbers["range_recorded"]) == (100, True)
    assert (one.not_before, one.not_after) == (at(4), at(5.01))


def test_a_range_that_was_not_recorded_is_the_kernels_own(tmp_path: Path) -> None:
    (one,) = told(tmp_path, lambda part: exhausted(part, 90, None), "ports-exhausted.share=0.3")
    assert (one.numbers["ports"], one.numbers["range_recorded"]) == (28_232, False)
    assert "(range 32768-60999, the kernel's own: the host's was not recorded)" in one.text


def test_ports_of_connections_too_short_for_samples_are_told_with_who(tmp_path: Path) -> None:
    def make(part: Part) -> None:
        limit(part, RANGE, "40000 40099")
        for number in range(90):
            ends: dict[str, Any] = {"local_port": 40_000 + number, "remote_port": 9_000}
            row = {"state": "TIME_WAIT", "owner": "exited", "inode": 0, "pid": None, "program": None}
            part.connection(100 + number, 10, 50, **(ends | row))
            ends |= {"remote_address": "10.0.0.9", "program": "/usr/bin/hasty", "role": "client"}
            part.closed(1_000 + number, 9.5, 9.6, **ends)

    (one,) = told(tmp_path, make)
    assert one.subject == "hasty to tcp 10.0.0.9:9000"
    assert (one.numbers["taken"], one.numbers["time_wait"]) == (90, 90)


def test_datagrams_are_told_by_socket_and_the_rest_by_what_the_kernel_counts(tmp_path: Path) -> None:
    def make(part: Part) -> None:
        drops(part, 5, 5, 55)
        udp_counts(part, "RcvbufErrors", 1_000, 1_080)
        udp_counts(part, "SndbufErrors", 7, 9)

    socket_, rest = told(tmp_path, make)
    assert (socket_.severity, socket_.subject) == ("critical", "statsd[33] on udp 10.0.0.5:8125")
    assert (socket_.numbers["drops"], socket_.numbers["rcvbuf"]) == (50, 212_992)
    assert (socket_.not_before, socket_.not_after) == (at(5), at(10))
    assert rest.numbers == {
        "receive_buffer_full": 80,
        "wrong_checksum": 0,
        "no_memory": 0,
        "send_buffer_full": 2,
        "by_no_socket": 30,
    }


def test_an_interface_tells_which_errors_and_how_fast(tmp_path: Path) -> None:
    readings: tuple[dict[str, int], ...] = (
        {},
        {"rx_errors": 20, "rx_crc_errors": 20},
        {"rx_errors": 520, "rx_crc_errors": 500},
    )
    (one,) = told(tmp_path, lambda part: link(part, *readings))
    assert (one.severity, one.subject, one.title) == ("warning", "eth0", "eth0 has errors")
    assert one.numbers == {
        "rx_errors": 520,
        "rx_crc_errors": 500,
        "rx_packets": 2_000_000,
        "tx_packets": 2_000_000,
        "most_per_second": 50.0,
    }
    assert "520 errors in 2,000,000 packets received: 500 with a wrong checksum (the cable)" in one.text
    assert (one.not_before, one.not_after) == (at(0), at(10))


def test_a_full_table_of_connections_is_worse_than_a_nearly_full_one(tmp_path: Path) -> None:
    (near,) = told(tmp_path / "near", lambda part: tracked(part, 100, 950, 100))
    assert (near.severity, near.numbers) == ("warning", {"tracked": 950, "most": 1000})
    assert (near.not_before, near.not_after) == (at(0), at(10))
    (full,) = told(tmp_path / "full", lambda part: tracked(part, 100, 950, 1000))
    assert (full.severity, full.numbers["tracked"]) == ("critical", 1000)


@pytest.mark.parametrize(
    ("columns", "severity", "words"),
    [
        ({"state": "FIN_WAIT2"}, "warning", "and the peer has not; myapp still holds them"),
        ({"state": "FIN_WAIT2", "owner": "last"}, "notice", "no process holds them any more (last myapp)"),
        ({"state": "FIN_WAIT1", "owner": "last"}, "warning", "the peer does not acknowledge the close"),
    ],
)
def test_who_does_not_close_is_told(
    tmp_path: Path, columns: dict[str, str], severity: str, words: str
) -> None:
    (one,) = told(tmp_path, lambda part: closing(part, 25, 40, **columns))
    assert (one.severity, one.subject) == (severity, f"myapp in {columns['state']}")
    assert words in one.text
    assert (one.numbers["sockets"], one.numbers["peers"]) == (25, 25)


def test_losses_of_a_network_are_told_once(tmp_path: Path) -> None:
    (one,) = told(tmp_path, lambda part: lossy(part, 60, 1_000, peers=4))
    assert (one.subject, one.numbers["peers"]) == ("192.0.2.0/24", 4)
    assert (one.numbers["sent_again"], one.numbers["segments"], one.numbers["share"]) == (240, 4_000, 0.06)
    assert (one.not_before, one.not_after) == (at(6), at(40))


def test_a_spike_tells_the_usual_and_the_worst(tmp_path: Path) -> None:
    (one,) = told(tmp_path, lambda part: spike(part, 250, 20, 44))
    assert one.numbers == {
        "usual_us": 10_000,
        "worst_us": 250_000,
        "us": 24_000_000,
        "readings": 25,
        "times": 1,
    }
    assert one.text == "A round trip to 192.0.2.9 took up to 250 ms for 24 s; usually it takes 10 ms."
    assert (one.not_before, one.not_after) == (at(19), at(20))


def test_only_the_time_asked_about(tmp_path: Path) -> None:
    def make(part: Part) -> None:
        drops(part, 0, 50)
        link(part, {}, {"rx_errors": 500}, {"rx_errors": 500})
        tracked(part, 950, 100)
        asking(part, 20)

    all_of_it = ["connect-stuck", "udp-drops", "interface-errors", "conntrack-full"]
    assert sorted(one.kind for one in told(tmp_path, make)) == sorted(all_of_it)
    assert kinds(tmp_path, first_us=us(at(25))) == []
    assert kinds(tmp_path, first_us=us(at(12)), last_us=us(at(18))) == ["connect-stuck"]
    assert kinds(tmp_path, host="nobody") == []
