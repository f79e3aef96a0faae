"""Rates of readings and steps: zeros where nothing moved, nothing where nothing is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import sockrec
from sockrec.catalog import Catalog, open_catalog
from sockrec.errors import NothingMatchedError, UsageError
from sockrec.query import rate_names, rates
from tests.catalog.captures import Part, began, us
from tests.catalog.test_rates import count, count_link

_SLOW = 2


def read_at(second: float) -> float:
    """When a reading that begins at a second ends: rows have that."""
    return second + 0.001


def read_network(part: Part, every: int = _SLOW) -> Part:
    """Let the network be read each other second, right before the sample."""
    for number in range(part.first, part.last + 1):
        last = part.first + (number - part.first) // every * every
        part.sample(number, network_read_at=began(last - 0.002))
    return part


def at(second: float) -> float:
    """When the reading before the sample of that second ended."""
    return round(read_at(second - 0.002), 6)


def listens(part: Part, second: int, value: int, **columns: Any) -> None:
    """Add a row of ListenOverflows: the first one of a recording, or one that is since the reading before."""
    count(part, at(second), value, None if second == part.first else at(second - _SLOW), **columns)


def links(part: Part, second: int, **columns: Any) -> None:
    """Add a row of eth0 likewise."""
    count_link(part, at(second), None if second == part.first else at(second - _SLOW), **columns)


def interface(
    part: Part, first: float, last: float | None = None, name: str = "eth0", index: int = 2
) -> None:
    """Add an interface that was there from one moment to another, or to the end."""
    part.rows["interfaces"].append(
        {
            "recording": part.recording,
            "netns": part.netns,
            "ifindex": index,
            "name": name,
            "first_seen": began(first),
            "last_seen": began(part.last if last is None else last),
            "ended_by": None if last is None else began(last),
            "begun_as": "found",
            "ended_as": "stopped" if last is None else "closed",
        }
    )


def ask(root: Path, *names: str, iface: bool = False, **wanted: Any) -> list[dict[str, Any]]:
    """Return the rows of some counters or interfaces, times in seconds of the capture."""
    asked = rates.wanted(**wanted)
    with open_catalog(root) as catalog:
        if iface:
            found = rates.of_interfaces(catalog, asked, rate_names.interfaces(catalog, names))
        else:
            found = rates.of_counters(catalog, asked, rate_names.counters(catalog, names))
        return [_seconds(dict(zip(found.columns, row, strict=True))) for row in found.fetchall()]


def overview(root: Path, **wanted: Any) -> list[dict[str, Any]]:
    with open_catalog(root) as catalog:
        found = rates.overview(catalog, rates.wanted(**wanted))
        assert found.columns == list(rates.COLUMNS)
        return [_seconds(dict(zip(found.columns, row, strict=True))) for row in found.fetchall()]


def _seconds(row: dict[str, Any]) -> dict[str, Any]:
    for name in ("time", "peak_at"):
        if row.get(name) is not None:
            row[name] = (us(row[name]) - us(began(0))) / 1e6
    return row


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """Give two recordings, ten seconds apart: readings at 0, 2, ... 8 and at 20, 22, 24."""
    first = read_network(Part(tmp_path, 0, 9))
    listens(first, 0, 100)
    listens(first, 4, 106)
    listens(first, 8, 107)
    listens(first, 0, 50, name="TCPTimeouts")
    listens(first, 2, 58, name="TCPTimeouts")
    listens(first, 0, 1000, section="IpExt", name="InOctets")
    listens(first, 6, 3000, section="IpExt", name="InOctets")
    listens(first, 0, 7, source="sockstat", section="TCP", name="inuse")
    listens(first, 6, 5, source="sockstat", section="TCP", name="inuse")
    interface(first, 0)
    links(first, 0, rx_bytes=10)
    links(first, 4, rx_bytes=4010, rx_dropped=3)
    again = read_network(Part(tmp_path, 20, 25, recording="20261120T103220-bbbb"))
    listens(again, 20, 1000)
    listens(again, 22, 1010)
    listens(again, 20, 0, section="IpExt", name="InOctets")
    links(again, 20, rx_bytes=9000)
    links(again, 24, rx_bytes=9500)
    for part in (first, again):
        part.write()
    return tmp_path


def test_a_counter_has_a_row_for_each_reading_that_found_it_moved(capture: Path) -> None:
    found = ask(capture, "ListenOverflows")
    assert list(found[0]) == list(rates.COUNTER_COLUMNS)
    assert [
        (row["time"], row["value"], row["increase"], row["per_second"], row["seconds"]) for row in found
    ] == [(at(4), 106, 6, 3.0, 2.0), (at(8), 107, 1, 0.5, 2.0), (at(22), 1010, 10, 5.0, 2.0)]


def test_steps_in_which_nothing_moved_are_zeros_and_unread_ones_are_empty(capture: Path) -> None:
    """Steps of 2 s begin on even seconds: the reading that ends just before 4 s is of the one at 2 s."""
    found = ask(capture, "ListenOverflows", every_us=2_000_000)
    told = [(row["time"], row["increase"], row["per_second"], row["value"]) for row in found]
    assert told == [
        (-2.0, None, None, 100),
        (0.0, 0, 0.0, 100),
        (2.0, 6, 3.0, 106),
        (4.0, 0, 0.0, 106),
        (6.0, 1, 0.5, 107),
        *((float(second), None, None, None) for second in range(8, 18, 2)),
        (18.0, None, None, 1000),
        (20.0, 10, 5.0, 1010),
        (22.0, 0, 0.0, 1010),
    ]


def test_long_steps_add_up_and_are_over_the_time_that_was_measured(capture: Path) -> None:
    found = ask(capture, "ListenOverflows", every_us=60_000_000)
    assert [(row["time"], row["increase"], row["seconds"]) for row in found] == [
        (-60.0, None, None),
        (0.0, 17, 12.0),
    ]
    assert found[1]["per_second"] == pytest.approx(17 / 12)


def test_steps_begin_where_a_clock_of_the_zone_does(capture: Path) -> None:
    """An hour of Kathmandu, 5:45 ahead of UTC, begins 15 minutes after one of UTC."""
    ahead = (5 * 60 + 45) * 60_000_000
    found = ask(capture, "ListenOverflows", every_us=3_600_000_000, offset_us=ahead)
    assert [(us(began(row["time"])) + ahead) % 3_600_000_000 for row in found] == [0]
    assert found[0]["increase"] == 17


def test_a_gauge_tells_its_value(capture: Path) -> None:
    assert [(row["time"], row["value"], row["increase"]) for row in ask(capture, "TCP.inuse")] == [
        (at(0), 7, None),
        (at(6), 5, None),
    ]
    steps = ask(capture, "tcp.INUSE", every_us=2_000_000)
    assert [(row["value"], row["increase"], row["per_second"]) for row in steps] == [
        (value, None, None) for value in (7, 7, 7, 5, 5)
    ]


def test_an_interface_has_a_row_for_each_reading(capture: Path) -> None:
    found = ask(capture, "eth0", iface=True)
    assert list(found[0]) == list(rates.INTERFACE_COLUMNS)
    assert [
        (row["time"], row["rx_bytes_per_second"], row["rx_dropped"], row["tx_bytes_per_second"])
        for row in found
    ] == [
        (at(0), None, None, None),
        (at(2), 0.0, 0, 0.0),
        (at(4), 2000.0, 3, 0.0),
        (at(6), 0.0, 0, 0.0),
        (at(8), 0.0, 0, 0.0),
        (at(20), None, None, None),
        (at(22), 0.0, 0, 0.0),
        (at(24), 250.0, 0, 0.0),
    ]
    steps = ask(capture, "eth0", iface=True, every_us=10_000_000)
    assert [(row["time"], row["rx_bytes_per_second"], row["seconds"]) for row in steps] == [
        (-10.0, None, None),
        (0.0, 500.0, 8.0),
        (10.0, None, None),
        (20.0, 125.0, 4.0),
    ]


def test_overview_has_totals_means_and_peaks_trouble_first(capture: Path) -> None:
    found = overview(capture)
    counters = [row for row in found if row["what"] == "counter"]
    assert [
        (row["name"], row["trouble"], row["total"], row["peak_per_second"], row["peak_at"])
        for row in counters
    ] == [
        ("ListenOverflows", True, 17, 5.0, at(22)),
        ("TCPTimeouts", True, 8, 4.0, at(2)),
        ("InOctets", False, 2000, 1000.0, at(6)),
    ]
    assert counters[0]["per_second"] == pytest.approx(17 / 12)
    told = {row["name"]: row for row in found if row["what"] == "interface"}
    assert list(told) == [
        "rx_bytes", "tx_bytes", "rx_packets", "tx_packets",
        "rx_errors", "tx_errors", "rx_dropped", "tx_dropped",
    ]  # fmt: skip
    rx = told["rx_bytes"]
    assert (rx["section"], rx["total"], rx["peak_per_second"], rx["peak_at"], rx["seconds"]) == (
        "eth0", 4500, 2000.0, at(4), 12.0,
    )  # fmt: skip
    assert (told["rx_dropped"]["total"], told["rx_dropped"]["trouble"]) == (3, True)
    assert (told["tx_bytes"]["total"], told["tx_bytes"]["peak_at"]) == (0, None)


def test_readings_of_a_time(capture: Path) -> None:
    """Only those taken in it, each with all that it found."""
    window: dict[str, Any] = {"first_us": us(began(3)), "last_us": us(began(6.5))}
    assert [row["time"] for row in ask(capture, "ListenOverflows", **window)] == [at(4)]
    assert [row["time"] for row in ask(capture, "eth0", iface=True, **window)] == [at(4), at(6)]
    totals = {row["name"]: row["total"] for row in overview(capture, **window) if row["what"] == "counter"}
    assert totals == {"ListenOverflows": 6, "InOctets": 2000}
    # What an earlier reading found is not put down to the first one of the time.
    later: dict[str, Any] = {"first_us": us(began(5)), "last_us": us(began(6.5))}
    assert [row["rx_bytes_per_second"] for row in ask(capture, "eth0", iface=True, **later)] == [0.0]
    (step,) = ask(capture, "ListenOverflows", every_us=10_000_000, **window)
    assert (step["time"], step["increase"], step["seconds"]) == (0.0, 6, 4.0)


def test_what_was_announced_counts_at_the_next_reading_of_the_pace(tmp_path: Path) -> None:
    """A change of a link is read at once: right after a reading that would make a huge rate of one packet."""
    part = read_network(Part(tmp_path, 0, 9))
    listens(part, 0, 1)
    links(part, 0, rx_bytes=0)
    count_link(part, at(2) + 0.5, at(2), rx_bytes=600)
    count_link(part, at(4), at(2) + 0.5, rx_bytes=1000)
    part.write()
    found = {row["time"]: row["rx_bytes_per_second"] for row in ask(tmp_path, "eth0", iface=True)}
    # Nothing moved at some readings: then no row tells when they ended.
    assert found == {at(0): None, at(2): 0.0, at(4): 500.0, 5.998: 0.0, 7.998: 0.0}


def test_an_interface_is_told_of_while_it_was_there(tmp_path: Path) -> None:
    """It came at 2.5 s and went at 6.5 s."""
    part = read_network(Part(tmp_path, 0, 9))
    listens(part, 0, 1)
    for second in (2, 4, 6, 8):
        listens(part, second, 1 + second)
    interface(part, 2.5, 6.5)
    count_link(part, 2.5, None, rx_bytes=100)
    count_link(part, at(4), 2.5, rx_bytes=400)
    part.write()
    found = ask(tmp_path, "eth0", iface=True)
    assert [row["time"] for row in found] == [at(4), at(6)]
    assert found[0]["rx_bytes_per_second"] == pytest.approx(300 / (at(4) - 2.5))
    assert found[1]["rx_bytes_per_second"] == 0.0


def test_a_reading_that_missed_the_interfaces_says_nothing_of_them(tmp_path: Path) -> None:
    part = read_network(Part(tmp_path, 0, 9))
    for second in (0, 2, 4, 6, 8):
        listens(part, second, 1 + second)
    links(part, 0, rx_bytes=0)
    count_link(part, at(6), at(2), rx_bytes=800)
    part.write()
    found = {
        row["time"]: (row["rx_bytes_per_second"], row["seconds"]) for row in ask(tmp_path, "eth0", iface=True)
    }
    assert found == {at(0): (None, None), at(2): (0.0, 2.0), at(6): (200.0, 4.0), at(8): (0.0, 2.0)}


def test_of_equal_peaks_the_first_is_told(tmp_path: Path) -> None:
    part = read_network(Part(tmp_path, 0, 9))
    for second, value in ((0, 10), (2, 11), (4, 19), (6, 27), (8, 30)):
        listens(part, second, value)
        links(part, second, rx_bytes=value)
    part.write()
    peaks = {row["name"]: (row["peak_per_second"], row["peak_at"]) for row in overview(tmp_path)}
    assert peaks["ListenOverflows"] == peaks["rx_bytes"] == (4.0, at(4))


def test_resets_are_counted(tmp_path: Path) -> None:
    part = read_network(Part(tmp_path, 0, 9))
    listens(part, 0, 500)
    listens(part, 4, 20)
    links(part, 0, rx_bytes=700)
    links(part, 4, rx_bytes=30)
    part.write()
    assert [(row["increase"], row["resets"]) for row in ask(tmp_path, "ListenOverflows")] == [(20, 1)]
    assert [row["resets"] for row in ask(tmp_path, "eth0", iface=True)] == [0, 0, 1, 0, 0]
    told = {row["name"]: (row["total"], row["resets"]) for row in overview(tmp_path)}
    assert told["ListenOverflows"] == (20, 1)
    assert told["rx_bytes"] == (30, 1)


def test_hosts_and_namespaces_are_told_apart(tmp_path: Path) -> None:
    for host, netns, rise in (("web-1", 1, 10), ("web-2", 1, 20), ("web-2", 2, 30)):
        part = read_network(
            Part(tmp_path, 0, 5, host=host, netns=netns, recording=f"20261120T103200-{netns}")
        )
        listens(part, 0, 1)
        listens(part, 2, 1 + rise)
        links(part, 0)
        links(part, 2, rx_bytes=rise)
        part.write()
    found = overview(tmp_path)
    assert [(row["host"], row["netns"], row["total"]) for row in found if row["name"] == "rx_bytes"] == [
        ("web-1", 1, 10), ("web-2", 1, 20), ("web-2", 2, 30),
    ]  # fmt: skip
    assert {(row["host"], row["netns"], row["total"]) for row in found if row["what"] == "counter"} == {
        ("web-1", 1, 10), ("web-2", 1, 20), ("web-2", 2, 30),
    }  # fmt: skip
    assert [row["increase"] for row in ask(tmp_path, "ListenOverflows", host="web-2")] == [20, 30]
    assert {row["host"] for row in overview(tmp_path, host="web-1")} == {"web-1"}


@pytest.fixture
def catalog(capture: Path) -> Catalog:
    """Give it open, with counters that share a name."""
    part = Part(capture, 30, 31, recording="20261120T103230-cccc")
    for source, section in (("snmp", "Udp"), ("snmp", "UdpLite"), ("snmp", "Tcp")):
        count(part, 30, 1, None, source=source, section=section, name="InErrors")
    count(part, 30, 1, None, source="snmp6", section="", name="Ip6InReceives")
    count(part, 30, 1, None, source="conntrack", section="", name="count")
    part.write()
    return open_catalog(capture)


@pytest.mark.parametrize(
    ("typed", "label"),
    [
        ("ListenOverflows", "TcpExt.ListenOverflows"),
        ("listenoverflows", "TcpExt.ListenOverflows"),
        ("TCPEXT.listenOverflows", "TcpExt.ListenOverflows"),
        ("udp.inerrors", "Udp.InErrors"),
        ("ip6inreceives", "Ip6InReceives"),
        ("conntrack.count", "conntrack.count"),
        ("count", "conntrack.count"),
    ],
)
def test_names_of_counters(catalog: Catalog, typed: str, label: str) -> None:
    assert [one.label for one in rate_names.counters(catalog, [typed, typed])] == [label]


def test_names_that_are_none(catalog: Catalog) -> None:
    with pytest.raises(
        UsageError, match=r"several counters: give one of Tcp.InErrors, Udp.InErrors, UdpLite.InE"
    ):
        rate_names.counters(catalog, ["inerrors"])
    for typed, near in (("ListenOverflow", "TcpExt.ListenOverflows"), ("timeout", "TcpExt.TCPTimeouts")):
        with pytest.raises(NothingMatchedError, match=f"no counter '{typed}' was recorded; .*{near}"):
            rate_names.counters(catalog, [typed])
    with pytest.raises(NothingMatchedError, match="no interface 'eth1' was recorded; names like it: eth0"):
        rate_names.interfaces(catalog, ["eth1"])
    with pytest.raises(NothingMatchedError, match="there are eth0"):
        rate_names.interfaces(catalog, ["wlan7"])
    with pytest.raises(UsageError, match="no host 'db-1' is recorded here; name one with --host: web-1"):
        rate_names.hosts(catalog, "db-1")


def test_more_steps_than_anybody_reads(capture: Path) -> None:
    with pytest.raises(UsageError, match="24,000,001 steps"):
        ask(capture, "eth0", iface=True, every_us=1)
    with pytest.raises(UsageError, match="--every take some time"):
        rates.wanted(every_us=0)
    with pytest.raises(UsageError, match="--to is before --from"):
        rates.wanted(2, 1)


def test_what_can_be_measured(capture: Path, tmp_path: Path) -> None:
    with open_catalog(capture) as catalog:
        span = rates.span(catalog, rates.wanted())
        assert (span.readings, span.first_us, span.last_us) == (8, us(began(at(0))), us(began(at(24))))
        with pytest.raises(NothingMatchedError, match="not read in that time"):
            rates.span(catalog, rates.wanted(us(began(10)), us(began(15))))
        with pytest.raises(NothingMatchedError, match="once only"):
            rates.span(catalog, rates.wanted(us(began(19)), us(began(21))))
    old = tmp_path / "old"
    Part(old, 0, 9).write()
    with open_catalog(old) as catalog, pytest.raises(NothingMatchedError, match="were not recorded"):
        rates.span(catalog, rates.wanted())


def test_from_python(capture: Path) -> None:
    with sockrec.open(capture) as opened:
        assert opened.rates().columns == list(rates.COLUMNS)
        moved = opened.rates(counters=["ListenOverflows"], first="start+3s", last=began(9))
        assert moved.project("increase").fetchall() == [(6,), (1,)]
        assert opened.rates(interfaces=["eth0"], every="1h").columns == list(rates.INTERFACE_COLUMNS)
        with pytest.raises(UsageError):
            opened.rates(interfaces=["eth0"], counters=["ListenOverflows"])
        with pytest.raises(UsageError):
            opened.rates(host="db-1")
