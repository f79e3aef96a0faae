"""The same sockets from /proc/net (proc(5)), where sock_diag is refused or lacks a protocol.

It is read through /proc/thread-self, so that a thread that entered a network namespace reads that
one's. There are no cookies, memory sizes or tcp_info here, and bound but idle TCP sockets are missing;
timers come in clock ticks (10 ms), which USER_HZ fixes at 100 on every Linux that people run.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from sockrec.errors import KernelError
from sockrec.kernel.arrays import FIELD, NULL, InetSockets
from sockrec.kernel.host import boot_us
from sockrec.model import states

FOLDER: Final = Path("/proc/thread-self/net")

_TICK_US: Final = 10_000
_TCP_INFINITE_SSTHRESH: Final = 0x7FFFFFFF
_COLUMNS: Final = 12  # sl local remote st tx:rx tr:when retrnsmt uid timeout inode ref pointer


def read(name: str) -> bytes | None:
    """Return the text of /proc/net/NAME; None where the kernel lacks it. Raises OSError if refused."""
    try:
        return (FOLDER / name).read_bytes()
    except FileNotFoundError:
        return None


def inet(name: str, protocol: int) -> InetSockets | None:
    """Return the sockets of one of the files tcp, udp, udplite, raw, or the same with a 6.

    None where the kernel lacks it. Raises `KernelError` for a line it can't take apart, and OSError.
    """
    now_us = boot_us()
    text = read(name)
    return None if text is None else parse_inet(text, name, protocol, now_us)


def parse_inet(text: bytes, name: str, protocol: int, now_us: int) -> InetSockets:
    """Take apart such a file, read at `now_us` (CLOCK_BOOTTIME); raises `KernelError` if a line is odd."""
    family = socket.AF_INET6 if name.endswith("6") else socket.AF_INET
    lines = [line.split() for line in text.splitlines()[1:]]
    sockets = InetSockets.allocate(len(lines))
    if not lines:
        return sockets
    try:
        _fill(sockets, lines, 16 if family == socket.AF_INET6 else 4, protocol, now_us)
    except (ValueError, IndexError, OverflowError) as error:
        raise KernelError(
            f"/proc/net/{name} has a line of an unknown form ({error}): report this kernel"
        ) from error
    sockets.protocol[:] = protocol
    sockets.family[:] = family
    return sockets


def _fill(
    sockets: InetSockets, lines: Sequence[Sequence[bytes]], size: int, protocol: int, now_us: int
) -> None:
    n = len(lines)
    columns = list(zip(*(line[:_COLUMNS] for line in lines), strict=True))
    if len(columns) < _COLUMNS:
        raise ValueError(f"{len(columns)} columns")
    _, local, remote, state, queues, timer, retransmits, uid, probes, inode, _, _ = columns
    for ends, addresses, ports in (
        (local, sockets.local, "local_port"),
        (remote, sockets.remote, "remote_port"),
    ):
        # Each 32-bit group of the address was printed as a host-order number.
        raw = _hex(ends, n, size + 2)
        addresses[:] = 0
        addresses[:, :size].view(np.uint32)[:] = np.ascontiguousarray(raw[:, :size]).view(">u4")
        setattr(sockets, ports, np.ascontiguousarray(raw[:, size:]).view(">u2")[:, 0].astype(np.int32))
    sockets.state[:] = _hex(state, n, 1)[:, 0]
    sockets.state[sockets.state == states.NEW_SYN_RECV] = states.SYN_RECV
    sockets.state[sockets.state == states.BOUND_INACTIVE] = states.CLOSE
    sockets.cookie[:] = 0
    sockets.ifindex[:] = 0
    sockets.uid[:] = np.array(uid).astype(np.int64)
    sockets.inode[:] = np.array(inode).astype(np.int64)

    activity = sockets.activity
    activity[:] = NULL
    waiting = _hex(queues, n, 8).view(">u4")
    activity[FIELD["send_q"]], activity[FIELD["recv_q"]] = waiting[:, 0], waiting[:, 1]
    code, _, _ = zip(*(cell.partition(b":") for cell in timer), strict=True)
    ticks = np.array([int(cell[3:], 16) for cell in timer], np.int64)
    activity[FIELD["timer"]] = _hex(code, n, 1)[:, 0]
    running = activity[FIELD["timer"]] != 0
    activity[FIELD["timer_deadline"], running] = now_us + ticks[running] * _TICK_US
    if protocol == socket.IPPROTO_TCP:
        activity[FIELD["retransmits"]] = _hex(retransmits, n, 4).view(">u4")[:, 0]
        activity[FIELD["probes"]] = np.array(probes).astype(np.int64)
        _fill_whole(sockets, lines)
    else:
        activity[FIELD["drops"]] = np.array([line[_COLUMNS] for line in lines]).astype(np.int64)


def _fill_whole(sockets: InetSockets, lines: Sequence[Sequence[bytes]]) -> None:
    """Fill what only lines of whole sockets have: not SYN_RECV or TIME_WAIT; nor LISTEN, which has others."""
    whole = [row for row, line in enumerate(lines) if len(line) > _COLUMNS and line[3] != b"0A"]
    if not whole:
        return
    _, _, _, window, threshold = zip(*(lines[row][_COLUMNS : _COLUMNS + 5] for row in whole), strict=True)
    sockets.activity[FIELD["snd_cwnd"], whole] = np.array(window).astype(np.int64)
    limits = np.array(threshold).astype(np.int64)
    sockets.activity[FIELD["snd_ssthresh"], whole] = np.where(limits < 0, _TCP_INFINITE_SSTHRESH, limits)


def _hex(cells: Sequence[bytes], n: int, size: int) -> npt.NDArray[np.uint8]:
    """Return n cells of hexadecimal digits (and colons) as n rows of `size` bytes."""
    whole = bytes.fromhex(b"".join(cells).replace(b":", b"").decode("ascii"))
    if len(whole) != n * size or {len(cell) - cell.count(b":") for cell in cells} != {2 * size}:
        raise ValueError("hexadecimal digits are missing or too many")
    return np.frombuffer(whole, np.uint8).reshape(n, size).copy()
