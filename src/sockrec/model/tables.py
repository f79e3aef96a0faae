"""The tables of a capture: every column with its type and meaning. Format version 4.

This is the one description: the Parquet schema, the journal, `sockrec sql --schema` and the docs
are all made from it. What is no socket and no process is in `sockrec.model.network_tables`.
"""

from __future__ import annotations

from typing import Final

from sockrec.model.columns import BEGINNING, ENDING, NETNS, RANK, RECORDING, Column, Table
from sockrec.model.network_tables import NETWORK_TABLES
from sockrec.model.tcp_columns import TCP_COUNTERS, TCP_DETAILS

FORMAT_VERSION: Final = 4

OWNER: Final = (
    Column("uid", "int", "user id that owns the socket"),
    Column(
        "inode", "int", "socket inode; 0 where no process can hold it (TIME_WAIT, not accepted yet, orphaned)"
    ),
    Column(
        "pid",
        "int",
        "the holder that netstat names: the lowest pid; the last one known when none holds it now",
    ),
    Column("program", "text", "argv[0] of that process, without its folder if it is a whole path"),
    Column("holders", "ints", "every process that has it open, ascending"),
    Column(
        "fd_pids",
        "ints",
        "the process of each descriptor through which it is open, as far as known when this row began",
        since=4,
    ),
    Column("fds", "ints", "the number of each of those descriptors", since=4),
    Column(
        "owner",
        "text",
        "held | last (nobody now: this was the last) | or why unknown: kernel, no permission, exited, other namespace, not looked for yet",
    ),
)

SHUTDOWN: Final = Column(
    "shutdown", "int", "shutdown(2): bit 0 if nothing is received any more, bit 1 if nothing is sent", since=4
)

SOCKETS: Final = Table(
    "sockets",
    "one internet socket in one unchanging condition (identity, state, owner, settings)",
    (
        RECORDING,
        Column(
            "socket_id",
            "int",
            "the kernel's 64-bit socket cookie; negative where it had to be made from protocol, addresses and inode",
        ),
        NETNS,
        Column("protocol", "text", "tcp | udp | udplite | raw | sctp"),
        Column("family", "text", "inet | inet6"),
        Column("local_address", "text", "bound address, whole"),
        Column("local_port", "int", "bound port; the protocol number of a raw socket"),
        Column("remote_address", "text", "the peer's address, whole"),
        Column("remote_port", "int", "the peer's port; 0 if none"),
        Column("interface", "text", "device it is bound to (SO_BINDTODEVICE)"),
        Column("state", "text", "netstat's name of the state; UNCONN for a datagram socket without a peer"),
        *OWNER,
        SHUTDOWN,
        Column(
            "v6only",
            "bool",
            "IPv6: whether it takes no IPv4 (IPV6_V6ONLY); told of LISTEN and UNCONN",
            since=4,
        ),
        Column("mark", "int", "SO_MARK; told to those who may administer the network", since=4),
        Column(
            "cgroup",
            "text",
            "cgroup v2 that it was made in, as a path below the mount; unreachable:ID (hexadecimal) if that was"
            " gone before it was looked up",
            since=4,
        ),
        Column("congestion", "text", "TCP: name of the congestion control", since=4),
        Column("ulp", "text", "TCP: what works on top of it in the kernel: tls, mptcp, ...", since=4),
        *BEGINNING,
        *ENDING,
        RANK,
    ),
    order=("protocol", "local_port", "remote_port", "first_seen"),
    spans=True,
)

UNIX_SOCKETS: Final = Table(
    "unix_sockets",
    "one UNIX socket in one unchanging condition (identity, state, owner, settings)",
    (
        RECORDING,
        Column(
            "socket_id",
            "int",
            "the kernel's 64-bit socket cookie; negative where it had to be made from the inode",
        ),
        NETNS,
        Column(
            "type", "text", "STREAM | DGRAM | SEQPACKET | UNKNOWN (it waits for room in a listener's queue)"
        ),
        Column(
            "state",
            "text",
            "LISTEN | ESTABLISHED | UNCONN | CONNECTING (not accepted yet) | DISCONNECTING (let go of)",
        ),
        Column("path", "text", "bound path; an abstract name begins with @; null if unnamed"),
        Column("peer_inode", "int", "inode of the socket at the other end; null if none or unknown"),
        *OWNER,
        SHUTDOWN,
        Column("vfs_inode", "int", "inode of the file that the path names, as bound", since=4),
        Column(
            "vfs_device",
            "int",
            "its device as the kernel packs it: major number << 20 | minor number",
            since=4,
        ),
        *BEGINNING,
        *ENDING,
        RANK,
    ),
    order=("path", "first_seen"),
    spans=True,
)

PROCESSES: Final = Table(
    "processes",
    "one process that held a socket, under one command line",
    (
        RECORDING,
        Column("pid", "int", "process id"),
        Column("start_time", "time", "when it started (/proc/PID/stat, 10 ms steps)"),
        Column("ppid", "int", "parent process id when first read"),
        Column("uid", "int", "effective user id"),
        Column("comm", "text", "the kernel's name of it, at most 15 bytes"),
        Column("argv", "texts", "its command line, whole; empty if it cleared it"),
        Column("exe", "text", "the program file; ends in ' (deleted)' if it is gone; null if not readable"),
        Column("cgroup", "text", "cgroup path"),
        Column("unit", "text", "systemd unit, from the cgroup"),
        Column("container", "text", "container id, from the cgroup"),
        *BEGINNING,
        *ENDING,
    ),
    order=("pid", "first_seen"),
    spans=True,
)

# Every row of activity has what netstat shows. The rest, the counters, is written at a pace of its own:
# null in a row where it is not. What is in WRITTEN_AT_ONCE does not wait for that: it is news.
ALWAYS_WRITTEN: Final = (
    "recv_q", "send_q", "backlog_limit", "drops", "timer", "timer_deadline", "retransmits", "probes",
)  # fmt: skip
WRITTEN_AT_ONCE: Final = (
    "ca_state", "backoff", "lost", "retrans", "total_retrans", "bytes_retrans", "rcv_ooopack",
)  # fmt: skip
# Written along with the counters, never the reason to write any: they move with others, or on their own by
# the grain of a clock.
WRITTEN_ALONG: Final = (
    "fwd_alloc", "wmem_queued", "backlog", "tcp_options", "snd_wscale", "rcv_wscale",
    "delivery_rate_app_limited", "ato_us", "sacked", "last_data_sent_at", "last_data_recv_at",
    "last_ack_recv_at", "rcv_ssthresh", "advmss", "delivered_ce", "dsack_dups", "reord_seen",
    "bbr_bw", "bbr_min_rtt_us", "bbr_pacing_gain", "bbr_cwnd_gain",
)  # fmt: skip
# Rows with counters have one of these: the first from sock_diag, the second from /proc as well.
COUNTED_IF_KNOWN: Final = ("rcvbuf", "snd_cwnd")

# What the end of a connection keeps of them.
LAST_COUNTERS: Final = frozenset(
    {
        "total_retrans", "bytes_sent", "bytes_retrans", "bytes_acked", "bytes_received", "segs_out", "segs_in",
        "rtt_us", "min_rtt_us",
    }
)  # fmt: skip

ACTIVITY: Final = Table(
    "activity",
    "what moved in one socket: queues and timers in each sample, counters at most once a minute and at its end",
    (
        RECORDING,
        Column("socket_id", "int", "the socket (sockets or unix_sockets)"),
        Column("read_at", "time", "when it was read"),
        Column("refcount", "int", "UNIX socket: references to it, as netstat -x shows them", since=4),
        Column(
            "recv_q", "int", "bytes not yet read by the application; for LISTEN, connections not yet accepted"
        ),
        Column("send_q", "int", "bytes not yet acknowledged by the peer; 0 for LISTEN"),
        Column("backlog_limit", "int", "LISTEN: most connections that may wait for accept"),
        Column("drops", "int", "packets dropped by this socket (sk_drops)"),
        Column("rmem", "int", "receive memory allocated, bytes"),
        Column("rcvbuf", "int", "receive buffer limit, bytes"),
        Column("wmem", "int", "transmit memory allocated, bytes"),
        Column("sndbuf", "int", "send buffer limit, bytes"),
        Column("fwd_alloc", "int", "memory taken from the protocol in advance, bytes", since=4),
        Column("wmem_queued", "int", "memory of what waits to be sent or acknowledged, bytes", since=4),
        Column("optmem", "int", "memory of socket options, bytes", since=4),
        Column(
            "backlog", "int", "memory of packets that wait for the socket's user to let go, bytes", since=4
        ),
        Column("timer", "text", "off | on | keepalive | timewait | probe"),
        Column("timer_deadline", "time", "when that timer runs out"),
        *TCP_COUNTERS,
        *TCP_DETAILS,
    ),
    order=("socket_id", "read_at"),
    sparse=COUNTED_IF_KNOWN,
)

SAMPLES: Final = Table(
    "samples",
    "one reading of all sockets; its row is the commit record of what was journaled with it",
    (
        RECORDING,
        Column("number", "int", "0, 1, 2, ... within the recording"),
        Column("began_at", "time", "just before the first socket was read"),
        Column("ended_at", "time", "just after the last one was"),
        Column("boot_us", "int", "CLOCK_BOOTTIME at began_at, microseconds"),
        Column("interval_us", "int", "interval in force, microseconds"),
        Column("sockets", "int", "internet sockets read"),
        Column("unix_sockets", "int", "UNIX sockets read"),
        Column("changes", "int", "rows begun or ended by it"),
        Column(
            "complete",
            "bool",
            "false if some sockets could not be read: nothing missing from it is taken for closed",
        ),
        Column("incomplete_why", "text", "what could not be read, and why"),
        Column(
            "ticks_missed", "int", "samples that should have been taken since the one before, and were not"
        ),
        Column(
            "samples_dropped",
            "int",
            "samples taken between the recording before and this first one, and dropped: the disk did not take them",
            since=3,
        ),
        Column(
            "listener_readings",
            "int",
            "readings of the listening TCP sockets alone since the sample before: to keep the CPU budget, or before a long reading of all",
        ),
        Column(
            "budget",
            "text",
            "what the CPU budget made of this sample: owners walked less | interval lengthened; null if nothing",
        ),
        Column("cpu_us", "int", "CPU time of the recorder since the sample before, microseconds"),
        Column(
            "events_lost",
            "int",
            "events that the kernel dropped since the sample before, of all sources; null in format 1",
            since=2,
        ),
        Column(
            "clock_step_us",
            "int",
            "how far the host's wall clock stands from the recording's own, microseconds",
        ),
        Column(
            "network_read_at",
            "time",
            "when interfaces, routes, groups, limits and counters were last read",
            since=4,
        ),
        Column(
            "thinned_us",
            "int",
            "activity of this time has at most one row a socket in so many microseconds (--thin-after); null: all of it",
            since=3,
        ),
    ),
    order=("began_at",),
)

EVENTS: Final = Table(
    "events",
    "one end: of a socket, with its whole life; of a process that held one; or of knowledge (events lost)",
    (
        RECORDING,
        Column(
            "kind",
            "text",
            "closed (a connection, or another socket) | stopped listening | exited | exec (a process) | lost",
        ),
        Column("not_before", "time", "last moment at which it had not happened; equal to not_after if exact"),
        Column("not_after", "time", "first moment at which it had"),
        Column("evidence", "text", "how it is known: event | inferred"),
        Column("socket_id", "int", "the socket's cookie, as in sockets"),
        NETNS,
        Column("protocol", "text", "tcp | udp | udplite"),
        Column("family", "text", "inet | inet6"),
        Column("local_address", "text", "bound address, whole"),
        Column("local_port", "int", "bound port"),
        Column("remote_address", "text", "the peer's address, whole"),
        Column("remote_port", "int", "the peer's port; 0 if none"),
        Column("role", "text", "server (accepted) | client (connected) | null if it was not seen to begin"),
        Column("opened_at", "time", "when it began: SYN sent or received, or listening; null if not seen"),
        Column("established_at", "time", "when the connection was established; null if not, or not seen"),
        Column("pid", "int", "the process that held it, or that ended"),
        Column("program", "text", "its program"),
        Column(
            "owner_evidence",
            "text",
            "how pid is known: event (it connected) | sample | inferred (it holds the listener)",
        ),
        Column("sampled", "bool", "whether a sample saw the socket, so that sockets has rows of it"),
        Column(
            "cause",
            "text",
            "closed: closed by us | closed by the peer | reset by us | reset by the peer | timed out | refused"
            " | unreachable | null if not known. stopped listening: close | exit | signal | oom | exec"
            " | other process (closed it) | null if not known. exited: exit | signal | oom",
        ),
        Column(
            "exit_code", "int", "what the process exited with; of a listener that it closed, right after that"
        ),
        Column("signal", "int", "number of the signal that killed it"),
        Column("by_pid", "int", "who sent that signal; or the other process that closed the socket"),
        Column("by_program", "text", "its program"),
        Column("detail", "text", "exec: the program file that it became; lost: what was lost"),
        Column("count", "int", "lost: how many events"),
        *(
            Column(column.name, column.type, column.meaning)
            for column in TCP_COUNTERS
            if column.name in LAST_COUNTERS
        ),
        Column("drops", "int", "packets dropped by the socket (sk_drops)"),
    ),
    order=("kind", "local_port", "remote_port", "not_after"),
)

TABLES: Final = {
    table.name: table
    for table in (SOCKETS, UNIX_SOCKETS, ACTIVITY, PROCESSES, SAMPLES, EVENTS, *NETWORK_TABLES)
}
