"""What `ss -i`, `-m` and `-o` print of a socket's inside: timers, memory, struct tcp_info.

Order, conditions and formats are those of misc/ss.c of iproute2 6.1. What ss works out of other values
(the `send` rate) is worked out here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sockrec.model.ss_row import Bbr, Dctcp, MptcpSubflow, SocketMemory, SsRow, TcpInfo, Tls
from sockrec.render.names import printable

# TCPI_OPT_* (linux/tcp.h)
_WSCALE: Final = 4
_SHOWN_OPTIONS: Final = ((1, "ts"), (2, "sack"), (8, "ecn"), (16, "ecnseen"), (32, "fastopen"))
_INITIAL_RTO_US: Final = 3_000_000
_NO_SSTHRESH: Final = 0xFFFF
_USUAL_REORDERING: Final = 3
_TIMERS: Final = {
    "on": "on", "keepalive": "keepalive", "timewait": "timewait", "probe": "persist",
}  # fmt: skip
_TLS_VERSIONS: Final = {0x0303: "1.2", 0x0304: "1.3"}
_TLS_CIPHERS: Final = {51: "aes-gcm-128", 52: "aes-gcm-256"}
_TLS_CONFIGURATIONS: Final = {1: "none", 2: "sw", 3: "hw", 4: "hw-record"}
# MPTCP_SUBFLOW_FLAG_*, from bit 0 on
_SUBFLOW_FLAGS: Final = "MmJjBbecv"


def time_left(milliseconds: int) -> str:
    """Return a time as ss writes it: `119min`, `1min5sec`, `14sec`, `5.032ms` (5 s), `200ms`, or nothing."""
    seconds, rest = divmod(max(0, milliseconds), 1000)
    minutes, seconds = divmod(seconds, 60)
    text = ""
    if minutes:
        rest = 0
        text = f"{minutes}min"
        if minutes > 9:
            seconds = 0
    if seconds:
        if seconds > 9:
            rest = 0
        text += f"{seconds}." if rest else f"{seconds}sec"
    return f"{text}{rest:03d}ms" if rest else text


def timer_word(row: SsRow) -> str | None:
    """Return `timer:(keepalive,119min,0)`, or None if no timer runs."""
    if row.timer == "off":
        return None
    # idiag_retrans counts what the timer that runs has done.
    count = row.retransmits if row.timer == "on" else row.probes
    return f"timer:({_TIMERS.get(row.timer, 'unknown')},{time_left(row.timer_ms)},{count})"


def memory_word(memory: SocketMemory) -> str:
    """Return `skmem:(r0,rb131072,...)`."""
    text = (
        f"r{memory.rmem},rb{memory.rcvbuf},t{memory.wmem},tb{memory.sndbuf},"
        # ss prints 32 bits without their sign.
        f"f{memory.fwd_alloc & 0xFFFFFFFF},w{memory.wmem_queued},o{memory.optmem}"
    )
    if memory.backlog is not None:
        text += f",bl{memory.backlog}"
    if memory.drops is not None:
        text += f",d{memory.drops}"
    return f"skmem:({text})"


def bit_rate(bits: float, numeric: bool) -> str:
    """Return bits per second as ss writes them: `1.23M`, or the whole number with `-n`."""
    if numeric:
        return f"{bits:.0f}"
    for unit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if bits >= unit:
            return f"{bits / unit:.3g}{letter}"
    return f"{bits:g}"


def info_words(row: SsRow, numeric: bool, options: bool) -> Iterator[str]:
    """Yield the words of `-i` for a TCP socket, in ss's order; none if nothing is known of it.

    `options` (`-o`, `-e`) adds the TCP options that were agreed on.
    """
    info = row.tcp
    if info is not None:
        if options:
            yield from (word for bit, word in _SHOWN_OPTIONS if (info.tcp_options or 0) & bit)
        if row.congestion:
            yield printable(row.congestion)
        yield from _path_words(info)
        yield from _volume_words(info)
        if row.dctcp is not None:
            yield _dctcp_word(row.dctcp)
        if row.bbr is not None:
            yield _bbr_word(row.bbr, numeric)
        yield from _rate_words(info, row.vegas_rtt_us, numeric)
        yield from _limit_words(info)
        yield from _queue_words(info, row)
        yield from _receiver_words(info)
    if row.ulp:
        yield f"tcp-ulp-{printable(row.ulp)}"
    if row.tls is not None:
        yield from _tls_words(row.tls)
    if row.mptcp is not None:
        yield from _subflow_words(row.mptcp)


def _counted(info: TcpInfo, *named: tuple[str, str]) -> Iterator[str]:
    """Yield `name:value` for each (name, field) whose value is not 0."""
    for name, field in named:
        if value := getattr(info, field):
            yield f"{name}:{value}"


def _path_words(info: TcpInfo) -> Iterator[str]:
    """Yield what TCP makes of the path: timeouts, segment sizes, congestion window."""
    if (info.tcp_options or 0) & _WSCALE:
        yield f"wscale:{info.snd_wscale or 0},{info.rcv_wscale or 0}"
    if info.rto_us and info.rto_us != _INITIAL_RTO_US:
        yield f"rto:{info.rto_us / 1000:g}"
    yield from _counted(info, ("backoff", "backoff"))
    if info.rtt_us:
        yield f"rtt:{info.rtt_us / 1000:g}/{(info.rttvar_us or 0) / 1000:g}"
    if info.ato_us:
        yield f"ato:{info.ato_us / 1000:g}"
    yield from _counted(
        info, ("mss", "snd_mss"), ("pmtu", "pmtu"), ("rcvmss", "rcv_mss"), ("advmss", "advmss"),
        ("cwnd", "snd_cwnd"),
    )  # fmt: skip
    if info.snd_ssthresh and info.snd_ssthresh < _NO_SSTHRESH:
        yield f"ssthresh:{info.snd_ssthresh}"


def _volume_words(info: TcpInfo) -> Iterator[str]:
    names = (
        "bytes_sent", "bytes_retrans", "bytes_acked", "bytes_received", "segs_out", "segs_in",
        "data_segs_out", "data_segs_in",
    )  # fmt: skip
    yield from _counted(info, *((name, name) for name in names))


def _dctcp_word(dctcp: Dctcp) -> str:
    if not dctcp.enabled:
        return "dctcp:fallback_mode"
    return (
        f"dctcp:(ce_state:{dctcp.ce_state},alpha:{dctcp.alpha},ab_ecn:{dctcp.ab_ecn},ab_tot:{dctcp.ab_tot})"
    )


def _bbr_word(bbr: Bbr, numeric: bool) -> str:
    text = f"bw:{bit_rate(bbr.bw * 8.0, numeric)}bps,mrtt:{bbr.min_rtt_us / 1000:g}"
    if bbr.pacing_gain:
        text += f",pacing_gain:{bbr.pacing_gain / 256:g}"
    if bbr.cwnd_gain:
        text += f",cwnd_gain:{bbr.cwnd_gain / 256:g}"
    return f"bbr:({text})"


def _rate_words(info: TcpInfo, vegas_rtt_us: int | None, numeric: bool) -> Iterator[str]:
    """Yield rates in bits per second, and the ages between them."""

    def rate(name: str, bits: float, most: float = 0) -> str:
        return f"{name} {bit_rate(bits, numeric)}bps" + (f"/{bit_rate(most, numeric)}bps" if most else "")

    rtt = vegas_rtt_us or info.rtt_us
    if rtt and info.snd_mss and info.snd_cwnd:
        yield rate("send", float(info.snd_cwnd) * info.snd_mss * 8000000.0 / rtt)
    yield from _counted(
        info, ("lastsnd", "last_data_sent_ms"), ("lastrcv", "last_data_recv_ms"),
        ("lastack", "last_ack_recv_ms"),
    )  # fmt: skip
    if info.pacing_rate and info.pacing_rate > 0:
        yield rate("pacing_rate", info.pacing_rate * 8.0, max(0, info.max_pacing_rate or 0) * 8.0)
    if info.delivery_rate:
        yield rate("delivery_rate", info.delivery_rate * 8.0)
    yield from _counted(info, ("delivered", "delivered"), ("delivered_ce", "delivered_ce"))
    if info.delivery_rate_app_limited:
        yield "app_limited"


def _limit_words(info: TcpInfo) -> Iterator[str]:
    """Yield how long it was busy, and the share of that in which something held it up."""
    if busy := info.busy_us:
        yield f"busy:{busy // 1000}ms"
        for name, limited in (
            ("rwnd_limited", info.rwnd_limited_us),
            ("sndbuf_limited", info.sndbuf_limited_us),
        ):
            if limited:
                yield f"{name}:{limited // 1000}ms({100.0 * limited / busy:.1f}%)"


def _queue_words(info: TcpInfo, row: SsRow) -> Iterator[str]:
    listening = row.state == "LISTEN"
    # A listener's tcpi_unacked is its queue, which captures keep as recv_q.
    if unacked := row.recv_q if listening else info.unacked:
        yield f"unacked:{unacked}"
    if info.retrans or info.total_retrans:
        yield f"retrans:{info.retrans or 0}/{info.total_retrans or 0}"
    yield from _counted(info, ("lost", "lost"))
    if info.sacked and not listening:
        yield f"sacked:{info.sacked}"
    yield from _counted(info, ("dsack_dups", "dsack_dups"), ("fackets", "fackets"))
    if info.reordering is not None and info.reordering != _USUAL_REORDERING:
        yield f"reordering:{info.reordering}"
    yield from _counted(info, ("reord_seen", "reord_seen"))


def _receiver_words(info: TcpInfo) -> Iterator[str]:
    if info.rcv_rtt_us:
        yield f"rcv_rtt:{info.rcv_rtt_us / 1000:g}"
    yield from _counted(
        info, ("rcv_space", "rcv_space"), ("rcv_ssthresh", "rcv_ssthresh"), ("notsent", "notsent_bytes")
    )
    if info.min_rtt_us:
        yield f"minrtt:{info.min_rtt_us / 1000:g}"
    yield from _counted(info, ("rcv_ooopack", "rcv_ooopack"), ("snd_wnd", "snd_wnd"))


def _tls_words(tls: Tls) -> Iterator[str]:
    if tls.version is not None:
        yield f"version: {_TLS_VERSIONS.get(tls.version, f'unknown({tls.version})')}"
    if tls.cipher in _TLS_CIPHERS:
        yield f"cipher: {_TLS_CIPHERS[tls.cipher]}"
    for name, value in (("rxconf", tls.rxconf), ("txconf", tls.txconf)):
        if value is not None:
            yield f"{name}: {_TLS_CONFIGURATIONS.get(value, f'unknown({value})')}"
    if tls.zc_ro_tx:
        yield "zc_ro_tx"


def _subflow_words(subflow: MptcpSubflow) -> Iterator[str]:
    if subflow.flags:
        letters = (letter for bit, letter in enumerate(_SUBFLOW_FLAGS) if subflow.flags >> bit & 1)
        yield f"flags:{''.join(letters)}"
    ends = (subflow.token_rem, subflow.id_rem, subflow.token_loc, subflow.id_loc)
    if None not in ends:
        yield "token:{:04x}(id:{})/{:04x}(id:{})".format(*ends)
    for name, value in (
        ("seq", subflow.map_seq), ("sfseq", subflow.map_sfseq), ("ssnoff", subflow.ssn_offset),
        ("maplen", subflow.map_datalen),
    ):  # fmt: skip
        if value is not None:
            yield f"{name}:{value:x}"
