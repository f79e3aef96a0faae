"""What a network namespace is beside its sockets: interfaces, addresses, routes, groups, counters, limits.

The kernel's readers make these, captures keep them, replay brings them back and netstat's formats print
them. Names are rtnetlink's and /proc/net's where no plainer word says the same.
"""

from __future__ import annotations

from typing import NamedTuple


class Interface(NamedTuple):
    """A network interface as it is set up (struct ifinfomsg and its attributes, rtnetlink(7)).

    `flags` are IFF_* (netdevice(7)) in all 32 bits; `kind` is `ip -d link`'s word (veth, bridge, ...), None
    for hardware and loopback; hardware addresses are `aa:bb:...`, None if it has none; `operstate` is
    `up`, `down`, `unknown`, ...; `speed` is Mbit/s, None if unknown; `master` and `link` are indices of the
    bridge or bond that it belongs to and of the interface below it. The last five are struct ifmap.
    """

    ifindex: int
    name: str
    kind: str | None
    hardware_type: int
    hardware_address: str | None
    hardware_broadcast: str | None
    mtu: int
    flags: int
    operstate: str
    queue_length: int
    speed: int | None
    master: int | None
    link: int | None
    mem_start: int
    mem_end: int
    base_address: int
    irq: int
    dma: int


class Address(NamedTuple):
    """An address of an interface (struct ifaddrmsg, rtnetlink(7)).

    `label` is the name that IPv4 addresses have, which for an alias is not the interface's (`eth0:1`);
    `peer` is the other end of a point-to-point link; `scope` is rtnetlink's number (0 global, 253 link,
    254 host); `flags` are IFA_F_*.
    """

    ifindex: int
    family: str
    address: str
    prefix_length: int
    label: str
    peer: str | None
    broadcast: str | None
    scope: int
    flags: int


class LinkCounters(NamedTuple):
    """What an interface has counted (struct rtnl_link_stats64), under the kernel's names."""

    ifindex: int
    name: str
    rx_packets: int
    tx_packets: int
    rx_bytes: int
    tx_bytes: int
    rx_errors: int
    tx_errors: int
    rx_dropped: int
    tx_dropped: int
    multicast: int
    collisions: int
    rx_length_errors: int
    rx_over_errors: int
    rx_crc_errors: int
    rx_frame_errors: int
    rx_fifo_errors: int
    rx_missed_errors: int
    tx_aborted_errors: int
    tx_carrier_errors: int
    tx_fifo_errors: int
    tx_heartbeat_errors: int
    tx_window_errors: int
    rx_compressed: int
    tx_compressed: int
    rx_nohandler: int


class Route(NamedTuple):
    """A route as /proc/net/route (the main table) and /proc/net/ipv6_route (all tables) list it.

    `flags` are RTF_* (linux/route.h, linux/ipv6_route.h); `source` and its length are IPv6's alone; `gateway`
    is the any-address if there is none; `mtu`, `window_size` and `irtt` are IPv4's alone and 0 if unset.
    """

    family: str
    destination: str
    prefix_length: int
    source: str | None
    source_length: int
    gateway: str
    interface: str
    flags: int
    metric: int
    refs: int
    uses: int
    mtu: int
    window_size: int
    irtt: int


class Group(NamedTuple):
    """A multicast group that an interface listens to (/proc/net/igmp, /proc/net/igmp6)."""

    family: str
    ifindex: int
    interface: str
    address: str
    users: int


class Counter(NamedTuple):
    """One number of the kernel's protocol statistics.

    `source` is its file below /proc/net (snmp, netstat, snmp6, sctp/snmp, sockstat, sockstat6), or conntrack;
    `section` the word before the colon (Tcp, TcpExt, ...; empty in files without), `name` the kernel's;
    `place` counts the numbers of a file from 0, in its order.
    """

    source: str
    section: str
    name: str
    place: int
    value: int


class Limit(NamedTuple):
    """A setting of the kernel that bounds what sockets can do, under its sysctl name; the value as text."""

    name: str
    value: str
