"""Multicast groups as text: what the installed netstat prints of the same groups, to the byte."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sockrec.kernel import groups
from sockrec.kernel import names as name_files
from sockrec.model.network import Group
from sockrec.render.names import Names, encode
from sockrec.render.netstat_flags import parse_flags
from sockrec.render.netstat_groups import netstat_groups
from tests.faults.scale import cases
from tests.support.netns import Namespace
from tests.support.own_etc import OwnEtc, difference

FLAG_SETS = (
    "-g", "-gn", "-gN", "-ga", "-gl", "-ge", "-gW", "-gp", "-go", "-gF", "-gC", "-gv", "--groups",
    "--gro --numeric", "-g --numeric-hosts", "-g --numeric-ports", "-g --numeric-users", "-gg", "-gan",
)  # fmt: skip
# With a family netstat prints internet sockets too: their two lines of title come first.
WITH_TITLE = ("-g4", "-g6", "-g4n", "-g46n", "-gt", "-gtn4", "-gu6", "-gw", "-g --inet6 -n", "-gAinet")

LINKS = ("x", "ten-bytes-", "a-fifteen-bytes", "v\u00e4th1")
HOSTS = (
    b"""224.0.0.1 all-systems
239.1.2.3 a-group-with-a-name-longer-than-the-others.example.org
ff02::1 ip6-allnodes
ff05::1:3 gr\xc3\xbcppe
"""
    + b"ff05::2 "
    + b"n" * 128
    + b"\n239.1.2.4 "
    + b"m" * 140
    + b"\n"
)
IPV4 = ("239.1.2.3", "239.1.2.4", "224.0.1.129", "232.255.255.255", "224.0.0.251")
IPV6 = ("ff05::1:3", "ff05::2", "ff02::fb", "ff0e::db8:1:2:3", "ff3e:40:2001:db8::1")


@pytest.fixture
def links(netns: Namespace) -> Namespace:
    """Give a namespace with several interfaces that take multicast."""
    for number, name in enumerate(LINKS):
        ip = ["ip", "-n", netns.name]
        subprocess.run([*ip, "link", "add", name, "type", "veth", "peer", "name", f"far{number}"], check=True)
        subprocess.run([*ip, "link", "set", name, "up"], check=True)
        subprocess.run([*ip, "address", "add", f"10.{number}.0.1/24", "dev", name], check=True)
    return netns


@contextlib.contextmanager
def joined(namespace: Namespace, seed: int) -> Iterator[None]:
    """Hold sockets that have joined groups on several interfaces, some of them twice."""
    draw = random.Random(seed)
    with namespace.entered(), contextlib.ExitStack() as stack:
        for _ in range(12):
            index = socket.if_nametoindex(draw.choice((*LINKS, "lo")))
            inet = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            for address in draw.sample(IPV4, 3):
                member = struct.pack("=4s4si", socket.inet_aton(address), bytes(4), index)
                inet.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
            inet6 = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
            for address in draw.sample(IPV6, 3):
                member = struct.pack("=16si", socket.inet_pton(socket.AF_INET6, address), index)
                inet6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
        yield


def rows_in(namespace: Namespace) -> list[Group]:
    with namespace.entered():
        reading = groups.table().read()
    assert reading.incomplete == ()
    return reading.rows


def text(rows: list[Group], words: str, names: Names) -> bytes:
    return encode("".join(netstat_groups(rows, parse_flags(words.split()), names)))


@pytest.mark.parametrize("seed", range(cases(4, 8)))
def test_groups_are_netstats_to_the_byte(links: Namespace, tmp_path: Path, seed: int) -> None:
    etc = OwnEtc(tmp_path / "etc", HOSTS)
    names = Names(hosts=name_files.hosts(etc.folder / "hosts"))
    with joined(links, seed):
        for words in (*FLAG_SETS, *WITH_TITLE):
            for _ in range(20):
                rows = rows_in(links)
                done = etc.netstat(links, words.split())
                if rows == rows_in(links):  # a link that came up joins groups of its own, a little later
                    break
            else:
                raise AssertionError("the groups never hold still")
            theirs = done.stdout
            if words in WITH_TITLE:
                start = theirs.index(b"IPv6/")
                assert theirs[:start].startswith(b"Active Internet connections ")
                theirs = theirs[start:]
            assert theirs == text(rows, words, names), (
                f"{words}{difference(theirs, text(rows, words, names))}"
            )
    assert any(row.users > 1 for row in rows)
    assert {row.family for row in rows} == {"inet", "inet6"}
    shown = text(rows, "-g", names)
    assert b"ip6-allnodes\n" in shown
    assert b"all-systems\n" in shown


def test_nothing_is_printed_unless_asked_for() -> None:
    row = Group("inet", 1, "lo", "224.0.0.1", 1)
    for words in ("", "-a", "-t", "-x", "-r", "-i", "-s"):
        assert text([row], words, Names()) == b""


def test_names_that_steer_a_terminal_are_shown_as_question_marks() -> None:
    row = Group("inet", 1, "e\x1b[2J\x9b", "224.0.0.1", 1)
    names = Names(hosts={"224.0.0.1": "all\nhosts\u202e"})
    assert text([row], "-g", names).split(b"\n")[3] == b"e?[2J??         1      all?hosts???"
    assert text([row._replace(address="1\x07")], "-gn", names).endswith(b" 1      1?\n")
