"""Captures written by hand of what goes wrong on a network, and of what nearly does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.catalog.captures import Part
from tests.catalog.captures import began as at
from tests.catalog.test_rates import count, count_link

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
