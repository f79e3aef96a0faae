"""The sockets of a namespace as sock_diag tells them, read without any of sockrec's own readers.

Layouts: linux/inet_diag.h, linux/unix_diag.h, linux/sock_diag.h, linux/tcp.h, linux/tls.h, linux/mptcp.h.
Every attribute that ss prints is taken apart. Raw sockets come from /proc where the kernel has no raw_diag.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sockrec.model import states
from sockrec.model.ss_row import (
    Bbr,
    Dctcp,
    Holder,
    MptcpSubflow,
    SocketMemory,
    SsRow,
    SsUnixRow,
    TcpInfo,
    Tls,
)
from tests.support.netns import Namespace
from tests.support.proc_rows import rows_from_proc

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP = 1, 0x300

INFO, VEGASINFO, CONG, SKMEMINFO, SHUTDOWN = 2, 3, 4, 7, 8
DCTCPINFO, PROTOCOL, SKV6ONLY, MARK, BBRINFO, ULP_INFO, CGROUP_ID = 9, 10, 11, 15, 16, 19, 21
UNIX_NAME, UNIX_VFS, UNIX_PEER, UNIX_ICONS, UNIX_RQLEN, UNIX_MEMINFO, UNIX_SHUTDOWN = range(7)
ULP_NAME, ULP_TLS, ULP_MPTCP = 1, 2, 3

MESSAGE = struct.Struct("=4B2H16s16siQ5I")  # struct inet_diag_msg; its ports and addresses are big-endian
TIMERS = {0: "off", 1: "on", 2: "keepalive", 3: "timewait", 4: "probe"}
UNIX_TYPES = {1: "STREAM", 2: "DGRAM", 5: "SEQPACKET"}

# struct tcp_info: name in TcpInfo, type, offset
TCP_INFO = (
    ("backoff", "B", 4), ("tcp_options", "B", 5), ("rto_us", "I", 8), ("ato_us", "I", 12),
    ("snd_mss", "I", 16), ("rcv_mss", "I", 20), ("unacked", "I", 24), ("sacked", "I", 28), ("lost", "I", 32),
    ("retrans", "I", 36), ("fackets", "I", 40), ("last_data_sent_ms", "I", 44),
    ("last_data_recv_ms", "I", 52), ("last_ack_recv_ms", "I", 56), ("pmtu", "I", 60),
    ("rcv_ssthresh", "I", 64), ("rtt_us", "I", 68), ("rttvar_us", "I", 72), ("snd_ssthresh", "I", 76),
    ("snd_cwnd", "I", 80), ("advmss", "I", 84), ("reordering", "I", 88), ("rcv_rtt_us", "I", 92),
    ("rcv_space", "I", 96), ("total_retrans", "I", 100), ("pacing_rate", "Q", 104),
    ("max_pacing_rate", "Q", 112), ("bytes_acked", "Q", 120), ("bytes_received", "Q", 128),
    ("segs_out", "I", 136), ("segs_in", "I", 140), ("notsent_bytes", "I", 144), ("min_rtt_us", "I", 148),
    ("data_segs_in", "I", 152), ("data_segs_out", "I", 156), ("delivery_rate", "Q", 160),
    ("busy_us", "Q", 168), ("rwnd_limited_us", "Q", 176), ("sndbuf_limited_us", "Q", 184),
    ("delivered", "I", 192), ("delivered_ce", "I", 196), ("bytes_sent", "Q", 200),
    ("bytes_retrans", "Q", 208), ("dsack_dups", "I", 216), ("reord_seen", "I", 220),
    ("rcv_ooopack", "I", 224), ("snd_wnd", "I", 228),
)  # fmt: skip
TCP_INFO_BYTES = 232
_UNLIMITED = 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True)
class Surroundings:
    """What the numbers in messages stand for: holders by inode, device names, cgroup paths."""

    holders: Mapping[int, tuple[Holder, ...]] = field(default_factory=dict)
    interfaces: Mapping[int, str] = field(default_factory=dict)
    cgroups: Mapping[int, str] = field(default_factory=dict)


def attributes(payload: bytes) -> dict[int, bytes]:
    """Return the attributes (struct nlattr) of a payload by type, without the flags in it."""
    found: dict[int, bytes] = {}
    while len(payload) >= 4:
        length, kind = struct.unpack_from("=HH", payload)
        found[kind & 0x3FFF] = payload[4:length]
        payload = payload[(length + 3) & ~3 :]
    return found


def dump(request: bytes) -> Iterator[bytes]:
    """Ask the namespace of the calling thread for a dump; yield the messages without their headers."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as link:
        head = struct.pack("=IHHII", 16 + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
        link.send(head + request)
        while True:
            data = link.recv(1 << 20)
            while data:
                length, kind = struct.unpack_from("=IH", data)
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    raise OSError(-struct.unpack_from("=i", data, 16)[0], "sock_diag")
                yield data[16:length]
                data = data[(length + 3) & ~3 :]


def inet_row(message: bytes, protocol: str, around: Surroundings) -> SsRow:
    """Return the socket that one inet_diag message tells of."""
    (
        family, state, timer, retrans, local_port, remote_port, local, remote, interface, cookie, expires,
        recv_q, send_q, uid, inode,
    ) = MESSAGE.unpack_from(message)  # fmt: skip
    inet6 = family == socket.AF_INET6
    told = attributes(message[MESSAGE.size :])
    name = states.NAMES[state]
    if protocol != "tcp" and name == "CLOSE":
        name = "UNCONN"
    listening = name == "LISTEN"
    mark, cgroup = told.get(MARK), told.get(CGROUP_ID)
    cgroup_id = int.from_bytes(cgroup, "little") if cgroup else 0
    congestion = told.get(CONG, b"").split(b"\0")[0].decode()
    row = SsRow(
        protocol=protocol,
        family="inet6" if inet6 else "inet",
        local_address=socket.inet_ntop(family, local[: 16 if inet6 else 4]),
        local_port=socket.ntohs(local_port),
        remote_address=socket.inet_ntop(family, remote[: 16 if inet6 else 4]),
        remote_port=socket.ntohs(remote_port),
        state=name,
        socket_id=cookie,
        interface=around.interfaces.get(interface, f"if{interface}") if interface else None,
        recv_q=recv_q,
        send_q=0 if listening else send_q,
        backlog_limit=send_q if listening else None,
        uid=uid,
        inode=inode,
        timer=TIMERS.get(timer, f"unkn-{timer}"),
        timer_ms=expires,
        retransmits=retrans if timer == 1 else 0,
        probes=0 if timer == 1 else retrans,
        shutdown=told[SHUTDOWN][0] if SHUTDOWN in told else None,
        v6only=bool(told[SKV6ONLY][0]) if SKV6ONLY in told else None,
        mark=int.from_bytes(mark, "little") if mark else None,
        cgroup=around.cgroups.get(cgroup_id, f"unreachable:{cgroup_id:x}") if cgroup_id else None,
        holders=around.holders.get(inode, ()) if inode else (),
        memory=_memory(told.get(SKMEMINFO)),
        congestion=congestion or None,
    )
    return _with_tcp(row, told) if protocol == "tcp" else row


def _memory(payload: bytes | None) -> SocketMemory | None:
    if payload is None:
        return None
    rmem, rcvbuf, wmem, sndbuf, forward, queued, optmem, *more = struct.unpack(
        "=4Ii" + "I" * (len(payload) // 4 - 5), payload
    )
    backlog, drops, *_ = [*more, None, None]
    return SocketMemory(rmem, rcvbuf, wmem, sndbuf, forward, queued, optmem, backlog, drops)


def _with_tcp(row: SsRow, told: dict[int, bytes]) -> SsRow:
    """Add what is told of TCP alone."""
    ulp = attributes(told.get(ULP_INFO, b""))
    row = row._replace(
        ulp=ulp[ULP_NAME].split(b"\0")[0].decode() if ULP_NAME in ulp else None,
        tls=_tls(attributes(ulp[ULP_TLS])) if ULP_TLS in ulp else None,
        mptcp=_subflow(attributes(ulp[ULP_MPTCP])) if ULP_MPTCP in ulp else None,
    )
    if INFO not in told:
        return row
    if VEGASINFO in told:
        enabled, _, rtt, _ = struct.unpack("=4I", told[VEGASINFO])
        row = row._replace(vegas_rtt_us=rtt if enabled and rtt != 0x7FFFFFFF else None)
    if DCTCPINFO in told:
        active, *rest = struct.unpack("=2H3I", told[DCTCPINFO])
        row = row._replace(dctcp=Dctcp(bool(active), *rest))
    if BBRINFO in told:
        low, high, *rest = struct.unpack("=5I", told[BBRINFO])
        row = row._replace(bbr=Bbr(high << 32 | low, *rest))
    return row._replace(tcp=tcp_info(told[INFO], row.state == "LISTEN"))


def tcp_info(payload: bytes, listening: bool) -> TcpInfo:
    """Return struct tcp_info, an older kernel's shorter one too; a rate without a limit is -1."""
    payload = payload.ljust(TCP_INFO_BYTES, b"\0")
    values = {name: struct.unpack_from(f"={kind}", payload, offset)[0] for name, kind, offset in TCP_INFO}
    for rate in ("pacing_rate", "max_pacing_rate"):
        if values[rate] == _UNLIMITED:
            values[rate] = -1
    if values["min_rtt_us"] == 0xFFFFFFFF:
        values["min_rtt_us"] = None
    if listening:  # the queue and its limit, which are told elsewhere
        values["unacked"] = values["sacked"] = None
    return TcpInfo(
        **values,
        snd_wscale=payload[6] & 15,
        rcv_wscale=payload[6] >> 4,
        delivery_rate_app_limited=bool(payload[7] & 1),
    )


def _tls(told: dict[int, bytes]) -> Tls:
    version, cipher, transmit, receive = (
        int.from_bytes(told[kind], "little") if kind in told else None for kind in (1, 2, 3, 4)
    )
    return Tls(version, cipher, receive, transmit, zc_ro_tx=5 in told)


def _subflow(told: dict[int, bytes]) -> MptcpSubflow:
    def value(kind: int) -> int | None:
        return int.from_bytes(told[kind], "little") if kind in told else None

    return MptcpSubflow(
        flags=value(8),
        token_rem=value(1),
        token_loc=value(2),
        id_rem=value(9),
        id_loc=value(10),
        map_seq=value(4),
        map_sfseq=value(5),
        ssn_offset=value(6),
        map_datalen=value(7),
    )


def unix_row(message: bytes, around: Surroundings) -> SsUnixRow:
    """Return the socket that one unix_diag message tells of."""
    _, kind, state, inode = struct.unpack_from("=BBBxI", message)
    told = attributes(message[16:])
    vfs = struct.unpack("=II", told[UNIX_VFS]) if UNIX_VFS in told else (None, None)
    recv_q, send_q = struct.unpack("=II", told[UNIX_RQLEN])
    listening = state == states.LISTEN
    name = told.get(UNIX_NAME, b"")
    name = name.replace(b"\0", b"@") if name.startswith(b"\0") else name.split(b"\0")[0]
    icons = told.get(UNIX_ICONS)
    return SsUnixRow(
        type=UNIX_TYPES[kind],
        state="UNCONN" if state == states.CLOSE else states.NAMES[state],
        inode=inode,
        path=name.decode("utf-8", "surrogateescape") or None,
        peer_inode=struct.unpack("=I", told[UNIX_PEER])[0] if UNIX_PEER in told else None,
        recv_q=recv_q,
        send_q=0 if listening else send_q,
        backlog_limit=send_q if listening else None,
        shutdown=told[UNIX_SHUTDOWN][0] if UNIX_SHUTDOWN in told else None,
        vfs_inode=vfs[0],
        vfs_device=vfs[1],
        waiting=struct.unpack(f"={len(icons) // 4}I", icons) if icons is not None else None,
        holders=around.holders.get(inode, ()),
        memory=_memory(told.get(UNIX_MEMINFO)),
    )


def _raw_rows(namespace: Namespace, around: Surroundings) -> Iterator[SsRow]:
    for row in rows_from_proc(namespace, ()):
        if row.protocol == "raw":
            yield SsRow(
                row.protocol,
                row.family,
                row.local_address,
                row.local_port,
                row.remote_address,
                row.remote_port,
                row.state,
                socket_id=-row.inode,
                recv_q=row.recv_q,
                send_q=row.send_q,
                uid=row.uid,
                inode=row.inode,
                holders=around.holders.get(row.inode, ()),
            )


def holders_of(pids: Iterable[int]) -> dict[int, tuple[Holder, ...]]:
    """Return who holds each socket inode, every descriptor of theirs."""
    found: dict[int, tuple[Holder, ...]] = {}
    for pid in pids:
        process = Path(f"/proc/{pid}")
        comm = (process / "stat").read_bytes().partition(b"(")[2].rpartition(b")")[0]
        for entry in (process / "fd").iterdir():
            try:
                target = str(entry.readlink())
            except FileNotFoundError:  # the one that lists our own
                continue
            if target.startswith("socket:["):
                holder = Holder(pid, comm.decode("utf-8", "surrogateescape"), int(entry.name))
                inode = int(target[8:-1])
                found[inode] = (*found.get(inode, ()), holder)
    return found


def cgroups() -> dict[int, str]:
    """Return the path of each cgroup v2 by its id, which is the inode of its folder."""
    found: dict[int, str] = {}
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, kind, *_ = line.split()
        if kind == "cgroup2" and not found:
            for folder, _, _ in os.walk(mount):
                found[Path(folder).stat().st_ino] = folder[len(mount) :] or "/"
    return found


def rows_from_diag(namespace: Namespace, pids: Iterable[int]) -> tuple[list[SsRow], list[SsUnixRow]]:
    """Return every internet and UNIX socket of a namespace in the kernel's order; `pids` may hold them."""
    rows: list[SsRow] = []
    with namespace.entered():
        around = Surroundings(holders_of(pids), dict(socket.if_nameindex()), cgroups())
        for protocol, number in (("udp", socket.IPPROTO_UDP), ("tcp", socket.IPPROTO_TCP)):
            for family in (socket.AF_INET, socket.AF_INET6):
                request = struct.pack("=BBBxI48x", family, number, 0xFF, 0xFFFFFFFF)
                rows += [inet_row(message, protocol, around) for message in dump(request)]
        request = struct.pack("=BBHIII8x", socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, 0xFF)
        unix_rows = [unix_row(message, around) for message in dump(request)]
    return [*rows, *_raw_rows(namespace, around)], unix_rows
