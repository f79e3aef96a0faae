"""What is typed behind `/`: which sockets are shown."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from sockrec.errors import UsageError

if TYPE_CHECKING:
    from sockrec.replay.stretch import Flags, Found, Stretch, Words

FORMS: Final = (
    "port=7071 program=nginx peer=10.0.0.0/24 state=LISTEN pid=4121 proto=udp; or a word; ! for not"
)
_PORTS: Final = 65_536
_PIDS: Final = 1 << 31
_V4_MAPPED: Final = "::ffff:"


@dataclass(frozen=True, slots=True)
class _Term:
    key: str
    value: str
    negated: bool


class Filter:
    """A filter as typed: all of its words must fit. Raises `UsageError` for what makes none.

    A bare number is a port of either end, or a pid; a bare word stands in the program's name, an address,
    the state or the protocol. Letters count the same, large or small.
    """

    def __init__(self, text: str) -> None:
        self.text = " ".join(text.split())
        self._terms = tuple(map(_term, self.text.split()))

    def lets_through(self, stretch: Stretch, found: Found) -> Flags:
        """Return which of the rows that a sample found are shown."""
        result = np.ones(len(found.rows), dtype=bool)
        for term in self._terms:
            fits = _TESTS[term.key](stretch, found, term.value)
            result &= ~fits if term.negated else fits
        return result


def _term(word: str) -> _Term:
    bare = word.removeprefix("!")
    key, equals, value = bare.partition("=")
    if not equals:
        key, value = ("number" if bare.isascii() and bare.isdecimal() else "word"), bare
    key = _OTHER_NAMES.get(key.lower(), key.lower())
    if not value or (equals and key in ("number", "word")) or key not in _TESTS:
        raise UsageError(f"{word!r} is no filter; write {FORMS}")
    if key in ("port", "pid", "number"):
        most = _PORTS if key == "port" else _PIDS
        if not (value.isascii() and value.isdecimal() and int(value) < most):
            raise UsageError(f"{value!r} is no {'port' if key == 'port' else 'pid'}; write {FORMS}")
    if key == "peer" and "/" in value and _network(value) is None:
        raise UsageError(f"{value!r} is no network; write one like 10.0.0.0/24")
    return _Term(key, value, word.startswith("!"))


def _texts(column: Words, found: Found, fits: Callable[[str], bool]) -> Flags:
    """Return in which rows a column's text fits: each distinct text is looked at once."""
    # A stretch without a row has no text.
    which: Flags = np.array([*map(fits, column.texts), False], dtype=bool)
    result: Flags = which[column.codes[found.rows]]
    return result


def _port(stretch: Stretch, found: Found, value: str) -> Flags:
    fits: Flags = (stretch.local_port[found.rows] == int(value)) | (
        stretch.remote_port[found.rows] == int(value)
    )
    return fits


def _pid(stretch: Stretch, found: Found, value: str) -> Flags:
    fits: Flags = stretch.pid[found.rows] == int(value)
    return fits


def _number(stretch: Stretch, found: Found, value: str) -> Flags:
    return _port(stretch, found, value) | _pid(stretch, found, value)


def _program(stretch: Stretch, found: Found, value: str) -> Flags:
    """Tell of the program as it was recorded, or as its title was then."""
    fits = _inside(value)
    titled = np.array([*(fits(text) for text in stretch.argv0.texts), False], dtype=bool)
    either: Flags = _texts(stretch.program, found, fits) | titled[found.argv0]
    return either


def _peer(stretch: Stretch, found: Found, value: str) -> Flags:
    network = _network(value)

    def fits(text: str) -> bool:
        address = _network(_plain(text))
        if network is None or address is None:  # of a capture made elsewhere it may be anything
            return _plain(text).startswith(value.lower())
        return address.version == network.version and network.supernet_of(address)  # type: ignore[arg-type]

    result: Flags = _texts(stretch.remote_address, found, fits) & (stretch.remote_port[found.rows] != 0)
    return result


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Return a network, or an address as one; None for the beginning of an address."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _state(stretch: Stretch, found: Found, value: str) -> Flags:
    return _texts(stretch.state, found, lambda text: text.lower().startswith(value.lower()))


def _proto(stretch: Stretch, found: Found, value: str) -> Flags:
    name = value.lower().removesuffix("6")
    fits = _texts(stretch.protocol, found, lambda text: text == name)
    if value.endswith("6"):
        fits &= _texts(stretch.family, found, lambda text: text == "inet6")
    return fits


def _word(stretch: Stretch, found: Found, value: str) -> Flags:
    fits = _inside(value)
    result = _program(stretch, found, value)
    for column in (stretch.local_address, stretch.remote_address, stretch.state, stretch.protocol):
        result |= _texts(column, found, fits)
    return result


def _inside(value: str) -> Callable[[str], bool]:
    return lambda text: value.lower() in text.lower()


def _plain(address: str) -> str:
    return address.lower().removeprefix(_V4_MAPPED)


_TESTS: Final[dict[str, Callable[[Stretch, Found, str], Flags]]] = {
    "port": _port,
    "pid": _pid,
    "number": _number,
    "program": _program,
    "peer": _peer,
    "state": _state,
    "proto": _proto,
    "word": _word,
}
_OTHER_NAMES: Final = {"protocol": "proto", "prog": "program"}
