"""What is recorded of struct tcp_info (linux/tcp.h), as columns of the table `activity`."""

from __future__ import annotations

from typing import Final

from sockrec.model.columns import Column

# One source for the names that sock_diag, the ledger and the table share, in struct order.
TCP_COUNTERS: Final = (
    Column("retransmits", "int", "retransmissions of the segment now unacknowledged (netstat -o)"),
    Column("probes", "int", "unanswered window or keepalive probes (netstat -o)"),
    Column("ca_state", "int", "congestion state: 0 open, 1 disorder, 2 CWR, 3 recovery, 4 loss"),
    Column("backoff", "int", "exponential backoff of the retransmission timer"),
    Column("rto_us", "int", "retransmission timeout, microseconds"),
    Column("snd_mss", "int", "sending segment size, bytes"),
    Column("rcv_mss", "int", "receiving segment size, bytes"),
    Column("unacked", "int", "segments sent and not acknowledged"),
    Column("lost", "int", "segments thought lost"),
    Column("retrans", "int", "retransmitted segments in flight"),
    Column("pmtu", "int", "path MTU, bytes"),
    Column("rtt_us", "int", "smoothed round-trip time, microseconds"),
    Column("rttvar_us", "int", "its mean deviation, microseconds"),
    Column("snd_ssthresh", "int", "slow-start threshold, segments"),
    Column("snd_cwnd", "int", "congestion window, segments"),
    Column("reordering", "int", "reordering tolerated, segments"),
    Column("rcv_rtt_us", "int", "receiver's round-trip estimate, microseconds"),
    Column("rcv_space", "int", "receive buffer tuning, bytes"),
    Column("total_retrans", "int", "segments retransmitted in its life"),
    Column("pacing_rate", "int", "bytes per second; -1 if unlimited"),
    Column("bytes_acked", "int", "bytes acknowledged by the peer"),
    Column("bytes_received", "int", "bytes received in order"),
    Column("segs_out", "int", "segments sent"),
    Column("segs_in", "int", "segments received"),
    Column("notsent_bytes", "int", "bytes queued and never sent yet"),
    Column("min_rtt_us", "int", "least round-trip time seen, microseconds"),
    Column("data_segs_in", "int", "segments received with data"),
    Column("data_segs_out", "int", "segments sent with data"),
    Column("delivery_rate", "int", "recent delivery rate, bytes per second"),
    Column("busy_us", "int", "time with data outstanding, microseconds"),
    Column("rwnd_limited_us", "int", "time limited by the peer's window, microseconds"),
    Column("sndbuf_limited_us", "int", "time limited by the send buffer, microseconds"),
    Column("delivered", "int", "segments delivered"),
    Column("bytes_sent", "int", "bytes sent, retransmissions included"),
    Column("bytes_retrans", "int", "bytes retransmitted"),
    Column("rcv_ooopack", "int", "segments received out of order"),
    Column("snd_wnd", "int", "the peer's window, bytes"),
)

# What ss shows beside, struct tcp_info again.
TCP_DETAILS: Final = (
    Column(
        "tcp_options",
        "int",
        "agreed on: 1 timestamps, 2 SACK, 4 window scaling, 8 ECN, 16 ECN seen, 32 data in SYN",
        since=4,
    ),
    Column("snd_wscale", "int", "shift of the windows that the peer announces", since=4),
    Column("rcv_wscale", "int", "shift of the windows announced to it", since=4),
    Column(
        "delivery_rate_app_limited",
        "bool",
        "whether delivery_rate was held down by the application sending too little",
        since=4,
    ),
    Column("ato_us", "int", "timeout of delayed acknowledgements, microseconds", since=4),
    Column("sacked", "int", "segments acknowledged out of order (SACK)", since=4),
    Column("last_data_sent_at", "time", "when data was last sent, as exact as the kernel's tick", since=4),
    Column("last_data_recv_at", "time", "when data was last received, likewise", since=4),
    Column("last_ack_recv_at", "time", "when an acknowledgement was last received, likewise", since=4),
    Column("rcv_ssthresh", "int", "largest window to be announced now, bytes", since=4),
    Column("advmss", "int", "segment size announced to the peer, bytes", since=4),
    Column("max_pacing_rate", "int", "limit of pacing_rate, bytes per second; -1 if unlimited", since=4),
    Column("delivered_ce", "int", "segments delivered with a congestion mark (ECN)", since=4),
    Column("dsack_dups", "int", "segments that the peer received twice", since=4),
    Column("reord_seen", "int", "times that reordering was seen", since=4),
    Column("bbr_bw", "int", "BBR: bandwidth of the path as it estimates it, bytes per second", since=4),
    Column("bbr_min_rtt_us", "int", "BBR: its least round-trip time, microseconds", since=4),
    Column("bbr_pacing_gain", "int", "BBR: gain of its pace, times 256", since=4),
    Column("bbr_cwnd_gain", "int", "BBR: gain of its congestion window, times 256", since=4),
)
