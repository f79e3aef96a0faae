"""Messages of rtnetlink: framing, attributes and decoders, on what the kernel sends and on rubbish."""

from __future__ import annotations

import errno
import random
import struct
import subprocess
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockrec.kernel import link_messages, rtnetlink
from sockrec.kernel.netlink import NetlinkError
from sockrec.kernel.rtnetlink import RouteSocket
from sockrec.model.network import Address, Interface, LinkCounters
from tests.support.interfaces import Interfaces
from tests.support.netns import Namespace


@cache
def real_messages() -> dict[str, list[bytes]]:
    """Return what the kernel says of a namespace with everything in it, to be damaged."""
    requests = {
        "link": (18, 16, link_messages.LINKS),
        "counters": (94, 92, link_messages.STATS),
        "address": (22, 20, link_messages.ADDRESSES),
    }
    with Interfaces(5) as made:
        with made.namespace.entered():
            route = RouteSocket()
        found = {name: route.dump(*request).messages for name, request in requests.items()}
        route.close()
    return found


DECODERS = {
    "link": link_messages.decode_link,
    "counters": link_messages.decode_counters,
    "address": link_messages.decode_address,
}


def _decode(name: str, message: bytes) -> None:
    """Decode; only `NetlinkError` may be raised, and what comes out has the model's types."""
    try:
        found: Any = DECODERS[name](message)
    except NetlinkError:
        return
    if name == "link":
        assert isinstance(found[0], Interface)
        assert found[0].name
    elif name == "address":
        assert found is None or (isinstance(found, Address) and found.address)
    else:
        assert found is None or len(found[1]) == len(LinkCounters._fields) - 2


def test_every_cut_of_a_real_message_is_refused_or_read() -> None:
    for name, messages in real_messages().items():
        assert messages
        refused = 0
        for message in messages:
            for size in range(len(message)):
                try:
                    DECODERS[name](message[:size])
                except NetlinkError:
                    refused += 1
        assert refused


@given(name=st.sampled_from(sorted(DECODERS)), data=st.binary(max_size=400))
def test_any_bytes_are_refused_or_read(name: str, data: bytes) -> None:
    _decode(name, data)


@settings(deadline=None)
@given(name=st.sampled_from(sorted(DECODERS)), seed=st.integers(0, 1 << 32))
def test_damaged_messages_are_refused_or_read(name: str, seed: int) -> None:
    chance = random.Random(seed)
    message = bytearray(chance.choice(real_messages()[name]))
    for _ in range(chance.randrange(1, 6)):
        place = chance.randrange(len(message))
        size = chance.choice([1, 2, 4])
        value = chance.choice([0, 1, 3, 4, 0xFF, 0x7FFF, 0xFFFF, chance.getrandbits(32)])
        message[place : place + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    _decode(name, bytes(message))


HEADERS = st.tuples(
    st.one_of(st.none(), st.integers(0, (1 << 32) - 1)),
    st.sampled_from([2, 3, 16, 20]),
    st.sampled_from([0, 2, 0x10]),
    st.sampled_from([7, 8]),
    st.binary(max_size=40),
)


@given(parts=st.lists(HEADERS, max_size=6), tail=st.binary(max_size=20))
def test_any_datagram_is_refused_or_taken_apart(parts: list[Any], tail: bytes) -> None:
    datagram = b""
    for length, kind, flags, sequence, body in parts:
        size = 16 + len(body) if length is None else length
        datagram += struct.pack("=IHHII", size, kind, flags, sequence, 0) + body + bytes(-len(body) % 4)
    try:
        messages, _, _ = rtnetlink.parse(datagram + tail, 16, 7)
    except NetlinkError:
        return
    assert len(messages) <= len(datagram + tail) // 16
    assert sum(map(len, messages)) <= len(datagram + tail)


def _message(kind: int, body: bytes = b"", flags: int = 2, sequence: int = 7) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def test_a_datagram_gives_its_messages_its_end_and_its_interruption() -> None:
    datagram = _message(16, b"aaaa") + _message(20, b"bbbb") + _message(16, b"old!", sequence=6)
    assert rtnetlink.parse(datagram, 16, 7) == ([b"aaaa"], False, False)
    assert rtnetlink.parse(datagram + _message(3, bytes(4)), 16, 7) == ([b"aaaa"], True, False)
    assert rtnetlink.parse(_message(3, bytes(4), 0x12), 16, 7) == ([], True, True)
    # Another dump's end is none of ours.
    assert rtnetlink.parse(_message(3, bytes(4), 0x12, sequence=6), 16, 7) == ([], False, False)


@pytest.mark.parametrize("kind", [2, 3])
def test_the_kernels_error_is_raised_with_its_number(kind: int) -> None:
    with pytest.raises(NetlinkError) as raised:
        rtnetlink.parse(_message(kind, struct.pack("=i", -errno.EPERM)), 16, 7)
    assert raised.value.errno == errno.EPERM


def test_absurd_lengths_are_refused() -> None:
    for length in (0, 1, 15, 21, 1 << 31, (1 << 32) - 1):
        with pytest.raises(NetlinkError):
            rtnetlink.parse(struct.pack("=IHHII", length, 16, 2, 7, 0) + b"aaaa", 16, 7)
    for length in (0, 1, 3, 9, 0xFFFF):
        with pytest.raises(NetlinkError):
            rtnetlink.attributes(struct.pack("=HHI", length, 1, 0))
    with pytest.raises(NetlinkError):
        rtnetlink.number(rtnetlink.attributes(struct.pack("=HHH", 6, 4, 0)), 4)


def test_after_a_refusal_and_a_dump_given_up_the_namespace_is_the_same(
    netns: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = [f"link add v{number} type bridge\n" for number in range(150)]
    subprocess.run(netns.command("ip", "-batch", "-"), input="".join(commands), text=True, check=True)
    with netns.entered():
        route = RouteSocket()
    try:
        with pytest.raises(NetlinkError):
            route.dump(94, 92, bytes(4))  # too short for struct if_stats_msg
        with monkeypatch.context() as patched:
            garbled = NetlinkError(errno.EBADMSG, "garbled")
            patched.setattr(rtnetlink, "parse", lambda *_: (_ for _ in ()).throw(garbled))
            with pytest.raises(NetlinkError, match="garbled"):
                route.dump(18, 16, link_messages.LINKS)
        found = route.dump(18, 16, link_messages.LINKS)
    finally:
        route.close()
    assert not found.incomplete
    names = [link_messages.decode_link(each)[0].name for each in found.messages]
    assert names == ["lo", *(f"v{number}" for number in range(150))]
