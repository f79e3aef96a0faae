"""The text that `netstat -s` of net-tools 2.10 prints of the kernel's protocol counters, byte for byte.

The rules are those of statistics.c, in the C locale; the judge is the installed program. It keeps a state
from one counter to the next (how far a counter that it has no sentence for is indented, and whether a
histogram of ICMP messages has its title yet), which only the sections that it knows set back. Control
characters in names are printed as `?`, as everywhere (see `names.printable`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

from sockrec.model.network import Counter
from sockrec.render.names import encode, printable
from sockrec.render.netstat_counters import SECTIONS, SECTIONS6, Kind, Section, Sentence
from sockrec.render.netstat_flags import NetstatFlags

_INDENT: Final = {Kind.INPUT: " " * 8, Kind.OUTPUT: " " * 8}
_USUAL_INDENT: Final = " " * 4
_HISTOGRAM: Final = {Kind.INPUT: "ICMP input histogram:\n", Kind.OUTPUT: "ICMP output histogram:\n"}
_UNSIGNED: Final = (1 << 64) - 1


def _bisect(sentences: Sequence[Sentence], name: str) -> Sentence | None:
    """Return what glibc's bsearch(3) finds of a name, whether the sentences are in order or not."""
    low, high = 0, len(sentences)
    while low < high:
        middle = (low + high) // 2
        found = sentences[middle]
        if name == found.name:
            return found
        if name < found.name:
            high = middle
        else:
            low = middle + 1
    return None


def _findable(section: Section) -> dict[str, Sentence]:
    """Return the sentences of a section that netstat finds, by name."""
    found = (_bisect(section.sentences, sentence.name) for sentence in section.sentences)
    return {sentence.name: sentence for sentence in found if sentence}


_KNOWN: Final = {name: (section.flag, _findable(section)) for name, section in SECTIONS.items()}
_KNOWN6: Final = {name: (section.flag, _findable(section)) for name, section in SECTIONS6.items()}


class _Printer:
    """Prints sections under one set of flags; knows what the counter before left behind."""

    def __init__(self, flags: NetstatFlags) -> None:
        self._flags = flags
        self._state = Kind.ALWAYS

    def section(
        self, title: str, counters: Iterable[Counter], known: Mapping[str, tuple[str, Mapping[str, Sentence]]]
    ) -> Iterator[str]:
        """Yield a section's lines: its title, and its counters in their order."""
        sentences: Mapping[str, Sentence] = {}
        if title in known:
            flag, sentences = known[title]
            self._state = Kind.ALWAYS
            if not getattr(self._flags, flag):
                return
        yield f"{printable(title)}:\n"
        for counter in counters:
            # netstat reads every number as an unsigned one of 64 bits.
            value = counter.value & _UNSIGNED
            sentence = sentences.get(counter.name)
            if sentence:
                yield from self._known(sentence, value)
            elif value:
                yield f"{self._indent()}{printable(counter.name)}: {value}\n"

    def _known(self, sentence: Sentence, value: int) -> Iterator[str]:
        kind = sentence.kind
        if kind is Kind.NEVER:
            return
        if kind in _HISTOGRAM and kind is not self._state:
            yield self._indent() + _HISTOGRAM[kind]
        self._state = kind
        if value or kind is Kind.ALWAYS:
            yield f"{self._indent()}{sentence.text % value}\n"

    def _indent(self) -> str:
        return _INDENT.get(self._state, _USUAL_INDENT)


def _in_file(counters: Sequence[Counter], source: str) -> list[Counter]:
    """Return the counters of one file, in its order."""
    return sorted((one for one in counters if one.source == source), key=lambda one: one.place)


def _sections(counters: Iterable[Counter]) -> Iterator[tuple[str, list[Counter]]]:
    for (_, title), found in groupby(counters, lambda one: (one.source, one.section)):
        yield title, list(found)


def _sections6(counters: Iterable[Counter]) -> Iterator[tuple[str, list[Counter]]]:
    """Cut /proc/net/snmp6 into sections: the next one begins at a name in which the last title isn't."""
    title: str | None = None
    found: list[Counter] = []
    for counter in counters:
        if title is None or title not in counter.name:
            if title is not None:
                yield title, found
            before, six, _ = counter.name.partition("6")
            title, found = before + six, []
        found.append(counter)
    if title is not None:
        yield title, found


def statistics_lines(counters: Sequence[Counter], flags: NetstatFlags) -> Iterator[str]:
    """Yield what `LC_ALL=C netstat -s` prints, line by line, each with its newline.

    `counters` are all those of one moment; values from 2**63 on may stand there as negative ones, as captures
    hold them. `flags` are of mode statistics: of a family, the sections of some protocols, and those that
    netstat does not know. Where the file that netstat opens first (snmp, with `-6` snmp6) is missing it
    prints nothing, and so does this. Encode with `names.encode`.
    """
    printer = _Printer(flags)
    snmp = _in_file(counters, "snmp")
    if "inet6" in flags.families:
        snmp6 = _in_file(counters, "snmp6")
        for title, found in _sections6(snmp6):
            yield from printer.section(title, found, _KNOWN6)
        for title, found in _sections(snmp if snmp6 else ()):
            if title.startswith("Tcp"):
                yield from printer.section(title, found, _KNOWN)
        return
    for title, found in _sections([*snmp, *_in_file(counters, "netstat")] if snmp else ()):
        yield from printer.section(title, found, _KNOWN)
    sctp = _in_file(counters, "sctp/snmp")
    if snmp and sctp:
        yield from printer.section("Sctp", sctp, _KNOWN)


def statistics_text(counters: Sequence[Counter], flags: NetstatFlags) -> bytes:
    """Return what `LC_ALL=C netstat -s` writes; see `statistics_lines`."""
    return encode("".join(statistics_lines(counters, flags)))
