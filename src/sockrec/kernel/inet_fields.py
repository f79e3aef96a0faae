"""Where the kernel's structs for internet sockets have what is recorded (linux/inet_diag.h, linux/tcp.h).

Each field is given by its name, that of the column it becomes, its NumPy type and its offset in bytes.
"""

from __future__ import annotations

from typing import Final

MESSAGE: Final = (  # struct inet_diag_msg: name, type, offset
    ("family", "u1", 0),
    ("state", "u1", 1),
    ("timer", "u1", 2),
    ("idiag_retrans", "u1", 3),
    ("local_port", ">u2", 4),
    ("remote_port", ">u2", 6),
    ("local", "V16", 8),
    ("remote", "V16", 24),
    ("ifindex", "=i4", 40),
    ("cookie", "=i8", 44),
    ("timer_deadline", "=u4", 52),  # idiag_expires: ms from now
    ("recv_q", "=u4", 56),
    ("send_q", "=u4", 60),
    ("uid", "=u4", 64),
    ("inode", "=u4", 68),
)
MEMORY: Final = (  # SK_MEMINFO_*: an array of u32
    ("rmem", "=u4", 0),
    ("rcvbuf", "=u4", 4),
    ("wmem", "=u4", 8),
    ("sndbuf", "=u4", 12),
    ("fwd_alloc", "=i4", 16),
    ("wmem_queued", "=u4", 20),
    ("optmem", "=u4", 24),
    ("backlog", "=u4", 28),
    ("drops", "=u4", 32),
)
TCP_INFO: Final = (  # struct tcp_info; it only ever grows at its end
    ("ca_state", "u1", 1),
    ("retransmits", "u1", 2),
    ("probes", "u1", 3),
    ("backoff", "u1", 4),
    ("tcp_options", "u1", 5),
    ("wscales", "u1", 6),
    ("limits", "u1", 7),
    ("rto_us", "=u4", 8),
    ("ato_us", "=u4", 12),
    ("snd_mss", "=u4", 16),
    ("rcv_mss", "=u4", 20),
    ("unacked", "=u4", 24),
    ("sacked", "=u4", 28),
    ("lost", "=u4", 32),
    ("retrans", "=u4", 36),
    ("last_data_sent_at", "=u4", 44),  # how long ago, ms; so are the next two
    ("last_data_recv_at", "=u4", 52),
    ("last_ack_recv_at", "=u4", 56),
    ("pmtu", "=u4", 60),
    ("rcv_ssthresh", "=u4", 64),
    ("rtt_us", "=u4", 68),
    ("rttvar_us", "=u4", 72),
    ("snd_ssthresh", "=u4", 76),
    ("snd_cwnd", "=u4", 80),
    ("advmss", "=u4", 84),
    ("reordering", "=u4", 88),
    ("rcv_rtt_us", "=u4", 92),
    ("rcv_space", "=u4", 96),
    ("total_retrans", "=u4", 100),
    ("pacing_rate", "=i8", 104),  # u64, as are all =i8 here: what overflows shows as negative
    ("max_pacing_rate", "=i8", 112),
    ("bytes_acked", "=i8", 120),
    ("bytes_received", "=i8", 128),
    ("segs_out", "=u4", 136),
    ("segs_in", "=u4", 140),
    ("notsent_bytes", "=u4", 144),
    ("min_rtt_us", "=u4", 148),
    ("data_segs_in", "=u4", 152),
    ("data_segs_out", "=u4", 156),
    ("delivery_rate", "=i8", 160),
    ("busy_us", "=i8", 168),
    ("rwnd_limited_us", "=i8", 176),
    ("sndbuf_limited_us", "=i8", 184),
    ("delivered", "=u4", 192),
    ("delivered_ce", "=u4", 196),
    ("bytes_sent", "=i8", 200),
    ("bytes_retrans", "=i8", 208),
    ("dsack_dups", "=u4", 216),
    ("reord_seen", "=u4", 220),
    ("rcv_ooopack", "=u4", 224),
    ("snd_wnd", "=u4", 228),
)
BBR_INFO: Final = (  # struct tcp_bbr_info
    ("bbr_bw_low", "=u4", 0),
    ("bbr_bw_high", "=u4", 4),
    ("bbr_min_rtt_us", "=u4", 8),
    ("bbr_pacing_gain", "=u4", 12),
    ("bbr_cwnd_gain", "=u4", 16),
)
SETTINGS: Final = {  # come unasked: INET_DIAG_SHUTDOWN, _SKV6ONLY, _MARK, _CGROUP_ID
    8: ("shutdown", "u1"),
    11: ("v6only", "u1"),
    15: ("mark", "=u4"),
    21: ("cgroup", "=i8"),
}
PACKED: Final = {  # bits of bytes of struct tcp_info: name, shift, mask
    "snd_wscale": ("wscales", 0, 15),
    "rcv_wscale": ("wscales", 4, 15),
    "delivery_rate_app_limited": ("limits", 0, 1),
}
AGES: Final = frozenset({"last_data_sent_at", "last_data_recv_at", "last_ack_recv_at"})
# Rates of which all ones mean that there is no limit.
RATES: Final = ("pacing_rate", "max_pacing_rate")
