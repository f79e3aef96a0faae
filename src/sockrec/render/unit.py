"""The systemd unit of a recorder that is always on (systemd.unit(5), systemd.exec(5), systemd.service(5))."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import Final

NAME: Final = "sockrec.service"
STATE: Final = "sockrec"
"""The folder below /var/lib that the service may write to."""

_MEMORY_BESIDE: Final = 512 << 20

_UNIT: Final = """\
# Made by `sockrec service`. To change it, run that again, or add to it with `systemctl edit sockrec`.
[Unit]
Description=sockrec: a flight recorder for sockets
# Where exact moments come from. Without it samples are recorded all the same.
Wants=sys-kernel-tracing.mount
After=sys-kernel-tracing.mount
# After a crash, after the watchdog, with a full disk: it is tried again, for ever.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
Restart=on-failure
RestartSec=10s
# Options that make no sense do not get better.
RestartPreventExitStatus=2
# The recorder answers as long as samples are taken and written. If none is, systemd restarts it; then
# `journalctl -u sockrec` has where it was stuck.
WatchdogSec=2min
Environment=PYTHONFAULTHANDLER=1
TimeoutStartSec=2min
TimeoutStopSec=2min

# Where the capture is: root's alone, as it holds command lines and peers. For another disk, mount it there.
StateDirectory={state}
StateDirectoryMode=0700
UMask=0077

# It stays behind everybody else (and lowers its own priority too), and within its memory.
CPUWeight=20
IOWeight=20
{memory}TasksMax=64
LimitNOFILE=16384
LimitCORE=0

# Root without root's powers. To see the holders of other users' sockets: SYS_PTRACE, DAC_READ_SEARCH. For
# receive buffers that lose no event, and exits before Linux 6.6: NET_ADMIN.
User=root
CapabilityBoundingSet={capabilities}
NoNewPrivileges=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM

# It asks the kernel by netlink and speaks with nobody. UNIX: systemd, and the names of users.
RestrictAddressFamilies=AF_NETLINK AF_UNIX
IPAddressDeny=any
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
KeyringMode=private

# It writes to its state folder and, of tracefs, to a tracing instance of its own. It has to see every
# process: ProtectProc, ProcSubset, PrivateUsers and PrivateNetwork stay as they are.
ProtectSystem=strict
ProtectHome={home}
ReadWritePaths=-/sys/kernel/tracing/instances
PrivateMounts=yes
PrivateTmp={tmp}
PrivateDevices=yes
PrivateIPC=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes

[Install]
WantedBy=multi-user.target
"""


def unit(
    command: Sequence[str],
    *,
    capabilities: Collection[str],
    memory_bytes: int | None,
    reads_home: bool = False,
    reads_tmp: bool = False,
) -> str:
    """Return the unit that runs a command, whose first word is an absolute path.

    `capabilities`, as `cap_net_admin`, are all that it may have. `memory_bytes` is what it keeps to by
    itself, None for no limit. `reads_home`, `reads_tmp`: the program lies below a home folder, below /tmp.
    """
    memory = ""
    if memory_bytes is not None:
        memory = f"MemoryMax={memory_bytes + _MEMORY_BESIDE >> 20}M\n"
    return _UNIT.format(
        command=exec_start(command),
        state=STATE,
        memory=memory,
        capabilities=" ".join(sorted(name.upper() for name in capabilities)),
        home="read-only" if reads_home else "yes",
        tmp="no" if reads_tmp else "yes",
    )


def exec_start(command: Sequence[str]) -> str:
    """Return a command as ExecStart= takes it, word for word: quoted, `%` doubled, `$` left alone by `:`.

    See "Command lines" in systemd.service(5), and "Quoting" in systemd.syntax(7).
    """
    first, *rest = command
    return " ".join([_quoted(first, ":"), *(_quoted(word) for word in rest)])


def _quoted(word: str, prefix: str = "") -> str:
    text = "".join(_escaped(character) for character in word)
    plain = word and all(
        character.isascii() and (character.isalnum() or character in "/._-+=:,@%$") for character in word
    )
    # What stands alone would end or change the line.
    return f"{prefix}{text}" if plain else f'{prefix}"{text}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character == "%":
        return "%%"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))
