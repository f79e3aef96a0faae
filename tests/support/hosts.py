"""Whole hosts by chance: interfaces, routes, groups, sockets of all kinds, and traffic, in one namespace."""

from __future__ import annotations

import random
import socket
import struct
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path

from tests.render import statistics_traffic as traffic
from tests.support.interfaces import Interfaces
from tests.support.unix_population import HARMLESS, UnixPopulation

HOSTS = b"""127.0.0.1 localhost
::1 localhost6
10.0.0.5 here
10.0.0.1 gw
10.5.6.7 a-host-with-a-name-that-is-rather-long.example.org
fd00::5 here6
224.0.0.251 mdns.mcast.net
239.1.2.3 all-of-us
ff02::1 everybody6
"""
NETWORKS = b"""loopback 127.0.0.0
lab 10.1.0.0
a-network-with-a-long-name 10.2.0.0
"""
_ROUTES = (
    "default via 10.0.0.1", "default via 10.0.0.9 metric 4000000000", "10.1.0.0/16 via 10.0.0.1",
    "10.2.0.0/16 via 10.0.0.9 advmss 1300 window 30000 rtt 120ms", "10.5.6.7 via 10.0.0.1 metric 5",
    "10.5.6.8 dev lo", "unreachable 10.66.0.0/16", "prohibit 10.67.0.0/16 metric 7", "blackhole 10.68.0.0/16",
    "throw 10.69.0.0/16", "unreachable 10.66.1.1", "192.0.2.0/24 dev lo", "0.0.0.0/1 via 10.0.0.9",
)  # fmt: skip
_ROUTES6 = (
    "default via fd00::1", "default via fd00::9 metric 77", "2001:db8:5::/48 via fd00::1 metric 12345",
    "2001:db8:6::1 via fd00::9", "2001:db8:9::/64 via fd00::9 expires 6000", "unreachable 2001:db8:66::/48",
    "blackhole 2001:db8:68::/48", "prohibit 2001:db8:67::/48", "2001:db8:7::/48 dev lo",
)  # fmt: skip
_GROUPS = ("239.1.2.3", "224.0.1.129", "224.0.0.251")
_GROUPS6 = ("ff05::1:3", "ff02::fb", "ff0e::db8:1:2:3")
_ACTIONS = (
    traffic.conversations, traffic.refusals, traffic.overflow, traffic.echoes, traffic.multicasts,
    traffic.fragments, traffic.odd_segments,
)  # fmt: skip


class Host:
    """A namespace as a host could be; the same one for the same seed.

    Its interfaces are there at once; `change` makes all the rest.
    """

    def __init__(self, seed: int, folder: Path, unix_names: tuple[bytes, ...] = HARMLESS) -> None:
        self._chance = random.Random(seed)
        self._stack = ExitStack()
        self._folder, self._unix_names = folder, unix_names
        self._seed = seed
        self.interfaces = self._stack.enter_context(Interfaces(seed))
        self.namespace = self.interfaces.namespace
        self._ip("address add 10.0.0.5/24 dev lo", "-6 address add fd00::5/64 dev lo nodad")

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def change(self) -> None:
        """Add routes, groups, UNIX sockets and traffic, and change an interface."""
        chance = self._chance
        routes = chance.sample(_ROUTES, chance.randrange(len(_ROUTES)))
        routes6 = chance.sample(_ROUTES6, chance.randrange(len(_ROUTES6)))
        self._ip(*(f"route append {one}" for one in routes), *(f"-6 route append {one}" for one in routes6))
        name = chance.choice(self.interfaces.names)
        self._ip(f"link set {name} mtu 1400", f"address add 10.77.0.1/16 dev {name} label {name}:7")
        (self._folder / "unix").mkdir()
        population = UnixPopulation(self.namespace, self._folder / "unix", self._seed, self._unix_names)
        self._stack.enter_context(population).settle()
        with self.namespace.entered():
            self._join()
            # Not every set-up has a way to where it goes; on some, what was sent never comes.
            socket.setdefaulttimeout(3)
            try:
                for action in (*chance.sample(_ACTIONS, chance.randint(1, 4)), self._connect):
                    with suppress(OSError, AssertionError):
                        action()
            finally:
                socket.setdefaulttimeout(None)

    def _connect(self) -> None:
        listener = self._stack.enter_context(socket.create_server(("10.0.0.5", 7071)))
        self._stack.enter_context(socket.create_connection(("10.0.0.5", 7071)))
        self._stack.enter_context(listener.accept()[0])

    def _join(self) -> None:
        for _ in range(6):
            with suppress(OSError):  # some interfaces take no multicast
                index = socket.if_nametoindex(self._chance.choice(self.interfaces.names))
                inet = self._stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                for address in self._chance.sample(_GROUPS, 2):
                    member = struct.pack("=4s4si", socket.inet_aton(address), bytes(4), index)
                    inet.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
                inet6 = self._stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
                for address in self._chance.sample(_GROUPS6, 2):
                    member = struct.pack("=16si", socket.inet_pton(socket.AF_INET6, address), index)
                    inet6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)

    def _ip(self, *commands: str) -> None:
        """Run commands of `ip`; those that this kernel or an interface refuses do nothing."""
        for family, batch in (("-4", []), ("-6", [])):
            batch += [
                command.removeprefix("-6 ")
                for command in commands
                if command.startswith("-6 ") == (family == "-6")
            ]
            subprocess.run(
                self.namespace.command("ip", family, "-force", "-batch", "-"),
                input="\n".join(batch).encode("utf-8", "surrogateescape"),
                capture_output=True,
                check=False,
            )
