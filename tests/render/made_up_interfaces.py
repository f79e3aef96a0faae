"""netstat made to see interfaces that no kernel has: of any counters, any hardware, any struct ifmap.

/proc/net is a folder of ours with dev and if_inet6 in it, bound over the real one in a mount namespace; the
answers to its ioctls (netdevice(7)) come from a library of ours that it is run with.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from pathlib import Path

from sockrec.model.network import Address, Interface, LinkCounters
from tests.render.interface_judge import Facts, netstat

_SOURCE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

struct answer { unsigned request; char name[IFNAMSIZ]; char value[24]; };
static struct answer *answers;
static size_t count;

static void load(void) {
    FILE *file = fopen(getenv("ANSWERS"), "r");
    struct answer each;
    answers = calloc(4096, sizeof each);
    while (fread(&each, sizeof each, 1, file) == 1 && count < 4096) answers[count++] = each;
    fclose(file);
}

int ioctl(int descriptor, unsigned long request, ...) {
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (!answers) load();
    if (request == SIOCGIFCONF) {
        struct ifconf *wanted = argument;
        size_t room = wanted->ifc_len / sizeof(struct ifreq), used = 0;
        for (size_t i = 0; i < count && used < room; i++)
            if (answers[i].request == request)
                memcpy(wanted->ifc_req[used++].ifr_name, answers[i].name, IFNAMSIZ);
        wanted->ifc_len = used * sizeof(struct ifreq);
        return 0;
    }
    struct ifreq *wanted = argument;
    for (size_t i = 0; i < count; i++)
        if (answers[i].request == request && !strncmp(answers[i].name, wanted->ifr_name, IFNAMSIZ)) {
            memcpy(&wanted->ifr_ifru, answers[i].value, sizeof answers[i].value);
            return 0;
        }
    errno = EADDRNOTAVAIL;
    return -1;
}
"""

_SIOCGIFCONF, _SIOCGIFFLAGS, _SIOCGIFADDR, _SIOCGIFDSTADDR = 0x8912, 0x8913, 0x8915, 0x8917
_SIOCGIFBRDADDR, _SIOCGIFNETMASK, _SIOCGIFMTU, _SIOCGIFHWADDR = 0x8919, 0x891B, 0x8921, 0x8927
_SIOCGIFTXQLEN, _SIOCGIFMAP = 0x8942, 0x8970

_HEADER = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
"""  # noqa: E501 — as the kernel has it


def build(folder: Path) -> Path:
    """Compile the library that answers ioctls."""
    source, library = folder / "answers.c", folder / "answers.so"
    source.write_text(_SOURCE)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    return library


def seen_by_netstat(library: Path, facts: Facts, words: str) -> bytes:
    """Return what netstat prints where these are the interfaces."""
    folder = library.parent
    names = {each.ifindex: each.name for each in facts.interfaces}
    (folder / "dev").write_bytes(_encoded(_HEADER + "".join(map(_dev_line, facts.counters))))
    (folder / "if_inet6").write_bytes(
        _encoded("".join(_inet6_line(each, names) for each in facts.addresses if each.family == "inet6"))
    )
    (folder / "answers").write_bytes(b"".join(_answers(facts)))
    script = (
        'mount --bind "$0" /proc/$$/net && ANSWERS="$0/answers" LD_PRELOAD="$0/answers.so" exec netstat "$@"'
    )
    return netstat(["unshare", "--mount", "sh", "-c", script, os.fspath(folder), *words.split()])


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _dev_line(row: LinkCounters) -> str:
    """Return a line of /proc/net/dev: dev_seq_printf_stats of net/core/net-procfs.c, 64-bit sums."""
    numbers = (
        row.rx_bytes, row.rx_packets, row.rx_errors, row.rx_dropped + row.rx_missed_errors,
        row.rx_fifo_errors,
        row.rx_length_errors + row.rx_over_errors + row.rx_crc_errors + row.rx_frame_errors,
        row.rx_compressed, row.multicast, row.tx_bytes, row.tx_packets, row.tx_errors, row.tx_dropped,
        row.tx_fifo_errors, row.collisions,
        row.tx_carrier_errors + row.tx_aborted_errors + row.tx_window_errors + row.tx_heartbeat_errors,
        row.tx_compressed,
    )  # fmt: skip
    form = "%6s: %7d %7d %4d %4d %4d %5d %10d %9d %8d %7d %4d %4d %4d %5d %7d %10d\n"
    return form % (row.name, *(number % (1 << 64) for number in numbers))


def _inet6_line(address: Address, names: dict[int, str]) -> str:
    """Return a line of /proc/net/if_inet6; the scope is the kernel's (IPV6_ADDR_*)."""
    raw = socket.inet_pton(socket.AF_INET6, address.address)
    scope = {254: 0x10, 253: 0x20, 200: 0x40}.get(address.scope, 0)
    if raw[:12] == bytes(12) and raw[12:] not in (bytes(4), b"\0\0\0\1"):
        scope |= 0x80
    numbers = (address.ifindex, address.prefix_length, scope, address.flags & 0xFF)
    return " ".join([raw.hex(), *(f"{number:02x}" for number in numbers), f"{names[numbers[0]]:>8}\n"])


def _answers(facts: Facts) -> list[bytes]:
    labels: dict[str, list[Address]] = {}
    for address in facts.addresses:
        if address.family == "inet":
            labels.setdefault(address.label, []).append(address)
    of_device = {each.name: each for each in facts.interfaces}
    answers = []
    for name in of_device.keys() | labels:
        each = of_device[name.partition(":")[0]]
        answers += _answers_of(name, each)
        if name in labels:
            answers += _answers_of_address(name, labels[name][0])
    return answers


def _answer(request: int, name: str, form: str = "24x", *values: int | bytes) -> bytes:
    return struct.pack("=I16s", request, _encoded(name)) + struct.pack(form, *values).ljust(24, b"\0")


def _answers_of(name: str, each: Interface) -> list[bytes]:
    address = bytes.fromhex((each.hardware_address or "").replace(":", ""))[:14]
    return [
        _answer(_SIOCGIFFLAGS, name, "=H", each.flags & 0xFFFF),
        _answer(_SIOCGIFHWADDR, name, "=H14s", each.hardware_type, address),
        _answer(_SIOCGIFMTU, name, "=I", each.mtu),
        _answer(_SIOCGIFTXQLEN, name, "=I", each.queue_length),
        _answer(
            _SIOCGIFMAP, name, "=QQHBB", each.mem_start, each.mem_end, each.base_address & 0xFFFF,
            each.irq & 0xFF, each.dma,
        ),
    ]  # fmt: skip


def _answers_of_address(name: str, address: Address) -> list[bytes]:
    mask = ((0xFFFFFFFF << (32 - address.prefix_length)) & 0xFFFFFFFF).to_bytes(4)

    def inet(request: int, raw: bytes) -> bytes:
        return _answer(request, name, "=HH4s", socket.AF_INET, 0, raw)

    return [
        _answer(_SIOCGIFCONF, name),
        inet(_SIOCGIFADDR, socket.inet_aton(address.address)),
        inet(_SIOCGIFDSTADDR, socket.inet_aton(address.peer or address.address)),
        inet(_SIOCGIFBRDADDR, socket.inet_aton(address.broadcast or "0.0.0.0")),
        inet(_SIOCGIFNETMASK, mask),
    ]
