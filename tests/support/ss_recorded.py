"""What ss printed right before a recording was ended and right after, against what is replayed of its end."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from tests.support.netns import Namespace
from tests.support.ss_judge import TOLERANCE_MS, difference, passing, run_ss, standing

FLAG_SETS = (
    "-tan", "-tln", "-uan", "-wan", "-xan", "-tanp", "-uanp", "-xanp", "-tano", "-tane", "-uane", "-wane",
    "-xane", "-tanm", "-uanm", "-xanm", "-tani", "-tanOi", "-lni", "-tanoemip", "-anoemipO", "-H", "-a", "-l",
    "-s", "-sH -tn", "-tan state established", "-tan '( dport = :443 or sport = :7071 )'",
    "-tan '( sport = :443 or dport = :5000 )'", "-tan state time-wait", "-an exclude established",
    "-tan 'fwmark = 0x2a'", "-tan dev cable0", "-tan -r", "-4an", "-6an", "-f unix -a", "-an --cgroup",
    "-xa src unix:*abstract*", "-ta 'sport = :ssh'", "state listening",
)  # fmt: skip
# MPTCP's figures, and who waits for a UNIX listener, are not recorded.
_LEFT_OUT = re.compile(r"(?<= tcp-ulp-mptcp) .*| peers:.*")
# The first counts those of ss itself and of the recorder; of the other two the kernel counts all namespaces.
_UNJUDGED = re.compile(r"(?<=^Total: )\d+|(?<=^TCP: )\d+|(?<=, closed )\d+")
# What is retransmitted meanwhile differs before and after, and the recorder's own sockets count in -s.
MOST_MOVED = 0.3


def told(namespace: Namespace, flag_sets: Sequence[str] = FLAG_SETS) -> dict[str, list[str]]:
    """Return the lines that ss prints under every set of flags."""
    return {
        flags: [_LEFT_OUT.sub("", line) for line in run_ss(namespace, shlex.split(flags))]
        for flags in flag_sets
    }


def compare(before: list[str], after: list[str], ours: list[str]) -> int:
    """Assert that what stood still is the same; returns how many lines did not.

    Times that pass must lie between the two.
    """
    before, after, ours = ([_UNJUDGED.sub("*", line) for line in lines] for lines in (before, after, ours))
    assert len(before) == len(after) == len(ours), difference(after, ours)
    moved = 0
    for first, last, mine in zip(before, after, ours, strict=True):
        if standing([first]) != standing([last]):
            moved += 1
            continue
        assert standing([mine]) == standing([first]), difference([last], [mine])
        _check_times(first, last, mine)
    return moved


def _check_times(first: str, last: str, mine: str) -> None:
    times = (passing([line]) for line in (first, last, mine))
    for one, other, shown in zip(*times, strict=True):
        low, high = sorted((one.milliseconds, other.milliseconds))
        if one.is_timer == (one.milliseconds < other.milliseconds):
            low, high = 0, max(high, shown.milliseconds)  # it was set anew, or began anew, in between
        room = TOLERANCE_MS + max(one.unit, other.unit, shown.unit)
        assert low - room <= shown.milliseconds <= high + room, difference([first, last], [mine])
