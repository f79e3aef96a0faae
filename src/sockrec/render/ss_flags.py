"""ss's own command line, as people type it: bundles, long options cut short, a filter among or after them.

Source: the option table and the rules around it in misc/ss.c of iproute2 6.1. ss keeps tables of sockets
and address families apart, and works each out of the other where only one is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from sockrec.errors import UsageError
from sockrec.render.ss_filter import ALL, CONNECTED, Filter, parse

_UNIX: Final = frozenset(("u_str", "u_dgr", "u_seq"))
_INET: Final = frozenset(("tcp", "mptcp", "udp", "dccp", "sctp", "raw"))
_PACKET: Final = frozenset(("p_raw", "p_dgr"))
_VSOCK: Final = frozenset(("v_str", "v_dgr"))
RECORDED: Final = _UNIX | {"raw", "udp", "tcp"}
"""The tables of ss that a capture holds, by the name in its column Netid."""

_ESTABLISHED: Final = 1 << 1
# A datagram socket that anybody may write to is unconnected.
_LISTENING: Final = 1 << 10 | 1 << 7
_EVERYTHING: Final = _INET | _UNIX | _PACKET | _VSOCK | {"nl", "xdp"}
_QUERIES: Final = {
    "all": _EVERYTHING,
    "inet": _INET,
    **{name: frozenset((name,)) for name in (*_INET, *_UNIX, *_PACKET, *_VSOCK, "tipc", "xdp")},
    "unix": _UNIX,
    "unix_stream": frozenset(("u_str",)),
    "unix_dgram": frozenset(("u_dgr",)),
    "unix_seqpacket": frozenset(("u_seq",)),
    "packet": _PACKET,
    "packet_raw": frozenset(("p_raw",)),
    "packet_dgram": frozenset(("p_dgr",)),
    "netlink": frozenset(("nl",)),
    "vsock": _VSOCK,
    "vsock_stream": frozenset(("v_str",)),
    "vsock_dgram": frozenset(("v_dgr",)),
}
_NOT_RECORDED: Final = {
    "mptcp": "MPTCP", "dccp": "DCCP", "p_raw": "packet", "p_dgr": "packet", "nl": "netlink",
    "v_str": "vsock", "v_dgr": "vsock", "tipc": "TIPC", "xdp": "XDP",
}  # fmt: skip
_FAMILY_TABLES: Final = {"inet": _INET, "inet6": _INET, "unix": _UNIX}
_OTHER_FAMILIES: Final = {
    "link": "packet",
    "netlink": "netlink",
    "tipc": "TIPC",
    "vsock": "vsock",
    "xdp": "XDP",
}

_LONG: Final = {
    "numeric": "n", "resolve": "r", "options": "o", "extended": "e", "memory": "m", "info": "i",
    "processes": "p", "threads": "T", "bpf": "b", "events": "E", "dccp": "d", "tcp": "t", "sctp": "S",
    "udp": "u", "raw": "w", "unix": "x", "tipc": "tipc", "vsock": "vsock", "all": "a", "listening": "l",
    "ipv4": "4", "ipv6": "6", "packet": "0", "family": "f", "socket": "A", "query": "A", "summary": "s",
    "diag": "D", "filter": "F", "version": "V", "help": "h", "context": "Z", "contexts": "z", "net": "N",
    "tipcinfo": "tipcinfo", "tos": "tos", "cgroup": "cgroup", "kill": "K", "no-header": "H", "xdp": "xdp",
    "mptcp": "M", "oneline": "O", "inet-sockopt": "inet-sockopt",
}  # fmt: skip
_SHORT: Final = frozenset("dhaletuwxnro460spTbEf:mMiA:D:F:vVzZN:KHSO") - {":"}
_WITH_VALUE: Final = frozenset("fADFN")
_REFUSED: Final = {
    "K": "closes sockets, and what was recorded is past",
    "E": "waits for sockets to close; see sockrec events",
    "D": "writes raw netlink messages, which are not recorded",
    "F": "reads a filter from a file: give it on the command line",
    "N": "enters a network namespace of this machine: a capture is of the namespace that was recorded",
    "T": "shows threads, which are not recorded",
    "b": "shows socket filters (BPF), which are not recorded",
    "Z": "shows SELinux contexts, which are not recorded",
    "z": "shows SELinux contexts, which are not recorded",
    "S": "shows SCTP in states of its own, of which netstat's are recorded: see netstat's -S",
    "d": "shows DCCP sockets, which are not recorded",
    "M": "shows MPTCP sockets, which are not recorded",
    "0": "shows packet sockets, which are not recorded",
    "tipc": "shows TIPC sockets, which are not recorded",
    "vsock": "shows vsock sockets, which are not recorded",
    "xdp": "shows XDP sockets, which are not recorded",
    "tos": "shows types of service, which are not recorded",
    "inet-sockopt": "shows socket options, which are not recorded",
    "h": "is ss's own help; see sockrec replay --help",
    "V": "is ss's version, and no ss was run",
    "v": "is ss's version, and no ss was run",
}


@dataclass(frozen=True, slots=True)
class SsFlags:
    """What ss was asked for, after its own defaults were applied.

    `tables` are those of `RECORDED` to show. `inet`, `inet6` and `unix` are the families shown; `only` is
    the one family that ss has the kernel list, where it asks for one. `states` has bit N for the kernel's
    state N. `filter` is the filter, its states and family already in the fields before. `several` says
    that ss shows the column Netid; `sockets` is false if `-s` was all that was asked for.
    """

    tables: frozenset[str] = RECORDED
    several: bool = True
    inet: bool = True
    inet6: bool = True
    unix: bool = True
    only: str | None = None
    states: int = CONNECTED
    filter: Filter = field(default_factory=Filter)
    numeric: bool = False
    resolve: bool = False
    options: bool = False
    details: bool = False
    memory: bool = False
    info: bool = False
    processes: bool = False
    cgroup: bool = False
    header: bool = True
    oneline: bool = False
    summary: bool = False
    sockets: bool = True

    @property
    def several_states(self) -> bool:
        """Whether ss shows the column State."""
        return self.states & (self.states - 1) != 0


class _Asked:
    """What the options ask for, in the order in which ss takes them in."""

    def __init__(self) -> None:
        self.tables: set[str] = set()
        self.families: set[str] = set()
        self.states = 0
        # What -a, -l and the filter set, whatever the tables' own defaults are.
        self.chosen_states = 0
        self.preferred: str | None = None
        self.default = True
        self._queried = False

    def table(self, name: str) -> None:
        self.tables.add(name)
        self.states |= CONNECTED if name == "tcp" else _ESTABLISHED
        self.default = False

    def family(self, name: str) -> None:
        self.families.add(name)
        self.states |= CONNECTED
        self.preferred = name
        self.default = False

    def query(self, text: str) -> None:
        """Take the argument of -A: tables with commas between, `!` before one to leave out."""
        if not self._queried:
            self._queried = True
            self.tables.clear()
            self.chosen_states = self.chosen_states or CONNECTED
            self.default = False
        for word in text.split(","):
            name = word.removeprefix("!")
            if name not in _QUERIES:
                raise UsageError(f"ss -A knows no sockets {name!r}; it knows {', '.join(_QUERIES)}")
            if word != name:
                self.tables -= _QUERIES[name]
                continue
            if not _QUERIES[name] & RECORDED:
                raise UsageError(f"ss -A {name}: such sockets are not recorded, so they can't be replayed")
            self.tables |= _QUERIES[name]

    def complete(self) -> None:
        """Add the families of the tables asked for, and the tables of the families."""
        for table in list(self.tables):
            families = {"unix"} if table in _UNIX else {"inet", "inet6"}
            if not families & self.families and (table in _UNIX or table in _INET):
                self.families |= families
        for family in self.families:
            if not _FAMILY_TABLES[family] & self.tables:
                self.tables |= _FAMILY_TABLES[family]


def _long_option(word: str) -> str:
    """Return the letter of a long option, which may be cut short as getopt_long allows."""
    if word in _LONG:
        return _LONG[word]
    found = [name for name in _LONG if name.startswith(word)]
    if not found:
        raise UsageError(f"ss has no option --{word}")
    if len({_LONG[name] for name in found}) > 1:
        raise UsageError(f"--{word} may mean any of {', '.join(f'--{name}' for name in found)}; write it out")
    return _LONG[found[0]]


def _split(words: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the options, (letter, value) each, and the words that are none, as getopt_long(3) does."""
    options: list[tuple[str, str]] = []
    others: list[str] = []
    rest = list(words)

    def value_of(option: str) -> str:
        if not rest:
            raise UsageError(f"ss {option} needs a value")
        return rest.pop(0)

    while rest:
        word = rest.pop(0)
        if word == "--":
            return options, others + rest
        if not word.startswith("-") or word == "-":
            others.append(word)
        elif word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            letter = _long_option(name)
            if equals and letter not in _WITH_VALUE:
                raise UsageError(f"ss --{name} takes no value")
            options.append((letter, value if equals or letter not in _WITH_VALUE else value_of(word)))
        else:
            for place, letter in enumerate(word[1:], 2):
                if letter not in _SHORT:
                    raise UsageError(f"ss has no flag -{letter} (in {word!r})")
                if letter in _WITH_VALUE:
                    options.append((letter, word[place:] or value_of(f"-{letter}")))
                    break
                options.append((letter, ""))
    return options, others


def _take(asked: _Asked, letter: str, value: str) -> None:
    """Take in an option that says what to show; the others say how."""
    if letter in ("t", "u", "w"):
        asked.table({"t": "tcp", "u": "udp", "w": "raw"}[letter])
    elif letter in ("4", "6", "x"):
        asked.family({"4": "inet", "6": "inet6", "x": "unix"}[letter])
    elif letter == "a":
        asked.chosen_states = ALL
    elif letter == "l":
        asked.chosen_states = _LISTENING
    elif letter == "A":
        asked.query(value)
    elif letter == "f":
        if value in _OTHER_FAMILIES:
            raise UsageError(f"ss -f {value}: {_OTHER_FAMILIES[value]} sockets are not recorded")
        if value not in _FAMILY_TABLES:
            raise UsageError(f"ss knows no family {value!r}; replayed are {', '.join(_FAMILY_TABLES)}")
        asked.family(value)


def parse_flags(words: Sequence[str]) -> SsFlags:
    """Return what ss would take these words of its command line to mean.

    Raises `UsageError` for a word that ss does not know, for a filter that makes no sense, and for what ss
    knows and a capture does not hold.
    """
    options, rest = _split(words)
    letters = {letter for letter, _ in options}
    for letter in _REFUSED.keys() & letters:
        name = f"-{letter}" if len(letter) == 1 else f"--{letter}"
        raise UsageError(f"ss {name} {_REFUSED[letter]}")
    asked = _Asked()
    for letter, value in options:
        _take(asked, letter, value)
    only_summary = "s" in letters and asked.default and not rest
    filter_ = parse(rest, asked.preferred)
    if filter_.states is not None:
        asked.chosen_states = filter_.states
    if asked.default:
        asked.chosen_states = asked.chosen_states or CONNECTED
        asked.tables |= _EVERYTHING
    asked.complete()
    if not asked.tables & RECORDED:
        raise UsageError("ss: nothing is left to show; of the sockets asked for none are recorded")
    if filter_.family is not None:
        asked.families, asked.preferred = {filter_.family}, filter_.family
    return SsFlags(
        tables=RECORDED & asked.tables,
        several=len(asked.tables) > 1,
        inet="inet" in asked.families,
        inet6="inet6" in asked.families,
        unix="unix" in asked.families,
        only=asked.preferred if asked.preferred in ("inet", "inet6") else None,
        states=asked.chosen_states or asked.states,
        filter=filter_,
        numeric="n" in letters,
        resolve="r" in letters,
        options=bool(letters & {"o", "e"}),
        details="e" in letters,
        memory="m" in letters,
        info="i" in letters,
        processes="p" in letters,
        cgroup="cgroup" in letters,
        header="H" not in letters,
        oneline="O" in letters,
        summary="s" in letters,
        sockets=not only_summary,
    )
