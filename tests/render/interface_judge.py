"""The judge of `netstat -i`: the installed netstat, on real interfaces and on made-up ones."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sockrec.model.network import Address, Interface, LinkCounters
from sockrec.render.names import encode, printable
from sockrec.render.netstat_interfaces import interface_text
from tests.support.netns import Namespace

FLAG_SETS = ("-i", "-ai", "-ie", "-aie", "-ieen", "-inWvNlp", "--interfaces --all --extend")

# Of an address shorter than 8 bytes netstat prints what happened to lie on its stack.
_NOT_SET = re.compile(rb"(?<= unspec )((?:[0-9A-F]{2}-){4})(?:[0-9A-F]{2}-){4}")


class Facts(NamedTuple):
    """What is known of the interfaces of a namespace."""

    interfaces: Sequence[Interface]
    counters: Sequence[LinkCounters]
    addresses: Sequence[Address]


def ours(facts: Facts, words: str) -> bytes:
    """Return what we print under netstat's flags."""
    letters = words.replace("--all", "-a").replace("--extend", "-e").replace("--interfaces", "-i")
    return interface_text(*facts, all="a" in letters, extended="e" in letters)


def harmless(text: bytes) -> bytes:
    """Return netstat's text with the control characters of names replaced, and its slip blotted out."""
    lines = text.decode("utf-8", "surrogateescape").split("\n")
    return without_slip(encode("\n".join(map(printable, lines))))


def without_slip(text: bytes) -> bytes:
    """Return text without the bytes of a hardware address that netstat makes up."""
    return _NOT_SET.sub(rb"\1", text)


def netstat(command: Sequence[str]) -> bytes:
    """Run netstat, in the C locale, and return what it prints; it must not complain."""
    done = subprocess.run(command, capture_output=True, env={**os.environ, "LC_ALL": "C"}, check=True)
    assert done.stderr == b"", done.stderr
    return done.stdout


def same(theirs: bytes, made: bytes, where: str) -> None:
    """Assert that two texts are equal, and show where they are not."""
    if theirs != made:
        real, mine = (text.decode("ascii", "backslashreplace").splitlines() for text in (theirs, made))
        lines = difflib.unified_diff(real, mine, "netstat", "ours", n=1, lineterm="")
        raise AssertionError("\n".join([where, *lines]))


def judge(namespace: Namespace, read: Callable[[], Facts], attempts: int = 20) -> None:
    """Assert that we print what netstat prints in a namespace, under every set of flags.

    It counts where nothing moved between a reading before netstat and one after it.
    """
    left = list(FLAG_SETS)
    for _ in range(attempts):
        before = read()
        theirs = {words: netstat(namespace.command("netstat", *words.split())) for words in left}
        if read() != before:
            continue
        for words in left:
            same(harmless(theirs[words]), without_slip(ours(before, words)), f"netstat {words}")
        return
    raise AssertionError(f"the interfaces changed during each of {attempts} looks")
