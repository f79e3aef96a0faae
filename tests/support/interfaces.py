"""Interfaces of every kind that the kernel can make, set up by chance, with traffic over some of them."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import struct
import subprocess
from contextlib import ExitStack, suppress

from tests.support.netns import Namespace

_TUNSETIFF, _TUNSETLINK = 0x400454CA, 0x400454CD
_IFF_TUN, _IFF_TAP, _IFF_NO_PI = 1, 2, 0x1000
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914

# Types with a form of their own in net-tools, tunnels, and some that it does not know. NET/ROM is not among
# them: its addresses, random here, print control characters.
HARDWARE_TYPES = (
    1, 2, 3, 6, 7, 8, 15, 24, 27, 32, 256, 257, 258, 259, 264, 270, 271, 512, 513, 516, 768, 769, 770, 772,
    774, 776, 778, 779, 780, 781, 782, 783, 804, 820, 823, 825, 65534, 65535,
)  # fmt: skip
NAMES = (
    "eth0", "eth1", "eth2", "eth10", "eth01", "eth", "a-b.c", "lan@", "wlp3s0f1", "enp0s31f6.4094",
    "x\x1b[31m", "\xb5", "\udcff\udc80z", "12", "007", "a1b12", "a1b2", "Z", "_", "abcdefghijklmno",
    "\u202eetc",
)  # fmt: skip
_IPV4 = (
    "10.{n}.0.1/24", "10.{n}.0.2/24", "10.{n}.1.1/32", "10.{n}.2.1/30 broadcast +", "10.{n}.3.1/31",
    "10.{n}.4.1/16 broadcast 10.{n}.9.9 label {label}:1", "10.{n}.5.1/24 label {label}:0",
    "10.{n}.6.1/24 label {label}:10", "10.{n}.7.1/24 label {label}:lan", "10.{n}.8.1 peer 10.{n}.8.2",
    "10.{n}.8.1 peer 10.{n}.8.3/24", "10.{n}.10.1/25 broadcast - scope link", "10.{n}.11.1/8 scope host",
    "169.254.{n}.1/16 valid_lft 500 preferred_lft 100", "192.0.2.{n}/0", "10.{n}.0.1/20 broadcast 10.{n}.0.2",
    "10.{n}.12.1/24 label {label}:1 broadcast 10.{n}.0.1", "224.0.9.{n}/32 autojoin",
)  # fmt: skip
_IPV6 = (
    "2001:db8:{n}::1/64", "2001:db8:{n}::2/128 nodad", "fd00:{n}::1/48 preferred_lft 0 valid_lft 900",
    "fec0:{n}::1/64 nodad", "fe80::{n}/64 nodad", "::10.{n}.0.1/96 nodad", "::{n}/128 nodad",
    "::ffff:10.{n}.0.1/96 nodad", "fd00:{n}::5 peer fd00:{n}::6/128 nodad", "ff05::{n}/128 autojoin",
    "2001:db8:{n}:ffff:1:2:3:4/126 home", "ff02::{n}:1/128 autojoin nodad", "2002:a00:{n}::1/16",
)  # fmt: skip


def tun(name: str, hardware_type: int | None = None, *, tap: bool = False) -> int:
    """Make a tun or tap interface in the calling thread's namespace; it lives while the result is open."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    flags = (_IFF_TAP if tap else _IFF_TUN) | _IFF_NO_PI
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", os.fsencode(name), flags))
    if hardware_type is not None:
        fcntl.ioctl(descriptor, _TUNSETLINK, hardware_type)
    return descriptor


def add_flags(name: str, flags: int) -> None:
    """Set flags (IFF_*, netdevice(7)) that `ip` has no words for, in the namespace of the calling thread."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        request = struct.pack("16sH22x", os.fsencode(name), 0)
        (now,) = struct.unpack_from("16xH", fcntl.ioctl(asked, _SIOCGIFFLAGS, request))
        fcntl.ioctl(asked, _SIOCSIFFLAGS, struct.pack("16sH22x", os.fsencode(name), now | flags))


def send_frames(name: str, count: int, size: int = 60) -> None:
    """Send Ethernet frames of no protocol over an interface, as far as it, and Python, takes them."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw, suppress(OSError, UnicodeError):
        raw.bind((name, 0))
        for _ in range(count):
            raw.send(b"\xff" * 6 + b"\x02\0\0\0\0\1" + b"\x88\xb5" + bytes(size - 14))


class Interfaces:
    """A network namespace with interfaces of many kinds; the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._stack = ExitStack()
        self.namespace = self._stack.enter_context(Namespace(()))
        self.names: list[str] = ["lo"]
        self._free = self._chance.sample(NAMES, len(NAMES))
        try:
            self._make()
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Interfaces:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _name(self) -> str:
        self.names.append(self._free.pop())
        return self.names[-1]

    def _ip(self, commands: list[str]) -> None:
        """Run commands of `ip`; those that this kernel or kind refuses do nothing."""
        subprocess.run(
            self.namespace.command("ip", "-force", "-batch", "-"),
            input="\n".join(commands).encode("utf-8", "surrogateescape"),
            capture_output=True,
            check=False,
        )

    def _make(self) -> None:
        chance = self._chance
        first, second = self._name(), self._name()
        self._ip([f"link add {first} type veth peer name {second}"])
        commands = []
        if chance.random() < 0.6:
            bridge = self._name()
            commands += [f"link add {bridge} type bridge", f"link set {second} master {bridge}"]
        if chance.random() < 0.6:
            commands.append(f"link add link {first} {self._name()} type macvlan mode bridge")
        if chance.random() < 0.6:
            commands.append(f"link add {self._name()} type vxlan id 7 remote 203.0.113.9 dstport 4789")
        if chance.random() < 0.4:
            commands.append(f"link add {self._name()} type ifb")
        with self.namespace.entered():
            for hardware_type in chance.sample(HARDWARE_TYPES, 3):
                self._stack.callback(os.close, tun(self._name(), hardware_type, tap=True))
            self._stack.callback(os.close, tun(self._name()))
        self._ip(commands)
        self._ip([command for name in self.names for command in self._settings(name)])
        with self.namespace.entered():
            for name in self.names:
                if chance.random() < 0.15:
                    add_flags(name, chance.choice([0x2000, 0x6000, 0x20, 0x4]))
                if chance.random() < 0.6:
                    send_frames(name, chance.randrange(40), chance.choice([60, 300, 1400]))

    def _settings(self, name: str) -> list[str]:
        chance = self._chance
        number = self.names.index(name) + 1
        commands = []
        if chance.random() < 0.5:
            commands.append(f"link set {name} mtu {chance.choice([68, 576, 1280, 1400, 9000, 65521])}")
        if chance.random() < 0.4:
            length = chance.choice([0, 1, 10, 123456789, 1 << 31, (1 << 32) - 1])
            commands.append(f"link set {name} txqueuelen {length}")
        commands += [
            f"link set {name} {what} {chance.choice(['on', 'off'])}"
            for what in ("promisc", "allmulticast", "arp", "multicast", "dynamic")
            if chance.random() < 0.2
        ]
        if chance.random() < 0.7 or name == "lo":
            commands.append(f"link set {name} {'down' if chance.random() < 0.2 else 'up'}")
        wanted = chance.sample(_IPV4, chance.randrange(5)) + chance.sample(_IPV6, chance.randrange(6))
        return commands + [
            f"address add {address.format(n=number, label=name)} dev {name}" for address in wanted
        ]
