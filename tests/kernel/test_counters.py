"""Reading the kernel's protocol statistics from made-up files; from the kernel in test_counters_live."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockrec.kernel.counters import CounterReader, Key, Reading
from sockrec.model.network import Counter

SNMP = (
    b"Ip: Forwarding DefaultTTL InReceives\nIp: 2 64 17\n"
    b"Icmp: InMsgs\nIcmp: 3\nTcp: MaxConn InSegs\nTcp: -1 8\n"
)
GROWN = SNMP.replace(b"Tcp: Max", b"IcmpMsg: InType3\nIcmpMsg: 5\nTcp: Max")
FILES = {
    "snmp": SNMP,
    "netstat": b"TcpExt: TW ListenDrops\nTcpExt: 4 0\nMPTcpExt: MPCapableSYNRX\nMPTcpExt: 1\n",
    "sctp/snmp": b"SctpCurrEstab                   \t2\nSctpActiveEstabs                \t1\n",
    "snmp6": b"Ip6InReceives                   \t6\nIcmp6InType135                  \t9\n",
    "sockstat": b"sockets: used 16\nTCP: inuse 1 orphan 0 tw 2 alloc 40 mem 3\n",
    "sockstat6": b"TCP6: inuse 7\n",
    "conntrack": b"12\n",
}


class Proc:
    """A made-up /proc/net."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in FILES.items():
            self.write(name, text)
        self.reader = CounterReader(folder, folder / "conntrack")

    def write(self, name: str, text: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text)


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


def values(reading: Reading, source: str) -> dict[str, int]:
    return {one.section + one.name: one.value for one in reading.counters() if one.source == source}


def test_every_file_and_its_order(proc: Proc) -> None:
    reading = proc.reader.read()
    assert reading.incomplete == ()
    assert reading.counters() == [
        Counter("snmp", "Ip", "Forwarding", 0, 2),
        Counter("snmp", "Ip", "DefaultTTL", 1, 64),
        Counter("snmp", "Ip", "InReceives", 2, 17),
        Counter("snmp", "Icmp", "InMsgs", 3, 3),
        Counter("snmp", "Tcp", "MaxConn", 4, -1),
        Counter("snmp", "Tcp", "InSegs", 5, 8),
        Counter("netstat", "TcpExt", "TW", 0, 4),
        Counter("netstat", "TcpExt", "ListenDrops", 1, 0),
        Counter("netstat", "MPTcpExt", "MPCapableSYNRX", 2, 1),
        Counter("sctp/snmp", "", "SctpCurrEstab", 0, 2),
        Counter("sctp/snmp", "", "SctpActiveEstabs", 1, 1),
        Counter("snmp6", "", "Ip6InReceives", 0, 6),
        Counter("snmp6", "", "Icmp6InType135", 1, 9),
        Counter("sockstat", "sockets", "used", 0, 16),
        Counter("sockstat", "TCP", "inuse", 1, 1),
        Counter("sockstat", "TCP", "orphan", 2, 0),
        Counter("sockstat", "TCP", "tw", 3, 2),
        Counter("sockstat", "TCP", "alloc", 4, 40),
        Counter("sockstat", "TCP", "mem", 5, 3),
        Counter("sockstat6", "TCP6", "inuse", 0, 7),
        Counter("conntrack", "", "count", 0, 12),
    ]
    assert reading.keys[5] == Key("snmp", "Tcp", "InSegs", 5)


def test_nothing_changed_is_the_same_object(proc: Proc) -> None:
    first = proc.reader.read()
    proc.write("snmp", SNMP)
    second = proc.reader.read()
    assert second is first
    assert second.changed_since(first) == []


def test_values_move_and_keys_stay(proc: Proc) -> None:
    first = proc.reader.read()
    proc.write("snmp", SNMP.replace(b"64 17", b"64 170000000000").replace(b"-1 8", b"-1 9"))
    proc.write("conntrack", b"0\n")
    second = proc.reader.read()
    assert second.keys is first.keys
    expected = [
        Counter("snmp", "Ip", "InReceives", 2, 170_000_000_000),
        Counter("snmp", "Tcp", "InSegs", 5, 9),
        Counter("conntrack", "", "count", 0, 0),
    ]
    assert second.changed_since(first) == expected
    assert first.changed_since(second) == [
        Counter("snmp", "Ip", "InReceives", 2, 17),
        Counter("snmp", "Tcp", "InSegs", 5, 8),
        Counter("conntrack", "", "count", 0, 12),
    ]


def test_a_section_that_comes_moves_those_behind_it(proc: Proc) -> None:
    first = proc.reader.read()
    proc.write("snmp", GROWN)
    second = proc.reader.read()
    assert second.keys is not first.keys
    assert second.changed_since(first) == [
        Counter("snmp", "IcmpMsg", "InType3", 4, 5),
        Counter("snmp", "Tcp", "MaxConn", 5, -1),
        Counter("snmp", "Tcp", "InSegs", 6, 8),
    ]
    proc.write("snmp", GROWN.replace(b"InType3\nIcmpMsg: 5", b"InType3 OutType8\nIcmpMsg: 5 1"))
    third = proc.reader.read()
    assert values(third, "snmp")["IcmpMsgOutType8"] == 1
    assert values(third, "snmp")["TcpInSegs"] == 8
    proc.write("snmp", SNMP)
    assert proc.reader.read().counters() == first.counters()


def test_a_name_replaced_by_another_is_seen(proc: Proc) -> None:
    """The number of words says nothing: names must be compared."""
    proc.reader.read()
    proc.write("netstat", FILES["netstat"].replace(b"TW ", b"TX "))
    proc.write("snmp6", FILES["snmp6"].replace(b"Icmp6InType135", b"Icmp6InType136"))
    reading = proc.reader.read()
    assert values(reading, "netstat") == {
        "TcpExtTX": 4,
        "TcpExtListenDrops": 0,
        "MPTcpExtMPCapableSYNRX": 1,
    }
    assert values(reading, "snmp6") == {"Ip6InReceives": 6, "Icmp6InType136": 9}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"0", 0),
        (b"-1", -1),
        (b"9223372036854775807", 2**63 - 1),
        (b"9223372036854775808", -(2**63)),
        (b"18446744073709551615", -1),
        (b"-9223372036854775808", -(2**63)),
    ],
)
def test_numbers_of_64_bits_keep_their_bits(proc: Proc, text: bytes, value: int) -> None:
    proc.write("snmp", SNMP.replace(b"-1 8", b"-1 " + text))
    reading = proc.reader.read()
    assert values(reading, "snmp")["TcpInSegs"] == value
    # The others of the file are not touched by it.
    assert values(reading, "snmp")["IpInReceives"] == 17
    assert reading.incomplete == ()


@pytest.mark.parametrize(
    ("name", "text", "left", "why"),
    [
        ("snmp", SNMP.replace(b"17", b"17 18"), {}, "3 names"),
        ("snmp", SNMP.replace(b"-1 8", b"-1"), {"IpInReceives": 17, "IcmpInMsgs": 3}, "2 names"),
        ("snmp", SNMP.replace(b"Tcp: -1", b"Udp: -1"), {"IpInReceives": 17, "IcmpInMsgs": 3}, "2 names"),
        ("snmp", SNMP.replace(b"Tcp: Max", b"Tcp Max"), {"IpInReceives": 17, "IcmpInMsgs": 3}, "no section"),
        ("snmp", SNMP[: -len(b"Tcp: -1 8\n")], {"IpInReceives": 17, "IcmpInMsgs": 3}, "no numbers"),
        ("snmp", SNMP.replace(b" 17", b" x7"), {}, "a number is none"),
        ("snmp", SNMP.replace(b" 17", b" 1_7"), {}, "a number is none"),
        ("snmp", SNMP.replace(b" 17", b" 1-7"), {}, "1-7"),
        ("snmp", SNMP.replace(b" 17", b" 18446744073709551616"), {}, "64 bits"),
        ("snmp", SNMP.replace(b" 17", b" -9223372036854775809"), {}, "64 bits"),
        ("snmp", SNMP.replace(b" 17", b" " + b"9" * 5000), {}, "digits"),
        ("snmp6", b"Ip6InReceives 6\nUdp6InDatagrams\nTcp6A 5\n", {"Ip6InReceives": 6}, "name and number"),
        ("snmp6", b"Ip6InReceives 6\nUdp6InDatagrams x\n", {}, "a number is none"),
        ("sctp/snmp", b"SctpCurrEstab 1 2\n", {}, "name and number"),
        ("sockstat", b"sockets: used 5\nTCP inuse 1\n", {"socketsused": 5}, "no section"),
        ("sockstat6", b"TCP6: inuse\n", {}, "no section"),
        ("conntrack", b"", {}, "not one number"),
        ("conntrack", b"1 2\n", {}, "not one number"),
        ("conntrack", b"many\n", {}, "a number is none"),
    ],
)
def test_what_is_odd_is_told_and_nothing_else_lost(
    proc: Proc, name: str, text: bytes, left: dict[str, int], why: str
) -> None:
    whole = proc.reader.read()
    others = [one for one in whole.counters() if one.source != name]
    proc.write(name, text)
    reading = proc.reader.read()
    (line,) = reading.incomplete
    assert line.startswith(f"{proc.folder / name} has an unknown form (")
    assert line.endswith("): report this kernel")
    assert why in line
    assert "\n" not in line
    found = values(reading, name)
    assert left.items() <= found.items()
    assert bool(left) == bool(found)
    assert [one for one in reading.counters() if one.source != name] == others
    # It stays told as long as it is so, and no longer.
    assert proc.reader.read() is reading
    proc.write(name, FILES[name])
    healed = proc.reader.read()
    assert (healed.incomplete, healed.counters()) == ((), whole.counters())


def test_numbers_before_what_is_odd_still_move(proc: Proc) -> None:
    odd = SNMP.replace(b"-1 8", b"-1")
    proc.write("snmp", odd)
    first = proc.reader.read()
    proc.write("snmp", odd.replace(b" 17", b" 18"))
    second = proc.reader.read()
    assert second.changed_since(first) == [Counter("snmp", "Ip", "InReceives", 2, 18)]
    assert second.incomplete == first.incomplete
    assert len(second.incomplete) == 1


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_no_error(proc: Proc, name: str) -> None:
    whole = proc.reader.read()
    (proc.folder / name).unlink()
    reading = proc.reader.read()
    assert reading.incomplete == ()
    assert {one.source for one in reading.counters()} == FILES.keys() - {name}
    assert proc.reader.read() is reading
    proc.write(name, FILES[name])
    assert proc.reader.read().counters() == whole.counters()


def test_no_file_at_all(tmp_path: Path) -> None:
    reading = CounterReader(tmp_path / "none", tmp_path / "none").read()
    assert (reading.counters(), reading.incomplete) == ([], ())


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_refuses_is_told(proc: Proc, name: str) -> None:
    """A folder in its place: root may open everything else."""
    whole = proc.reader.read()
    (proc.folder / name).unlink()
    (proc.folder / name).mkdir()
    reading = proc.reader.read()
    assert reading.incomplete == (f"{proc.folder / name} can't be read (Is a directory)",)
    assert {one.source for one in reading.counters()} == FILES.keys() - {name}
    assert proc.reader.read() is reading
    (proc.folder / name).rmdir()
    proc.write(name, b"")
    empty = proc.reader.read()
    assert {one.source for one in empty.counters()} == FILES.keys() - {name}
    # Readable, but nothing in it: only of the one number that should be there is that odd.
    assert bool(empty.incomplete) == (name == "conntrack")
    proc.write(name, FILES[name])
    assert proc.reader.read().counters() == whole.counters()


def test_a_file_longer_than_one_read(proc: Proc) -> None:
    names = [f"Ip6Counter{n:05d}" for n in range(20_000)]
    text = "".join(f"{name:<32}\t{n}\n" for n, name in enumerate(names))
    assert len(text) > 10 * (1 << 16)
    proc.write("snmp6", text.encode())
    assert values(proc.reader.read(), "snmp6") == {name: n for n, name in enumerate(names)}


def test_names_that_are_no_utf8_become_text(proc: Proc) -> None:
    proc.write("snmp6", b"Ip6\xffIn 4\n")
    reading = proc.reader.read()
    assert values(reading, "snmp6") == {"Ip6\\xffIn": 4}
    json.dumps(reading.counters()).encode()


words = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=12)
numbers = st.integers(-(2**63), 2**64 - 1)
sections = st.lists(st.tuples(words, st.lists(st.tuples(words, numbers), min_size=1, max_size=6)), max_size=5)
listed = st.lists(st.tuples(words, numbers), max_size=8)
Sections = list[tuple[str, list[tuple[str, int]]]]


def paired(found: Sections) -> str:
    return "".join(
        f"{title}: {' '.join(name for name, _ in inside)}\n{title}: {' '.join(str(n) for _, n in inside)}\n"
        for title, inside in found
    )


def inline(found: Sections) -> str:
    return "".join(f"{title}: {' '.join(f'{name} {n}' for name, n in inside)}\n" for title, inside in found)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(sections, sections, listed, st.binary(max_size=80)), min_size=1, max_size=4))
def test_what_was_written_is_what_is_read(
    rounds: list[tuple[Sections, Sections, list[tuple[str, int]], bytes]],
) -> None:
    """The layouts and values change as they like, one reader reads them all; noise is never fatal."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        folder = Path(name)
        reader = CounterReader(folder, folder / "conntrack")
        for snmp, sockstat, snmp6, noise in rounds:
            (folder / "snmp").write_text(paired(snmp))
            (folder / "sockstat").write_text(inline(sockstat))
            (folder / "snmp6").write_text("".join(f"{name} \t{n}\n" for name, n in snmp6))
            noisy = [folder / other for other in ("netstat", "sockstat6", "conntrack")]
            for path in noisy:
                path.write_bytes(noise)
            reading = reader.read()
            expected = [
                *(("snmp", title, name, n) for title, inside in snmp for name, n in inside),
                *(("snmp6", "", name, n) for name, n in snmp6),
                *(("sockstat", title, name, n) for title, inside in sockstat for name, n in inside),
            ]
            found = [
                (one.source, one.section, one.name, one.value & (2**64 - 1))
                for one in reading.counters()
                if one.source in ("snmp", "snmp6", "sockstat")
            ]
            assert found == [(*key, n & (2**64 - 1)) for *key, n in expected]
            assert {line.partition(" ")[0] for line in reading.incomplete} <= {str(path) for path in noisy}


def test_blank_lines_say_nothing(proc: Proc) -> None:
    for name, text in FILES.items():
        proc.write(name, b"\n" + text.replace(b"\n", b"\n \n"))
    spaced = CounterReader(proc.folder, proc.folder / "conntrack").read()
    assert (spaced.counters(), spaced.incomplete) == (proc.reader.read().counters(), ())
    assert len(spaced.keys) == 21


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_reading_leaves_no_descriptor_open(proc: Proc) -> None:
    reader = CounterReader()
    reader.read()
    shutil.rmtree(proc.folder / "sctp")
    (proc.folder / "snmp").unlink()
    (proc.folder / "snmp").mkdir()
    before = descriptors()
    for _ in range(5):
        reader.read()
        proc.reader.read()
    assert descriptors() == before
