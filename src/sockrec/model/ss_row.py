"""One socket at one moment with everything that ss(8) prints of it, as replay finds it.

Columns that captures have keep their names (`sockrec.model.tables`); others have those of struct tcp_info
(linux/tcp.h), of the inet_diag and unix_diag attributes (linux/inet_diag.h, linux/unix_diag.h) and of
SK_MEMINFO_* (linux/sock_diag.h). None means not recorded, or that the kernel does not tell it of such a
socket. Ages and what is left of a timer are counted from the moment shown.
"""

from __future__ import annotations

from typing import NamedTuple


class Holder(NamedTuple):
    """A descriptor through which a process has a socket open; `comm` is the kernel's name of the process."""

    pid: int
    comm: str
    fd: int


class SocketMemory(NamedTuple):
    """SK_MEMINFO_*, in bytes but for `drops`, which counts packets.

    `fwd_alloc` may be below 0 for a moment. The last two are None on kernels that do not tell them.
    """

    rmem: int
    rcvbuf: int
    wmem: int
    sndbuf: int
    fwd_alloc: int
    wmem_queued: int
    optmem: int
    backlog: int | None = None
    drops: int | None = None


class TcpInfo(NamedTuple):
    """What TCP knows of a connection (struct tcp_info); of a listener only what the kernel fills in.

    `tcp_options` are TCPI_OPT_* bits. `snd_ssthresh`, `pacing_rate` (-1: unlimited) and the like are as in
    the table `activity`; names end in their unit; the three ages are how long ago data was last sent, data
    last received and an acknowledgement last received.
    """

    rto_us: int | None = None
    ato_us: int | None = None
    backoff: int | None = None
    tcp_options: int | None = None
    snd_wscale: int | None = None
    rcv_wscale: int | None = None
    rtt_us: int | None = None
    rttvar_us: int | None = None
    snd_mss: int | None = None
    rcv_mss: int | None = None
    advmss: int | None = None
    pmtu: int | None = None
    snd_cwnd: int | None = None
    snd_ssthresh: int | None = None
    bytes_sent: int | None = None
    bytes_retrans: int | None = None
    bytes_acked: int | None = None
    bytes_received: int | None = None
    segs_out: int | None = None
    segs_in: int | None = None
    data_segs_out: int | None = None
    data_segs_in: int | None = None
    last_data_sent_ms: int | None = None
    last_data_recv_ms: int | None = None
    last_ack_recv_ms: int | None = None
    pacing_rate: int | None = None
    max_pacing_rate: int | None = None
    delivery_rate: int | None = None
    delivery_rate_app_limited: bool | None = None
    delivered: int | None = None
    delivered_ce: int | None = None
    busy_us: int | None = None
    rwnd_limited_us: int | None = None
    sndbuf_limited_us: int | None = None
    unacked: int | None = None
    retrans: int | None = None
    total_retrans: int | None = None
    lost: int | None = None
    sacked: int | None = None
    dsack_dups: int | None = None
    fackets: int | None = None
    reordering: int | None = None
    reord_seen: int | None = None
    rcv_rtt_us: int | None = None
    rcv_space: int | None = None
    rcv_ssthresh: int | None = None
    notsent_bytes: int | None = None
    min_rtt_us: int | None = None
    rcv_ooopack: int | None = None
    snd_wnd: int | None = None


class Bbr(NamedTuple):
    """What BBR congestion control tells (struct tcp_bbr_info): bytes per second; gains times 256."""

    bw: int
    min_rtt_us: int
    pacing_gain: int
    cwnd_gain: int


class Dctcp(NamedTuple):
    """What DCTCP congestion control tells (struct tcp_dctcp_info); not `enabled`: it fell back to Reno."""

    enabled: bool
    ce_state: int
    alpha: int
    ab_ecn: int
    ab_tot: int


class Tls(NamedTuple):
    """Kernel TLS on a socket (TLS_INFO_*, linux/tls.h)."""

    version: int | None = None
    cipher: int | None = None
    rxconf: int | None = None
    txconf: int | None = None
    zc_ro_tx: bool = False


class MptcpSubflow(NamedTuple):
    """A TCP socket as part of a multipath connection (MPTCP_SUBFLOW_ATTR_*, linux/mptcp.h)."""

    flags: int | None = None
    token_rem: int | None = None
    token_loc: int | None = None
    id_rem: int | None = None
    id_loc: int | None = None
    map_seq: int | None = None
    map_sfseq: int | None = None
    ssn_offset: int | None = None
    map_datalen: int | None = None


class SsRow(NamedTuple):
    """One internet socket at one moment.

    `protocol` to `probes` are as in the tables `sockets` and `activity`, `socket_id` too: negative where
    the socket comes from /proc. `timer_ms` is what was left of the timer. `shutdown` has bit 1 if nothing
    is received any more, bit 2 if nothing is sent; `mark` is SO_MARK; `cgroup` a cgroup v2 path, or
    `unreachable:ID` of a cgroup that is gone; `congestion` the name of the congestion control. `tcp` is
    None where the kernel told nothing (TIME_WAIT, SYN_RECV) or nothing was recorded.
    """

    protocol: str
    family: str
    local_address: str
    local_port: int
    remote_address: str
    remote_port: int
    state: str
    socket_id: int
    interface: str | None = None
    recv_q: int = 0
    send_q: int = 0
    backlog_limit: int | None = None
    uid: int = 0
    inode: int = 0
    timer: str = "off"
    timer_ms: int = 0
    retransmits: int = 0
    probes: int = 0
    shutdown: int | None = None
    v6only: bool | None = None
    mark: int | None = None
    cgroup: str | None = None
    holders: tuple[Holder, ...] = ()
    memory: SocketMemory | None = None
    congestion: str | None = None
    tcp: TcpInfo | None = None
    vegas_rtt_us: int | None = None
    bbr: Bbr | None = None
    dctcp: Dctcp | None = None
    ulp: str | None = None
    tls: Tls | None = None
    mptcp: MptcpSubflow | None = None


class SsUnixRow(NamedTuple):
    """One UNIX socket at one moment.

    `type` to `path` are as in the table `unix_sockets`. `vfs_inode` and `vfs_device` (st_dev as the kernel
    packs it, 20 bits of minor number below the major) are those of the file that `path` names; `waiting`
    are the inodes of the clients that await accept(2), as UNIX_DIAG_ICONS lists them.
    """

    type: str
    state: str
    inode: int
    path: str | None = None
    peer_inode: int | None = None
    recv_q: int = 0
    send_q: int = 0
    backlog_limit: int | None = None
    shutdown: int | None = None
    vfs_inode: int | None = None
    vfs_device: int | None = None
    waiting: tuple[int, ...] | None = None
    holders: tuple[Holder, ...] = ()
    memory: SocketMemory | None = None
