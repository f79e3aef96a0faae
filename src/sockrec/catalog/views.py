"""Every view that SQL over a capture can use, with a line for each column.

The stored tables come from `sockrec.model.tables` with `host` in front; the derived ones are
described here and made in `periods`, `connections`, `events` and `moments`. Types as in
`sockrec.model.tables`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sockrec.model import tables
from sockrec.model.columns import Column
from sockrec.model.network_tables import COUNTERS, LINK_COUNTERS


@dataclass(frozen=True, slots=True)
class View:
    """One view: its name, what a row of it is, its columns; a table macro has parameters too."""

    name: str
    row: str
    columns: tuple[Column, ...]
    parameters: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The column names, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def signature(self) -> str:
        """What stands after FROM: the name, and the parameters of a macro."""
        return f"{self.name}({', '.join(self.parameters)})" if self.parameters else self.name


HOST: Final = Column("host", "text", "the host it was recorded on")

_STORED = tuple(
    View(table.name, table.row, (HOST, *table.columns))
    for table in tables.TABLES.values()
    if table not in (tables.EVENTS, COUNTERS, LINK_COUNTERS)
)

_PER_SECOND: Final = "per second since the reading before; null where that is not known"
RATES: Final = (
    View(
        COUNTERS.name,
        f"{COUNTERS.row}; what is not here did not move",
        (
            HOST,
            *COUNTERS.columns,
            Column(
                "increase",
                "int",
                "by how much it rose since the reading before; null of a first one, of what also falls,"
                " and of what went below 0",
            ),
            Column("per_second", "float", f"that, {_PER_SECOND}"),
            Column("is_reset", "bool", "whether it began anew at 0, so that less is known than happened"),
        ),
    ),
    View(
        LINK_COUNTERS.name,
        f"{LINK_COUNTERS.row}; what is not here did not move",
        (
            HOST,
            *LINK_COUNTERS.columns,
            *(
                Column(f"{column.name}_per_second", "float", f"{column.meaning}, {_PER_SECOND}")
                for column in LINK_COUNTERS.columns[LINK_COUNTERS.names.index("rx_packets") :]
            ),
            Column("is_reset", "bool", "whether one of them began anew at 0"),
        ),
    ),
)

_MORE_EVENTS: Final = {
    "kind": "listening | opened | ",
    "evidence": "sample (told by no event: its bounds are those of samples), or as follows: ",
}
EVENTS: Final = View(
    "events",
    "one thing that happened: what the kernel told, and where it told nothing what two samples prove;"
    " ORDER BY not_after, not_before puts them in order",
    (
        HOST,
        *(
            Column(column.name, column.type, _MORE_EVENTS.get(column.name, "") + column.meaning)
            for column in tables.EVENTS.columns
        ),
    ),
)

RECORDINGS: Final = View(
    "recordings",
    "one run of the recorder on one host",
    (
        HOST,
        Column("recording", "text", "its name, as in the other tables"),
        Column("format_version", "int", "version of the capture format"),
        Column("sockrec_version", "text", "release that recorded it"),
        Column("started_at", "time", "when the recorder started"),
        Column("ended_at", "time", "when it stopped; null while it records, or if it died"),
        Column(
            "ended_as",
            "text",
            "stopped | dropped (the disk took no more) | kept (by keep); null while it runs, or if it died",
        ),
        Column("kernel", "text", "kernel release"),
        Column("machine", "text", "hardware name"),
        Column("boot_id", "text", "the boot; socket ids come again after another one"),
        Column("netns", "int", "inode number of the network namespace that was recorded"),
        Column("time_zone", "text", "the host's time zone"),
        Column("options", "text", "what it was asked to do, as JSON"),
        Column("privileges", "text", "what it was allowed to do, as JSON"),
        Column("unavailable", "texts", "what could not be seen, one line each, with what is lost by it"),
    ),
)

_BEGAN = (
    Column("began_not_before", "time", "last evidence that it had not begun; null if unknown"),
    Column("began_not_after", "time", "first evidence that it had begun"),
    Column(
        "begun_as",
        "text",
        "opened | changed (from another state) | gap (in a gap of the recording)"
        " | found (before any recording)",
    ),
    Column("begun_evidence", "text", "how the beginning is known: sample | event | inferred"),
)
_ENDED = (
    Column("last_seen", "time", "last evidence that it held"),
    Column(
        "ended_not_before", "time", "last evidence before its end; null if it has not ended as far as known"
    ),
    Column("ended_not_after", "time", "first evidence that it had ended"),
    Column(
        "ended_as",
        "text",
        "closed | changed | gap (gone when recording went on)"
        " | stopped (held when recording stopped or broke off)"
        " | null (still holds, or a damaged file hides its end)",
    ),
    Column("ended_evidence", "text", "how the end is known: sample | event | inferred"),
)
_IDENTITY = (
    HOST,
    Column("netns", "int", "inode number of the network namespace"),
    Column("socket_id", "int", "the kernel's socket cookie; unique within one boot of the host"),
    Column("protocol", "text", "tcp | udp | udplite | raw | sctp"),
    Column("family", "text", "inet | inet6"),
    Column("local_address", "text", "bound address, whole"),
    Column("local_port", "int", "bound port; the protocol number of a raw socket"),
)
_PEER = (
    Column("remote_address", "text", "the peer's address, whole"),
    Column("remote_port", "int", "the peer's port; 0 if none"),
)
_HOLDERS = (
    Column("first_pid", "int", "the process that netstat would have named at the beginning"),
    Column("first_program", "text", "its program"),
    Column("pid", "int", "the last process that held it"),
    Column("program", "text", "its program"),
    Column("holders", "ints", "every process that had it open at the last, ascending"),
)

LISTENERS: Final = View(
    "listeners",
    "one period of listening: TCP or SCTP in LISTEN, or UDP, UDP-Lite or raw without a peer",
    (
        *_IDENTITY,
        Column("interface", "text", "device it is bound to"),
        *_HOLDERS,
        *_BEGAN,
        *_ENDED,
        Column(
            "cause",
            "text",
            "why it ended: close (by pid) | exit, signal, oom, exec (of pid) | other process (by_pid closed"
            " it) | null if not known, or if it goes on",
        ),
        Column("exit_code", "int", "exit: what the process exited with"),
        Column("signal", "int", "signal, oom: number of the signal that killed it"),
        Column("by_pid", "int", "who sent that signal; or the other process that closed it"),
        Column("by_program", "text", "its program"),
        Column("detail", "text", "exec: the program file that the process became"),
        Column(
            "again_not_before", "time", "the next listening on the same address and port, if any, as began_*"
        ),
        Column(
            "again_not_after", "time", "first evidence of that; minus the end's bounds it is the downtime"
        ),
        Column("again_pid", "int", "the process that listened again"),
        Column("again_program", "text", "its program"),
        Column("recording", "text", "the recording in which it was last seen"),
    ),
)

CONNECTIONS: Final = View(
    "connections",
    "one TCP connection, attempts included, seen from the socket at one end of it",
    (
        *_IDENTITY,
        *_PEER,
        Column("role", "text", "server (accepted) | client (connected) | null if it can't be known"),
        Column("established", "bool", "whether it was ever seen established or in a later state"),
        *_HOLDERS,
        Column(
            "owner_evidence",
            "text",
            "how pid is known: event (it connected) | sample | inferred (it holds the listener)",
        ),
        Column("opened_not_before", "time", "last evidence that it did not exist; null if unknown"),
        Column("opened_not_after", "time", "first evidence that it existed"),
        Column(
            "opened_as", "text", "opened | changed | gap (in a gap of the recording) | found (before any)"
        ),
        Column("opened_evidence", "text", "how that is known: sample | event | inferred"),
        Column("last_seen", "time", "last evidence that it existed"),
        Column(
            "closed_not_before",
            "time",
            "last evidence before it closed (was gone or in TIME_WAIT); null if it is open as far as known",
        ),
        Column("closed_not_after", "time", "first evidence that it had closed"),
        Column("closed_as", "text", "closed | changed | gap | stopped | null, as ended_as in listeners"),
        Column("closed_evidence", "text", "how that is known: sample | event | inferred"),
        Column(
            "how",
            "text",
            "how it ended: closed by us | closed by the peer | reset by us | reset by the peer | timed out"
            " | refused | unreachable | null while it is open, and if not known",
        ),
        Column("last_state", "text", "the last state a sample saw it in; null if none did"),
        Column("bytes_sent", "int", "bytes sent, retransmissions included, as last known"),
        Column("bytes_received", "int", "bytes received in order, as last known"),
        Column("segs_out", "int", "segments sent, as last known"),
        Column("segs_in", "int", "segments received, as last known"),
        Column("total_retrans", "int", "segments retransmitted in its life, as last known"),
        Column("rtt_us", "int", "smoothed round-trip time as last known, microseconds"),
        Column("recording", "text", "the recording in which it was last seen"),
    ),
)

GAPS: Final = View(
    "gaps",
    "one stretch of time of which nothing, or not everything, is known on a host; where events were lost,"
    " samples were taken all the same",
    (
        HOST,
        Column("not_before", "time", "end of the last whole sample before it; events lost: of what was read"),
        Column("not_after", "time", "beginning of the first sample after it; events lost: of what was read"),
        Column("why", "text", "what was not recorded, and why"),
    ),
)

SOCKETS_AT: Final = View(
    "sockets_at",
    "one socket as the latest sample begun at or before t found it, with its queues and timers then and its"
    " counters as last written by then",
    (
        *_STORED[0].columns,
        Column("sampled_at", "time", "when that sample began"),
        *(
            Column(column.name, column.type, column.meaning)
            for column in tables.ACTIVITY.columns
            if column.name not in {"recording", "socket_id", "read_at", "refcount"}
        ),
    ),
    ("t",),
)

CHANGES_BETWEEN: Final = View(
    "changes_between",
    "one socket that was opened, closed or changed, for certain or possibly between t1 and t2",
    (
        HOST,
        Column("what", "text", "opened | closed | changed"),
        Column("not_before", "time", "last evidence of how it was before"),
        Column("not_after", "time", "first evidence of the change"),
        Column("evidence", "text", "how it is known: sample | event | inferred"),
        *_IDENTITY[1:],
        *_PEER,
        Column("state", "text", "the state, after the change; before it, if closed"),
        Column("pid", "int", "the holder, after the change; before it, if closed"),
        Column("program", "text", "its program"),
        Column("state_before", "text", "changed: the state before"),
        Column("pid_before", "int", "changed: the holder before"),
        Column("program_before", "text", "changed: its program before"),
        Column("recording", "text", "the recording that saw it"),
    ),
    ("t1", "t2"),
)

VIEWS: Final = {
    view.name: view
    for view in (
        *_STORED,
        *RATES,
        EVENTS,
        RECORDINGS,
        LISTENERS,
        CONNECTIONS,
        GAPS,
        SOCKETS_AT,
        CHANGES_BETWEEN,
    )
}


def schema_text() -> str:
    """Return all views as text for people: what a row is, then a line for each column."""
    lines = []
    for view in VIEWS.values():
        lines.append(f"{view.signature}: {view.row}")
        name_width = max(len(column.name) for column in view.columns)
        lines += [
            f"  {column.name:<{name_width}}  {column.type:<5}  {column.meaning}" for column in view.columns
        ]
        lines.append("")
    return "\n".join(lines)
