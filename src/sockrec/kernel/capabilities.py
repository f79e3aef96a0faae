"""Capabilities of the calling thread (capabilities(7)): which it has, and giving up all but some.

Each thread has its own, and gives those that it has when it starts another to that one: what is given up
before other threads start is given up for the whole process. There is no call for other threads.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

# include/uapi/linux/capability.h, in bit order.
_NAMES: Final = (  # noqa: SIM905 - a list of 41 lines would say no more
    "chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable "
    "net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot "
    "sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease "
    "audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm block_suspend audit_read "
    "perfmon bpf checkpoint_restore"
).split()
_BITS: Final = {f"cap_{name}": bit for bit, name in enumerate(_NAMES)}

_VERSION_3: Final = 0x20080522
# include/uapi/linux/prctl.h
_CAPBSET_READ: Final = 23
_CAPBSET_DROP: Final = 24
_SET_NO_NEW_PRIVS: Final = 38
_CAP_AMBIENT: Final = 47
_CAP_AMBIENT_CLEAR_ALL: Final = 4
_ZEROS: Final = (ctypes.c_ulong(0),) * 3

_libc: Final = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):  # struct __user_cap_header_struct
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):  # struct __user_cap_data_struct; two of them, the low 32 bits first
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def capabilities() -> tuple[str, ...]:
    """Return the calling thread's effective capabilities, as `cap_net_admin`, in bit order.

    A bit that has no name here yet is `cap_` and its number.
    """
    status = Path("/proc/thread-self/status").read_text(encoding="utf-8", errors="replace")
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    bits = int(found[1], 16) if found else 0
    names = {bit: name for name, bit in _BITS.items()}
    return tuple(names.get(bit, f"cap_{bit}") for bit in range(bits.bit_length()) if bits >> bit & 1)


def keep_only(names: Collection[str]) -> list[str]:
    """Give up, for the calling thread and those that it starts from now on, all capabilities but these.

    None is gained. The effective, permitted and bounding sets are cut down to them, the inheritable and
    ambient ones emptied, and no program run from here gains privileges any more (PR_SET_NO_NEW_PRIVS).
    Without CAP_SETPCAP the bounding set stays as it is: by the last it gives nothing. Returns what could not
    be done, a line each.
    """
    kept = sum(1 << _BITS[name] for name in names)
    try:
        _prctl(_SET_NO_NEW_PRIVS, 1)
        _prctl(_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL)
        if "cap_setpcap" in capabilities():
            _cut_bounding_set(kept)
        _cut(kept)
    except OSError as error:
        return [f"capabilities can't be given up: {error.strerror}"]
    return []


def _cut_bounding_set(kept: int) -> None:
    # The kernel may know more of them than we do: it refuses to tell of the first that it does not.
    bit = 0
    while (there := _libc.prctl(_CAPBSET_READ, ctypes.c_ulong(bit), *_ZEROS)) >= 0:
        if there and not kept >> bit & 1:
            _prctl(_CAPBSET_DROP, bit)
        bit += 1


def _cut(kept: int) -> None:
    header, sets = _Header(_VERSION_3, 0), (_Data * 2)()
    _check(_libc.capget(ctypes.byref(header), sets))
    before = bytes(sets)
    for half, data in enumerate(sets):
        mask = kept >> 32 * half & 0xFFFFFFFF
        data.effective &= mask
        data.permitted &= mask
        data.inheritable = 0
    # Where nothing has to change a sandbox may well forbid the call.
    if bytes(sets) != before:
        _check(_libc.capset(ctypes.byref(header), sets))


def _prctl(option: int, argument: int) -> None:
    _check(_libc.prctl(option, ctypes.c_ulong(argument), *_ZEROS))


def _check(answer: int) -> None:
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
