"""Findings of the network's own: each on a capture that shows it, and on those that nearly do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sockrec.query.findings import KINDS, Finding, parse_settings
from tests.catalog.captures import Part, us
from tests.catalog.captures import began as at
from tests.findings.asking import found, kinds
from tests.findings.network_cases import (
    RANGE,
    SHOWN,
    STUCK,
    asking,
    closing,
    cookies_alone,
    drops,
    exhausted,
    few_and_cookies,
    half_open,
    limit,
    link,
    lossy,
    spike,
    tracked,
    udp_counts,
)
from tests.support.confusion import BY_HAND, Judge, by_kinds


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
