"""UNIX sockets as text: what the installed netstat prints of the same sockets, to the byte."""

from __future__ import annotations

import os
import random
import socket
import subprocess
from pathlib import Path

import pytest

from sockrec.model.unix_row import UnixRow
from sockrec.render.names import Names, encode, printable
from sockrec.render.netstat_flags import parse_flags
from sockrec.render.netstat_unix import netstat_unix
from tests.support.netns import Namespace
from tests.support.own_etc import difference
from tests.support.unix_population import HARMLESS, HOSTILE, UnixPopulation

FLAG_SETS = (
    "-x", "-xa", "-xl", "-xal", "-xe", "-xae", "-xlee", "-xo", "-xao", "-xn", "-xan", "-xW", "-xaW", "-xN",
    "-xF", "-xC", "-xv", "-xd", "-xx", "--unix", "--unix --all", "--unix --lis", "-A unix", "-A unix,unix -l",
    "--protocol=unix -a", "-xan --extend", "-x --numeric-hosts", "-xa --numeric-ports --numeric-users",
)  # fmt: skip
# For these netstat looks at every process of the host.
WITH_PROGRAMS = ("-xp", "-xap", "-xlp", "-xapeoW", "--unix --all --programs", "-xnp", "-xlpen")
# What stands before the block is another part's.
WITH_OTHERS = ("", "-a", "-l", "-an", "-lnp", "-tx", "-xua", "-x4l", "-x6", "-xgn", "-axgnp", "-xtgln")


def text(rows: list[UnixRow], words: str) -> bytes:
    return encode("".join(netstat_unix(rows, parse_flags(words.split()), Names())))


def run(namespace: Namespace, words: str) -> bytes:
    done = subprocess.run(
        namespace.command("netstat", *words.split()),
        capture_output=True,
        env={**os.environ, "LC_ALL": "C"},
        check=True,
    )
    return done.stdout[done.stdout.index(b"Active UNIX") :]


@pytest.mark.parametrize("seed", range(6))
def test_sockets_of_every_type_and_state_are_netstats_to_the_byte(
    netns: Namespace, tmp_path: Path, seed: int
) -> None:
    with UnixPopulation(netns, tmp_path, seed, HARMLESS * 3) as population:
        rows = population.settle()
        every = (*FLAG_SETS, *WITH_PROGRAMS, *WITH_OTHERS)
        for words in random.Random(seed).sample(every, 8) if seed else every:
            theirs, ours = run(netns, words), text(rows, words)
            assert theirs == ours, f"netstat {words}{difference(theirs, ours)}"
    assert len(rows) > 150
    kinds = {(row.type, row.state, row.path is not None) for row in rows}
    for kind in ("STREAM", "SEQPACKET"):
        for state in ("LISTEN", "ESTABLISHED", "UNCONN", "CONNECTING"):
            assert any(found[:2] == (kind, state) for found in kinds), (kind, state)
    # The kernel tells no type of a connection that waits for room in a queue.
    assert {kind[:2] for kind in kinds if kind[1] == "DISCONNECTING"} == {("0", "DISCONNECTING")}
    assert {("DGRAM", "ESTABLISHED", False), ("DGRAM", "UNCONN", True), ("DGRAM", "UNCONN", False)} <= kinds
    assert {row.inode == 0 for row in rows} == {True, False}
    assert any(b" -  " in line for line in text(rows, "-xap").splitlines())
    assert sum(b"/python" in line for line in text(rows, "-xlp").splitlines()) > 20


@pytest.mark.parametrize("seed", range(4))
def test_names_that_steer_a_terminal_differ_in_nothing_else(
    netns: Namespace, tmp_path: Path, seed: int
) -> None:
    with UnixPopulation(netns, tmp_path, seed, HOSTILE * 2) as population:
        rows = population.settle()
        for words in ("-xa", "-xap", "-x", "-xl"):
            theirs = encode(
                "\n".join(map(printable, run(netns, words).decode("utf-8", "surrogateescape").split("\n")))
            )
            assert theirs == text(rows, words), f"netstat {words}{difference(theirs, text(rows, words))}"
    shown = text(rows, "-xa")
    assert not any(byte < 0x20 and byte != 0x0A for byte in shown)
    assert shown.count(b"\n") == len(rows) + 2


def test_a_name_that_looks_like_a_row_makes_none(netns: Namespace) -> None:
    forged = b"\0a\n0: 00000002 00000000 00010000 0001 01 77 /run/false"
    with netns.entered():
        liar = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with liar:
        liar.bind(forged)
        theirs = run(netns, "-xa")
        row = UnixRow(2, "STREAM", "UNCONN", os.fstat(liar.fileno()).st_ino, "@" + forged[1:].decode())
    assert b"/run/false" in theirs
    (line,) = text([row], "-xa").splitlines()[2:]
    assert line in theirs.splitlines()
    assert line.endswith(b" @a")


def test_an_owner_is_named_only_while_it_holds_the_socket() -> None:
    row = UnixRow(2, "STREAM", "LISTEN", 7, "/run/x", pid=12, argv0="/usr/sbin/x y", owner="held")
    held, *others = (
        text([one], "-xlp").splitlines()[2][59:]
        for one in (row, row._replace(owner="last"), row._replace(inode=0), row._replace(pid=None))
    )
    assert held == b"12/x y               /run/x"
    assert set(others) == {b"-                    /run/x"}


def test_nothing_is_printed_unless_asked_for() -> None:
    row = UnixRow(2, "STREAM", "LISTEN", 7, "/run/x")
    for words in ("-t", "-g", "-6", "-4", "-r", "-i", "-s"):
        assert text([row], words) == b""


def test_whatever_a_capture_holds_no_control_character_gets_through() -> None:
    row = UnixRow(-1, "ST\x1bREAM", "\nODD", 1 << 70, "x\0\x1b\ud800"[:3])
    shown = text([row], "-xa").splitlines()[2]
    assert not any(byte < 0x20 for byte in shown)
    assert shown.endswith(b" x@?")
