"""ss's filters: what they let through against the installed ss, and where wrong ones are wrong."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sockrec.errors import UsageError
from sockrec.model.ss_row import SsRow, SsUnixRow
from sockrec.render.names import Names
from sockrec.render.ss_conditions import Predicate
from sockrec.render.ss_filter import parse
from tests.render.test_ss_messages import attribute, dumped
from tests.support import diag
from tests.support.netns import Namespace
from tests.support.ss_judge import difference, replayed, run_ss

ADDRESSES = (
    "0.0.0.0",
    "127.0.0.1",
    "10.0.0.5",
    "10.1.2.3",
    "::",
    "::1",
    "::ffff:10.0.0.5",
    "fd00::5",
    "a00::1",
)
PORTS = (0, 22, 53, 443, 1024, 40000)
MARKS = (0, 1, 0x2A)
NAMES = Names(
    services={
        (22, "tcp"): "ssh", (53, "tcp"): "domain", (53, "udp"): "domain", (9, "tcp"): "x", (8, "udp"): "x",
    },
    hosts={"10.0.0.5": "web", "fd00::5": "web", "10.1.2.3": "db"},
)  # fmt: skip


@pytest.fixture(scope="module")
def empty() -> Iterator[Namespace]:
    with Namespace() as namespace:
        yield namespace


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Draw a socket whose parts are few, so that conditions meet some and not others."""
    local = draw(st.sampled_from(ADDRESSES))
    remote = draw(st.sampled_from([one for one in ADDRESSES if (":" in one) == (":" in local)]))
    family = socket.AF_INET6 if ":" in local else socket.AF_INET
    local_port, remote_port = (socket.htons(draw(st.sampled_from(PORTS))) for _ in range(2))
    ends = (socket.inet_pton(family, local), socket.inet_pton(family, remote))
    device, recv_q = draw(st.sampled_from([0, 1])), draw(st.integers(0, 99))
    head = diag.MESSAGE.pack(
        family, 1, 0, 0, local_port, remote_port, *ends, device, 1, 0, recv_q, 0, 0, 0
    )  # fmt: skip
    return head + attribute(diag.MARK, draw(st.sampled_from(MARKS)).to_bytes(4, "little"))


HOSTS = st.sampled_from(
    (
        *(f"[{one}]" if ":" in one else one for one in ADDRESSES), "10.0.0.0/8", "10", "0x7f.1", "[fd00::/8]",
        "[::ffff:0:0/96]", "[::/0]", "0.0.0.0/0", "10.0.0.0/255.0.0.0", "[a00::/16]", "any", "*", "",
    )
)  # fmt: skip
PORT_WORDS = st.sampled_from((*map(str, PORTS), "*", "0x16", "026"))
COMPARISONS = ("=", "==", "eq", "!=", "ne", "neq", "<", "lt", "<=", "le", "leq", ">", "gt", ">=", "ge", "geq")
CONDITIONS = st.one_of(
    st.tuples(st.sampled_from(["src", "dst"]), st.sampled_from(["", "=", "=="]), HOSTS, PORT_WORDS).map(
        lambda four: f"{four[0]} {four[1]} {four[2]}:{four[3]}"
    ),
    st.tuples(st.sampled_from(["src", "dst"]), HOSTS.filter(bool)).map(" ".join),
    st.tuples(
        st.sampled_from(["sport", "dport"]), st.sampled_from(COMPARISONS), st.sampled_from(["", ":"]),
        PORT_WORDS.filter(lambda port: port != "*"),
    ).map(lambda four: f"{four[0]} {four[1]} {four[2]}{four[3]}"),
    st.sampled_from([
        "sport :ssh", "dport = domain", "dev lo", "dev != lo", "fwmark 1", "fwmark = 0x2", "fwmark 0x2/0x2",
        "fwmark != 0x2a/0xf", "autobound", "sport = :*", "dport *",
    ]),
)  # fmt: skip
FILTERS = st.recursive(
    CONDITIONS,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["!", "not"]), inner).map(lambda two: f"{two[0]} ( {two[1]} )"),
        st.tuples(st.sampled_from(["!", "not"]), CONDITIONS).map(" ".join),
        st.tuples(inner, st.sampled_from(["and", "&", "&&", "or", "|", "||", ""]), inner).map(" ".join),
        inner.map(lambda one: f"( {one} )"),
    ),
    max_leaves=5,
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(messages(), min_size=8, max_size=30), FILTERS)
def test_ss_lets_the_same_through(empty: Namespace, tmp_path: Path, told: list[bytes], words: str) -> None:
    """Of a dump in a file ss filters all by itself, as it does with raw sockets."""
    told.sort(key=lambda message: message[0])
    dumped(tmp_path / "dump", told)
    flags = f"-tan {shlex.quote(words)}"
    theirs = run_ss(empty, shlex.split(flags), {"TCPDIAG_FILE": str(tmp_path / "dump")})
    around = diag.Surroundings(interfaces={1: "lo"})
    rows = [diag.inet_row(message, "tcp", around)._replace(socket_id=-1) for message in told]
    ours = replayed((rows, []), flags, NAMES)
    assert ours == theirs, words + difference(theirs, ours)


WORDS = st.sampled_from((
    *COMPARISONS, "(", ")", "!", "not", "and", "or", "|", "src", "dst", "sport", "dport", "dev", "fwmark",
    "cgroup", "autobound", "state", "exclude", "established", "all", "unix:", "inet:", "inet6:[", "[", "]",
    "/", ":", "*", "10.0.0.5", "[::1]:22", "web", "ssh", "\\", "0x", "-1", "08", "1_0", "99999999999",
    "[[:x", "[b-a]", "[]", "[!]a]", "?", "%s",
))  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(st.lists(WORDS, max_size=12).map(" ".join), st.lists(WORDS).map("".join), st.text()),
    st.sampled_from([None, "unix", "inet", "inet6"]),
)
def test_any_words_are_understood_or_refused_in_one_line(words: str, family: str | None) -> None:
    damaged = row("no address", remote_address="10.0.0.5\0")
    told = ""
    try:
        accepts(words, row(), row("fd00::5"), damaged, family=family)
    except UsageError as error:
        told = str(error)
    assert "\n" not in told


def row(local: str = "10.0.0.5", port: int = 22, **others: Any) -> SsRow:
    family = "inet6" if ":" in local else "inet"
    remote = "::" if family == "inet6" else "0.0.0.0"
    made = SsRow("tcp", family, local, port, remote, 0, "ESTABLISHED", socket_id=1)
    return made._replace(**others)


def accepts(words: str, *rows: SsRow, family: str | None = None) -> list[bool]:
    predicate = Predicate(parse([words], family), NAMES, frozenset(("tcp", "udp")), (32768, 60999))
    return [predicate.accepts(one) for one in rows]


def test_names_are_the_recorded_hosts() -> None:
    """A name of several addresses means any of them; of a port, the one in the tables asked for."""
    web, web6, db = row(), row("fd00::5"), row("10.1.2.3", 53)
    assert accepts("src web", web, web6, db) == [True, True, False]
    assert accepts("src web", web, web6, db, family="inet6") == [False, True, False]
    assert accepts("src db:domain", web, db) == [False, True]
    assert accepts("not src web", web, web6, db) == [False, False, True]


def test_brackets_may_touch_and_states_may_be_netstats() -> None:
    given_ = parse(["state LISTEN (sport = :22 or !(dport = :443)) and not (src 10.0.0.5)"])
    spaced = parse(["state listening ( sport = :22 or ! ( dport = :443 ) ) and not ( src 10.0.0.5 )"])
    assert given_.states == spaced.states == 1 << 10
    both = (row(), row("10.1.2.3"), row("10.1.2.3", 443, remote_port=443))
    for one in (given_, spaced):
        predicate = Predicate(one, NAMES, frozenset(("tcp",)), (1, 2))
        assert [predicate.accepts(each) for each in both] == [False, True, False]


def test_a_cgroup_is_named_from_any_mount_point() -> None:
    inside, other = row(cgroup="/system.slice/ssh.service"), row(cgroup="/user.slice")
    for path in (
        "/system.slice/ssh.service",
        "system.slice/ssh.service/",
        "/sys/fs/cgroup/system.slice/ssh.service",
    ):
        assert accepts(f"cgroup {path}", inside, other) == [True, False]
        assert accepts(f"cgroup != {path}", inside, other) == [False, True]


def test_patterns_of_paths_are_the_shells() -> None:
    def names(pattern: str) -> list[bool]:
        predicate = Predicate(parse([f"src {pattern}"], "unix"), NAMES, frozenset(), (1, 2))
        paths = ("/run/a.sock", "/run/[b]", "@abc", None)
        return [
            predicate.accepts_unix(SsUnixRow("STREAM", "LISTEN", number, path))
            for number, path in enumerate(paths, 1)
        ]

    assert names("/RUN/*") == [True, True, False, False]
    assert names(r"*[[]b\\]") == [False, True, False, False]
    assert names("/run/[!a-c]*") == [False, True, False, False]
    assert names("@a?c") == [False, False, True, False]
    assert names("*[]]") == [False, True, False, False]
    assert names("/run/[!]a]*") == [False, True, False, False]
    assert names("/run/[") == names("[]") == [False] * 4


def test_inodes_stand_for_the_ports_of_unix_sockets() -> None:
    def lets_through(words: str) -> bool:
        row = SsUnixRow("STREAM", "ESTABLISHED", 77, None, peer_inode=88)
        return Predicate(parse([words]), NAMES, frozenset(), (1, 2)).accepts_unix(row)

    assert lets_through("sport = :77 dport = :88")
    assert not lets_through("sport = :88 or dport = :77")


@pytest.mark.parametrize(
    ("marked", "why"),
    [
        ("dport▸", "a port is missing after dport"),
        ("dport =▸", "a port is missing after dport"),
        ("dport = ▸and sport = :1", "a port is missing after dport"),
        ("( dport = :3▸", "a closing bracket is missing"),
        ("dport = :3 ▸)", "this bracket was never opened"),
        ("dport = :3 or▸", "a condition is missing"),
        ("▸or dport = :3", "a condition begins with one of src, dst"),
        ("( ▸)", "a condition begins with"),
        ("▸port 22", "a condition begins with"),
        ("dst ▸!= 10.0.0.1", "write: not dst ..."),
        ("fwmark ▸> 3", "fwmark is compared with"),
        ("state listening state▸", "the name of a state is missing"),
        ("state ▸nothing", "no state; ss knows all, connected"),
        ("dport = :22 ▸state established", "states come before every other condition"),
        ("sport = ▸:nothing", "the recorded host knew no port 'nothing'; give its number"),
        ("sport = ▸:x", "'x' is the name of the ports 8 and 9; give one of them"),
        ("sport = ▸:65536", "ports go from 0 to 65535"),
        ("sport > ▸:*", "> needs a port"),
        ("dst ▸10.0.0.256", "no address, and no name that the recorded host knew"),
        ("dst ▸10.0.0.0/33", "a prefix has 0 to 32 bits"),
        ("dst ▸[fd00::/129]", "a prefix has 0 to 128 bits"),
        ("dst ▸10.0.0.0/255.0.255.0", "a prefix has 0 to 32 bits"),
        ("dst ▸fd00::1", "an IPv6 address goes in brackets"),
        ("dst ▸[::1", "an IPv6 address is written"),
        ("dst ▸[::1]22", "an IPv6 address is written"),
        ("dst ▸nowhere.example/8", "is no internet address or prefix"),
        ("dst inet6:▸10.0.0.1", "is no inet6 address or prefix"),
        ("dst ▸link:eth0", "link sockets are not recorded"),
        ("src inet:10.0.0.1 or src ▸unix:/x", "the filter asked for inet addresses before"),
        ("fwmark ▸x", "a mark is a number, or number/mask"),
        ("dev ▸3", "name the device"),
        ("src unix:▸*[[:digit:]]", "of patterns *, ?, [a-z] and [!a-z] are understood"),
        ("src unix:▸[b-a]", "of patterns *, ?, [a-z] and [!a-z] are understood"),
        ("sport >= unix:▸/x", "names of UNIX sockets are compared with = and != alone"),
    ],
)
def test_where_a_filter_is_wrong(marked: str, why: str) -> None:
    words = marked.replace("▸", "")
    with pytest.raises(UsageError) as raised:
        accepts(words, row())
    told = str(raised.value)
    assert why in told
    assert "\n" not in told
    place = marked.index("▸")
    where = "at its end: " if place == len(words) else f"at character {place + 1} ("
    assert f"{words!r}, {where}" in told


@pytest.mark.parametrize(
    "words",
    [
        "dport", "( dport = :3", "dport = :3 )", "dport = :3 or", "or dport = :3", "( )", "port 22",
        "dst != 10.0.0.1",
        "fwmark > 3", "state nothing", "sport = :nothing", "dst 10.0.0.256", "dst 10.0.0.0/33", "dst fd00::1",
        "dst [::1", "fwmark x", "dst inet6:10.0.0.1", "dport = :22 state established",
    ],
)  # fmt: skip
def test_ss_refuses_these_too(words: str, empty: Namespace) -> None:
    assert empty.run("ss", "-tan", *words.split()).returncode != 0
