"""The judge of every replay: the installed netstat, run in the C locale on the same sockets."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
from collections.abc import Callable, Sequence

from sockrec.model.netstat_row import NetstatRow
from sockrec.render.names import Names
from sockrec.render.netstat import netstat_text
from sockrec.render.netstat_flags import parse_flags
from tests.support.netns import Namespace
from tests.support.populations import HAS_UDPLITE

# Every column, filter, family, protocol and way of naming, alone and together.
_FLAG_SETS = (
    "-tulpn", "-antp", "-anoe", "-tn", "-un", "-wn", "-ltn", "-4an", "-6an", "-6ant", "-tW", "-anW",
    "-antpe", "-antpee", "-anto", "-tunaW", "-A inet", "-A inet6 -an", "--inet --inet6 -l", "-t", "-u",
    "-w", "-tua", "-wa", "-Una", "-Ua", "-U", "-tuwUanpeoW", "-tuwUal", "-tuwUae",
    "-tul --numeric-hosts", "-ta --numeric-ports", "-tuae --numeric-users",
    "--tcp --udp --all --numeric --programs --timers", "--list --prog --tcp", "-e -e -t -n", "-vN4a",
    "-tp", "-4ua", "-6wa",
)  # fmt: skip
# Asked for UDP-Lite where the kernel has none, netstat complains and stops.
FLAG_SETS = tuple(words for words in _FLAG_SETS if HAS_UDPLITE or "U" not in words)

_SECONDS = re.compile(rb"(?<=[a-z0-9] \()\d+\.\d\d(?=/\d+/\d+\)\n)")
TIMER_TOLERANCE = 0.02


def run_netstat(namespace: Namespace, words: Sequence[str]) -> bytes:
    """Return what netstat prints of internet sockets in a namespace."""
    done = subprocess.run(
        namespace.command("netstat", *words),
        capture_output=True,
        env={**os.environ, "LC_ALL": "C"},
        check=True,
    )
    if done.stderr:
        raise AssertionError(f"netstat {' '.join(words)}: {done.stderr.decode()}")
    return internet_only(done.stdout)


def internet_only(text: bytes) -> bytes:
    """Return what netstat prints before the block of UNIX sockets."""
    return text.partition(b"Active UNIX domain sockets ")[0]


def without_seconds(text: bytes) -> bytes:
    """Return text with the time left on every timer blotted out."""
    return _SECONDS.sub(b"*", text)


def seconds(text: bytes) -> list[float]:
    """Return the time left on every timer, in order."""
    return [float(found) for found in _SECONDS.findall(text)]


def set_anew(before: bytes, after: bytes) -> bool:
    """Tell whether a timer did not just run down, as the others did, but was set again in between.

    One that ran out may have been set again, and have run out again.
    """
    timers = [times for times in zip(seconds(before), seconds(after), strict=True) if any(times)]
    passed = max((was - now for was, now in timers), default=0)
    return any(not now or was - now < max(0, passed - TIMER_TOLERANCE) for was, now in timers)


def _difference(theirs: bytes, ours: bytes) -> str:
    real, made = (text.decode("ascii", "backslashreplace").splitlines() for text in (theirs, ours))
    return "\n" + "\n".join(difflib.unified_diff(real, made, "netstat", "ours", n=0, lineterm=""))


def judge(
    namespace: Namespace,
    rows_of: Callable[[], list[NetstatRow]],
    names: Names,
    flag_sets: Sequence[str] = FLAG_SETS,
    attempts: int = 20,
) -> None:
    """Assert that the renderer prints what netstat prints, to the byte, under every set of flags.

    `rows_of` reads the sockets; it is asked before and after netstat, and the comparison counts
    if timers ran down in between and nothing else happened. What was left of them must lie between
    the two readings, give or take `TIMER_TOLERANCE`. Where too much happens while netstat runs with all
    flags, it runs with fewer between two readings. Fails if the sockets never hold still.
    """
    left, at_once, missed = list(flag_sets), len(flag_sets), 0
    before = rows_of()
    while left:
        asked = left[:at_once]
        theirs = {flag_set: run_netstat(namespace, flag_set.split()) for flag_set in asked}
        after = rows_of()
        agreed = {words for words in asked if _agrees(words, before, theirs[words], after, names)}
        left = [words for words in left if words not in agreed]
        if not agreed:
            at_once, missed = max(1, at_once // 2), missed + 1
        if missed == attempts:
            raise AssertionError(f"the sockets changed during each of {attempts} looks: {left} are left")
        before = after


def _agrees(
    flag_set: str, before: list[NetstatRow], theirs: bytes, after: list[NetstatRow], names: Names
) -> bool:
    """Compare what netstat printed between two readings; false if those differ: nothing to judge."""
    flags = parse_flags(flag_set.split())
    first, last = netstat_text(before, flags, names), netstat_text(after, flags, names)
    if without_seconds(first) != without_seconds(last) or set_anew(first, last):
        return False
    where = f"netstat {flag_set}"
    assert without_seconds(last) == without_seconds(theirs), where + _difference(theirs, last)
    for most, real, least in zip(seconds(first), seconds(theirs), seconds(last), strict=True):
        assert least - TIMER_TOLERANCE <= real <= most + TIMER_TOLERANCE, (
            f"{where}: {real} s are not between {most} and {least}\n" + _difference(theirs, first)
        )
    return True
