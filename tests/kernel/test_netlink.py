"""Framing of dumps: what is found in bytes as the kernel sends them, and in bytes as it should not."""

from __future__ import annotations

import errno
import random
import socket
import struct
from contextlib import ExitStack, suppress

import numpy as np
import pytest

from sockrec.kernel import inet_diag, netlink, unix_diag
from sockrec.kernel.netlink import DiagSocket, Messages, NetlinkError, frame
from tests.support.netns import Namespace

KIND, SEQUENCE = 20, 0xC0FFEE11


def message(payload: bytes = b"", kind: int = KIND, flags: int = 2, sequence: int = SEQUENCE) -> bytes:
    head = struct.pack("=IHHII", 16 + len(payload), kind, flags, sequence, 99)
    return head + payload + bytes(-len(payload) % 4)


def done(error: int = 0, flags: int = 2) -> bytes:
    return message(struct.pack("=i", error), netlink.NLMSG_DONE, flags)


def framed(*datagrams: bytes, times: list[int] | None = None) -> Messages:
    places = np.cumsum([0, *map(len, datagrams)])[:-1] // 4
    whole = np.frombuffer(b"".join(datagrams), np.uint32)
    return frame(whole, KIND, SEQUENCE, places.tolist(), times or [0] * len(datagrams))


def payloads(messages: Messages) -> list[bytes]:
    raw = messages.words.tobytes()
    return [
        raw[4 * start + 16 : 4 * start + length]
        for start, length in zip(messages.starts.tolist(), messages.lengths.tolist(), strict=True)
    ]


def test_messages_of_any_length_come_out_in_order() -> None:
    chance = random.Random(7)
    sent = [chance.randbytes(chance.choice([4, 6, 72, 101, 432])) for _ in range(500)]
    datagrams = [b"".join(map(message, sent[k : k + 37])) for k in range(0, 500, 37)]
    assert payloads(framed(*datagrams, done())) == sent
    # From Linux 6.9 on the end rides on the last data.
    assert payloads(framed(*datagrams[:-1], datagrams[-1] + done())) == sent


def test_an_empty_dump_has_no_messages() -> None:
    assert len(framed(done())) == 0


def test_each_message_has_the_time_of_its_datagram() -> None:
    messages = framed(message(b"aaaa") * 3, message(b"bbbb") * 2, done(), times=[10, 20, 30])
    assert messages.times_of(np.arange(5)).tolist() == [10, 10, 10, 20, 20]


@pytest.mark.parametrize("end", [done(), done(flags=0x12)], ids=["on data", "on the end"])
def test_an_interrupted_dump_says_so(end: bytes) -> None:
    flags = 2 if end != done() else 0x12
    messages = framed(message(b"aaaa", flags=flags) + message(b"bbbb"), end)
    assert payloads(messages) == [b"aaaa", b"bbbb"]
    assert messages.incomplete
    assert not framed(message(b"aaaa"), done()).incomplete


@pytest.mark.parametrize("kind", [netlink.NLMSG_ERROR, netlink.NLMSG_DONE])
def test_the_kernels_error_is_raised_with_its_number(kind: int) -> None:
    with pytest.raises(NetlinkError) as raised:
        framed(message(b"aaaa") + message(struct.pack("=i16x", -errno.EPERM), kind))
    assert raised.value.errno == errno.EPERM
    assert isinstance(raised.value, OSError)


def test_an_error_of_minus_one_is_not_permitted() -> None:
    with pytest.raises(NetlinkError, match="not permitted"):
        framed(message(struct.pack("=i16x", -1), netlink.NLMSG_ERROR))


@pytest.mark.parametrize("word", [0, 1])
def test_the_sequence_number_inside_a_payload_is_no_message(word: int) -> None:
    """The quick search by it finds too many; the lengths tell."""
    decoy = struct.pack("=6I", *([24, KIND, SEQUENCE, 99, 0, 0] if word else [SEQUENCE] * 6))
    sent = [b"aaaa", decoy, b"bbbb"]
    assert payloads(framed(b"".join(map(message, sent)), done())) == sent


def test_answers_to_another_request_are_left_out() -> None:
    stale = message(b"old!", sequence=5)
    assert payloads(framed(stale + message(b"aaaa") + stale, message(b"bbbb"), done())) == [b"aaaa", b"bbbb"]


@pytest.mark.parametrize(
    "garbled",
    [
        message(b"a" * 40)[:-8],
        message(b"aaaa") + bytes(16),
        message(b"aaaa") + message(b"bbbb")[:12],
        message(b"aaaa") + struct.pack("=IHHII", 1 << 31, KIND, 2, SEQUENCE, 9),
        message(b"aaaa") + struct.pack("=IHHII", 15, KIND, 2, SEQUENCE, 9),
    ],
    ids=["cut off", "no length", "half a header", "too long", "too short"],
)
def test_garbled_lengths_are_an_error(garbled: bytes) -> None:
    with pytest.raises(NetlinkError) as raised:
        framed(garbled, done())
    assert raised.value.errno == errno.EBADMSG


def test_a_message_never_reaches_into_the_next_datagram() -> None:
    """The lengths would chain over the edge: only where datagrams begin shows that one was cut."""
    whole = message(b"a" * 40) + message(b"bbbb")
    with pytest.raises(NetlinkError):
        framed(whole[:24], whole[24:], done())


def test_dumps_lie_behind_each_other_and_the_buffer_grows(netns: Namespace) -> None:
    with netns.entered(), DiagSocket() as diag, ExitStack() as stack:
        for made in (socket.socketpair() for _ in range(50)):
            stack.enter_context(made[0])
            stack.enter_context(made[1])
        held = []
        while diag.position < 3 << 20:  # three times what the buffer begins with
            start = diag.position
            held.append(unix_diag.dump(diag))
            assert held[-1].end == diag.position > held[-1].start == start
        inodes = [unix_diag.decode(diag.messages(each)).inode.tolist() for each in held]
        diag.rewind(start)
        assert diag.position == start
    assert len(inodes[0]) == 100
    assert all(each == inodes[0] for each in inodes)


def test_a_refused_request_is_typed_and_the_next_dump_works() -> None:
    with DiagSocket() as diag:
        with pytest.raises(NetlinkError) as raised:
            diag.messages(diag.dump(20, struct.pack("=BBBBI48x", 99, 6, 0, 0, 0)))
        assert raised.value.errno in (errno.EINVAL, errno.ENOENT)
        assert not diag.messages(inet_diag.dump(diag, socket.IPPROTO_TCP, socket.AF_INET)).incomplete


def test_an_answer_that_never_comes_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked without NLM_F_DUMP and for nothing, the kernel has nothing to say; we must not wait for ever."""
    with DiagSocket() as diag:
        monkeypatch.setattr(netlink, "NLM_F_DUMP", 0)
        monkeypatch.setattr(netlink, "NLM_F_REQUEST", 0)  # the kernel takes no notice of it
        dump = diag.dump(20, bytes(56))
        assert "did not go on" in dump.incomplete
        monkeypatch.undo()
        assert not diag.messages(inet_diag.dump(diag, socket.IPPROTO_TCP, socket.AF_INET)).incomplete


class Failing:
    """A socket that sends an old datagram and one of the dump, and then fails."""

    def __init__(self, failure: BaseException) -> None:
        self.failure = failure
        self.sequence = 0
        self.calls = 0

    def send(self, request: bytes) -> None:
        self.sequence = struct.unpack_from("=IHHI", request)[3]

    def recv_into(self, buffer: memoryview, size: int, flags: int) -> int:
        assert (size, flags) == (netlink._WINDOW, socket.MSG_TRUNC)
        self.calls += 1
        if self.calls > 2:
            raise self.failure
        datagram = message(b"aaaa", sequence=5 if self.calls == 1 else self.sequence) * 3
        buffer[: len(datagram)] = datagram
        return len(datagram)

    def close(self) -> None:
        pass


def replace_socket(diag: DiagSocket, failure: BaseException) -> None:
    diag._socket.close()
    diag._socket = Failing(failure)  # type: ignore[assignment]  # the three methods that are used


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.EAGAIN])
def test_a_dump_that_stops_in_the_middle_keeps_what_came(number: int) -> None:
    with DiagSocket() as diag:
        replace_socket(diag, OSError(number, "no"))
        messages = diag.messages(diag.dump(KIND, b""))
        assert payloads(messages) == [b"aaaa"] * 3
        assert messages.incomplete


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOBUFS, "no"), OSError(errno.EIO, "no"), KeyboardInterrupt()]
)
def test_after_a_failure_the_old_dump_can_not_reach_the_next(failure: BaseException) -> None:
    with DiagSocket() as diag:
        replace_socket(diag, failure)
        with suppress(NetlinkError, KeyboardInterrupt):
            diag.dump(KIND, b"")
        assert isinstance(diag._socket, socket.socket)
        diag.rewind()
        assert not diag.messages(inet_diag.dump(diag, socket.IPPROTO_TCP, socket.AF_INET)).incomplete


def test_a_datagram_larger_than_the_window_is_never_taken_for_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink, "_WINDOW", 256)
    with socket.create_server(("127.0.0.1", 0)), DiagSocket() as diag, pytest.raises(NetlinkError) as raised:
        inet_diag.dump_tcp(diag)
    assert raised.value.errno == errno.EMSGSIZE
