"""`netstat -s` on made-up files, to the byte: every counter that netstat knows, and odd files."""

from __future__ import annotations

import random
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockrec.errors import UsageError
from sockrec.model.network import Counter
from sockrec.render import netstat_counters
from sockrec.render.netstat_counters import SECTIONS, SECTIONS6
from sockrec.render.netstat_flags import parse_flags
from sockrec.render.netstat_statistics import statistics_text
from tests.render.statistics_judge import FLAG_SETS, REFUSED, judge_files, netstat_on, ours_on, write_files

VALUES = (0, 1, 2, 10**12, 2**63 - 1, 2**63, 2**64 - 1, -1)
OUTSIDE = ("UdpLite", "IpExt", "IcmpMsg", "MPTcpExt", "Ip6", "Sctp6", "TcpExtra")
Sections = Sequence[tuple[str, Sequence[tuple[str, int]]]]


@pytest.fixture(scope="module")
def proc() -> Iterator[Path]:
    """Give a folder on a file system of its own, to stand in for /proc."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


def paired(sections: Sections) -> bytes:
    """Write sections as /proc/net/snmp does."""
    return b"".join(
        f"{title}: {' '.join(name for name, _ in counters)}\n"
        f"{title}: {' '.join(str(value) for _, value in counters)}\n".encode()
        for title, counters in sections
    )


def listed(counters: Sequence[tuple[str, int]]) -> bytes:
    """Write counters as /proc/net/snmp6 does."""
    return b"".join(f"{name:<32}\t{value}\n".encode() for name, value in counters)


def made_up(snmp: Sections, netstat: Sections, sctp: Sections, snmp6: Sections) -> dict[str, bytes]:
    """Return the files that hold these; an empty one can't be told from none later, and no kernel has one."""
    files = {
        "snmp": paired(snmp),
        "netstat": paired(netstat),
        "sctp/snmp": listed([one for _, counters in sctp for one in counters]),
        "snmp6": listed([one for _, counters in snmp6 for one in counters]),
    }
    return {name: text for name, text in files.items() if text}


def words_of_netstat() -> list[str]:
    """Return every word in the installed program that may be a counter's name, with every end of it.

    Its linker keeps a name that another one ends with (InMsgs, Icmp6InMsgs) only once.
    """
    program = shutil.which("netstat")
    assert program
    found = set()
    for text in re.findall(rb"[A-Za-z0-9]{2,49}(?= ?\0)", Path(program).read_bytes()):
        word = text.decode()
        found |= {word[start:] for start in range(len(word) - 1) if word[start].isalpha()}
    return sorted(found)


def all_names(table: dict[str, netstat_counters.Section]) -> set[str]:
    return {one.name.strip() for section in table.values() for one in section.sentences}


def test_the_words_of_the_program_have_all_names() -> None:
    """Else the tests that use them would prove little."""
    known = all_names(dict(SECTIONS)) | all_names(dict(SECTIONS6))
    assert known <= set(words_of_netstat())
    assert len(known) > 190


@pytest.mark.parametrize("value", VALUES)
def test_every_word_of_the_program_in_every_section(proc: Path, value: int) -> None:
    """Whatever netstat has a sentence for is in its own file, found or not by its bisection."""
    words = [(word, value) for word in words_of_netstat()]
    sections = [(title, words) for title in (*SECTIONS, *OUTSIDE)]
    # A file of names cut into sections by them.
    first = [(f"{title}InFirst", value) for title in SECTIONS6]
    sections6 = [
        (title, [(title + "Begin", value), *((title + word, value) for word, _ in words if len(word) < 40)])
        for title in SECTIONS6
    ]
    known6 = [("", [(word, value) for word in sorted(all_names(dict(SECTIONS6)))])]
    files = made_up(sections, sections[::-1], [("", words)], [*sections6, ("", first), *known6, ("", words)])
    texts = judge_files(proc, files, ("-s", "-s6"))
    assert all(len(text) > 1000 for text in texts.values())


@pytest.mark.parametrize("value", VALUES)
def test_every_known_counter_under_all_flags(proc: Path, value: int) -> None:
    known = [(title, [(one.name, value) for one in section.sentences]) for title, section in SECTIONS.items()]
    known6 = [
        (title, [(one.name.strip(), value) for one in section.sentences])
        for title, section in SECTIONS6.items()
    ]
    files = made_up(known[:4], known[5:], known[4:5], known6)
    texts = judge_files(proc, files)
    assert len(set(texts.values())) > 12


def test_every_known_counter_alone(proc: Path) -> None:
    """The first counter of a section finds the state that nothing but the title has set."""
    for title, section in SECTIONS.items():
        for one in section.sentences:
            files = made_up([(title, [(one.name, 5)]), ("Other", [("Raw", 7)])], [], [], [])
            judge_files(proc, files, ["-s"])
    for section in SECTIONS6.values():
        for one in section.sentences:
            files = made_up([], [], [], [("", [(one.name.strip(), 5), ("Other6Raw", 7)])])
            judge_files(proc, files, ["-s6"])


@pytest.mark.parametrize("seed", range(25))
def test_counters_in_any_order_with_any_values(proc: Path, seed: int) -> None:
    """Titles of histograms and indentations come from what stood before."""
    dice = random.Random(seed)

    def shuffled(table: dict[str, netstat_counters.Section], more: Sequence[str], prefix: str) -> Sections:
        sections = []
        for title, section in table.items():
            names = [one.name.strip() for one in section.sentences] + [f"{prefix}{word}" for word in more]
            chosen = dice.sample(names, dice.randint(1, len(names)))
            sections.append((title, [(name, dice.choice(VALUES)) for name in chosen]))
        sections += [(title, [("Raw", dice.choice(VALUES)), ("InMsgs", 4)]) for title in OUTSIDE]
        return dice.sample(sections, dice.randint(1, len(sections)))

    raw = ("InType3", "OutType8", "TCPSomethingNew", "A")
    sctp = [one for one in shuffled(dict(SECTIONS), raw, "") if one[0] == "Sctp"]
    sections6 = shuffled(dict(SECTIONS6), raw, "Icmp6")
    files = made_up(shuffled(dict(SECTIONS), raw, ""), shuffled(dict(SECTIONS), raw, ""), sctp, sections6)
    if dice.random() < 0.3:
        files.pop(dice.choice(["snmp", "netstat", "sctp/snmp", "snmp6"]), None)
    judge_files(proc, files)


ODD: dict[str, dict[str, bytes]] = {
    "nothing": {},
    "no snmp": {"netstat": b"TcpExt: TW\nTcpExt: 1\n", "snmp6": b"Ip6InReceives 1\n"},
    "no snmp6": {"snmp": b"Tcp: InSegs\nTcp: 1\n"},
    "blanks and tabs": {"snmp": b"\n\nTcp:\t InSegs   OutSegs \nTcp:  1\t 2 \n\nUdp: NoPorts\nUdp: 3\n"},
    "no newline at the end": {"snmp": b"Tcp: InSegs\nTcp: 1", "snmp6": b"Ip6InReceives 1\nUdp6NoPorts 3"},
    "cut behind a header": {"snmp": b"Tcp: InSegs\nTcp: 1\nUdp: NoPorts\n", "netstat": b"TcpExt: TW\n"},
    "cut inside a header": {"snmp": b"Tcp: InSegs\nTcp: 1\nUdp: NoPor"},
    "no colon": {"snmp": b"Tcp: InSegs\nTcp: 1\nUdp NoPorts\nUdp 3\nIp: Foo\nIp: 3\n"},
    "a section twice": {"snmp": b"Tcp: InSegs\nTcp: 1\nFoo: A\nFoo: 2\nTcp: OutSegs\nTcp: 3\n"},
    "a section in both files": {"snmp": b"Tcp: InSegs\nTcp: 1\n", "netstat": b"Tcp: InSegs\nTcp: 1\n"},
    "an unknown section in both files": {"snmp": b"Foo: A\nFoo: 1\n", "netstat": b"Foo: A\nFoo: 1\n"},
    "a name twice": {"snmp": b"Tcp: InSegs InSegs\nTcp: 1 2\n", "snmp6": b"Ip6InMsgs 1\nIp6InMsgs 2\n"},
    "sections that begin with Tcp": {
        "snmp": b"TcpFoo: A\nTcpFoo: 1\nUdp: NoPorts\nUdp: 3\nTcp: InSegs\nTcp: 5\nTcpExt: TW\nTcpExt: 1\n",
        "snmp6": b"Tcp6Foo 1\n",
    },
    "a histogram that ends a file": {
        "snmp": b"Icmp: OutEchos\nIcmp: 1\n",
        "netstat": b"IcmpMsg: OutType8\nIcmpMsg: 1\nTcpExt: Foo\nTcpExt: 5\nIpExt: Bar\nIpExt: 1\n",
        "sctp/snmp": b"SctpFoo 1\n",
    },
    "input, then output": {
        "snmp": b"Icmp: InEchos OutEchos InEchos A\nIcmp: 1 1 1 1\nBar: B\nBar: 2\nIcmp: InEchos\nIcmp: 0\n",
        "netstat": b"Foo: A\nFoo: 1\n",
        "snmp6": b"Icmp6InEchos 1\nIcmp6OutEchos 0\nIcmp6InEchos 5\nFoo 1\nIcmp6A 1\n",
    },
    "static, then raw": {"snmp": b"Icmp: InEchos\nIcmp: 1\nFoo: A\nFoo: 1\nTcp: RtoMin A\nTcp: 5 1\n"},
    "names without a 6": {"snmp6": b"Foo 1\nFooBar 2\nBar 3\nBar6 4\nBar6In 5\nBar 0\nxBar66 7\n6 1\n66 1\n"},
    "names in which the last title is": {"snmp6": b"Ip6InReceives 1\nUdpIp6In 2\nIcmp6InMsgs 3\nXIp6In 4\n"},
    "names with blanks": {"snmp6": b"  Ip6InReceives 1\nIcmp6OutRouterAdvertisements  7\n"},
    "only SCTP": {"snmp": b"Foo: A\nFoo: 0\n", "sctp/snmp": b"SctpShutdowns 0\n"},
    "formats": {"snmp": b"Foo: %s%n %d\nFoo: 1 2\nUdp: %llu\nUdp: 1\n", "snmp6": b"%s6%n 5\n"},
}  # fmt: skip


@pytest.mark.parametrize("files", ODD.values(), ids=ODD)
def test_odd_files(proc: Path, files: dict[str, bytes]) -> None:
    judge_files(proc, files)


def test_families_without_statistics_are_refused(proc: Path) -> None:
    write_files(proc, {"snmp": b"Tcp: InSegs\nTcp: 1\n", "snmp6": b"Ip6InReceives 1\n"})
    for words, text in zip(REFUSED, netstat_on(proc, REFUSED), strict=True):
        said = text.decode().strip().removeprefix("netstat: ")
        assert said.startswith("No statistics support for specified address family: ")
        with pytest.raises(UsageError, match=re.escape(said)):
            parse_flags(words.split())


def test_control_characters_are_question_marks(proc: Path) -> None:
    write_files(
        proc,
        {
            "snmp": b"Fo\x1bo: A\x1b[2JB \xe2\x80\xaeC\nFo\x1bo: 1 2\n",
            "snmp6": b"Ip6\x07 1\nFo\x1bo6\x9b 5\n",
        },
    )
    plain, six = netstat_on(proc, ["-s", "-s6"])
    hidden = {0x1B: "?", 0x07: "?", 0x202E: "???"}
    assert ours_on(proc, "-s").decode() == plain.decode().translate(hidden)
    # A lone byte stands in a capture as four letters.
    assert ours_on(proc, "-s6").decode() == six.decode("utf-8", "backslashreplace").translate(hidden)
    assert b"\x1b" in plain


name_texts = st.one_of(
    st.sampled_from(sorted(all_names(dict(SECTIONS)) | {"InType3", "New"})),
    st.from_regex(r"\A[A-Za-z0-9_.%-]{1,20}\Z"),
)
names6 = st.one_of(
    st.sampled_from(sorted(all_names(dict(SECTIONS6)) | {"UdpLite6InErrors", "Icmp6InType135"})),
    st.from_regex(r"\A[IUT6cp]{1,9}[A-Za-z0-9]{0,9}\Z"),
)
values = st.one_of(st.sampled_from(VALUES), st.integers(0, 2**64 - 1))
titles = st.one_of(st.sampled_from([*SECTIONS, *OUTSIDE]), st.from_regex(r"\A[A-Za-z6]{1,8}\Z"))
section_lists = st.lists(
    st.tuples(titles, st.lists(st.tuples(name_texts, values), min_size=1, max_size=8)),
    max_size=5,
    unique_by=lambda one: one[0],
)


@settings(max_examples=60, deadline=None)
@given(
    section_lists,
    section_lists,
    st.lists(st.tuples(name_texts, values), max_size=5),
    st.lists(st.tuples(names6, values), max_size=15),
    st.lists(st.sampled_from(FLAG_SETS), min_size=2, max_size=5, unique=True),
)
def test_anything_that_netstat_can_read(
    snmp: Sections,
    netstat: Sections,
    sctp: list[tuple[str, int]],
    snmp6: list[tuple[str, int]],
    words: list[str],
) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        judge_files(
            Path(name),
            made_up(snmp, netstat, [("", sctp)], [("", snmp6)]),
            words,
        )


def test_the_order_is_that_of_the_places() -> None:
    """Whoever reads a capture gives rows as they come; those of other files are passed over."""
    counters = [
        Counter("snmp", "Icmp", "InEchos", 0, 1),
        Counter("snmp", "Icmp", "OutEchos", 1, 2),
        Counter("snmp", "Tcp", "InSegs", 2, 3),
        Counter("netstat", "TcpExt", "TW", 0, 4),
        Counter("sctp/snmp", "", "SctpShutdowns", 0, 5),
        Counter("sockstat", "TCP", "inuse", 0, 6),
        Counter("sockstat6", "TCP6", "inuse", 0, 7),
        Counter("conntrack", "", "count", 0, 8),
    ]
    text = statistics_text(counters, parse_flags(["-s"]))
    assert text.count(b":\n") == 6
    assert b"inuse" not in text
    for seed in range(10):
        shuffled = random.Random(seed).sample(counters, len(counters))
        assert statistics_text(shuffled, parse_flags(["-s"])) == text


def test_a_captures_negative_numbers_are_large_ones() -> None:
    text = statistics_text([Counter("snmp", "Tcp", "InSegs", 0, -(2**63))], parse_flags(["-s"]))
    assert text == b"Tcp:\n    9223372036854775808 segments received\n"
