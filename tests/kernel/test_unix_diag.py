"""UNIX sockets of all types, names and states, by both ways."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, chdir
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from sockrec.kernel import proc_unix, unix_diag
from sockrec.kernel.arrays import MEMORY_FIELDS, NULL, UnixSockets
from sockrec.kernel.netlink import DiagSocket, NetlinkError
from sockrec.model import states
from tests.kernel.test_netlink import done, framed, message
from tests.support.netns import Namespace


@dataclass
class Population:
    """UNIX sockets in a namespace: the name each bound one should have, and both readings of them."""

    names: dict[int, str]
    pairs: list[tuple[int, int]]
    users: dict[int, int]
    listener: int
    waiting: int
    by_diag: UnixSockets
    by_proc: UnixSockets


@pytest.fixture
def population(netns: Namespace, tmp_path: Path) -> Iterator[Population]:
    names, pairs, users = {}, [], {}

    def inode(made: socket.socket) -> int:
        return os.fstat(made.fileno()).st_ino

    with ExitStack() as stack, netns.entered(), chdir(tmp_path):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
            for number, (name, shown) in enumerate(
                (
                    (b"short", "short"),
                    (os.fsencode(tmp_path) + b"/with a blank", f"{tmp_path}/with a blank"),
                    (b"x" * 107, "x" * 107),
                    ("\u00fcml\u00e4ut".encode(), "\u00fcml\u00e4ut"),
                    (b"not\xffutf8", "not\\xffutf8"),
                    (b"line\nbreak", "line\nbreak"),
                    (b"\0abstract", "@abstract"),
                    (b"\0nul\0inside", "@nul@inside"),
                    (b"\0" + b"y" * 107, "@" + "y" * 107),
                )
            ):
                made = stack.enter_context(socket.socket(socket.AF_UNIX, kind))
                suffix = b"" if len(name) > 100 else b"%d%d" % (kind, number)
                if len(name) > 100:
                    name, shown = name[:-2] + b"%d%d" % (kind, number), shown[:-2] + f"{kind}{number}"
                made.bind(name + suffix)
                names[inode(made)] = shown + suffix.decode()
            one, other = (stack.enter_context(made) for made in socket.socketpair(socket.AF_UNIX, kind))
            one.send(b"x" * 99)
            pairs += [(inode(one), inode(other)), (inode(other), inode(one))]
            stack.enter_context(socket.socket(socket.AF_UNIX, kind))
        os.seteuid(4321)
        owned = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        os.seteuid(0)
        users[inode(owned)] = 4321
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind("listener")
        names[inode(listener)] = "listener"
        listener.listen(5)
        for _ in range(2):
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            waiting.connect("listener")
        with DiagSocket() as diag:
            by_diag = unix_diag.decode(diag.messages(unix_diag.dump(diag)))
            diag.rewind()
            diag.dump(20, struct.pack("=BBHIII8x", 1, 0, 0, 1 << 1, 0, 0))  # overwrites what was decoded
        by_proc = proc_unix.unix()
        assert by_proc is not None
        yield Population(names, pairs, users, inode(listener), inode(waiting), by_diag, by_proc)


def row_of(sockets: UnixSockets, inode: int) -> int:
    (row,) = np.flatnonzero(sockets.inode == inode)
    return int(row)


def test_both_ways_agree_in_order(population: Population) -> None:
    """The two connections that wait for accept have no inode yet: only /proc/net/unix has rows of them."""
    by_diag, by_proc = population.by_diag, population.by_proc
    assert len(by_diag) == 3 * (9 + 2 + 1) + 1 + 1 + 2
    held = np.flatnonzero(by_proc.inode)
    assert len(by_proc) == len(held) + 2
    for name in ("type", "state", "inode"):
        np.testing.assert_array_equal(getattr(by_diag, name), getattr(by_proc, name)[held], err_msg=name)
    assert by_diag.paths(np.arange(len(by_diag))) == by_proc.paths(held)


def test_a_dump_is_completed(population: Population) -> None:
    """Connections not accepted yet come to stand where /proc/net/unix has them, references as it tells."""
    whole = proc_unix.complete(population.by_diag, population.by_proc)
    told = population.by_proc
    everything = np.arange(len(told))
    for name in ("type", "state", "inode", "refcount"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(told, name), err_msg=name)
    assert whole.paths(everything) == told.paths(everything)
    waiting = whole.inode == 0
    assert whole.state[waiting].tolist() == [states.CONNECTING] * 2
    assert whole.paths(np.flatnonzero(waiting)) == ["listener"] * 2
    assert len(set(whole.cookie.tolist())) == len(whole)
    assert (whole.cookie[waiting] < 0).all()
    assert (whole.cookie[~waiting] > 0).all()


def test_references_are_told_without_proc(netns: Namespace) -> None:
    """Peers, gone ones too, and many that are connected to one; nothing waits to be accepted."""
    with ExitStack() as stack, netns.entered():
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
            for made in socket.socketpair(socket.AF_UNIX, kind):
                stack.enter_context(made)
            one, other = socket.socketpair(socket.AF_UNIX, kind)
            stack.enter_context(one)
            other.close()
        server = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        server.bind("\0server")
        for _ in range(5):
            stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)).connect("\0server")
        itself = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        itself.bind("\0itself")
        itself.connect("\0itself")
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind("\0listener")
        listener.listen()
        stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)).connect("\0listener")
        stack.enter_context(listener.accept()[0])
        with DiagSocket() as diag:
            sockets = unix_diag.decode(diag.messages(unix_diag.dump(diag)))
        told = proc_unix.unix()
    assert told is not None
    assert not unix_diag.is_telling_less(sockets)
    assert sockets.inode.tolist() == told.inode.tolist()
    assert sockets.refcount.tolist() == told.refcount.tolist()
    assert set(sockets.refcount.tolist()) == {2, 3, 7}


def test_one_closed_before_it_was_accepted() -> None:
    """Its other end is gone, and its kernel address may be hidden: two of one path stay two."""
    header = b"Num       RefCount Protocol Flags    Type St Inode Path\n"
    row = b"0000000000000000: 00000002 00000000 00000000 0001 02 0 /run/x\n"
    listener = b"0000000000000000: 00000003 00000000 00010000 0001 01 77 /run/x\n"
    sockets = proc_unix.parse(header + row + listener + row + row.replace(b" 02 ", b" 04 "))
    assert sockets.state.tolist() == [
        states.CONNECTING, states.LISTEN, states.CONNECTING, states.DISCONNECTING,
    ]  # fmt: skip
    assert len(set(sockets.cookie.tolist())) == 4


@pytest.mark.parametrize("way", ["by_diag", "by_proc"])
def test_names_are_as_they_were_bound(population: Population, way: str) -> None:
    sockets: UnixSockets = getattr(population, way)
    rows = np.array([row_of(sockets, inode) for inode in population.names])
    assert sockets.paths(rows) == list(population.names.values())
    unnamed = [row_of(sockets, inode) for inode, _ in population.pairs]
    assert sockets.paths(np.array(unnamed)) == [None] * 6


def test_peers_users_and_cookies(population: Population) -> None:
    sockets = population.by_diag
    for inode, peer in population.pairs:
        assert sockets.peer_inode[row_of(sockets, inode)] == peer
    (lonely,) = population.users
    assert sockets.peer_inode[row_of(sockets, lonely)] == NULL
    assert sockets.uid[row_of(sockets, lonely)] == 4321
    assert sockets.uid[row_of(sockets, population.listener)] == 0
    assert len(set(sockets.cookie.tolist()) - {0}) == len(sockets)


def test_queues_and_states(population: Population) -> None:
    sockets = population.by_diag
    listener = row_of(sockets, population.listener)
    assert sockets.state[listener] == states.LISTEN
    assert (sockets.recv_q[listener], sockets.send_q[listener], sockets.backlog_limit[listener]) == (2, 0, 5)
    assert sockets.state[row_of(sockets, population.waiting)] == states.ESTABLISHED
    for _, receiver in population.pairs[::2]:
        assert sockets.recv_q[row_of(sockets, receiver)] == 99
        assert sockets.backlog_limit[row_of(sockets, receiver)] == NULL
        assert sockets.state[row_of(sockets, receiver)] == states.ESTABLISHED
    (lonely,) = population.users
    assert sockets.state[row_of(sockets, lonely)] == states.CLOSE


def test_shutdowns_files_and_memory(population: Population, tmp_path: Path) -> None:
    sockets = population.by_diag
    file = tmp_path / "listener"
    row = row_of(sockets, population.listener)
    assert sockets.vfs_inode[row] == file.stat().st_ino
    device = int(sockets.vfs_device[row])
    assert os.makedev(device >> 20, device & 0xFFFFF) == file.stat().st_dev
    abstract = next(inode for inode, name in population.names.items() if name.startswith("@"))
    assert sockets.vfs_inode[row_of(sockets, abstract)] == NULL
    assert sockets.vfs_device[row_of(sockets, abstract)] == NULL
    told = dict(zip(MEMORY_FIELDS, sockets.memory, strict=True))
    sender, receiver = (row_of(sockets, inode) for inode in population.pairs[0])
    assert told["wmem"][sender] > 99
    assert told["rmem"][receiver] == 0  # what waits is charged to the sender
    assert (told["sndbuf"] > 0).all()
    assert (sockets.shutdown == 0).all()
    assert (population.by_proc.shutdown == -1).all()
    assert (population.by_proc.memory == NULL).all()


def test_which_ways_are_shut_down(netns: Namespace) -> None:
    with ExitStack() as stack, netns.entered():
        wanted: dict[int, int] = {}
        for how, (mine, theirs) in (
            (socket.SHUT_RD, (1, 2)),
            (socket.SHUT_WR, (2, 1)),
            (socket.SHUT_RDWR, (3, 3)),
        ):
            one, other = (stack.enter_context(made) for made in socket.socketpair())
            one.shutdown(how)
            wanted |= {os.fstat(one.fileno()).st_ino: mine, os.fstat(other.fileno()).st_ino: theirs}
        with DiagSocket() as diag:
            sockets = unix_diag.decode(diag.messages(unix_diag.dump(diag)))
    assert {inode: int(sockets.shutdown[row_of(sockets, inode)]) for inode in wanted} == wanted


def test_memory_of_other_kernels() -> None:
    """Older ones tell less; memory taken in advance may be below 0; what is empty tells nothing."""
    short = message(head(1) + struct.pack("=HH5I", 24, 5, 1, 2, 3, 4, 0xFFFFF000))
    long = message(head(2) + struct.pack("=HH10I", 44, 5, *range(10, 20)) + struct.pack("=HHB3x", 5, 6, 3))
    empty = message(head(3) + struct.pack("=HHHH", 4, 5, 4, 6))
    sockets = unix_diag.decode(framed(short + long + empty, done()))
    assert sockets.memory.T.tolist() == [
        [1, 2, 3, 4, -4096, NULL, NULL, NULL, NULL],
        list(range(10, 19)),
        [NULL] * 9,
    ]
    assert sockets.shutdown.tolist() == [-1, 3, -1]


def head(inode: int, state: int = 1) -> bytes:
    return struct.pack("=BBBBIQ", 1, 1, state, 0, inode, inode)


def test_unknown_and_missing_attributes() -> None:
    unknown = struct.pack("=HHI", 8, 300, 5)
    peer = struct.pack("=HHI", 8, 2, 77)
    no_uid = message(head(1) + unknown + peer)
    with_uid = message(head(2, state=3) + struct.pack("=HHI", 8, 7, 1000))
    short = message(head(3) + struct.pack("=HHI", 8, 4, 9))  # RQLEN with only one of its two numbers
    sockets = unix_diag.decode(framed(no_uid + with_uid + short + message(head(4)), done()))
    assert sockets.inode.tolist() == [1, 2, 3, 4]
    assert sockets.state.tolist() == [1, 7, 1, 1]
    assert sockets.peer_inode.tolist() == [77, NULL, NULL, NULL]
    assert sockets.uid.tolist() == [NULL, 1000, NULL, NULL]
    assert sockets.recv_q.tolist() == [NULL, NULL, 9, NULL]
    assert sockets.send_q.tolist() == [NULL] * 4


def test_no_sockets() -> None:
    sockets = unix_diag.decode(framed(done()))
    assert len(sockets) == len(UnixSockets.empty()) == 0
    assert sockets.paths(np.arange(0)) == []


@pytest.mark.parametrize(
    "broken",
    [
        message(head(1)[:12]),
        message(head(1) + struct.pack("=HH", 9, 0)),
        message(head(1) + struct.pack("=HH", 2, 0)),
    ],
    ids=["no whole unix_diag_msg", "attribute too long", "attribute too short"],
)
def test_broken_messages_are_an_error(broken: bytes) -> None:
    with pytest.raises(NetlinkError) as raised:
        unix_diag.decode(framed(message(head(9)) + broken, done()))
    assert raised.value.errno == errno.EBADMSG
