"""What a reader does where the kernel refuses, lacks, or interrupts what it asks for."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from sockrec.errors import KernelError
from sockrec.kernel import proc_net
from sockrec.kernel.netlink import DiagSocket, Dump, Messages, NetlinkError
from sockrec.kernel.sockets import NUMBERS, SocketReader
from tests.support.netns import Namespace

# Run in a process of its own: a seccomp filter stays for good. It refuses socket(AF_NETLINK, ...).
SANDBOXED = """
import ctypes, errno, json, platform, struct, sys
number = {"x86_64": 41, "aarch64": 198}[platform.machine()]
instructions = [
    (0x20, 0, 0, 0), (0x15, 0, 3, number),       # is it socket()?
    (0x20, 0, 0, 16), (0x15, 0, 1, 16),          # is its family AF_NETLINK?
    (0x06, 0, 0, 0x00050000 | errno.EPERM), (0x06, 0, 0, 0x7FFF0000),
]
code = b"".join(struct.pack("=HBBI", *each) for each in instructions)
held = ctypes.create_string_buffer(code, len(code))
program = struct.pack("@HP", len(instructions), ctypes.addressof(held))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0, ctypes.get_errno()
from sockrec.kernel.sockets import SocketReader
with SocketReader() as reader:
    reading = reader.read()
print(json.dumps([reader.unavailable, reading.incomplete, sorted(reading.failed),
                  reading.inet.inode.tolist(), reading.unix.inode.tolist()]))
"""


def test_a_sandbox_that_refuses_netlink(netns: Namespace) -> None:
    """The same sockets come from /proc/net, and what is lost is said once."""
    with netns.entered(), SocketReader() as reader:
        made = [socket.create_server(("10.0.0.5", port)) for port in (7071, 7072)]
        made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        made[-1].bind(("10.0.0.5", 53))
        made += socket.socketpair()
        expected = reader.read()
        environment = os.environ | {"PYTHONPATH": str(Path(proc_net.__file__).parents[2])}
        command = netns.command(sys.executable, "-c", SANDBOXED)
        run = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        for each in made:
            each.close()
    unavailable, incomplete, failed, inodes, unix_inodes = json.loads(run.stdout)
    (line,) = unavailable
    assert "Operation not permitted" in line
    assert "cookies" in line
    assert (incomplete, failed) == ([], [])
    assert inodes == expected.inet.inode.tolist()
    assert len(inodes) == 3
    assert set(expected.unix.inode.tolist()) == set(unix_inodes)


class Counting(DiagSocket):
    """A real netlink socket whose requests are counted, and whose answers can be made to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[int, int, int]] = []
        self.refuse: Callable[[int, int, int], int] = lambda *_: 0
        self.interrupt: Callable[[int], bool] = lambda _: False

    def dump(self, kind: int, request: bytes) -> Dump:
        asked = (kind, request[0], request[1])
        self.asked.append(asked)
        refused = self.refuse(*asked)
        if refused:
            raise NetlinkError(refused, os.strerror(refused))
        return super().dump(kind, request)

    def messages(self, dump: Dump) -> Messages:
        messages = super().messages(dump)
        if self.interrupt(len(self.asked)):
            messages.incomplete = "sockets changed"
        return messages


@pytest.fixture
def diag(monkeypatch: pytest.MonkeyPatch, netns: Namespace) -> Iterator[type[Counting]]:
    """Let readers count their requests, in a namespace where nobody else opens sockets."""
    monkeypatch.setattr("sockrec.kernel.sockets.DiagSocket", Counting)
    with netns.entered():
        yield Counting


def counting(reader: SocketReader) -> Counting:
    assert isinstance(reader._diag, Counting)
    return reader._diag


def test_one_request_does_for_tcp(diag: type[Counting]) -> None:
    with SocketReader() as reader:
        reader.read()
        first = list(counting(reader).asked)
        reader.read()
        second = counting(reader).asked[len(first) :]
    assert [asked for asked in first if asked[0] == 18] == [(18, socket.AF_UNSPEC, 0)]
    assert (20, socket.AF_INET, socket.IPPROTO_TCP) not in first
    # What this kernel was found to lack is not asked for again.
    lacked = {asked for asked in first if asked not in second}
    assert (20, socket.AF_INET, 132) in lacked or Path("/proc/net/sctp").exists()


def test_what_is_lacking_is_said_once(diag: type[Counting]) -> None:
    absent = errno.ENOENT
    with SocketReader() as reader, socket.create_server(("127.0.0.1", 0)) as server:
        counting(reader).refuse = lambda *asked: absent if asked[2] in (17, 255, 132) else 0
        readings = [reader.read() for _ in range(3)]
        said = reader.unavailable
        inode = os.fstat(server.fileno()).st_ino
    assert [line.split(":")[0] for line in said] == ["udp", "raw"]
    assert all("without cookies" in line for line in said)
    for reading in readings:
        assert (reading.incomplete, reading.failed) == ((), frozenset())
        row = np.flatnonzero(reading.inet.inode == inode)
        assert len(row) == 1
        assert reading.inet.cookie[row[0]] != 0


def test_a_kernel_without_the_old_request_gets_two_new_ones(diag: type[Counting]) -> None:
    with SocketReader() as reader, socket.create_server(("::1", 0), family=socket.AF_INET6):
        expected = reader.read().inet
        counting(reader).refuse = lambda kind, *_: errno.EINVAL if kind == 18 else 0
        got = reader.read().inet
        assert reader.read().failed == frozenset()
        asked = counting(reader).asked
    assert sum(kind == 18 for kind, _, _ in asked) == 2
    assert sum(each == (20, socket.AF_INET6, 6) for each in asked) == 2
    assert set(got.cookie.tolist()) == set(expected.cookie.tolist())


def test_netlink_refused_later_gives_way_to_proc(diag: type[Counting]) -> None:
    with SocketReader() as reader, socket.create_server(("127.0.0.1", 0)) as server:
        counting(reader).refuse = lambda *_: errno.EACCES
        reading = reader.read()
        assert os.fstat(server.fileno()).st_ino in reading.inet.inode.tolist()
        (line,) = reader.unavailable
        assert "Permission denied" in line
        assert reader._diag is None
        reader.read()
        assert reader.unavailable == (line,)


@pytest.mark.parametrize("interrupted", [1, 3])
def test_an_interrupted_dump_is_read_again(diag: type[Counting], interrupted: int) -> None:
    with SocketReader() as reader, socket.create_server(("127.0.0.1", 0)):
        expected = reader.read().inet
        counting(reader).asked.clear()
        counting(reader).interrupt = lambda count: count <= interrupted
        reading = reader.read()
        asked = counting(reader).asked
    assert asked[: interrupted + 1] == [(18, 0, 0)] * (interrupted + 1)
    assert asked[interrupted + 1] != (18, 0, 0)
    assert (reading.incomplete, reading.failed) == ((), frozenset())
    np.testing.assert_array_equal(reading.inet.cookie, expected.cookie)


def test_a_dump_interrupted_too_often_is_kept_and_marked(diag: type[Counting]) -> None:
    with SocketReader() as reader, socket.create_server(("127.0.0.1", 0)):
        expected = reader.read().inet
        counting(reader).asked.clear()
        counting(reader).interrupt = lambda count: count <= 4
        reading = reader.read()
        assert counting(reader).asked[:5].count((18, 0, 0)) == 4
        after = reader.read()
    assert reading.incomplete == ("tcp: sockets changed",)
    assert reading.failed == frozenset({"tcp"})
    np.testing.assert_array_equal(reading.inet.cookie, expected.cookie)
    assert (after.incomplete, after.failed) == ((), frozenset())


@pytest.mark.parametrize("name", ["tcp", "udp", "unix"])
def test_an_error_of_one_protocol_costs_only_that(diag: type[Counting], name: str) -> None:
    def refuse(kind: int, family: int, protocol: int) -> int:
        asked = "tcp" if kind == 18 else "unix" if family == socket.AF_UNIX else {17: "udp"}.get(protocol)
        return errno.EIO if asked == name else 0

    with (
        SocketReader() as reader,
        socket.create_server(("127.0.0.1", 0)),
        socket.socket(type=socket.SOCK_DGRAM) as udp,
    ):
        udp.bind(("127.0.0.1", 0))
        pair = socket.socketpair()
        counting(reader).refuse = refuse
        reading = reader.read()
        for each in pair:
            each.close()
    assert reading.incomplete == (f"{name}: sock_diag: Input/output error",)
    assert reading.failed == {name}
    present = {known for known, number in NUMBERS.items() if (reading.inet.protocol == number).any()}
    assert ("tcp" in present, "udp" in present) == (name != "tcp", name != "udp")
    assert (len(reading.unix) > 0) == (name != "unix")


def test_without_proc_what_only_proc_has_is_marked(
    diag: type[Counting], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with SocketReader() as reader, socket.create_server(("127.0.0.1", 0)):
        monkeypatch.setattr(proc_net, "FOLDER", tmp_path / "none")
        counting(reader).refuse = lambda *asked: errno.ENOENT if asked[2] == 255 else 0
        reading = reader.read()
    assert reading.failed == {"raw"}
    assert reading.incomplete == ("raw: neither sock_diag nor /proc/net/raw can be read",)
    assert len(reading.inet) > 0


def test_with_neither_way_there_is_no_reader(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(proc_net, "FOLDER", tmp_path / "none")
    with pytest.raises(KernelError, match="neither"):
        SocketReader(netlink=False)


def test_a_proc_file_of_another_form_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tcp").write_text("  sl  local_address\nwhat is this\n")
    monkeypatch.setattr(proc_net, "FOLDER", tmp_path)
    with SocketReader(netlink=False) as reader, pytest.raises(KernelError, match="/proc/net/tcp"):
        reader.read()
