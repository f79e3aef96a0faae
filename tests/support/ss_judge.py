"""The judge of ss's style: the installed ss, run in the C locale on the same sockets.

Two texts agree if they have the same lines in the same order with the same words; blanks are ss's own
affair, as it fits its columns to the terminal. What runs on by itself (timers, ages, times spent busy) must
lie between what was read before ss ran and what was read after.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from sockrec.model.ss_row import SsRow, SsUnixRow
from sockrec.render.names import Names
from sockrec.render.ss import ss_text
from sockrec.render.ss_flags import parse_flags
from tests.support.netns import Namespace

Rows = tuple[list[SsRow], list[SsUnixRow]]

# The kernel's clock for these ticks every 4 ms at 250 Hz, 10 ms at the slowest.
TOLERANCE_MS = 12
_PASSING = re.compile(
    r"(?<= timer:\()(?P<kind>\w+),(?P<left>[^,]*)(?=,\d+\))"
    r"|(?<= lastsnd:)\d+|(?<= lastrcv:)\d+|(?<= lastack:)\d+|(?<= busy:)\d+(?=ms)"
    r"|(?<=_limited:)(?P<limited>\d+)ms\([\d.]+%\)"
)
_TIME = re.compile(r"(?:(\d+)min)?(?:(\d+)(?:sec|\.))?(?:(\d{3})ms)?")


class Passing(NamedTuple):
    """A time in the text, in milliseconds; the unit to which ss rounds it down; whether it is a timer."""

    milliseconds: int
    unit: int
    is_timer: bool


def run_ss(
    namespace: Namespace, words: Sequence[str], environment: Mapping[str, str] | None = None
) -> list[str]:
    """Return the lines that ss prints in a namespace, without the tables that no capture holds."""
    done = subprocess.run(
        namespace.command("ss", *words),
        capture_output=True,
        env={**os.environ, "LC_ALL": "C", **(environment or {})},
        check=True,
    )
    lines = lines_of(done.stdout)
    if not parse_flags(words).several:
        return lines
    # Sorted out by the column Netid; lines that go on below a row have no such word.
    unrecorded = ("nl", "p_raw", "p_dgr", "v_str", "v_dgr", "xdp", "mptcp", "ti_")
    return [line for line in lines if not line.startswith(tuple(f"{name} " for name in unrecorded))]


def lines_of(text: bytes) -> list[str]:
    """Return the lines with something on them, one blank between words."""
    # ss leaves no blank between these two where its output is no terminal.
    whole = text.decode("utf-8", "surrogateescape").replace("PortProcess", "Port Process")
    squeezed = (re.sub(r"[ \t]+", " ", line).strip() for line in whole.split("\n"))
    return [line for line in squeezed if line]


def standing(lines: Sequence[str]) -> list[str]:
    """Return the lines with all times that pass blotted out."""
    return [_PASSING.sub(lambda found: found["kind"] or "*", line) for line in lines]


def passing(lines: Sequence[str]) -> list[Passing]:
    """Return the times that pass, in order."""
    found = []
    for match in _PASSING.finditer("\n".join(lines)):
        if match["kind"]:
            found.append(Passing(*_milliseconds(match["left"]), is_timer=True))
        else:
            found.append(Passing(int(match["limited"] or match[0]), 1, is_timer=False))
    return found


def _milliseconds(text: str) -> tuple[int, int]:
    match = _TIME.fullmatch(text)
    assert match, f"ss wrote a time as {text!r}"
    minutes, seconds, rest = (int(part or 0) for part in match.groups())
    unit = 60_000 if minutes > 9 else 1000 if minutes or seconds > 9 else 1
    return (minutes * 60 + seconds) * 1000 + rest, unit


def difference(theirs: Sequence[str], ours: Sequence[str]) -> str:
    """Return what differs, for people."""
    return "\n" + "\n".join(difflib.unified_diff(theirs, ours, "ss", "ours", n=0, lineterm=""))


def judge(
    namespace: Namespace,
    rows_of: Callable[[], Rows],
    names: Names,
    flag_sets: Sequence[str],
    attempts: int = 20,
) -> None:
    """Assert that the renderer prints what ss prints under every set of flags.

    `rows_of` reads the sockets; it is asked before and after each run of ss, and the comparison counts if
    time passed in between and nothing else. Fails if the sockets never hold still.
    """
    for flag_set in flag_sets:
        words = shlex.split(flag_set)
        if not any(_agrees(namespace, rows_of, names, words) for _ in range(attempts)):
            raise AssertionError(f"the sockets changed during each of {attempts} looks with {flag_set}")


def _agrees(namespace: Namespace, rows_of: Callable[[], Rows], names: Names, words: Sequence[str]) -> bool:
    """Compare once; false if the sockets themselves changed in between: nothing to judge."""
    flags = parse_flags(words)
    before = lines_of(ss_text(*rows_of(), flags, names))
    theirs = run_ss(namespace, words)
    after = lines_of(ss_text(*rows_of(), flags, names))
    first, last = passing(before), passing(after)
    if standing(before) != standing(after) or _set_anew(first, last):
        return False
    where = f"ss {shlex.join(words)}"
    assert standing(theirs) == standing(after), where + difference(theirs, after)
    for one, real, other in zip(first, passing(theirs), last, strict=True):
        low, high = sorted((one.milliseconds, other.milliseconds))
        room = TOLERANCE_MS + max(one.unit, real.unit, other.unit) - 1
        assert low - room <= real.milliseconds <= high + room, where + difference(theirs, after)
    return True


def _set_anew(before: Sequence[Passing], after: Sequence[Passing]) -> bool:
    """Tell whether a timer was set again in between, or an age began anew."""
    pairs = zip(before, after, strict=True)
    return any(
        (was.milliseconds < now.milliseconds) if was.is_timer else (was.milliseconds > now.milliseconds)
        for was, now in pairs
    )


def replayed(rows: Rows, flag_set: str, names: Names | None = None) -> list[str]:
    """Return the lines that the renderer makes under a set of flags."""
    return lines_of(ss_text(*rows, parse_flags(shlex.split(flag_set)), names or Names()))
