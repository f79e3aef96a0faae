"""The views `counters` and `link_counters`: what rose between two readings, and how fast."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockrec.catalog import open_catalog
from sockrec.catalog.rates import LINK_RATES
from tests.catalog.captures import Part, began

_TOP = 1 << 63
_WRAP = 1 << 64
_FULL = 1 << 32


def stored(value: int) -> int:
    """Return a number of 64 bits as a capture has it."""
    return value if value < _TOP else value - _WRAP


def count(
    part: Part, at: float, value: int, before: float | None, name: str = "ListenOverflows", **columns: Any
) -> None:
    """Add a row of a counter, read at that second."""
    row = {
        "recording": part.recording,
        "netns": part.netns,
        "source": "netstat",
        "section": "TcpExt",
        "name": name,
        "place": 0,
        "read_before": None if before is None else began(before),
        "read_at": began(at),
        "value": stored(value),
    }
    part.rows["counters"].append(row | columns)


def count_link(part: Part, at: float, before: float | None, name: str = "eth0", **columns: Any) -> None:
    """Add a row of an interface, with 0 of what is not given."""
    row = dict.fromkeys(LINK_RATES, 0) | {
        "recording": part.recording,
        "netns": part.netns,
        "ifindex": 2,
        "name": name,
        "read_before": None if before is None else began(before),
        "read_at": began(at),
    }
    part.rows["link_counters"].append(row | columns)


def rows(root: Path, columns: str = "value, increase, per_second, is_reset") -> list[tuple[Any, ...]]:
    with open_catalog(root) as catalog:
        return catalog.rows(f"SELECT {columns} FROM counters ORDER BY host, recording, name, read_at")


def link_rows(root: Path, columns: str) -> list[tuple[Any, ...]]:
    with open_catalog(root) as catalog:
        return catalog.rows(f"SELECT {columns} FROM link_counters ORDER BY host, recording, name, read_at")


@pytest.mark.parametrize("where", ["segment", "journal"])
def test_increase_and_rate_are_since_the_reading_before(tmp_path: Path, where: str) -> None:
    """Not since the row before: of the readings in between none found it moved."""
    part = Part(tmp_path, 0, 20)
    count(part, 0, 100, None)
    count(part, 4, 106, 2)
    count(part, 9, 107, 8.5)
    part.write() if where == "segment" else part.journal()
    assert rows(tmp_path) == [(100, None, None, False), (106, 6, 3.0, False), (107, 1, 2.0, False)]


@pytest.mark.parametrize(
    ("before", "value", "increase", "is_reset"),
    [
        (5, 5, 0, False),
        (0, 7, 7, False),
        (100, 40, 40, True),
        (100, 0, 0, True),
        (_FULL - 10, 20, 30, False),
        (_FULL - 1, 0, 1, False),
        # Not in the upper half, or come too far: it began anew.
        (_FULL // 2 - 1, 20, 20, True),
        (_FULL // 2, 0, 0, True),
        (_FULL // 2 + 1, 0, _FULL // 2 - 1, False),
        (_FULL - 10, _FULL // 2 - 10, _FULL // 2 - 10, True),
        (_FULL - 10, _FULL // 2 - 11, _FULL // 2 - 1, False),
        (_FULL, 20, 20, True),
        (_FULL - 1, _FULL + 5, 6, False),
        # Across the sign of what is stored, and once round all 64 bits.
        (_TOP - 1, _TOP, 1, False),
        (_TOP - 10, _TOP + 10, 20, False),
        (_TOP + 5, _TOP + 9, 4, False),
        (_WRAP - 3, 5, 8, False),
        (_WRAP - 1, 0, 1, False),
        (_TOP + 5, 3, _TOP - 2, False),
        (_TOP, 3, 3, True),
        # Below 0: nothing can be told.
        (3, _WRAP - 2, None, False),
        (_WRAP - 2, _WRAP - 7, None, False),
        (0, _TOP, None, False),
    ],
)
def test_falls(tmp_path: Path, before: int, value: int, increase: int | None, is_reset: bool) -> None:
    part = Part(tmp_path, 0, 4)
    count(part, 0, before, None)
    count(part, 2, value, 0)
    count_link(part, 0, None, rx_bytes=stored(before))
    count_link(part, 2, 0, rx_bytes=stored(value))
    part.write()
    per_second = None if increase is None else increase / 2
    assert rows(tmp_path)[1] == (stored(value), increase, per_second, is_reset)
    assert link_rows(tmp_path, "rx_bytes_per_second, tx_bytes_per_second, is_reset")[1] == (
        per_second,
        0.0,
        is_reset,
    )


def test_each_number_of_an_interface_has_its_own_rate(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 4)
    for at, before, times in ((0, None, 1000), (2, 0, 1002)):
        columns: dict[str, Any] = {name: times * place for place, name in enumerate(LINK_RATES)}
        count_link(part, at, before, **columns)
    part.write()
    told = link_rows(tmp_path, ", ".join(f"{name}_per_second" for name in LINK_RATES))
    assert told == [(None,) * len(LINK_RATES), tuple(map(float, range(len(LINK_RATES))))]


@pytest.mark.parametrize("sealed", [1, 2])
def test_a_segments_edge_is_seen_in_nothing(tmp_path: Path, sealed: int) -> None:
    """What begins a segment says again what was, and what comes next is compared with that."""
    first = Part(tmp_path, 0, 9)
    count(first, 0, 100, None)
    count(first, 4, 150, 2)
    count_link(first, 0, None, rx_bytes=1)
    second = Part(tmp_path, 10, 19, part=1)
    count(second, 8, 150, None)
    count(second, 10, 160, 8)
    count_link(second, 8, None, rx_bytes=1)
    count_link(second, 10, 8, rx_bytes=7)
    first.write()
    second.write() if sealed == 2 else second.journal()
    assert rows(tmp_path) == [
        (100, None, None, False),
        (150, 50, 25.0, False),
        (160, 10, 5.0, False),
    ]
    assert link_rows(tmp_path, "read_at, rx_bytes, rx_bytes_per_second") == [
        (began(0), 1, None),
        (began(10), 7, 3.0),
    ]
    # The older segment removed, as retention does: what begins the other is what is known first.
    for table in ("counters", "link_counters"):
        first.path(table).unlink()
    assert rows(tmp_path) == [(150, None, None, False), (160, 10, 5.0, False)]
    assert link_rows(tmp_path, "rx_bytes, rx_bytes_per_second") == [(1, None), (7, 3.0)]


def test_a_row_at_the_very_edge_counts_once(tmp_path: Path) -> None:
    """The last reading of a segment moved, and the next segment begins with it again."""
    first = Part(tmp_path, 0, 9)
    count(first, 0, 100, None)
    count(first, 8, 150, 6)
    second = Part(tmp_path, 10, 19, part=1)
    count(second, 8, 150, None)
    count(second, 12, 151, 10)
    first.write()
    second.write()
    assert [increase for _, increase, _, _ in rows(tmp_path)] == [None, 50, 1]


def test_what_a_lost_segment_held_is_unknown(tmp_path: Path) -> None:
    """The rise over it is in no row; it is not put down to the reading after it."""
    parts = [Part(tmp_path, 10 * number, 10 * number + 9, part=number) for number in range(3)]
    for number, part in enumerate(parts):
        count(part, max(0, 10 * number - 1), 100 * number, None)
        count_link(part, max(0, 10 * number - 1), None, rx_bytes=100 * number)
        count(part, 10 * number + 1, 100 * number + 5, 10 * number)
        count_link(part, 10 * number + 1, 10 * number, rx_bytes=100 * number + 5)
        part.write()
    for table in ("counters", "link_counters"):
        parts[1].path(table).unlink()
    assert [row[:2] for row in rows(tmp_path)] == [(0, None), (5, 5), (200, None), (205, 5)]
    assert link_rows(tmp_path, "rx_bytes, rx_bytes_per_second, is_reset") == [
        (0, None, False),
        (5, 5.0, False),
        (200, None, False),
        (205, 5.0, False),
    ]


def test_nothing_is_compared_across_what_tells_apart(tmp_path: Path) -> None:
    """Recordings, hosts, network namespaces, files, sections, names; interfaces by index and name."""
    one = Part(tmp_path, 0, 9)
    count(one, 0, 1000, None)
    count(one, 2, 1001, 0)
    count(one, 2, 5000, 0, netns=7)
    count(one, 2, 5000, 0, source="snmp")
    count(one, 2, 5000, 0, section="Tcp")
    count(one, 2, 5000, 0, name="ListenDrops")
    count_link(one, 0, None, rx_bytes=1000)
    count_link(one, 2, 0, rx_bytes=1001)
    count_link(one, 2, 0, rx_bytes=5000, ifindex=3)
    count_link(one, 2, 0, rx_bytes=5000, name="eth1")
    count_link(one, 2, 0, rx_bytes=5000, netns=7)
    again = Part(tmp_path, 20, 29, recording="20261120T103220-bbbb")
    other = Part(tmp_path, 0, 9, host="web-2")
    for part in (again, other):
        count(part, part.first, 5000, None)
        count_link(part, part.first, None, rx_bytes=5000)
    for part in (one, again, other):
        part.write()
    assert [row[0] for row in rows(tmp_path) if row[1] is not None] == [1001]
    told = link_rows(tmp_path, "rx_bytes, rx_bytes_per_second")
    assert [row for row in told if row[1] is not None] == [(1001, 0.5)]
    assert len(told) == 7


@pytest.mark.parametrize(
    "key",
    [
        {"source": "sockstat", "section": "TCP", "name": "inuse"},
        {"source": "sockstat6", "section": "TCP6", "name": "inuse"},
        {"source": "conntrack", "section": "", "name": "count"},
        {"source": "snmp", "section": "Tcp", "name": "CurrEstab"},
        {"source": "snmp", "section": "Tcp", "name": "MaxConn"},
    ],
)
def test_gauges_have_no_rate(tmp_path: Path, key: dict[str, str]) -> None:
    part = Part(tmp_path, 0, 9)
    for at, value in ((0, 5), (2, 9), (4, 3)):
        count(part, at, value, at - 2 if at else None, **key)
    part.write()
    assert rows(tmp_path) == [(5, None, None, False), (9, None, None, False), (3, None, None, False)]


@pytest.mark.parametrize(
    ("key", "increase"),
    [
        ({"source": "snmp", "section": "IcmpMsg", "name": "InType3"}, 6),
        ({"source": "snmp6", "section": "", "name": "Icmp6InType136"}, 6),
        ({"source": "snmp6", "section": "", "name": "Icmp6InMsgs"}, None),
        ({"source": "snmp", "section": "Udp", "name": "InDatagrams"}, None),
    ],
)
def test_a_kind_of_message_was_0_before_the_kernel_named_it(
    tmp_path: Path, key: dict[str, str], increase: int | None
) -> None:
    """Another counter that was not there before may have been hidden: how much it rose is not known."""
    part = Part(tmp_path, 0, 9)
    count(part, 2, 6, 0, **key)
    count(part, 4, 8, 2, **key)
    part.write()
    assert [told for _, told, _, _ in rows(tmp_path)] == [increase, 2]
    # One that was there when recording began may have had any number of them before.
    part.rows["counters"][0]["read_before"] = None
    part.write()
    assert [told for _, told, _, _ in rows(tmp_path)] == [None, 2]


def test_an_interface_made_anew_is_not_compared_with_the_one_before(tmp_path: Path) -> None:
    """It was seen to be gone, so that its first row says of no reading before; its number may be the same."""
    part = Part(tmp_path, 0, 9)
    count_link(part, 0, None, rx_bytes=500)
    count_link(part, 4, None, rx_bytes=20)
    count_link(part, 6, 4, rx_bytes=30)
    part.write()
    assert link_rows(tmp_path, "rx_bytes, rx_bytes_per_second, is_reset") == [
        (500, None, False),
        (20, None, False),
        (30, 5.0, False),
    ]


@dataclass(frozen=True)
class _Truth:
    value: int
    increase: int | None
    per_second: float | None
    is_reset: bool


def _expected(values: list[int], times: list[float]) -> list[_Truth]:
    """Say it again in plain Python: unsigned numbers, one after the other."""
    told = [_Truth(stored(values[0]), None, None, False)]
    for place, (before, now) in enumerate(pairwise(values), 1):
        if now == before:
            continue
        round_64 = (now - before) % _WRAP
        is_reset = False
        increase: int | None
        if round_64 < _TOP:
            increase = round_64
        elif _FULL // 2 <= before < _FULL and now < before and now + _FULL - before < _FULL // 2:
            increase = now + _FULL - before
        elif now < _TOP:
            increase, is_reset = now, True
        else:
            increase = None
        # A float, as in SQL: Python divides large integers more exactly.
        seconds = float(times[place] - times[place - 1])
        told.append(_Truth(stored(now), increase, None if increase is None else increase / seconds, is_reset))
    return told


_edges = [0, _FULL // 2, _FULL, _TOP, _WRAP]
_values = st.one_of(
    st.integers(0, _WRAP - 1),
    st.integers(0, _FULL + 100),
    st.integers(0, 50),
    st.builds(lambda edge, off: (edge + off) % _WRAP, st.sampled_from(_edges), st.integers(-50, 50)),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(_values, min_size=1, max_size=25), st.lists(st.integers(0, 24), max_size=3), st.data())
def test_any_numbers_and_edges_as_plain_python_has_them(
    values: list[int], cuts: list[int], data: st.DataObject
) -> None:
    steps = data.draw(
        st.lists(st.sampled_from([0.25, 0.5, 1, 3]), min_size=len(values), max_size=len(values))
    )
    times = [sum(steps[:place]) for place in range(len(values))]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        number = 0
        part = Part(root, 0, 1)
        for place, (at, value) in enumerate(zip(times, values, strict=True)):
            if place == 0 or value != values[place - 1]:
                count(part, at, value, times[place - 1] if place else None)
                count_link(part, at, times[place - 1] if place else None, rx_packets=stored(value))
            if place in cuts:
                part.write()
                number += 1
                part = Part(root, 2 * number, 2 * number + 1, part=number)
                count(part, at, value, None)
                count_link(part, at, None, rx_packets=stored(value))
        part.write()
        expected = _expected(values, times)
        assert [_Truth(*row) for row in rows(root)] == expected
        assert link_rows(root, "rx_packets, rx_packets_per_second, is_reset") == [
            (one.value, one.per_second, one.is_reset) for one in expected
        ]
