"""Routing tables as /proc tells them: against `ip route`, odd texts, what changed, and large tables."""

from __future__ import annotations

import json
import socket
import subprocess
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from sockrec.kernel import net_table, routes
from sockrec.kernel.net_table import Reading
from sockrec.model.network import Route
from tests.support.netns import Namespace

HEADER = b"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
LINE = b"eth0\t0000000A\t0105A8C0\t0003\t1\t2\t-3\t000000FF\t1400\t3000\t40\n"
LINE6 = (
    b"20010db8000000000000000000000000 20 fd000000000000000000000000000000 08 "
    b"fe800000000000000000000000000001 00000400 00000002 00000003 00450003 a-fifteen-bytes\n"
)


@pytest.fixture
def links(netns: Namespace) -> Namespace:
    """Give a namespace with an interface d0 that is 192.168.7.2 and fd00:7::2."""
    ip(netns, "link add d0 type veth peer name d1")
    ip(netns, "link set d0 up")
    ip(netns, "link set d1 up")
    ip(netns, "address add 192.168.7.2/24 dev d0")
    ip(netns, "address add fd00:7::2/64 dev d0 nodad")
    return netns


def ip(namespace: Namespace, words: str) -> None:
    subprocess.run(["ip", "-n", namespace.name, *words.split()], check=True)


def read(namespace: Namespace, table: net_table.NetTable[Route] | None = None) -> Reading[Route]:
    with namespace.entered():
        return (table or routes.table()).read()


def _listed(namespace: Namespace, *words: str) -> list[dict[str, Any]]:
    done = namespace.run("ip", "-j", "-d", *words, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def _split(destination: str, bits: int) -> tuple[str, int]:
    address, _, length = destination.partition("/")
    return {"default": "::" if bits == 128 else "0.0.0.0"}.get(address, address), int(
        length or (0 if address == "default" else bits)
    )


def test_routes_are_those_that_ip_lists(links: Namespace) -> None:
    for route in (
        "default via 192.168.7.1",
        "10.1.0.0/16 via 192.168.7.9 metric 4294967295",
        "10.2.0.0/20 dev d0 advmss 1360 window 3000 rtt 120ms",
        "10.3.0.1 via 192.168.7.1 metric 2147483648",
        "unreachable 10.4.0.0/16",
        "blackhole 10.5.0.0/17 metric 7",
    ):
        ip(links, f"route add {route}")
    ip(links, "-6 route add 2001:db8::/32 via fd00:7::1 metric 12")
    ip(links, "-6 route add default dev d0 metric 4294967294")
    ip(links, "-6 route add unreachable 2001:db9::/48")
    reading = read(links)
    assert (reading.changed, reading.incomplete) == (True, ())
    ipv4 = {
        (row.destination, row.prefix_length, row.metric): (row.gateway, row.interface)
        for row in reading.rows
        if row.family == "inet"
    }
    assert ipv4 == {
        (*_split(one["dst"], 32), one.get("metric", 0)): (
            one.get("gateway", "0.0.0.0"),
            one.get("dev", "*"),
        )
        for one in _listed(links, "-4", "route", "show", "table", "main")
    }
    ipv6 = {
        (row.destination, row.prefix_length, row.metric, row.gateway, row.interface)
        for row in reading.rows
        if row.family == "inet6"
    }
    listed = _listed(links, "-6", "route", "show", "table", "all")
    assert {
        (*_split(one["dst"], 128), one["metric"], one.get("gateway", "::"), one["dev"]) for one in listed
    } <= ipv6
    metrics = next(row for row in reading.rows if row.destination == "10.2.0.0")
    assert (metrics.mtu, metrics.window_size, metrics.irtt) == (1400, 3000, 120)
    assert {row.source for row in reading.rows} == {None, "::"}


def test_every_field_has_its_place() -> None:
    parsed = routes.parse_ipv4(HEADER + LINE)
    assert parsed == (
        [
            Route(
                family="inet", destination="10.0.0.0", prefix_length=8, source=None, source_length=0,
                gateway="192.168.5.1", interface="eth0", flags=3, metric=4294967293, refs=1, uses=2, mtu=1400,
                window_size=3000, irtt=40,
            )
        ],
        0,
    )  # fmt: skip
    assert routes.parse_ipv6(LINE6) == (
        [
            Route(
                family="inet6", destination="2001:db8::", prefix_length=32, source="fd00::", source_length=8,
                gateway="fe80::1", interface="a-fifteen-bytes", flags=0x450003, metric=1024, refs=2, uses=3,
                mtu=0, window_size=0, irtt=0,
            )
        ],
        0,
    )  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"eth0\n",
        b"eth0\t0000000A\t0105A8C0\t0003\n",
        LINE.replace(b"0000000A", b"0000000X"),
        LINE.replace(b"0000000A", b"1000000000A"),
        LINE.replace(b"000000FF", b"00FF00FF"),
        LINE.replace(b"\t40\n", b"\t40\t7\n"),
    ],
)
def test_a_line_of_an_unknown_form_is_counted_and_the_others_kept(line: bytes) -> None:
    parsed = routes.parse_ipv4(HEADER + LINE + line.rstrip(b"\n") + b"\n" + LINE)
    assert (len(parsed.rows), parsed.odd) == (2, 1)
    odd6 = routes.parse_ipv6(LINE6 + LINE6[2:] + b"\n" + LINE6.replace(b"a-f", b"a f") + LINE6)
    assert (len(odd6.rows), odd6.odd) == (2, 3)


def test_a_route_without_a_device_and_names_that_are_no_utf8() -> None:
    assert routes.parse_ipv6(LINE6[:-16] + b"        \n").rows[0].interface == ""
    assert routes.parse_ipv4(HEADER + LINE.replace(b"eth0", b"e\xff\x1b")).rows[0].interface == "e\\xff\x1b"


def test_what_did_not_change_is_the_same_list(netns: Namespace) -> None:
    # References to IPv6 routes change with what the kernel sends by itself.
    netns.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", check=True)
    table = routes.table()
    first = read(netns, table)
    again = read(netns, table)
    assert (first.changed, again.changed) == (True, False)
    assert again.rows is first.rows
    ip(netns, "route add 10.9.0.0/16 dev lo")
    third = read(netns, table)
    assert third.changed
    assert [row.destination for row in third.rows if row not in first.rows] == ["10.9.0.0"]
    ip(netns, "route del 10.9.0.0/16 dev lo")
    fourth = read(netns, table)
    assert fourth.changed
    assert fourth.rows == first.rows


def test_the_namespace_is_the_reading_threads(links: Namespace) -> None:
    ip(links, "route add 10.77.0.0/16 dev d0")
    table = routes.table()
    here = table.read()
    there = read(links, table)
    assert any(row.destination == "10.77.0.0" for row in there.rows)
    assert not any(row.destination == "10.77.0.0" for row in here.rows)


def test_a_missing_file_is_no_error_and_one_that_is_refused_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(net_table, "FOLDER", tmp_path)
    (tmp_path / "route").write_bytes(HEADER + LINE)
    table = routes.table()
    reading = table.read()
    assert ([row.family for row in reading.rows], reading.incomplete) == (["inet"], ())
    (tmp_path / "ipv6_route").mkdir()
    reading = table.read()
    assert ([row.family for row in reading.rows], reading.changed) == (["inet"], False)
    assert reading.incomplete == ("ipv6_route: Is a directory",)
    (tmp_path / "route").write_bytes(HEADER + LINE + b"?\n")
    reading = table.read()
    assert reading.incomplete[0] == "route: 1 lines of an unknown form: report this kernel"


def test_of_a_text_beyond_the_bound_whole_lines_are_kept_and_the_rest_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(net_table, "FOLDER", tmp_path)
    (tmp_path / "route").write_bytes(HEADER + LINE * 10)
    reading = routes.table(most_bytes=len(HEADER) + 3 * len(LINE) + 5).read()
    assert (len(reading.rows), reading.incomplete) == (
        3,
        (f"route: only its first {len(HEADER) + 3 * len(LINE) + 5} bytes are recorded",),
    )
    exact = routes.table(most_bytes=len(HEADER) + 10 * len(LINE)).read()
    assert (len(exact.rows), exact.incomplete) == (10, ())


def test_twenty_thousand_routes_take_less_than_half_a_kilobyte_each(links: Namespace) -> None:
    count = 20_000
    batch = "".join(
        f"route add {20 + number // 65536}.{number // 256 % 256}.{number % 256}.0/24 via 192.168.7.1\n"
        for number in range(count)
    )
    subprocess.run(["ip", "-n", links.name, "-batch", "-"], input=batch, text=True, check=True)
    table = routes.table()
    tracemalloc.start()
    try:
        reading = read(links, table)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(row.prefix_length == 24 for row in reading.rows if row.family == "inet") == count + 1
    assert held < 500 * count
    assert peak < 1000 * count
    assert socket.inet_aton(reading.rows[count // 2].destination)
