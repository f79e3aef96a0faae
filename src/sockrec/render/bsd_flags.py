"""The command line of BSD's netstat, as far as it asks for sockets: `-a`, `-n`, `-f family`, `-p protocol`.

Source: netstat(1) and main.c of 4.4BSD; `-f inet6` is KAME's (NetBSD, FreeBSD). There are no long options.
`-p` is taken in the later sense of FreeBSD, OpenBSD and macOS, the sockets of one protocol: in 4.4BSD it
asked for BSD's own statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sockrec.errors import UsageError

_FAMILIES: Final = ("inet", "inet6", "unix")
_PROTOCOLS: Final = ("tcp", "udp")
_UNDERSTOOD: Final = "--style bsd understands -a, -n, -f inet|inet6|unix and -p tcp|udp"


@dataclass(frozen=True, slots=True)
class BsdFlags:
    """What BSD's netstat was asked for.

    `all` shows internet sockets without a local address too (servers, mostly); `numeric` shows no names;
    `inet`, `inet6` and `unix` are the blocks that are printed, `tcp` and `udp` what is in the first two.
    """

    all: bool = False
    numeric: bool = False
    inet: bool = True
    inet6: bool = True
    unix: bool = True
    tcp: bool = True
    udp: bool = True


def parse_bsd_flags(words: Sequence[str]) -> BsdFlags:
    """Return what BSD's netstat would take these words to mean; of two families or protocols, the last.

    Bundles and values are getopt(3)'s: `-an`, `-naf inet`, `-finet6`. Raises `UsageError` for anything else.
    """
    letters: set[str] = set()
    values: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--" and not rest:
            break
        if not word.startswith("-") or word in ("-", "--"):
            raise UsageError(f"{word!r} is not a flag ({_UNDERSTOOD}); a moment is given as --at {word}")
        for place, letter in enumerate(word[1:], start=2):
            if letter in "an":
                letters.add(letter)
            elif letter in "fp":
                values[letter] = _value(letter, word[place:], rest)
                break
            else:
                raise UsageError(f"{word!r} is not replayed: {_UNDERSTOOD}")
    return _flags(letters, values.get("f"), values.get("p"))


def _value(letter: str, joined: str, rest: list[str]) -> str:
    """Return the value of -f or -p: what is left of its word, else the next one, taken from `rest`."""
    what, known = ("address family", _FAMILIES) if letter == "f" else ("protocol", _PROTOCOLS)
    if not joined and not rest:
        raise UsageError(f"-{letter} needs a value: {_UNDERSTOOD}")
    value = joined or rest.pop(0)
    if value not in known:
        raise UsageError(f"{value!r} is no {what} that is replayed: {_UNDERSTOOD}")
    return value


def _flags(letters: set[str], family: str | None, protocol: str | None) -> BsdFlags:
    if family == "unix" and protocol:
        raise UsageError(f"-p {protocol} has no UNIX sockets: leave out one of -f unix and -p {protocol}")
    return BsdFlags(
        all="a" in letters,
        numeric="n" in letters,
        inet=family in (None, "inet"),
        inet6=family in (None, "inet6"),
        unix=family == "unix" or (family is None and protocol is None),
        tcp=protocol in (None, "tcp"),
        udp=protocol in (None, "udp"),
    )
