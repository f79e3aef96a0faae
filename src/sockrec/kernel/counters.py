"""The kernel's protocol statistics: the numbers of /proc/net/snmp, netstat and the like (proc(5)).

What a file names stays the same for most of a host's life, so that it is taken apart once: later readings
of it only turn its numbers into integers. The kernel makes the files anew, summing over all CPUs, each time
they are read; they are opened each time too, as an open one stays with the network namespace it was opened
in.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from operator import is_
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from sockrec.kernel.proc_net import FOLDER
from sockrec.model.network import Counter

CONNTRACK: Final = Path("/proc/sys/net/netfilter/nf_conntrack_count")

_SIZE: Final = 1 << 16
_LOWEST: Final = -(1 << 63)
_WRAP: Final = 1 << 64


class Key(NamedTuple):
    """Which number it is: a `Counter` without its value."""

    source: str
    section: str
    name: str
    place: int


@dataclass(frozen=True, eq=False, slots=True)
class Reading:
    """All counters at one moment: `values[i]` is the number that `keys[i]` names.

    As long as the kernel names the same numbers in the same order, `keys` is the very same object from one
    reading to the next, so that `now.keys is before.keys` and `now.values != before.values` tell at once what
    moved. A reading that found nothing changed at all is the very same object as the one before.

    Values are signed integers of 64 bits. An unsigned one from 2**63 on is there as the negative number with
    the same bits (less 2**64): nothing is lost, differences come out right across it, and netstat, which
    takes -1 (Tcp MaxConn) for 2**64 - 1, prints the same of both.

    `incomplete` has a line for each file that could not be read or understood: what, and why. Of such a file
    all numbers are missing, or those from where it is odd. A file that this kernel lacks is none of it.
    """

    keys: tuple[Key, ...] = ()
    values: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    incomplete: tuple[str, ...] = ()

    def counters(self) -> list[Counter]:
        """Return all of them as rows."""
        return [Counter(*key, value) for key, value in zip(self.keys, self.values.tolist(), strict=True)]

    def changed_since(self, before: Reading) -> list[Counter]:
        """Return those that moved since an earlier reading, are new, or have another place in their file."""
        if self is before:
            return []
        if self.keys is before.keys:
            moved = np.flatnonzero(self.values != before.values).tolist()
            return [Counter(*self.keys[index], int(self.values[index])) for index in moved]
        known = set(before.counters())
        return [counter for counter in self.counters() if counter not in known]


class _Told(NamedTuple):
    """What one file told when it was last read."""

    keys: tuple[Key, ...]
    values: npt.NDArray[np.int64]
    problem: str | None


_NOTHING: Final = _Told((), np.empty(0, np.int64), None)

# Section, name, and index among the words of a text, of each of its numbers.
_Names = Iterator[tuple[bytes, bytes, int]]


def _lines(text: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the words of each line that has any, and the index of its first one."""
    index = 0
    for line in text.splitlines():
        words = line.split()
        if words:
            yield index, words
            index += len(words)


def _paired(text: bytes) -> _Names:
    """Take apart pairs of lines, `Tcp: InSegs OutSegs` and `Tcp: 17 4`: snmp and netstat."""
    names: list[bytes] = []
    for index, words in _lines(text):
        if not names:
            if not words[0].endswith(b":"):
                raise ValueError("a line names no section")
            names = words
            continue
        if len(words) != len(names) or words[0] != names[0]:
            raise ValueError(f"a section has {len(names) - 1} names and not as many numbers")
        for place, name in enumerate(names[1:], 1):
            yield names[0][:-1], name, index + place
        names = []
    if names:
        raise ValueError("the last section has no numbers")


def _inline(text: bytes) -> _Names:
    """Take apart lines of a section, names and numbers, `UDP: inuse 1 mem 2`: sockstat and sockstat6."""
    for index, words in _lines(text):
        if len(words) % 2 == 0 or not words[0].endswith(b":"):
            raise ValueError("a line is no section with names and numbers")
        for place in range(1, len(words), 2):
            yield words[0][:-1], words[place], index + place + 1


def _listed(text: bytes) -> _Names:
    """Take apart lines of a name and a number: snmp6 and sctp/snmp."""
    for index, words in _lines(text):
        if len(words) != 2:
            raise ValueError("a line is no name and number")
        yield b"", words[0], index + 1


def _single(text: bytes) -> _Names:
    """Take apart a text that is one number without a name."""
    if len(text.split()) != 1:
        raise ValueError("it is not one number")
    yield b"", b"count", 0


def _integers(words: list[bytes]) -> npt.NDArray[np.int64]:
    """Return numbers of 64 bits, those from 2**63 on less 2**64; raises ValueError if one is none."""
    if b"".join(words).translate(None, b"-0123456789"):
        raise ValueError("a number is none")
    values = list(map(int, words))
    try:
        return np.array(values, np.int64)
    except OverflowError:
        if min(values) < _LOWEST or max(values) >= _WRAP:
            raise ValueError("a number has more than 64 bits") from None
        return np.array([value if value < -_LOWEST else value - _WRAP for value in values], np.int64)


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = part = os.read(fd, _SIZE)
        while part:
            part = os.read(fd, _SIZE)
            text += part
        return text
    finally:
        os.close(fd)


class _File:
    """One file: what it names, and what it told last."""

    def __init__(self, source: str, path: Path, take_apart: Callable[[bytes], _Names]) -> None:
        self._source = source
        self._path = os.fspath(path)
        self._take_apart = take_apart
        self._text: bytes | None = None
        self._told = _NOTHING
        # The layout: how many words, which of them are numbers, and what all the others are.
        self._count = 0
        self._numbers: list[int] = []
        self._others: list[int] = []
        self._names: list[bytes] = []
        self._keys: tuple[Key, ...] = ()
        self._trouble: str | None = None

    def read(self) -> _Told:
        """Return what it tells now: the very same object as before if that is nothing new."""
        try:
            text = _read(self._path)
        except FileNotFoundError:
            return self._tell(None, _NOTHING)
        except OSError as error:
            return self._tell(None, _NOTHING._replace(problem=f"can't be read ({error.strerror})"))
        if text == self._text:
            return self._told
        words = text.split()
        if len(words) != self._count or [words[index] for index in self._others] != self._names:
            self._learn(text, words)
        try:
            values = _integers([words[index] for index in self._numbers])
        except ValueError as error:
            return self._tell(text, _NOTHING._replace(problem=_odd(error)))
        return self._tell(text, _Told(self._keys, values, self._trouble))

    def _learn(self, text: bytes, words: list[bytes]) -> None:
        """Take the text apart up to where it is odd: what stands before that is good, as it is to netstat."""
        found: list[tuple[bytes, bytes, int]] = []
        self._trouble = None
        try:
            for one in self._take_apart(text):
                found.append(one)  # noqa: PERF402 - what came before an error must be kept
        except ValueError as error:
            self._trouble = _odd(error)
        self._count = len(words)
        self._numbers = [index for _, _, index in found]
        self._others = sorted(set(range(len(words))).difference(self._numbers))
        self._names = [words[index] for index in self._others]
        self._keys = tuple(
            Key(self._source, _decoded(section), _decoded(name), place)
            for place, (section, name, _) in enumerate(found)
        )

    def _tell(self, text: bytes | None, told: _Told) -> _Told:
        self._text = text
        if told.keys or self._told.keys or told.problem != self._told.problem:
            self._told = told
        return self._told

    def problem(self) -> str | None:
        """Return a line that tells why numbers of it are missing; None if none are."""
        return self._told.problem and f"{self._path} {self._told.problem}"


def _odd(error: ValueError) -> str:
    return f"has an unknown form ({error}): report this kernel"


def _decoded(word: bytes) -> str:
    return word.decode("utf-8", "backslashreplace")


class CounterReader:
    """Reads the counters of the calling thread's network namespace, again and again.

    The files are snmp, netstat, sctp/snmp, snmp6, sockstat and sockstat6 below `folder`, and `conntrack`: how
    many connections are tracked, as a counter `count` of the file `conntrack` without a section.
    """

    def __init__(self, folder: Path = FOLDER, conntrack: Path = CONNTRACK) -> None:
        self._files = [
            *(_File(source, folder / source, _paired) for source in ("snmp", "netstat")),
            *(_File(source, folder / source, _listed) for source in ("sctp/snmp", "snmp6")),
            *(_File(source, folder / source, _inline) for source in ("sockstat", "sockstat6")),
            _File("conntrack", conntrack, _single),
        ]
        self._told = [_NOTHING for _ in self._files]
        self._reading = Reading()

    def read(self) -> Reading:
        """Read all of them; never raises, see `Reading.incomplete`."""
        before, told = self._told, [file.read() for file in self._files]
        if all(map(is_, told, before)):
            return self._reading
        same = all(now.keys is then.keys for now, then in zip(told, before, strict=True))
        self._told = told
        self._reading = Reading(
            self._reading.keys if same else tuple(chain.from_iterable(one.keys for one in told)),
            np.concatenate([one.values for one in told]),
            tuple(filter(None, (file.problem() for file in self._files))),
        )
        return self._reading
