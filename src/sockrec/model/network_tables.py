"""The tables of what a network namespace is beside its sockets: `sockrec.model.network` has their rows.

They are read at a pace of their own (`--slow-interval`), and when the kernel announces a change of them.
A row of a table that spans time holds from `first_seen` until `ended_by`; counters have a row when they moved.
"""

from __future__ import annotations

from typing import Final

from sockrec.model.columns import BEGINNING, ENDING, NETNS, RANK, RECORDING, Column, Table

_INDEX: Final = Column("ifindex", "int", "interface index")
_READ: Final = (
    Column(
        "read_before",
        "time",
        "the reading before, since which it moved; null in the first row of a recording, and of a segment",
    ),
    Column("read_at", "time", "when it was read"),
)

INTERFACES: Final = Table(
    "interfaces",
    "one network interface set up in one way",
    (
        RECORDING,
        NETNS,
        _INDEX,
        Column("name", "text", "its name"),
        Column("kind", "text", "veth, bridge, vlan, ... as `ip -d link` says; null of hardware and loopback"),
        Column("hardware_type", "int", "ARPHRD_*: 1 Ethernet, 772 loopback, ..."),
        Column("hardware_address", "text", "its MAC address; null if it has none"),
        Column("hardware_broadcast", "text", "its broadcast address"),
        Column("mtu", "int", "largest packet, bytes"),
        Column("flags", "int", "IFF_*: 1 up, 2 broadcast, 8 loopback, 64 running, 256 promiscuous, ..."),
        Column("operstate", "text", "up | down | unknown | lowerlayerdown | dormant | testing | notpresent"),
        Column("queue_length", "int", "packets that may wait to be sent (txqueuelen)"),
        Column("speed", "int", "Mbit/s; null if not known"),
        Column("master", "int", "index of the bridge or bond that it belongs to"),
        Column("link", "int", "index of the interface below it (vlan, macvlan, veth's other end)"),
        Column("mem_start", "int", "of its hardware, as ifconfig shows it (struct ifmap)"),
        Column("mem_end", "int", "end of that"),
        Column("base_address", "int", "I/O address, as ifconfig shows it"),
        Column("irq", "int", "interrupt, as ifconfig shows it"),
        Column("dma", "int", "DMA channel, as ifconfig shows it"),
        *BEGINNING,
        *ENDING,
        RANK,
    ),
    order=("name", "first_seen"),
    spans=True,
)

ADDRESSES: Final = Table(
    "addresses",
    "one address of a network interface",
    (
        RECORDING,
        NETNS,
        _INDEX,
        Column("family", "text", "inet | inet6"),
        Column("address", "text", "the address"),
        Column("prefix_length", "int", "bits of it that name the network"),
        Column("label", "text", "the interface's name; of an IPv4 alias its own (eth0:1)"),
        Column("peer", "text", "the other end of a point-to-point link"),
        Column("broadcast", "text", "the network's broadcast address"),
        Column("scope", "int", "0 global, 200 site, 253 link, 254 host"),
        Column("flags", "int", "IFA_F_*: 1 secondary, 8 duplicate, 64 tentative, 128 permanent, ..."),
        *BEGINNING,
        *ENDING,
        RANK,
    ),
    order=("address", "first_seen"),
    spans=True,
)

ROUTES: Final = Table(
    "routes",
    "one route, as `netstat -r` shows it: IPv4's main table, all tables of IPv6",
    (
        RECORDING,
        NETNS,
        Column("family", "text", "inet | inet6"),
        Column("destination", "text", "network or host that it leads to"),
        Column("prefix_length", "int", "bits of it that name the network"),
        Column("source", "text", "IPv6: for packets from this network alone"),
        Column("source_length", "int", "bits of that"),
        Column("gateway", "text", "next hop; the any-address if there is none"),
        Column("interface", "text", "where packets leave"),
        Column("flags", "int", "RTF_*: 1 up, 2 gateway, 4 host, 512 reject, ..."),
        Column("metric", "int", "of two routes the lower one is taken"),
        Column("refs", "int", "references to it, as /proc tells"),
        Column("uses", "int", "how often it was used, as /proc tells"),
        Column("mtu", "int", "largest segment on it (netstat's MSS); 0 if not set"),
        Column("window_size", "int", "TCP window on it, bytes; 0 if not set"),
        Column("irtt", "int", "initial round-trip time on it; 0 if not set"),
        *BEGINNING,
        *ENDING,
        RANK,
    ),
    order=("family", "destination", "first_seen"),
    spans=True,
)

GROUPS: Final = Table(
    "groups",
    "one multicast group that an interface listens to",
    (
        RECORDING,
        NETNS,
        Column("family", "text", "inet | inet6"),
        _INDEX,
        Column("interface", "text", "its name"),
        Column("address", "text", "the group"),
        Column("users", "int", "how many joined it there"),
        *BEGINNING,
        *ENDING,
        RANK,
    ),
    order=("address", "first_seen"),
    spans=True,
)

LIMITS: Final = Table(
    "limits",
    "one setting of the kernel that bounds what sockets can do",
    (
        RECORDING,
        NETNS,
        Column("name", "text", "its sysctl name"),
        Column("value", "text", "its value, as the kernel writes it"),
        *BEGINNING,
        *ENDING,
        RANK,
    ),
    order=("name", "first_seen"),
    spans=True,
)

LINK_COUNTERS: Final = Table(
    "link_counters",
    "what an interface has counted, at a reading that found it moved (struct rtnl_link_stats64)",
    (
        RECORDING,
        NETNS,
        _INDEX,
        Column("name", "text", "its name"),
        *_READ,
        Column("rx_packets", "int", "packets received"),
        Column("tx_packets", "int", "packets sent"),
        Column("rx_bytes", "int", "bytes received"),
        Column("tx_bytes", "int", "bytes sent"),
        Column("rx_errors", "int", "bad packets received, of all kinds"),
        Column("tx_errors", "int", "packets that could not be sent, of all kinds"),
        Column("rx_dropped", "int", "received and dropped: no room, or nobody wanted them"),
        Column("tx_dropped", "int", "dropped on the way out"),
        Column("multicast", "int", "multicast packets received"),
        Column("collisions", "int", "collisions"),
        Column("rx_length_errors", "int", "of a wrong length"),
        Column("rx_over_errors", "int", "overran the receiver"),
        Column("rx_crc_errors", "int", "with a wrong checksum: often the cable"),
        Column("rx_frame_errors", "int", "misaligned: often the cable"),
        Column("rx_fifo_errors", "int", "overran its queue"),
        Column("rx_missed_errors", "int", "missed by the device: the host was too slow"),
        Column("tx_aborted_errors", "int", "aborted"),
        Column("tx_carrier_errors", "int", "carrier lost: cable or duplex"),
        Column("tx_fifo_errors", "int", "ran its queue empty"),
        Column("tx_heartbeat_errors", "int", "without a heartbeat"),
        Column("tx_window_errors", "int", "late collisions"),
        Column("rx_compressed", "int", "compressed packets received"),
        Column("tx_compressed", "int", "compressed packets sent"),
        Column("rx_nohandler", "int", "dropped: no handler was there"),
    ),
    order=("name", "read_at"),
)

COUNTERS: Final = Table(
    "counters",
    "one number of the kernel's protocol statistics, at a reading that found it moved",
    (
        RECORDING,
        NETNS,
        Column("source", "text", "its file below /proc/net: snmp, netstat, snmp6, sockstat, ..."),
        Column("section", "text", "the word before it there: Tcp, TcpExt, Udp, Ip, ..."),
        Column("name", "text", "the kernel's name of it"),
        Column("place", "int", "its place in the file, from 0"),
        *_READ,
        Column("value", "int", "the number; from 2**63 on less 2**64"),
    ),
    order=("source", "name", "read_at"),
)

NETWORK_TABLES: Final = (INTERFACES, ADDRESSES, ROUTES, GROUPS, LIMITS, LINK_COUNTERS, COUNTERS)
