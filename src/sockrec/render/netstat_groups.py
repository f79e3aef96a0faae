"""The text that netstat of net-tools 2.10 prints of multicast groups (`-g`), byte for byte.

Format and order are those of igmp_info in netstat.c, in the C locale. With `-c` netstat takes the IPv4 lines
of all but the first block for IPv6 ones and prints what it finds in memory; here each block is as the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sockrec.model.network import Group
from sockrec.render.names import Names, pad, printable
from sockrec.render.netstat_flags import NetstatFlags
from sockrec.render.netstat_hosts import ipv4_host, ipv6_host


def netstat_groups(rows: Iterable[Group], flags: NetstatFlags, names: Names) -> Iterator[str]:
    """Yield the block of groups line by line, each with its newline: IPv4's, then IPv6's.

    `rows` are those of one moment in the kernel's order. netstat prints this block after the internet
    sockets' and before the UNIX sockets'; nothing unless `flags.groups`.
    """
    if not flags.groups:
        return
    yield "IPv6/IPv4 Group Memberships\n"
    yield "Interface       RefCnt Group\n"
    yield "--------------- ------ ---------------------\n"
    held = list(rows)
    for family, wanted, host in (("inet", flags.inet, ipv4_host), ("inet6", flags.inet6, ipv6_host)):
        for row in held if wanted else ():
            if row.family == family:
                address = host(row.address, names, flags.numeric_hosts)
                yield f"{pad(printable(row.interface), 15)} {row.users:<6d} {address}\n"
