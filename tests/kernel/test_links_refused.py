"""Interfaces where the kernel refuses, is interrupted, or answers with rubbish."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sockrec.errors import KernelError
from sockrec.kernel import links
from sockrec.kernel.links import LinkReader, parse_if_inet6
from sockrec.kernel.netlink import NetlinkError
from sockrec.kernel.rtnetlink import Dump, RouteSocket
from tests.support.netns import Namespace


@contextmanager
def reader_in(namespace: Namespace) -> Iterator[LinkReader]:
    with namespace.entered():
        reader = LinkReader()
    with reader:
        yield reader


class Stubborn(RouteSocket):
    """Answers as it is told to, a time for each entry of `plan`, and then truly."""

    plan: list[NetlinkError | str] = []  # noqa: RUF012 — set by each test

    def dump(self, kind: int, answer: int, request: bytes) -> Dump:
        told = self.plan.pop(0) if self.plan else ""
        if isinstance(told, NetlinkError):
            raise told
        return super().dump(kind, answer, request)._replace(incomplete=told)


@pytest.fixture
def stubborn(monkeypatch: pytest.MonkeyPatch) -> type[Stubborn]:
    monkeypatch.setattr(links, "RouteSocket", Stubborn)
    Stubborn.plan = []
    return Stubborn


def test_an_interrupted_dump_is_tried_again(netns: Namespace, stubborn: type[Stubborn]) -> None:
    with reader_in(netns) as reader:
        stubborn.plan = ["changed", ""] * 3
        assert reader.read_links().incomplete == ()
        stubborn.plan = ["changed"] * 3
        assert reader.read_addresses().incomplete == ()
        stubborn.plan = ["changed", ""] * 4
        found = reader.read_links()
        assert found.incomplete == ("interfaces: changed",)
        assert [each.name for each in found.interfaces] == ["lo"]
        stubborn.plan = ["changed"] * 4
        assert reader.read_addresses().incomplete == ("addresses: changed",)


def test_a_refused_dump_is_told(netns: Namespace, stubborn: type[Stubborn]) -> None:
    refusal = NetlinkError(errno.EPERM, os.strerror(errno.EPERM))
    with reader_in(netns) as reader:
        stubborn.plan = [refusal] * 8
        assert reader.read_links() == (
            [], [],
            (
                "interfaces: rtnetlink: Operation not permitted",
                "counters of interfaces: rtnetlink: Operation not permitted",
            ),
        )  # fmt: skip
        stubborn.plan = [refusal] * 4
        assert reader.read_addresses() == ([], ("addresses: rtnetlink: Operation not permitted",))
        assert reader.read_links().incomplete == ()


def test_a_kernel_without_counters_is_asked_for_them_once(netns: Namespace, stubborn: type[Stubborn]) -> None:
    with reader_in(netns) as reader:
        stubborn.plan = ["", NetlinkError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))]
        for _ in range(2):
            found = reader.read_links()
            assert [each.name for each in found.interfaces] == ["lo"]
            assert found.counters == []
            assert found.incomplete == ()
        assert len(reader.unavailable) == 1
        assert "counters of interfaces are not recorded" in reader.unavailable[0]


def test_refused_sockets_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> socket.socket:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(socket, "socket", refuse)
    with LinkReader() as reader:
        assert reader.unavailable == (
            "rtnetlink is refused (Operation not permitted): interfaces and addresses are not recorded",
        )
        assert reader.read_links() == ([], [], ("interfaces: rtnetlink is refused",))
        assert reader.read_addresses() == ([], ("addresses: rtnetlink is refused",))


def test_without_if_inet6_the_order_is_told_to_be_another(
    netns: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "_IPV6_ORDER", "/proc/thread-self/net/nothing")
    with reader_in(netns) as reader:
        assert reader.unavailable == ()
        assert {each.address for each in reader.read_addresses().addresses} >= {"127.0.0.1", "::1"}
        reader.read_addresses()
        assert len(reader.unavailable) == 1
        assert "not in netstat's order" in reader.unavailable[0]


def test_garbled_answers_raise_one_error(netns: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RouteSocket, "dump", lambda *_: Dump([b"\2" + bytes(8)]))
    with reader_in(netns) as reader:
        with pytest.raises(KernelError, match="unknown form"):
            reader.read_links()
        with pytest.raises(KernelError, match="unknown form"):
            reader.read_addresses()
    for text in (b"xyz 01 80 10 80 lo\n", b"00\n", b"00000000000000000000000000000001 zz 80 10 80 lo\n"):
        with pytest.raises(KernelError, match="if_inet6"):
            parse_if_inet6(text)
