"""`ss -s` against the installed ss, to the byte, from the kernel's counters as /proc has them."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from sockrec.errors import NothingMatchedError
from sockrec.model.network import Counter
from sockrec.render.ss_summary import summary_text
from tests.support import all_kinds
from tests.support.netns import Namespace
from tests.support.ss_stage import Stage, stage


def counters(namespace: Namespace) -> list[Counter]:
    """Return sockstat, sockstat6 and snmp of a namespace, line by line."""
    found: list[Counter] = []
    with namespace.entered():
        texts = {
            name: Path(f"/proc/thread-self/net/{name}").read_text().splitlines()
            for name in ("sockstat", "sockstat6", "snmp")
        }
    for name in ("sockstat", "sockstat6"):
        for line in texts[name]:
            section, *words = line.replace(":", "").split()
            pairs = zip(words[::2], words[1::2], strict=True)
            found += [Counter(name, section, key, 0, int(value)) for key, value in pairs]
    for names, values in zip(texts["snmp"][::2], texts["snmp"][1::2], strict=True):
        section, *keys = names.replace(":", "").split()
        found += [
            Counter("snmp", section, key, 0, int(value))
            for key, value in zip(keys, values.split()[1:], strict=True)
        ]
    return found


def compared(namespace: Namespace) -> str:
    # Orphans are counted for all namespaces together: what runs beside this moves them, and back.
    ours = theirs = ""
    for _ in range(200):
        ours = summary_text(counters(namespace))
        theirs = subprocess.run(
            namespace.command("ss", "-s"),
            capture_output=True,
            text=True,
            env={**os.environ, "LC_ALL": "C"},
            check=True,
        ).stdout
        if ours == theirs:
            return theirs
    raise AssertionError(f"{ours}\nis not what ss prints:\n{theirs}")


def test_an_empty_namespace() -> None:
    with Namespace() as empty:
        assert "TCP\t  0 " in compared(empty)


def test_sockets_of_every_kind() -> None:
    with stage() as made:
        before = compared(made.namespace)
        assert all(number not in before for number in ("estab 0", "orphaned 0", "timewait 0", "closed 0"))
        more(made)
        assert compared(made.namespace) != before


def more(made: Stage) -> None:
    with made.namespace.entered():
        for _ in range(7):
            made.kinds.make(socket.AF_INET6, socket.SOCK_DGRAM).bind(("::1", 0))
            made.kinds.make(socket.AF_INET, socket.SOCK_RAW, 255)
            all_kinds.Population.listener(made.kinds, socket.AF_INET6, "::1")


def test_another_file_has_no_say() -> None:
    """A section of that name is in netstat as well on some kernels."""
    own = [Counter("sockstat", "sockets", "used", 0, 7), Counter("sockstat", "TCP", "inuse", 1, 5)]
    other = [Counter("netstat", "TCP", "inuse", 0, 99)]
    assert summary_text(own + other) == summary_text(own)
    assert "Total: 7\n" in summary_text(own)


def test_no_counters_are_not_zeros() -> None:
    with pytest.raises(NothingMatchedError, match="sockstat were not recorded"):
        summary_text([Counter("snmp", "Tcp", "CurrEstab", 0, 3)])
