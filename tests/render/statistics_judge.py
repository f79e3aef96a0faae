"""The judge of protocol statistics: the installed `netstat -s`, on the kernel's files and on made-up ones."""

from __future__ import annotations

import difflib
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from sockrec.kernel.counters import CounterReader
from sockrec.render.netstat_flags import parse_flags
from sockrec.render.netstat_statistics import statistics_text

FLAG_SETS = (
    "-s", "-st", "-su", "-sw", "-sS", "-sU", "-stu", "-swS", "-s --tcp --raw", "-s4", "-s4t",
    "--statistics --udp --sctp --udplite", "-s6", "-s6t", "-s6u", "-s6w", "-s6S", "-s -A inet6 -tu",
    "-s --inet", "-scanpeoWl", "-sg -F", "-s6c",
)  # fmt: skip
# There are no statistics of two families, nor of others.
REFUSED = ("-s46", "-s --inet6 --inet", "-s66", "-sx", "-s -A unix,inet")
# In a mount namespace of its own, with a folder in the place of /proc; one run after another.
_IN_PLACE_OF_PROC = """
mount --bind "$1" /proc && shift || exit 99
for words; do
    netstat $words
    printf '\\0%s\\0' $?
done
"""
_C_LOCALE = {**os.environ, "LC_ALL": "C"}


def netstat_on(proc: Path, flag_sets: Sequence[str]) -> list[bytes]:
    """Return what netstat prints, under each set of flags, where a folder is its /proc."""
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _IN_PLACE_OF_PROC, "sh"]
    done = subprocess.run(
        [*command, os.fspath(proc), *flag_sets], capture_output=True, env=_C_LOCALE, check=True
    )
    *parts, end = done.stdout.split(b"\0")
    assert (end, len(parts)) == (b"", 2 * len(flag_sets)), done
    assert all(
        int(status) == (words in REFUSED) for words, status in zip(flag_sets, parts[1::2], strict=True)
    )
    return parts[::2]


def write_files(proc: Path, files: Mapping[str, bytes]) -> None:
    """Make PROC/net hold these files, by name, and no others of those that netstat reads."""
    for name in ("snmp", "netstat", "sctp/snmp", "snmp6"):
        path = proc / "net" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if name in files:
            path.write_bytes(files[name])


def ours_on(proc: Path, words: str) -> bytes:
    """Return what we print of the same files."""
    reading = CounterReader(proc / "net", proc / "none").read()
    return statistics_text(reading.counters(), parse_flags(words.split()))


def difference(theirs: bytes, ours: bytes) -> str:
    """Return where two texts differ, for people."""
    real, made = (text.decode("ascii", "backslashreplace").splitlines() for text in (theirs, ours))
    return "\n" + "\n".join(difflib.unified_diff(real, made, "netstat", "ours", n=2, lineterm=""))


def judge_files(
    proc: Path, files: Mapping[str, bytes], flag_sets: Sequence[str] = FLAG_SETS
) -> Mapping[str, bytes]:
    """Assert that we print what netstat prints of made-up files, and return that, by set of flags."""
    write_files(proc, files)
    texts = dict(zip(flag_sets, netstat_on(proc, flag_sets), strict=True))
    for words, theirs in texts.items():
        ours = ours_on(proc, words)
        assert ours == theirs, f"netstat {words}" + difference(theirs, ours)
    return texts
