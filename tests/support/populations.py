"""Random populations of real sockets, held by real processes, in a namespace of their own.

A seed decides everything that can be decided; the kernel picks some ports. A population is
steady while it is looked at, but for timers: zero-window probes and SYN retransmissions go on, so
whoever compares two looks reads before and after and takes the comparison only if both agree.
"""

from __future__ import annotations

import contextlib
import ctypes
import pwd
import random
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from tests.support.netns import Namespace

_libc = ctypes.CDLL(None, use_errno=True)

IPV4 = ("10.0.0.5", "10.255.255.254", "172.16.254.131", "192.0.2.1")
IPV6 = (
    "2001:db8:85a3:1111:2222:8a2e:370:7334",
    "2001:db8:ffff:eeee:dddd:cccc:bbbb:aaaa",
    "fd00::1",
    "fd00:1234:5678::9abc",
)
# Routed to loopback but nobody's: what is sent there is never answered.
SILENT4, SILENT4_NET = "203.0.113.9", "203.0.113.0/24"
SILENT6, SILENT6_NET = "2001:db8:dead:beef:dead:beef:dead:beef", "2001:db8:dead::/48"
# Ports with short, long and no names in the services database, or with different ones for UDP.
PORTS = (
    22,
    53,
    80,
    443,
    514,
    631,
    873,
    1080,
    1099,
    2119,
    3306,
    4369,
    5432,
    5671,
    6444,
    7000,
    7071,
    10050,
    17500,
    60177,
)
UDPLITE = 136
HAS_UDPLITE = Path("/proc/net/udplite").exists()
_SPARE_UIDS = (0, 33, 1000, 65534, 4294967)

PROGRAM_NAMES: tuple[str | bytes, ...] = (
    "/usr/sbin/nginx",
    "myapp",
    "./bin/server",
    "/opt/a folder/with blanks/the program itself",
    "nginx: master process /usr/sbin/nginx -g daemon off;",
    "/usr/lib/postgresql/15/bin/postgres -D /var/lib/postgresql/15/main",
    "-bash",
    "sshd: root@pts/0",
    "a-program-name-far-longer-than-any-column",
    "/" + "x" * 600 + "/never-reached",
    "/" + "deep/" * 101 + "cut-in-the-middle-of-it",
    "dienst-für-größeres",
    "/srv/служба-длинное-имя",
    b"latin1-\xe9\xe8\xfc",
    "/trailing/",
    "",
)


def _syn(source: str, port: int, to: str, to_port: int) -> bytes:
    """Return an IPv4 packet that opens a TCP connection (RFC 9293, 3.1), checksum included."""
    addresses = socket.inet_aton(source) + socket.inet_aton(to)
    tcp = struct.pack("!HHIIBBHHH", port, to_port, 1, 0, 5 << 4, 2, 65535, 0, 0)
    words = struct.unpack("!16H", addresses + struct.pack("!HH", socket.IPPROTO_TCP, len(tcp)) + tcp)
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    tcp = tcp[:16] + struct.pack("!H", total) + tcp[18:]
    # The kernel fills in the length, the id and the checksum of the IP header.
    return struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, socket.IPPROTO_TCP, 0) + addresses + tcp


class Population:
    """Sockets of every kind and state, held by processes with odd names; `seed` decides which.

    Enter it to have them; leaving ends the processes and the namespace. `pids` are the holders.
    """

    def __init__(self, seed: int, odd_names: tuple[str | bytes, ...] = PROGRAM_NAMES) -> None:
        self._random = random.Random(seed)
        # By themselves: hosts have other users, and must not have other sockets for it.
        self._users = random.Random(seed)
        self._names = odd_names
        self._sockets: list[socket.socket] = []
        self._holders: list[subprocess.Popen[bytes]] = []
        self.namespace = Namespace(
            [f"{address}/24" for address in IPV4] + [f"{address}/128" for address in IPV6]
        )

    @property
    def pids(self) -> list[int]:
        """The processes that hold the sockets."""
        return [holder.pid for holder in self._holders]

    def __enter__(self) -> Population:
        for command in (
            ("ip", "route", "add", SILENT4_NET, "dev", "lo"),
            ("ip", "-6", "route", "add", SILENT6_NET, "dev", "lo"),
        ):
            self.namespace.run(*command, check=True)
        try:
            with self.namespace.entered():
                self._build()
            self._hand_over()
            # Delayed acknowledgements (40 ms) are the last things to move.
            time.sleep(0.08)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the holders and remove the namespace."""
        for holder in self._holders:
            holder.kill()
        for holder in self._holders:
            holder.wait()
        for held in self._sockets:
            held.close()
        self._sockets.clear()
        self.namespace.close()

    def _build(self) -> None:
        kinds: tuple[Callable[[], None], ...] = (
            self._listener,
            self._waiting_for_accept,
            self._established,
            self._half_closed,
            self._time_wait,
            self._stuck,
            self._syn_sent,
            self._syn_recv,
            self._udp,
            self._udp,
            *([self._udplite] if HAS_UDPLITE else []),
            self._raw,
        )
        for kind in kinds:
            for _ in range(self._random.randint(1, 3)):
                with self._as_some_user():
                    kind()
        # Bound only: /proc/net/tcp never shows it.
        self._keep(self._bound(socket.SOCK_STREAM))

    @contextmanager
    def _as_some_user(self) -> Iterator[None]:
        """Make new sockets belong to a random user, of a known name or not."""
        known = [entry.pw_uid for entry in pwd.getpwall()]
        _libc.setfsuid(self._users.choice([*_SPARE_UIDS, *known]))
        try:
            yield
        finally:
            _libc.setfsuid(0)

    def _keep(self, *sockets: socket.socket) -> None:
        self._sockets.extend(sockets)

    def _address(self, family: int) -> str:
        if family == socket.AF_INET:
            return self._random.choice([*IPV4, "127.0.0.1"])
        return self._random.choice([*IPV6, "::1"])

    def _bound(self, kind: int, protocol: int = 0, wildcard: float = 0.0) -> socket.socket:
        """Return a bound socket: any family, v4-mapped too; sometimes on a port that has a name."""
        family = self._random.choice([socket.AF_INET, socket.AF_INET6])
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and self._random.random() < 0.5:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        address = self._address(family)
        if self._random.random() < wildcard:
            address = ""
        elif family == socket.AF_INET6 and self._random.random() < 0.3:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            address = f"::ffff:{self._address(socket.AF_INET)}"
        port = self._random.choice([0, self._random.choice(PORTS)])
        try:
            made.bind((address, port))
        except OSError:
            made.bind((address, 0))
        return made

    def _new_listener(self, backlog: int = 16) -> socket.socket:
        for _ in range(20):
            made = self._bound(socket.SOCK_STREAM, wildcard=0.5)
            try:
                made.listen(backlog)
            except OSError:  # two wildcard sockets may share a port only until one listens
                made.close()
                continue
            self._keep(made)
            return made
        raise AssertionError("no port to listen on")

    def _listener(self) -> None:
        self._new_listener(self._random.choice([0, 1, 128, 4096]))

    def _connect(self, listener: socket.socket, buffer: int | None = None) -> socket.socket:
        """Return a client of a listener, IPv4 to a dual-stack one now and then."""
        host, port = listener.getsockname()[:2]
        family = listener.family
        if host == "::" and not listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
            family = self._random.choice([socket.AF_INET, socket.AF_INET6])
        if host in ("::", "0.0.0.0"):
            host = self._address(family)
        client = socket.socket(family, socket.SOCK_STREAM)
        if buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        if family == socket.AF_INET6:
            client.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        client.settimeout(5)
        client.connect((host, port))
        return client

    def _pair(self, buffer: int | None = None) -> tuple[socket.socket, socket.socket]:
        listener = self._new_listener()
        if buffer is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client = self._connect(listener, buffer)
        listener.settimeout(5)
        server, _ = listener.accept()
        server.settimeout(5)
        return client, server

    def _waiting_for_accept(self) -> None:
        listener = self._new_listener()
        for _ in range(self._random.randint(1, 3)):
            client = self._connect(listener)
            if self._random.random() < 0.5:
                client.send(b"x" * self._random.randint(1, 5000))
            self._keep(client)

    def _established(self) -> None:
        client, server = self._pair()
        for end in (client, server):
            if self._random.random() < 0.4:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, self._random.randint(60, 30000))
            if self._random.random() < 0.4:
                end.send(b"x" * self._random.randint(1, 20000))
        self._keep(client, server)

    def _half_closed(self) -> None:
        """FIN_WAIT2, of a process or of nobody, and CLOSE_WAIT."""
        client, server = self._pair()
        first, second = self._random.sample([client, server], 2)
        if self._random.random() < 0.5:
            first.shutdown(socket.SHUT_WR)
            self._keep(first)
        else:
            first.close()
        self._keep(second)

    def _time_wait(self) -> None:
        client, server = self._pair()
        first, second = self._random.sample([client, server], 2)
        first.close()
        time.sleep(0.002)
        second.close()

    def _stuck(self) -> None:
        """FIN_WAIT1, LAST_ACK or CLOSING: the FIN waits behind data that the peer does not read."""
        full, lazy = self._random.sample(self._pair(buffer=4608), 2)
        full.settimeout(0.02)
        with contextlib.suppress(TimeoutError):
            for _ in range(1000):
                full.send(b"x" * 4096)
        ending = self._random.choice(["fin_wait1", "last_ack", "closing", "orphan"])
        if ending == "last_ack":
            lazy.shutdown(socket.SHUT_WR)
            time.sleep(0.002)
        if ending == "orphan":
            full.close()
        else:
            full.shutdown(socket.SHUT_WR)
            self._keep(full)
        if ending == "closing":
            lazy.shutdown(socket.SHUT_WR)
        self._keep(lazy)

    def _syn_sent(self) -> None:
        family, host = self._random.choice([(socket.AF_INET, SILENT4), (socket.AF_INET6, SILENT6)])
        client = socket.socket(family, socket.SOCK_STREAM)
        client.setblocking(False)
        if client.connect_ex((host, self._random.choice(PORTS))) == 0:
            raise AssertionError(f"{host} answered")
        self._keep(client)

    def _syn_recv(self) -> None:
        """Half-open: a client that never answers the SYN-ACK."""
        listener = self._new_listener()
        host, port = listener.getsockname()[:2]
        if ":" in host and not host.startswith("::ffff:"):
            if host != "::" or listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
                return
            host = "0.0.0.0"
        to = self._address(socket.AF_INET) if host == "0.0.0.0" else host.removeprefix("::ffff:")
        if to.startswith("127."):
            return
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            raw.sendto(_syn(SILENT4, self._random.randint(1024, 65535), to, port), (to, 0))

    def _udp(self, protocol: int = 0) -> None:
        made = self._bound(socket.SOCK_DGRAM, protocol, wildcard=0.4)
        host, port = made.getsockname()[:2]
        if self._random.random() < 0.4:
            # Unread datagrams from outside, before it may have a peer.
            with socket.socket(made.family, socket.SOCK_DGRAM, protocol) as sender:
                if made.family == socket.AF_INET6:
                    sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                to = self._address(made.family) if host in ("::", "0.0.0.0") else host
                for _ in range(self._random.randint(1, 4)):
                    sender.sendto(b"x" * self._random.randint(0, 1000), (to, port))
        if self._random.random() < 0.5:
            mapped = made.family == socket.AF_INET6 and "." in host
            peer = f"::ffff:{self._address(socket.AF_INET)}" if mapped else self._address(made.family)
            made.connect((peer, self._random.choice(PORTS)))
        self._keep(made)

    def _udplite(self) -> None:
        self._udp(UDPLITE)

    def _raw(self) -> None:
        family = self._random.choice([socket.AF_INET, socket.AF_INET6])
        protocol = self._random.choice([1, 2, 58, 89, 103, 254, 255])
        made = socket.socket(family, socket.SOCK_RAW, protocol)
        if self._random.random() < 0.5:
            made.bind((self._address(family), 0))
        if self._random.random() < 0.5:
            made.connect((self._address(family), 0))
        self._keep(made)

    def _hand_over(self) -> None:
        """Give every socket to one holder, some to two, and keep none."""
        holders = self._random.randint(2, 5)
        shares: list[list[socket.socket]] = [[] for _ in range(holders)]
        for held in self._sockets:
            for share in self._random.sample(shares, self._random.choice([1, 1, 1, 2])):
                share.append(held)
        for share in shares:
            user = self._random.choice([0, 1000, 65534])
            self._holders.append(
                subprocess.Popen(
                    [self._random.choice(self._names), "600"],
                    executable="/bin/sleep",
                    pass_fds=[held.fileno() for held in share],
                    user=user,
                )
            )
        for held in self._sockets:
            held.close()
        self._sockets.clear()
