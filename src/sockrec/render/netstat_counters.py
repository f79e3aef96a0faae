"""The sentences that netstat has for the kernel's protocol counters, in the order of its own tables.

Source: statistics.c of net-tools 2.10. The order matters: netstat looks a name up by bisection, though
the tables are not all in strcmp(3)'s order, so that some names are never found.
A name stands here as it does there, typing errors and trailing blanks included.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple


class Kind(Enum):
    """When a sentence is printed: always, if its number isn't 0, never; the last two in an ICMP histogram."""

    ALWAYS = 0
    NONZERO = 1
    NEVER = 2
    INPUT = 3
    OUTPUT = 4


class Sentence(NamedTuple):
    """What netstat says of one counter: `text` has one `%d`; empty for what it never prints."""

    name: str
    text: str
    kind: Kind


class Section(NamedTuple):
    """A section that netstat knows: the protocol flag that it prints under, and its sentences."""

    flag: str
    sentences: tuple[Sentence, ...]


ALWAYS, NONZERO, NEVER, INPUT, OUTPUT = Kind


def _table(usual: Kind, *rows: tuple[str, str] | tuple[str, str, Kind]) -> tuple[Sentence, ...]:
    """Return rows as sentences; those that name no kind are of the usual one."""
    return tuple(Sentence(row[0], row[1], row[2] if len(row) == 3 else usual) for row in rows)


IP: Final = _table(
    NONZERO,
    ("DefaultTTL", "", NEVER),
    ("Forwarding", "", NEVER),
    ("ForwDatagrams", "%d forwarded", ALWAYS),
    ("FragCreates", "%d fragments created"),
    ("FragFails", "%d outgoing packets failed fragmentation"),
    ("FragOKs", "%d outgoing packets fragmented ok"),
    ("InAddrErrors", "%d with invalid addresses"),
    ("InDelivers", "%d incoming packets delivered", ALWAYS),
    ("InDiscards", "%d incoming packets discarded", ALWAYS),
    ("InHdrErrors", "%d with invalid headers"),
    ("InReceives", "%d total packets received", ALWAYS),
    ("InUnknownProtos", "%d with unknown protocol"),
    ("OutDiscards", "%d outgoing packets dropped"),
    ("OutNoRoutes", "%d dropped because of missing route"),
    ("OutRequests", "%d requests sent out", ALWAYS),
    ("ReasmFails", "%d packet reassemblies failed"),
    ("ReasmOKs", "%d packets reassembled ok"),
    ("ReasmReqds", "%d reassemblies required"),
    ("ReasmTimeout", "%d fragments dropped after timeout"),
)
IP6: Final = _table(
    NONZERO,
    ("Ip6FragCreates", "%d fragments created"),
    ("Ip6FragFails", "%d outgoing packets failed fragmentation"),
    ("Ip6FragOKs", "%d outgoing packets fragmented ok"),
    ("Ip6InAddrErrors", "%d with invalid addresses"),
    ("Ip6InDelivers", "%d incoming packets delivered", ALWAYS),
    ("Ip6InDiscards", "%d incoming packets discarded", ALWAYS),
    ("Ip6InHdrErrors", "%d with invalid headers"),
    ("Ip6InMcastPkts", "%d incoming multicast packets"),
    ("Ip6InNoRoutes", "%d incoming packets with no route"),
    ("Ip6InReceives", "%d total packets received", ALWAYS),
    ("Ip6InTooBigErrors", "%d with packets too big"),
    ("Ip6InTruncatedPkts", "%d with truncated packets"),
    ("Ip6InUnknownProtos", "%d with unknown protocol"),
    ("Ip6OutDiscards", "%d outgoing packets dropped"),
    ("Ip6OutForwDatagrams", "%d forwarded", ALWAYS),
    ("Ip6OutMcastPkts", "%d outgoing multicast packets"),
    ("Ip6OutNoRoutes", "%d dropped because of missing route"),
    ("Ip6OutRequests", "%d requests sent out", ALWAYS),
    ("Ip6ReasmFails", "%d packet reassemblies failed"),
    ("Ip6ReasmOKs", "%d packets reassembled ok"),
    ("Ip6ReasmReqds", "%d reassemblies required"),
    ("Ip6ReasmTimeout", "%d fragments dropped after timeout"),
)
ICMP: Final = _table(
    INPUT,
    ("InAddrMaskReps", "address mask replies: %d"),
    ("InAddrMasks", "address mask request: %d"),
    ("InDestUnreachs", "destination unreachable: %d"),
    ("InEchoReps", "echo replies: %d"),
    ("InEchos", "echo requests: %d"),
    ("InErrors", "%d input ICMP message failed", ALWAYS),
    ("InMsgs", "%d ICMP messages received", ALWAYS),
    ("InParmProbs", "wrong parameters: %d"),
    ("InRedirects", "redirects: %d"),
    ("InSrcQuenchs", "source quenches: %d"),
    ("InTimeExcds", "timeout in transit: %d"),
    ("InTimestampReps", "timestamp reply: %d"),
    ("InTimestamps", "timestamp request: %d"),
    ("OutAddrMaskReps", "address mask replies: %d", OUTPUT),
    ("OutAddrMasks", "address mask requests: %d", OUTPUT),
    ("OutDestUnreachs", "destination unreachable: %d", OUTPUT),
    ("OutEchoReps", "echo replies: %d", OUTPUT),
    ("OutEchos", "echo requests: %d", OUTPUT),
    ("OutErrors", "%d ICMP messages failed", ALWAYS),
    ("OutMsgs", "%d ICMP messages sent", ALWAYS),
    ("OutParmProbs", "wrong parameters: %d", OUTPUT),
    ("OutRedirects", "redirect: %d", OUTPUT),
    ("OutSrcQuenchs", "source quench: %d", OUTPUT),
    ("OutTimeExcds", "time exceeded: %d", OUTPUT),
    ("OutTimestampReps", "timestamp replies: %d", OUTPUT),
    ("OutTimestamps", "timestamp requests: %d", OUTPUT),
)
ICMP6: Final = _table(
    INPUT,
    ("Icmp6InDestUnreachs", "destination unreachable: %d"),
    ("Icmp6InEchoReplies", "echo replies: %d"),
    ("Icmp6InEchos", "echo requests: %d"),
    ("Icmp6InErrors", "%d input ICMP message failed", ALWAYS),
    ("Icmp6InGroupMembQueries", "group member queries: %d"),
    ("Icmp6InGroupMembReductions", "group member reductions: %d"),
    ("Icmp6InGroupMembResponses", "group member responses: %d"),
    ("Icmp6InMsgs", "%d ICMP messages received", ALWAYS),
    ("Icmp6InNeighborAdvertisements", "neighbour advertisement: %d"),
    ("Icmp6InNeighborSolicits", "neighbour solicits: %d"),
    ("Icmp6InParmProblems", "parameter problem: %d"),
    ("Icmp6InPktTooBigs", "packets too big: %d"),
    ("Icmp6InRedirects", "redirects: %d"),
    ("Icmp6InRouterAdvertisements", "router advertisement: %d"),
    ("Icmp6InRouterSolicits", "router solicits: %d"),
    ("Icmp6InTimeExcds", "received ICMPv6 time exceeded: %d"),
    ("Icmp6OutDestUnreachs", "destination unreachable: %d", OUTPUT),
    ("Icmp6OutEchoReplies", "echo replies: %d", OUTPUT),
    ("Icmp6OutEchos", "echo requests: %d", OUTPUT),
    ("Icmp6OutGroupMembQueries", "group member queries: %d", OUTPUT),
    ("Icmp6OutGroupMembReductions", "group member reductions: %d", OUTPUT),
    ("Icmp6OutGroupMembResponses", "group member responses: %d", OUTPUT),
    ("Icmp6OutMsgs", "%d ICMP messages sent", ALWAYS),
    ("Icmp6OutNeighborAdvertisements", "neighbor advertisements: %d", OUTPUT),
    ("Icmp6OutNeighborSolicits", "neighbor solicits: %d", OUTPUT),
    ("Icmp6OutParmProblems", "parameter problem: %d", OUTPUT),
    ("Icmp6OutPktTooBigs", "packets too big: %d", OUTPUT),
    ("Icmp6OutRedirects", "redirects: %d", OUTPUT),
    ("Icmp6OutRouterAdvertisements ", "router advertisement: %d", OUTPUT),
    ("Icmp6OutRouterSolicits", "router solicits: %d", OUTPUT),
    ("Icmp6OutTimeExcds", "sent ICMPv6 time exceeded: %d", OUTPUT),
)
TCP: Final = _table(
    ALWAYS,
    ("ActiveOpens", "%d active connection openings"),
    ("AttemptFails", "%d failed connection attempts"),
    ("CurrEstab", "%d connections established"),
    ("EstabResets", "%d connection resets received"),
    ("InErrs", "%d bad segments received"),
    ("InSegs", "%d segments received"),
    ("MaxConn", "", NEVER),
    ("OutRsts", "%d resets sent"),
    ("OutSegs", "%d segments sent out"),
    ("PassiveOpens", "%d passive connection openings"),
    ("RetransSegs", "%d segments retransmitted"),
    ("RtoAlgorithm", "", NEVER),
    ("RtoMax", "", NEVER),
    ("RtoMin", "", NEVER),
)
UDP: Final = _table(
    ALWAYS,
    ("InDatagrams", "%d packets received"),
    ("InErrors", "%d packet receive errors"),
    ("NoPorts", "%d packets to unknown port received"),
    ("OutDatagrams", "%d packets sent"),
    ("RcvbufErrors", "%d receive buffer errors"),
    ("SndbufErrors", "%d send buffer errors"),
)
UDP6: Final = _table(
    ALWAYS,
    ("Udp6InDatagrams", "%d packets received"),
    ("Udp6InErrors", "%d packet receive errors"),
    ("Udp6NoPorts", "%d packets to unknown port received"),
    ("Udp6OutDatagrams", "%d packets sent"),
)
TCP_EXT: Final = _table(
    NONZERO,
    ("DelayedACKLocked", "%d delayed acks further delayed because of locked socket"),
    ("DelayedACKLost", "Quick ack mode was activated %d times"),
    ("DelayedACKs", "%d delayed acks sent"),
    ("EmbryonicRsts", "%d resets received for embryonic SYN_RECV sockets"),
    ("ListenDrops", "%d SYNs to LISTEN sockets dropped"),
    ("ListenOverflows", "%d times the listen queue of a socket overflowed"),
    ("LockDroppedIcmps", "%d ICMP packets dropped because socket was locked"),
    ("OfoPruned", "%d packets dropped from out-of-order queue because of socket buffer overrun"),
    ("OutOfWindowIcmps", "%d ICMP packets dropped because they were out-of-window"),
    ("PAWSActive", "%d active connections rejected because of time stamp"),
    ("PAWSEstab", "%d packets rejected in established connections because of timestamp"),
    ("PAWSPassive", "%d passive connections rejected because of time stamp"),
    ("PruneCalled", "%d packets pruned from receive queue because of socket buffer overrun"),
    ("RcvPruned", "%d packets pruned from receive queue"),
    ("SockMallocOOM", "Ran %d times out of system memory during packet sending"),
    ("SyncookiesFailed", "%d invalid SYN cookies received"),
    ("SyncookiesRecv", "%d SYN cookies received"),
    ("SyncookiesSent", "%d SYN cookies sent"),
    ("TCPAbortFailed", "%d times unable to send RST due to no memory"),
    ("TCPAbortOnClose", "%d connections reset due to early user close"),
    ("TCPAbortOnData", "%d connections reset due to unexpected data"),
    ("TCPAbortOnLinger", "%d connections aborted after user close in linger timeout"),
    ("TCPAbortOnMemory", "%d connections aborted due to memory pressure"),
    ("TCPAbortOnSyn", "%d connections reset due to unexpected SYN"),
    ("TCPAbortOnTimeout", "%d connections aborted due to timeout"),
    ("TCPDirectCopyFromBacklog", "%d bytes directly in process context from backlog"),
    ("TCPDirectCopyFromPrequeue", "%d bytes directly received in process context from prequeue"),
    ("TCPDSACKOfoRecv", "%d DSACKs for out of order packets received"),
    ("TCPDSACKOfoSent", "%d DSACKs sent for out of order packets"),
    ("TCPDSACKOldSent", "%d DSACKs sent for old packets"),
    ("TCPDSACKRecv", "%d DSACKs received"),
    ("TCPDSackUndo", "%d congestion window recovered without slow start using DSACK"),
    ("TCPDSACKUndo", "%d congestion windows recovered without slow start by DSACK"),
    ("TCPFACKReorder", "Detected reordering %d times using FACK"),
    ("TCPFastRetrans", "%d fast retransmits"),
    ("TCPForwardRetrans", "%d forward retransmits"),
    ("TCPFullUndo", "%d congestion windows fully recovered without slow start"),
    ("TCPHPAcks", "%d predicted acknowledgments"),
    ("TCPHPHits", "%d packet headers predicted", ALWAYS),
    ("TCPHPHitsToUser", "%d packet headers predicted and directly queued to user"),
    ("TCPLossFailures", "%d timeouts in loss state"),
    ("TCPLoss", "%d TCP data loss events"),
    ("TCPLossUndo", "%d congestion windows recovered without slow start after partial ack"),
    ("TCPLostRetransmits", "%d retransmits lost"),
    ("TCPMemoryPressures", "TCP ran low on memory %d times"),
    ("TCPPartialUndo", "%d congestion windows partially recovered using Hoe heuristic"),
    ("TCPPrequeued", "%d packets directly queued to recvmsg prequeue"),
    ("TCPPrequeueDropped", "%d packets dropped from prequeue"),
    ("TCPPureAcks", "%d acknowledgments not containing data payload received"),
    ("TCPRcvCollapsed", "%d packets collapsed in receive queue due to low socket buffer"),
    ("TCPRenoFailures", "%d timeouts after reno fast retransmit"),
    ("TCPRenoRecoveryFailed", "%d reno fast retransmits failed"),
    ("TCPRenoRecoveryFail", "%d classic Reno fast retransmits failed"),
    ("TCPRenoRecovery", "%d times recovered from packet loss due to fast retransmit"),
    ("TCPRenoReorder", "Detected reordering %d times using reno fast retransmit"),
    ("TCPSackFailures", "%d timeouts after SACK recovery"),
    ("TCPSackRecoveryFail", "%d SACK retransmits failed"),
    ("TCPSackRecovery", "%d times recovered from packet loss by selective acknowledgements"),
    ("TCPSACKReneging", "%d bad SACK blocks received"),
    ("TCPSACKReorder", "Detected reordering %d times using SACK"),
    ("TCPSchedulerFailed", "%d times receiver scheduled too late for direct processing"),
    ("TCPSlowStartRetrans", "%d retransmits in slow start"),
    ("TCPTimeouts", "%d other TCP timeouts"),
    ("TCPTSReorder", "Detected reordering %d times using time stamp"),
    ("TWKilled", "%d TCP sockets finished time wait in slow timer"),
    ("TW", "%d TCP sockets finished time wait in fast timer"),
    ("TWRecycled", "%d time wait sockets recycled by time stamp"),
)
SCTP: Final = _table(
    ALWAYS,
    ("SctpAborteds", "%d Number of Aborteds "),
    ("SctpActiveEstabs", "%d Active Associations"),
    ("SctpChecksumErrors", "%d Number of Packets with invalid Checksum"),
    ("SctpCurrEstab", "%d Current Associations"),
    ("SctpFragUsrMsgs", "%d Number of messages fragmented"),
    ("SctpInCtrlChunks", "%d Number of control chunks received"),
    ("SctpInOrderChunks", "%d Number of ordered chunks received"),
    ("SctpInSCTPPacks", "%d Number of SCTP packets received"),
    ("SctpInUnorderChunks", "%d Number of Unordered chunks received"),
    ("SctpOutCtrlChunks", "%d Number of control chunks sent"),
    ("SctpOutOfBlues", "%d Number of Out of Blue packets"),
    ("SctpOutOrderChunks", "%d Number of ordered chunks sent"),
    ("SctpOutSCTPPacks", "%d Number of SCTP packets sent"),
    ("SctpOutUnorderChunks", "%d Number of Unordered chunks sent"),
    ("SctpPassiveEstabs", "%d Passive Associations"),
    ("SctpReasmUsrMsgs", "%d Number of messages reassembled "),
    ("SctpShutdowns", "%d Number of Graceful Terminations"),
)

# By the word before the colon in /proc/net/snmp and netstat; all of /proc/net/sctp/snmp is Sctp.
SECTIONS: Final[Mapping[str, Section]] = {
    "Ip": Section("raw", IP),
    "Icmp": Section("raw", ICMP),
    "Tcp": Section("tcp", TCP),
    "Udp": Section("udp", UDP),
    "Sctp": Section("sctp", SCTP),
    "TcpExt": Section("tcp", TCP_EXT),
}
# By the beginning of the names in /proc/net/snmp6.
SECTIONS6: Final[Mapping[str, Section]] = {
    "Ip6": Section("raw", IP6),
    "Icmp6": Section("raw", ICMP6),
    "Udp6": Section("udp", UDP6),
    "Tcp6": Section("tcp", TCP),
}
