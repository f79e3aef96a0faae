"""One internet socket at one moment, as replay finds it and netstat's format shows it."""

from __future__ import annotations

from typing import NamedTuple


class NetstatRow(NamedTuple):
    """One internet socket at one moment, with everything netstat can print of it.

    `protocol`, `family`, `state` and `owner` are spelled as in the `sockets` table, addresses
    whole; queues in bytes; `argv0` is the owner's argv[0], whole (undecodable bytes as PEP 383
    surrogates); `timer` is `off`, `on`, `keepalive`, `timewait` or `probe`, or the kernel's
    number as `unkn-N`; `timer_seconds` is what was left of it at that moment.
    """

    protocol: str
    family: str
    local_address: str
    local_port: int
    remote_address: str
    remote_port: int
    state: str
    recv_q: int = 0
    send_q: int = 0
    uid: int = 0
    inode: int = 0
    pid: int | None = None
    argv0: str = ""
    owner: str = ""
    timer: str = "off"
    timer_seconds: float = 0.0
    retransmits: int = 0
    probes: int = 0
