"""netstat's own command line, as people type it: bundles, repeats, long options cut short.

Source: the option table and the rules after it in netstat.c of net-tools 2.10.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sockrec.errors import UsageError


@dataclass(frozen=True, slots=True)
class NetstatFlags:
    """What netstat was asked for, after its own defaults were applied.

    `tcp` to `raw` are the blocks to print, `inet` and `inet6` their families. `titled` says
    whether the block of internet sockets is asked for at all (not with `-x` alone), `unix`
    whether the UNIX block is.
    """

    tcp: bool = True
    sctp: bool = True
    udp: bool = True
    udplite: bool = True
    raw: bool = True
    inet: bool = True
    inet6: bool = True
    unix: bool = True
    titled: bool = True
    all: bool = False
    listening: bool = False
    numeric_hosts: bool = False
    numeric_ports: bool = False
    numeric_users: bool = False
    # -N: harmless, except that SCTP rows take any such flag for "no host names".
    symbolic: bool = False
    extend: int = 0
    programs: bool = False
    timers: bool = False
    wide: bool = False
    continuous: bool = False


_FAMILY: Final = "family"
_LONG: Final[tuple[tuple[str, str], ...]] = (
    *((name, _FAMILY) for name in ("ax25", "x25", "ip", "ipx", "appletalk", "netrom", "inet", "inet6")),
    *((name, _FAMILY) for name in ("ddp", "rose", "unix", "bluetooth", "tcpip")),
    ("version", "V"),
    ("interfaces", "i"),
    ("help", "h"),
    ("route", "r"),
    ("masquerade", "M"),
    ("protocol", "A"),
    ("tcp", "t"),
    ("sctp", "S"),
    ("udp", "u"),
    ("udplite", "U"),
    ("raw", "w"),
    ("unix", "x"),
    ("l2cap", "2"),
    ("rfcomm", "f"),
    ("listening", "l"),
    ("all", "a"),
    ("timers", "o"),
    ("continuous", "c"),
    ("extend", "e"),
    ("programs", "p"),
    ("verbose", "v"),
    ("statistics", "s"),
    ("wide", "W"),
    ("numeric", "n"),
    ("numeric-hosts", "!"),
    ("numeric-ports", "@"),
    ("numeric-users", "#"),
    ("symbolic", "N"),
    ("cache", "C"),
    ("fib", "F"),
    ("groups", "g"),
    ("context", "Z"),
)
_SHORT: Final = frozenset("CFMacdeghilnNoprsStuUvVWw2fx64Z")
_FAMILIES: Final = {"inet": "4", "ip": "4", "tcpip": "4", "inet6": "6", "ip6": "6", "unix": "x"}
_OTHER_FAMILIES: Final = frozenset(
    ("ax25", "x25", "ipx", "appletalk", "netrom", "ddp", "rose", "econet", "ash", "bluetooth")
)
_NOT_REPLAYED: Final = {
    "r": "the routing table",
    "i": "the interface table",
    "g": "multicast groups",
    "s": "protocol statistics",
    "M": "masqueraded connections",
    "C": "the routing cache",
    "Z": "SELinux contexts",
    "2": "Bluetooth sockets",
    "f": "Bluetooth sockets",
    "V": "netstat's version",
}


def _long_option(word: str) -> tuple[str, str]:
    """Return (whole name, letter) of a long option, which may be cut short as getopt_long allows."""
    exact = [option for option in _LONG if option[0] == word]
    if exact:
        return exact[0]
    found = [option for option in _LONG if option[0].startswith(word)]
    if not found:
        raise UsageError(f"netstat has no option --{word}")
    if len({letter for _, letter in found}) > 1:
        names = ", ".join(f"--{name}" for name, _ in found)
        raise UsageError(f"--{word} may mean any of {names}; write it out")
    return found[0]


def _families(text: str) -> str:
    """Return the letters (`4`, `6`, `x`) that the argument of -A stands for."""
    letters = ""
    for name in text.split(","):
        if name in _OTHER_FAMILIES:
            raise UsageError(f"sockets of the family {name} are not recorded, so they can't be replayed")
        if name not in _FAMILIES:
            raise UsageError(f"netstat knows no address family {name!r}; replayed are inet and inet6")
        letters += _FAMILIES[name]
    return letters


def _letters(words: Sequence[str]) -> str:
    """Return every option as one letter, in order; families as `4`, `6` and `x`."""
    letters = ""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--" and not rest:
            break
        if not word.startswith("-") or word in ("-", "--"):
            raise UsageError(f"{word!r} is not a netstat flag; a moment is given as --at {word}")
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            name, letter = _long_option(name)
            if equals and letter != "A":
                raise UsageError(f"--{name} takes no value")
            if letter == "A":
                if not equals and not rest:
                    raise UsageError(f"--{name} needs an address family: inet or inet6")
                letters += _families(value if equals else rest.pop(0))
            else:
                letters += _families(name) if letter == _FAMILY else letter
            continue
        bundle = word[1:]
        for place, letter in enumerate(bundle):
            if letter == "A":
                value = bundle[place + 1 :]
                if not value and not rest:
                    raise UsageError("-A needs an address family: inet or inet6")
                letters += _families(value or rest.pop(0))
                break
            if letter not in _SHORT:
                raise UsageError(f"netstat has no flag -{letter} (in {word!r})")
            letters += letter
    return letters


def parse_flags(words: Sequence[str]) -> NetstatFlags:
    """Return what netstat would take these words of its command line to mean.

    Raises `UsageError` for a word that netstat does not know, and for what it knows and a replay
    does not show (routes, interfaces, statistics and the like).
    """
    count = Counter(_letters(words))
    for letter, what in _NOT_REPLAYED.items():
        if count[letter]:
            raise UsageError(f"netstat -{letter} ({what}) is not replayed; only sockets are")
    if count["h"]:
        raise UsageError("netstat's own help is not replayed; see sockrec replay --help")
    blocks = [bool(count[letter]) for letter in "tSuUw"]
    inet, inet6, unix = (bool(count[letter]) for letter in "46x")
    if (inet or inet6) and not any(blocks):
        blocks = [True] * 5
    if any(blocks) and not (inet or inet6):
        inet = inet6 = True
    # No protocol and no family at all: everything, whichever the family.
    everything = not any(blocks) and not unix
    tcp, sctp, udp, udplite, raw = ([True] * 5) if everything else blocks
    return NetstatFlags(
        tcp=tcp,
        sctp=sctp,
        udp=udp,
        udplite=udplite,
        raw=raw,
        inet=inet or everything,
        inet6=inet6 or everything,
        unix=unix or everything,
        titled=everything or any(blocks),
        all=bool(count["a"]),
        listening=bool(count["l"]),
        numeric_hosts=bool(count["n"] + count["!"]),
        numeric_ports=bool(count["n"] + count["@"]),
        numeric_users=bool(count["n"] + count["#"]),
        symbolic=bool(count["N"]),
        extend=count["e"],
        programs=bool(count["p"]),
        timers=bool(count["o"]),
        wide=bool(count["W"]),
        continuous=bool(count["c"]),
    )
