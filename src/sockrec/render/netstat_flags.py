"""netstat's own command line, as people type it: bundles, repeats, long options cut short.

Source: the option table and the rules after it in netstat.c of net-tools 2.10.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sockrec.errors import UsageError

Mode = Literal["sockets", "groups", "interfaces", "routes", "statistics"]


@dataclass(frozen=True, slots=True)
class NetstatFlags:
    """What netstat was asked for, after its own defaults were applied.

    `mode` says what it prints; each field counts only where it is named here:

    - sockets: blocks of internet sockets (if `titled`: `tcp` to `raw` of the families `inet` and `inet6`),
      of multicast groups (if `groups`, of the same families) and of UNIX sockets (if `unix`), in this order,
      under all the other flags. It is `groups` where that is the only block.
    - interfaces: `all`, `extend` (with one or more: the long form), `continuous` (the title comes once).
    - routes: the tables of `families`, one after the other, as often as they are named: `fib` the table,
      `cache` the cache; `extend`, `numeric_hosts`, `symbolic` (numeric too), `continuous`.
    - statistics: those of `families`, which is one; `tcp` to `raw` are the protocols. It never repeats.

    `refusal` is what netstat says on standard error instead of printing anything, with exit status 1.
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
    mode: Mode = "sockets"
    groups: bool = False
    families: tuple[str, ...] = ("inet",)
    fib: bool = True
    cache: bool = False
    refusal: str = ""


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
    "Z": "SELinux contexts",
    "2": "Bluetooth sockets",
    "f": "Bluetooth sockets",
    "V": "netstat's version",
}
_PROTOCOLS: Final = {"tcp": "t", "sctp": "S", "udp": "u", "udplite": "U", "raw": "w"}
_FAMILY_OF: Final = {"4": "inet", "6": "inet6", "x": "unix"}
# What netstat takes for no option at all, through a mistake in its table.
_IGNORED: Final = "tcpip"
_NO_MASQUERADE: Final = "netstat: no support for `ip_masquerade' on this system."


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
            raise UsageError(f"nothing of the address family {name} is recorded, so it can't be replayed")
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
                if letter == _FAMILY:
                    letter = "" if name == _IGNORED else _families(name)
                letters += letter
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

    Raises `UsageError` for a word that netstat does not know, for what it refuses, and for what it knows
    and a replay does not show (versions, Bluetooth and the like).
    """
    letters = _letters(words)
    count = Counter(letters)
    for letter, what in _NOT_REPLAYED.items():
        if count[letter]:
            raise UsageError(f"netstat -{letter} ({what}) is not replayed")
    if count["h"]:
        raise UsageError("netstat's own help is not replayed; see sockrec replay --help")
    if count["i"] + count["r"] + count["s"] + count["M"] > 1:
        raise UsageError("netstat takes one of -i, -r, -s and -M, once: to more it answers with its usage")
    families = tuple(_FAMILY_OF[letter] for letter in letters if letter in _FAMILY_OF)
    if count["M"]:
        return _nothing(count, refusal=_NO_MASQUERADE)
    if count["i"]:
        return _nothing(count, mode="interfaces")
    if count["r"]:
        if "unix" in families:
            raise UsageError("netstat -r: No routing for address family `unix'.")
        return _nothing(count, mode="routes", families=families or ("inet",))
    if count["s"]:
        return _statistics(count, families or ("inet",))
    return _sockets(count)


def _nothing(count: Counter[str], **others: Any) -> NetstatFlags:
    """Return flags that ask for no block of sockets; `others` are fields."""
    blocks = dict.fromkeys(("tcp", "sctp", "udp", "udplite", "raw", "inet", "inet6", "unix", "titled"), False)
    return NetstatFlags(**(blocks | _columns(count) | others))


def _columns(count: Counter[str]) -> dict[str, Any]:
    """Return the fields that mean the same whatever is printed."""
    return {
        "all": bool(count["a"]),
        "listening": bool(count["l"]),
        "numeric_hosts": bool(count["n"] + count["!"]),
        "numeric_ports": bool(count["n"] + count["@"]),
        "numeric_users": bool(count["n"] + count["#"]),
        "symbolic": bool(count["N"]),
        "extend": count["e"],
        "programs": bool(count["p"]),
        "timers": bool(count["o"]),
        "wide": bool(count["W"]),
        "continuous": bool(count["c"]),
        "fib": bool(count["F"]) or not count["C"],
        "cache": bool(count["C"]),
    }


def _statistics(count: Counter[str], families: tuple[str, ...]) -> NetstatFlags:
    if families not in {("inet",), ("inet6",)}:
        named = ",".join(families)
        raise UsageError(f"netstat -s: No statistics support for specified address family: {named}")
    asked = {name: bool(count[letter]) for name, letter in _PROTOCOLS.items()}
    if not any(asked.values()):
        asked = dict.fromkeys(asked, True)
    # It ends after it has printed them once, whatever -c says.
    return _nothing(count, mode="statistics", families=families, **asked, continuous=False)


def _sockets(count: Counter[str]) -> NetstatFlags:
    blocks = {name: bool(count[letter]) for name, letter in _PROTOCOLS.items()}
    inet, inet6, unix, groups = (bool(count[letter]) for letter in "46xg")
    if (inet or inet6) and not any(blocks.values()):
        blocks = dict.fromkeys(blocks, True)
    if (any(blocks.values()) or groups) and not (inet or inet6):
        inet = inet6 = True
    # No protocol and no family at all: everything, whichever the family, but no groups.
    everything = not any(blocks.values()) and not unix and not groups
    titled = everything or any(blocks.values())
    asked: dict[str, Any] = dict.fromkeys(blocks, True) if everything else blocks
    return NetstatFlags(
        **asked,
        inet=inet or everything,
        inet6=inet6 or everything,
        unix=unix or everything,
        titled=titled,
        mode="groups" if groups and not titled and not unix else "sockets",
        groups=groups,
        **_columns(count),
    )
