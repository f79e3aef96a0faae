"""The filter that follows ss's flags, taken apart: states first, then an expression (ss(8), misc/ssfilter.y).

    state established exclude time-wait ( dport = :https or sport = :22 ) and not src 10.0.0.0/8

As in ss, `and` and `or` bind alike, from left to right; two conditions side by side mean `and`; `not` takes
the one condition or bracket that follows. What a condition means is in `ss_conditions`. Taken as well, where
ss 6.1 refuses: netstat's names of states, brackets that touch their content, the whole filter as one word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, NoReturn

from sockrec.errors import UsageError
from sockrec.model import states

ALL: Final = (1 << 12) - 1
"""Every state that ss knows, as bits; bit N is the kernel's state number N."""


def _bits(*numbers: int) -> int:
    return sum(1 << number for number in numbers)


CONNECTED: Final = ALL & ~_bits(states.LISTEN, states.CLOSE, states.TIME_WAIT, states.SYN_RECV)
"""What ss shows of TCP and of UNIX sockets by default."""

_BUCKET: Final = _bits(states.SYN_RECV, states.TIME_WAIT)
_NOT_CONNECTED: Final = _bits(states.CLOSE, states.LISTEN)
_GROUPS: Final = {
    "all": ALL,
    "connected": ALL & ~_NOT_CONNECTED,
    "synchronized": ALL & ~_NOT_CONNECTED & ~_bits(states.SYN_SENT),
    "bucket": _BUCKET,
    "big": ALL & ~_BUCKET,
}
_STATES: Final = {
    "established": 1, "syn-sent": 2, "syn-recv": 3, "syn-rcv": 3, "fin-wait-1": 4, "fin-wait-2": 5,
    "time-wait": 6, "unconnected": 7, "close": 7, "closed": 7, "close-wait": 8, "last-ack": 9,
    "listening": 10, "closing": 11,
}  # fmt: skip


class Condition(NamedTuple):
    """One comparison: `what` (src, dport, ...), `operator` (one of `= != < > <= >=`), the `value` as typed.

    `family` is what an address is taken for: unix, inet, inet6, or None for either of the last two.
    `place` is where in the filter the value begins.
    """

    what: str
    operator: str
    value: str
    family: str | None
    place: int


class Not(NamedTuple):
    """What does not meet `inner`."""

    inner: Expression


class Both(NamedTuple):
    """What meets `left` and `right`."""

    left: Expression
    right: Expression


class Either(NamedTuple):
    """What meets `left` or `right`."""

    left: Expression
    right: Expression


Expression = Condition | Not | Both | Either


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter as it was typed: the states it asks for (None: it names none), and what else.

    `family` is the one that its addresses ask for, None if they leave it open.
    """

    text: str = ""
    states: int | None = None
    expression: Expression | None = None
    family: str | None = None

    def refuse(self, place: int, why: str) -> NoReturn:
        """Raise a `UsageError` that says why, and where in the filter."""
        refuse(self.text, place, why)


def refuse(text: str, place: int, why: str) -> NoReturn:
    """Raise a `UsageError` that points to a place in a filter."""
    found = _TOKEN.match(text, place)
    where = f"at character {place + 1} ({found[0]!r})" if found else "at its end"
    raise UsageError(f"ss filter {text!r}, {where}: {why}")


_TOKEN: Final = re.compile(r"[()](?=[\s()]|$)|(?:\\.|[^\s\\])+", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_UNESCAPED: Final = re.compile(r"(?:\\.|[^\\])*?(\)*)", re.DOTALL)
_OPERATORS: Final = {
    "=": "=", "==": "=", "eq": "=", "!=": "!=", "ne": "!=", "neq": "!=", ">=": ">=", "ge": ">=",
    "geq": ">=", "<=": "<=", "le": "<=", "leq": "<=", ">": ">", "gt": ">", "<": "<", "lt": "<",
}  # fmt: skip
_EQUALITY: Final = frozenset(("=", "!="))
_TAKEN: Final = {
    "src": frozenset("="),
    "dst": frozenset("="),
    "sport": frozenset(_OPERATORS.values()),
    "dport": frozenset(_OPERATORS.values()),
    "dev": _EQUALITY,
    "fwmark": _EQUALITY,
    "cgroup": _EQUALITY,
}
_VALUES: Final = {
    "src": "an address", "dst": "an address", "sport": "a port", "dport": "a port", "dev": "a device",
    "fwmark": "a mark", "cgroup": "a cgroup path",
}  # fmt: skip
_AND: Final = frozenset(("&", "&&", "and"))
_OR: Final = frozenset(("|", "||", "or"))
_NOT: Final = frozenset(("!", "not"))
_FAMILIES: Final = {"unix": "unix", "inet": "inet", "inet6": "inet6"}
_OTHER_FAMILIES: Final = ("link", "netlink", "vsock")
_RESERVED: Final = frozenset((*_TAKEN, *_OPERATORS, *_AND, *_OR, *_NOT, "(", ")", "autobound"))


class _Token(NamedTuple):
    text: str
    place: int


def _tokens(text: str) -> list[_Token]:
    """Split at blanks, and brackets off words; a backslash makes the character after it an ordinary one."""
    found: list[_Token] = []
    depth = 0
    for match in _TOKEN.finditer(text):
        word, place = match[0], match.start()
        while len(word) > 1 and (word[0] == "(" or (word[0] == "!" and word != "!=")):
            found.append(_Token(word[0], place))
            depth += word[0] == "("
            word, place = word[1:], place + 1
        depth += {"(": 1, ")": -1}.get(word, 0)
        brackets = _UNESCAPED.fullmatch(word)
        closing = min(depth, len(brackets[1])) if brackets and word != ")" else 0
        end = place + len(word)
        found.append(_Token(_ESCAPE.sub(r"\1", word[: len(word) - closing]), place))
        found += [_Token(")", end - back) for back in range(closing, 0, -1)]
        depth -= closing
    return found


class _Parser:
    def __init__(self, text: str, family: str | None) -> None:
        self.text = text
        self.family = family
        self.asked_family: str | None = None
        self._tokens = _tokens(text)
        self._next = 0

    def peek(self) -> str | None:
        """Return the next token; None at the end."""
        return self._tokens[self._next].text if self._next < len(self._tokens) else None

    @property
    def place(self) -> int:
        """Where the next token begins."""
        return self._tokens[self._next].place if self._next < len(self._tokens) else len(self.text)

    def take(self) -> _Token:
        token = self._tokens[self._next]
        self._next += 1
        return token

    def fail(self, why: str) -> NoReturn:
        refuse(self.text, self.place, why)

    def states(self) -> int | None:
        """Read `state X` and `exclude X`, as often as they come."""
        chosen: int | None = None
        while (word := self.peek()) in ("state", "exclude", "excl"):
            self.take()
            bits = self._state()
            if chosen is None:
                chosen = 0 if word == "state" else ALL
            chosen = chosen | bits if word == "state" else chosen & ~bits
        return chosen

    def _state(self) -> int:
        word = self.peek()
        if word is None:
            self.fail("the name of a state is missing")
        name = word.lower()
        if name in _GROUPS:
            bits = _GROUPS[name]
        elif name in _STATES:
            bits = 1 << _STATES[name]
        else:
            try:
                bits = 1 << states.NUMBERS[states.parse(word)]
            except UsageError:
                self.fail(f"no state; ss knows {', '.join((*_GROUPS, *_STATES))}")
        self.take()
        return bits & ALL

    def expressions(self) -> Expression:
        """Read conditions with `and`, `or` or nothing between them, up to a bracket or the end."""
        left = self._one()
        while (word := self.peek()) is not None and word != ")":
            either = word in _OR
            if either or word in _AND:
                self.take()
            right = self._one()
            left = Either(left, right) if either else Both(left, right)
        return left

    def _one(self) -> Expression:
        word = self.peek()
        if word is None:
            self.fail("a condition is missing")
        if word == "(":
            self.take()
            inner = self.expressions()
            if self.peek() != ")":
                self.fail("a closing bracket is missing")
            self.take()
            return inner
        if word in _NOT:
            self.take()
            return Not(self._one())
        if word == "autobound":
            return Condition(word, "=", "", self.family, self.take().place)
        if word in _TAKEN:
            return self._condition()
        late = word in ("state", "exclude", "excl")
        known = ", ".join((*_TAKEN, "autobound"))
        return self.fail(
            "states come before every other condition" if late else f"a condition begins with one of {known}"
        )

    def _condition(self) -> Condition:
        what = self.take().text
        operator = _OPERATORS.get(self.peek() or "", "")
        if operator:
            if operator not in _TAKEN[what]:
                hint = f"; write: not {what} ..." if operator == "!=" else ""
                self.fail(f"{what} is compared with {' and '.join(sorted(_TAKEN[what]))} alone{hint}")
            self.take()
        if self.peek() is None or self.peek() in _RESERVED:
            self.fail(f"{_VALUES[what]} is missing after {what}")
        value, place = self.take()
        if what in ("src", "dst", "sport", "dport"):
            value, place = self._without_family(value, place)
            self.asked_family = self.family
        return Condition(what, operator or "=", value, self.family, place)

    def _without_family(self, value: str, place: int) -> tuple[str, int]:
        """Take `unix:` and the like off an address; as in ss, what follows is of that family too."""
        prefix, colon, rest = value.partition(":")
        if colon and prefix in _OTHER_FAMILIES:
            refuse(self.text, place, f"{prefix} sockets are not recorded")
        if colon and prefix in _FAMILIES:
            family = _FAMILIES[prefix]
            if self.asked_family not in (None, family):
                refuse(self.text, place, f"the filter asked for {self.asked_family} addresses before")
            self.family = family
            return rest, place + len(prefix) + 1
        return value, place


def parse(words: Sequence[str], family: str | None = None) -> Filter:
    """Return the filter that these words spell.

    `family` is what addresses are taken for that do not say it themselves (`-4`, `-6`, `-x`). Raises
    `UsageError` that points to the place for what is no filter.
    """
    text = " ".join(words)
    parser = _Parser(text, family)
    chosen = parser.states()
    if chosen == 0:
        raise UsageError(f"ss filter {text!r}: it leaves no state to show")
    expression = parser.expressions() if parser.peek() is not None else None
    if parser.peek() is not None:
        parser.fail("this bracket was never opened")
    return Filter(text, chosen, expression, parser.asked_family)
