"""Traffic that moves the kernel's protocol counters, inside of a namespace of its own."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.netns import Namespace
from tests.support.populations import HAS_UDPLITE, UDPLITE

HERE = ("10.0.0.5", "fd00::5")
# On an interface that swallows what is sent.
NOWHERE = "10.9.0.77"
GROUPS = ("239.1.2.3", "ff15::123")


@contextmanager
def world() -> Iterator[Namespace]:
    """Give a namespace with IPv4 and IPv6 addresses, packets of 1500 bytes, and an interface to nowhere."""
    with Namespace(("10.0.0.5/24", "fd00::5/64")) as namespace:
        for words in (
            ("link", "set", "lo", "mtu", "1500"),
            ("link", "add", "void0", "arp", "off", "type", "veth", "peer", "name", "void1", "arp", "off"),
            ("address", "add", "10.9.0.1/24", "dev", "void0"),
            ("link", "set", "void0", "up"),
            ("link", "set", "void1", "up"),
        ):
            namespace.run("ip", *words, check=True)
        # Until the kernel has noticed that the interface is up, IPv6 has no route there.
        namespace.wait_for_route(GROUPS[1], "oif", "void0")
        yield namespace


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def conversations() -> None:
    """Connections that transfer data and end in both ways, and one that is reset for unread data."""
    for host in HERE:
        for linger in (False, True):
            server = socket.create_server((host, 0), family=_family(host))
            with server, socket.create_connection(server.getsockname()[:2], 5) as client:
                served, _ = server.accept()
                client.sendall(b"x" * 100_000)
                if linger:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                served.close()


def refusals() -> None:
    """Ports where nobody listens, of TCP, UDP and UDP-Lite."""
    for host in HERE:
        with socket.socket(_family(host)) as one:
            assert one.connect_ex((host, 9)) == errno.ECONNREFUSED
        for protocol in (socket.IPPROTO_UDP, UDPLITE) if HAS_UDPLITE else (socket.IPPROTO_UDP,):
            with socket.socket(_family(host), socket.SOCK_DGRAM, protocol) as one:
                one.sendto(b"nobody", (host, 9))


def overflow() -> None:
    """A listener that never accepts, and a UDP socket with hardly any room."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server((HERE[0], 0), backlog=0))
        for _ in range(4):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(server.getsockname())
        full = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        full.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        full.bind((HERE[0], 0))
        for _ in range(30):
            full.sendto(b"x" * 500, full.getsockname())


def echoes() -> None:
    """ICMP requests to itself, right and with a wrong checksum, and ICMPv6 ones, one of an unknown type."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        for kind, length in ((8, 8), (8, 8), (13, 20), (17, 12)):
            message = struct.pack("!BBHHH", kind, 0, 0, 1, 1).ljust(length, b"\0")
            total = sum(struct.unpack(f"!{length // 2}H", message))
            checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
            raw.sendto(message[:2] + struct.pack("!H", checksum) + message[4:], (HERE[0], 0))
            raw.sendto(message, (HERE[0], 0))
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
        for kind in (128, 128, 200):
            raw.sendto(struct.pack("!BBHHH", kind, 0, 0, 1, 1), (HERE[1], 0))


def multicasts() -> None:
    """Groups joined and written to."""
    with socket.socket(type=socket.SOCK_DGRAM) as four:
        device = socket.inet_aton("10.9.0.1")
        four.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUPS[0]) + device)
        four.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, device)
        four.bind(("", 5000))
        four.sendto(b"all", (GROUPS[0], 5000))
    index = socket.if_nametoindex("void0")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as six:
        group = socket.inet_pton(socket.AF_INET6, GROUPS[1]) + struct.pack("@I", index)
        six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        six.sendto(b"all", (GROUPS[1], 5000, 0, index))


def fragments() -> None:
    """Datagrams longer than a packet, of which one comes alone; and an address without a route."""
    for host in HERE:
        with socket.socket(_family(host), socket.SOCK_DGRAM) as one:
            one.bind((host, 0))
            one.sendto(b"x" * 5000, one.getsockname()[:2])
            assert len(one.recv(9000)) == 5000
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        header = struct.pack("!BBHHHBBH", 0x45, 0, 28, 7, 0x2000, 64, socket.IPPROTO_UDP, 0)
        raw.sendto(header + socket.inet_aton(HERE[0]) * 2 + b"12345678", (HERE[0], 0))
    with socket.socket(type=socket.SOCK_DGRAM) as one, contextlib.suppress(OSError):
        one.sendto(b"x", ("192.0.2.1", 9))


def odd_segments() -> None:
    """TCP segments with wrong checksums."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        for flags in (0x02, 0x10):
            segment = struct.pack("!HHIIBBHHH", 40_000, 9, 1, 1, 0x50, flags, 512, 0, 0)
            raw.sendto(segment, (HERE[0], 0))


def unanswered() -> None:
    """A connection to where nobody is, for as long as its first retransmission takes."""
    with socket.socket() as one:
        one.setblocking(False)
        assert one.connect_ex((NOWHERE, 80)) == errno.EINPROGRESS
        until = time.monotonic() + 1.5
        select.select([], [one], [], max(0, until - time.monotonic()))


ACTIONS = (conversations, refusals, overflow, echoes, multicasts, fragments, odd_segments)
