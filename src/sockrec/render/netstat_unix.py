"""The text that netstat of net-tools 2.10 prints of UNIX sockets (`-x`), byte for byte.

Format and order are those of unix_info in netstat.c, in the C locale. netstat reads /proc/net/unix as lines:
a path that holds a line break ends there, and what follows would be a row of its own if it looked like one.
Here a path never makes a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from sockrec.model.unix_row import UnixRow
from sockrec.render.names import Names, cut, pad, printable
from sockrec.render.netstat import program_column, titled_suffix
from sockrec.render.netstat_flags import NetstatFlags

_HEADER: Final = "Proto RefCnt Flags       Type       State         I-Node  "
# A connection that waits for room in a listener's queue has none yet.
_TYPES: Final = frozenset({"STREAM", "DGRAM", "RAW", "RDM", "SEQPACKET"})
_STATES: Final = {"LISTEN": "LISTENING", "ESTABLISHED": "CONNECTED", "UNCONN": ""}
_LISTENING: Final = "LISTEN"
# What C's isspace(3) takes for blank in the C locale, which is less than Python does.
_WORD: Final = re.compile(r"[ \t\v\f\r]*([^ \t\n\v\f\r]*)")


def netstat_unix(rows: Iterable[UnixRow], flags: NetstatFlags, names: Names) -> Iterator[str]:
    """Yield the block of UNIX sockets line by line, each with its newline; nothing unless `flags.unix`.

    `rows` are those of one moment in the kernel's own order. -n, -e, -o and -W change nothing here, and no
    number has a name.
    """
    del names
    if not flags.unix:
        return
    title = f"Active UNIX domain sockets {titled_suffix(flags)}\n{_HEADER}"
    yield f"{title}{_program_header(flags)} Path\n"
    for row in rows:
        if flags.all or flags.listening == (row.state == _LISTENING):
            yield _line(row, flags)


def _program_header(flags: NetstatFlags) -> str:
    return f" {'PID/Program name':<20s}" if flags.programs else ""


def _line(row: UnixRow, flags: NetstatFlags) -> str:
    accepting = "[ ACC ]" if row.state == _LISTENING else "[ ]"
    state = _STATES.get(row.state, row.state)
    kind = row.type if row.type in _TYPES else "UNKNOWN"
    text = (
        f"unix  {row.refcount:<6d} {accepting:<11s} {kind:<10s} {pad(printable(state), 13)} {row.inode:<8d}"
    )
    if flags.programs:
        text += f" {pad(_program(row), 20)}"
    return f"{text} {_path(row.path)}\n"


def _program(row: UnixRow) -> str:
    # netstat finds owners through inodes and living processes: no inode, no owner.
    if not row.inode or row.owner != "held":
        return "-"
    return program_column(row.pid, row.argv0)


def _path(path: str | None) -> str:
    """Return what netstat's `%s` reads of a path: its first word, of its first line."""
    found = _WORD.match((path or "").replace("\0", "@"))
    return printable(cut(found[1], 4095)) if found else ""
